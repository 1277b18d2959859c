//! What an attach does with a file, and what came of it in one line.

use tracer::gobin::GoBinary;
use tracer::probe::plan;
use tracer::symbol::{DebugInfo, Symbolizer};

/// `pcs` program counters of stacks are looked up: a thousand are a session's first minutes.
pub fn attach(data: &[u8], pcs: u64) -> String {
    let binary = match GoBinary::parse(data) {
        Ok(binary) => binary,
        Err(e) => return format!("refused: {e}"),
    };
    let id = binary.build_id();
    let layout = binary.layout().map_or_else(|e| e.to_string(), |_| "layout known".into());
    let globals = binary.globals();
    let allgs = globals.allgs.map_or_else(|e| e.to_string(), |_| "allgs known".into());
    let reasons = globals.wait_reasons.map_or_else(|e| e.to_string(), |_| "reasons known".into());
    let plan = plan(&binary, true);
    let debug = binary.debug_sections().map_or_else(|e| e.to_string(), |_| "debug sections read".into());
    let (start, end) = binary.functions().text_range();
    let source = DebugInfo::of(&binary);
    let mut symbolizer = Symbolizer::new(&binary, 0, id.clone()).with_debug(&source);
    let (mut known, mut why) = (0, String::new());
    for i in 0..pcs {
        let at = start.wrapping_add(end.wrapping_sub(start) / pcs * i).wrapping_add(i % 16);
        let symbol = symbolizer.symbol(at, i % 2 == 0);
        match symbol.frames.is_empty() {
            false => known += 1,
            true => why = symbol.unknown_because,
        }
    }
    format!(
        "{known} of {pcs} ({why}), {layout}, {allgs}, {reasons}, {} sites, {} refused, {}, {debug}, id {}",
        plan.sites.len(),
        plan.refused.len(),
        plan.warnings.join("; "),
        id.map_or(0, |id| id.len()),
    )
}
