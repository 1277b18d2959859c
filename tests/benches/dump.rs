use anyhow::Result;
//! placeholder
use std::time::Instant;
use tests::{Fixture, Running, dump, http};
use tracer::source::dump::{Looks, take};

fn main() -> Result<()> {
    let mode: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--bench")).collect();
    let path = Fixture::new("crowd").build()?;
    let args: Vec<&str> = mode.iter().map(String::as_str).collect();
    let running = Running::start(&path, &args)?;
    let address = running.heard("ready").unwrap().to_owned();
    let cpu = || {
        let mut u: libc::rusage = unsafe { std::mem::zeroed() };
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut u) };
        (u.ru_utime.tv_sec + u.ru_stime.tv_sec) as f64 * 1e3
            + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) as f64 / 1e3
    };
    dump::with_subject(running.pid(), &path, &mut |subject| {
        let mut looks = Looks::new(subject);
        for i in 0..12 {
            if i > 6 {
                tests::http::get(&address, "/round?n=1000")?;
            }
            let (begin, c) = (Instant::now(), cpu());
            let (dump, changes) = looks.look(&mut |_, _| {})?;
            println!(
                "{i}: {:.1} ms wall {:.1} ms cpu; of {} new {} changed {} gone {} waited {}",
                begin.elapsed().as_secs_f64() * 1e3,
                cpu() - c,
                dump.goroutines.len(),
                changes.new.len(),
                changes.changed.len(),
                changes.gone.len(),
                changes.waited
            );
        }
        let (begin, c) = (Instant::now(), cpu());
        take(subject, &mut |_, _| {})?;
        println!("take: {:.1} ms wall {:.1} ms cpu", begin.elapsed().as_secs_f64() * 1e3, cpu() - c);
        Ok(())
    })
}
