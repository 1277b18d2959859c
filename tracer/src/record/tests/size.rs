//! What an event costs in the file.

use super::*;

#[test]
fn bytes_per_event() {
    // As busy as 200,000 events a second would be: only the tick closes chunks early.
    for (name, n, limit) in [("slow: 400 events a second", 40_000u64, 26.0), ("fast", 400_000, 26.0)] {
        let mut shared = SharedBytes::default();
        let mut writer = Writer::new(shared.clone()).unwrap();
        let mut record = Vec::new();
        let begun = std::time::Instant::now();
        for i in 0..n {
            mix(i, &mut record);
            if name == "fast" {
                // Squeeze the stream's time five hundredfold.
                let time = START_NS + (u64::from_le_bytes(*record.first_chunk().unwrap()) - START_NS) / 500;
                record[..8].copy_from_slice(&time.to_le_bytes());
                if record[30] == kind::TICK && i % 200_000 != 0 {
                    continue;
                }
            }
            writer.write(&record).unwrap();
        }
        let summary = writer.finish().unwrap();
        let took = begun.elapsed();
        let each = |bytes: u64| bytes as f64 / summary.records as f64;
        println!(
            "{name}: {} events, {:.1} bytes each as they came, {:.2} in the file, {} chunks, {:.0} ns each",
            summary.records,
            each(summary.raw_bytes),
            each(summary.bytes),
            summary.chunks,
            took.as_nanos() as f64 / summary.records as f64,
        );
        assert_eq!(shared.take().len() as u64, summary.bytes);
        assert!(each(summary.bytes) < limit);
    }
}
