//! Everything gostray asks an executable, of whatever bytes. Must come back; what it answers must agree with itself.

use std::ops::AddAssign;

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};
use tracer::gobin::GoBinary;
use tracer::probe::code::cost_class;
use tracer::probe::{Plan, plan};
use tracer::symbol::{DebugInfo, Symbolizer};

/// Which rooms an input reached: a fuzzer that never gets beyond the first gate proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub parsed: u64,
    pub functions: u64,
    pub frames: u64,
    pub inlined: u64,
    pub copies: u64,
    pub globals: u64,
    pub sites: u64,
    /// Addresses that debug information, and the symbol table, had an answer for.
    pub debug: u64,
    pub symbols: u64,
    /// The runtime's structs, described by any of the two.
    pub layouts: u64,
}

impl AddAssign for Reached {
    fn add_assign(&mut self, o: Self) {
        self.parsed += o.parsed;
        self.functions += o.functions;
        self.frames += o.frames;
        self.inlined += o.inlined;
        self.copies += o.copies;
        self.globals += o.globals;
        self.sites += o.sites;
        self.debug += o.debug;
        self.symbols += o.symbols;
        self.layouts += o.layouts;
    }
}

/// All questions about one file.
pub fn everything(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let binary = match GoBinary::parse(data) {
        Ok(binary) => binary,
        Err(e) => {
            assert!(!e.to_string().is_empty());
            return reached;
        }
    };
    reached.parsed = 1;
    let _ = (binary.main_package(), binary.build_id(), binary.layout(), binary.is_pie());
    let globals = binary.globals();
    reached.globals = [globals.allgs.is_ok(), globals.allglen.is_ok(), globals.wait_reasons.is_ok()]
        .into_iter()
        .filter(|ok| *ok)
        .count() as u64;
    for name in ["main.inner", "runtime.gopark"] {
        reached.copies += binary.inlined_copies(name).map_or(0, |c| c.len() as u64);
    }
    functions(&binary, &mut reached);
    for park in [false, true] {
        let plan = plan(&binary, park);
        promise(&binary, &plan);
        reached.sites += plan.sites.len() as u64;
    }
    symbols(&binary, &mut reached);
    reached
}

/// What only debug information and the symbol table know: addresses that no function of the table holds.
fn symbols(binary: &GoBinary<'_>, reached: &mut Reached) {
    let _ = (binary.debug_link(), binary.has_debug_info(), binary.build_ids());
    let debug = DebugInfo::of(binary);
    let mut symbolizer = Symbolizer::new(binary, 0, None).with_debug(&debug);
    let (start, end) = binary.functions().text_range();
    for pc in (0..96).map(|i| end.saturating_add(i)).chain([start, start.saturating_sub(1), 0, u64::MAX]) {
        let symbol = symbolizer.symbol(pc, pc % 2 == 0);
        assert_eq!(symbol.frames.is_empty(), !symbol.unknown_because.is_empty(), "{symbol:?}");
        reached.debug += u64::from(symbol.source == "dwarf");
        reached.symbols += u64::from(symbol.source == "symbol table");
    }
}

fn functions(binary: &GoBinary<'_>, reached: &mut Reached) {
    let table = binary.functions();
    let (start, end) = table.text_range();
    let mut pcs: Vec<u64> = (0..48).map(|i| start.wrapping_add(i)).collect();
    pcs.extend([0, 1, u64::MAX, start.wrapping_sub(1), end, end.wrapping_sub(1)]);
    for f in table.iter().take(64) {
        reached.functions += 1;
        assert!(f.entry <= f.end);
        let _ = (table.sp_delta(&f, f.entry), table.is_wrapper(&f), f.is_top_frame());
        assert!(table.code_end(&f).is_none_or(|end| end <= f.end));
        let _ = binary.bytes(f.entry, f.size() as usize);
        assert!(table.all_by_name(f.name).any(|g| g == f), "a function is not found by its name");
        pcs.extend([f.entry, f.entry + f.size() / 2, f.end]);
    }
    for pc in pcs {
        for exact in [true, false] {
            let Ok(frames) = binary.frames(pc, exact) else { continue };
            let (last, inlined) = frames.split_last().expect("no frames is an error");
            assert!(!last.inlined && inlined.iter().all(|f| f.inlined));
            reached.frames += 1;
            reached.inlined += inlined.len() as u64;
        }
    }
}

/// The first law: decoding the function's bytes from the first one lands on every chosen site, nothing jumps into the
/// middle of an instruction, and the site's place in the file is that instruction. Decoded here once more, without the
/// planner's own code.
pub fn promise(binary: &GoBinary<'_>, plan: &Plan) {
    for site in &plan.sites {
        let size = (site.end - site.entry) as usize;
        let bytes = binary.bytes(site.entry, size).expect("a probed function lies in the file");
        let mut decoder = Decoder::with_ip(64, bytes, site.entry, DecoderOptions::NONE);
        let (mut starts, mut targets, mut found) = (Vec::new(), Vec::new(), None);
        while decoder.can_decode() {
            let i = decoder.decode();
            assert!(!i.is_invalid(), "{site:?}: a function that is not all instructions");
            if i.ip() == site.addr {
                found = Some(i.len());
            }
            let jumps =
                matches!(i.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
            if jumps && i.op0_kind() == OpKind::NearBranch64 {
                targets.push(i.near_branch_target());
            }
            starts.push(i.ip());
        }
        let len = found.unwrap_or_else(|| panic!("{site:?}: not an instruction"));
        for to in targets.into_iter().filter(|to| (site.entry..site.end).contains(to)) {
            assert!(starts.binary_search(&to).is_ok(), "{site:?}: a jump into the middle at {to:#x}");
        }
        assert_eq!(binary.file_offset(site.addr), Some(site.file_offset));
        assert_eq!(binary.bytes(site.addr, len).map(cost_class), Some(site.cost));
        assert_eq!(
            binary.functions().by_pc(site.addr).map(|f| (f.entry, f.end)),
            Some((site.entry, site.end))
        );
    }
}
