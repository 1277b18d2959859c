//! What the DWARF says: struct layouts and inlined calls. Read with gimli and addr2line, which share no code with
//! `gobin`.

use std::collections::{BTreeSet, HashMap};

use gimli::{AttributeValue, DebuggingInformationEntry, EndianRcSlice, LittleEndian, Reader as _};
use object::{Object, ObjectSection};
use tracer::gobin::Layout;

use crate::build::Build;

type Reader = EndianRcSlice<LittleEndian>;
type Dwarf = gimli::Dwarf<Reader>;

fn load(build: &Build) -> Dwarf {
    let file = object::File::parse(&*build.data).unwrap();
    let section = |id: gimli::SectionId| -> Result<Reader, gimli::Error> {
        let data = file.section_by_name(id.name()).and_then(|s| s.data().ok()).unwrap_or(&[]);
        Ok(EndianRcSlice::new(data.into(), LittleEndian))
    };
    Dwarf::load(section).unwrap()
}

fn name(
    dwarf: &Dwarf,
    unit: &gimli::Unit<Reader>,
    entry: &DebuggingInformationEntry<Reader>,
) -> Option<String> {
    let value = entry.attr_value(gimli::DW_AT_name)?;
    let text = dwarf.attr_string(unit, value).ok()?;
    Some(text.to_string_lossy().ok()?.into_owned())
}

/// `runtime.g` → field → (offset, type's name); sizes under `_size`.
pub struct Offsets(HashMap<String, HashMap<String, (u64, String)>>);

const STRUCTS: [&str; 9] = [
    "runtime.g",
    "runtime.m",
    "runtime.sudog",
    "runtime.hchan",
    "runtime.stack",
    "runtime.gobuf",
    "runtime.waitq",
    "runtime.maybeTraceablePtr",
    "runtime.maybeTraceableChan",
];

impl Offsets {
    pub fn read(build: &Build) -> Self {
        let dwarf = load(build);
        let mut found: HashMap<String, HashMap<String, (u64, String)>> = HashMap::new();
        let mut units = dwarf.units();
        while let Some(header) = units.next().unwrap() {
            let unit = dwarf.unit(header).unwrap();
            let mut entries = unit.entries();
            let mut current: Option<(isize, String)> = None;
            while let Some(entry) = entries.next_dfs().unwrap() {
                let depth = entry.depth();
                if entry.tag() == gimli::DW_TAG_structure_type {
                    current = name(&dwarf, &unit, entry)
                        .filter(|n| STRUCTS.contains(&n.as_str()))
                        .map(|n| (depth, n));
                    if let Some((_, n)) = &current {
                        let size =
                            entry.attr_value(gimli::DW_AT_byte_size).and_then(|v| v.udata_value()).unwrap();
                        found.entry(n.clone()).or_default().insert("_size".into(), (size, String::new()));
                    }
                } else if entry.tag() == gimli::DW_TAG_member
                    && let Some((_, n)) = current.as_ref().filter(|(d, _)| depth == d + 1)
                {
                    let field = name(&dwarf, &unit, entry).unwrap();
                    let at = entry
                        .attr_value(gimli::DW_AT_data_member_location)
                        .and_then(|v| v.udata_value())
                        .unwrap();
                    found.get_mut(n).unwrap().insert(field, (at, String::new()));
                } else if current.as_ref().is_some_and(|(d, _)| depth <= *d) {
                    current = None;
                }
            }
        }
        Self(found)
    }

    fn get(&self, structure: &str, field: &str) -> Option<u32> {
        self.0.get(structure)?.get(field).map(|f| f.0 as u32)
    }
}

/// Panics at the first field that differs; gives how many were compared.
pub fn check_layout(l: &Layout, o: &Offsets, build: &str) -> usize {
    let absent = |v: u32| (v != u32::MAX).then_some(v);
    let at = |s: &str, f: &str| o.get(&format!("runtime.{s}"), f);
    let plus = |a: Option<u32>, b: Option<u32>| Some(a? + b?);
    let sched = at("g", "sched");
    // From Go 1.26 on two sudog fields are pairs of words; the second is always valid.
    let pair = at("maybeTraceablePtr", "vu");
    let word = |field| plus(at("sudog", field), Some(pair.unwrap_or(0)));
    let k = &l.kernel;
    let rows = [
        ("stack.lo", Some(k.g_stack_lo), plus(at("g", "stack"), at("stack", "lo"))),
        ("stack.hi", Some(k.g_stack_hi), plus(at("g", "stack"), at("stack", "hi"))),
        ("m", Some(k.g_m), at("g", "m")),
        ("sched.bp", Some(k.g_sched_bp), plus(sched, at("gobuf", "bp"))),
        ("sched.sp", Some(l.g_sched_sp), plus(sched, at("gobuf", "sp"))),
        ("sched.pc", Some(l.g_sched_pc), plus(sched, at("gobuf", "pc"))),
        ("goid", Some(k.g_goid), at("g", "goid")),
        ("parentGoid", absent(k.g_parent_goid), at("g", "parentGoid")),
        ("gopc", Some(k.g_gopc), at("g", "gopc")),
        ("startpc", Some(k.g_startpc), at("g", "startpc")),
        ("waitreason", Some(k.g_waitreason), at("g", "waitreason")),
        ("coroexit", absent(k.g_coroexit), at("g", "coroexit")),
        ("coroarg", absent(k.g_coroarg), at("g", "coroarg")),
        ("curg", Some(k.m_curg), at("m", "curg")),
        ("waitunlockf", absent(k.m_waitunlockf), at("m", "waitunlockf")),
        ("waitlock", absent(k.m_waitlock), at("m", "waitlock")),
        ("g size", Some(l.g_size), at("g", "_size")),
        ("atomicstatus", Some(l.g_status), at("g", "atomicstatus")),
        ("waitsince", Some(l.g_waitsince), at("g", "waitsince")),
        ("syscallsp", Some(l.g_syscallsp), at("g", "syscallsp")),
        ("syscallpc", Some(l.g_syscallpc), at("g", "syscallpc")),
        ("syscallbp", l.g_syscallbp, at("g", "syscallbp")),
        ("waiting", Some(l.g_waiting), at("g", "waiting")),
        ("labels", Some(l.g_labels), at("g", "labels")),
        ("lockedm", Some(l.g_lockedm), at("g", "lockedm")),
        ("parkingOnChan", Some(l.g_parking_on_chan), at("g", "parkingOnChan")),
        ("procid", Some(l.m_procid), at("m", "procid")),
        ("g0", Some(l.m_g0), at("m", "g0")),
        ("sudog size", Some(l.sudog.size), at("sudog", "_size")),
        ("sudog.g", Some(l.sudog.g), at("sudog", "g")),
        ("sudog.next", Some(l.sudog.next), at("sudog", "next")),
        ("sudog.prev", Some(l.sudog.prev), at("sudog", "prev")),
        ("sudog.elem", Some(l.sudog.elem), word("elem")),
        ("sudog.ticket", Some(l.sudog.ticket), at("sudog", "ticket")),
        ("sudog.isSelect", Some(l.sudog.is_select), at("sudog", "isSelect")),
        ("sudog.success", Some(l.sudog.success), at("sudog", "success")),
        ("sudog.parent", Some(l.sudog.parent), at("sudog", "parent")),
        ("sudog.waitlink", Some(l.sudog.waitlink), at("sudog", "waitlink")),
        ("sudog.waittail", Some(l.sudog.waittail), at("sudog", "waittail")),
        ("sudog.c", Some(l.sudog.c), word("c")),
        ("hchan size", Some(l.hchan.size), at("hchan", "_size")),
        ("hchan.qcount", Some(l.hchan.qcount), at("hchan", "qcount")),
        ("hchan.dataqsiz", Some(l.hchan.dataqsiz), at("hchan", "dataqsiz")),
        ("hchan.buf", Some(l.hchan.buf), at("hchan", "buf")),
        ("hchan.elemsize", Some(l.hchan.elemsize), at("hchan", "elemsize")),
        ("hchan.closed", Some(l.hchan.closed), at("hchan", "closed")),
        ("hchan.timer", l.hchan.timer, at("hchan", "timer")),
        ("hchan.elemtype", Some(l.hchan.elemtype), at("hchan", "elemtype")),
        ("recvq.first", Some(l.hchan.recvq_first), plus(at("hchan", "recvq"), at("waitq", "first"))),
        ("recvq.last", Some(l.hchan.recvq_last), plus(at("hchan", "recvq"), at("waitq", "last"))),
        ("sendq.first", Some(l.hchan.sendq_first), plus(at("hchan", "sendq"), at("waitq", "first"))),
        ("sendq.last", Some(l.hchan.sendq_last), plus(at("hchan", "sendq"), at("waitq", "last"))),
    ];
    for (field, ours, theirs) in rows {
        assert_eq!(ours, theirs, "{build}: {field}");
    }
    rows.len()
}

/// Names of the frames at each address, innermost first; nothing where the DWARF is silent.
pub fn chains(build: &Build, pcs: &[u64]) -> Vec<Option<Vec<String>>> {
    let context = addr2line::Context::from_dwarf(load(build)).unwrap();
    let chain = |&pc: &u64| {
        let mut names = Vec::new();
        let mut frames = context.find_frames(pc).skip_all_loads().ok()?;
        while let Some(frame) = frames.next().ok()? {
            names.push(crate::printed(&frame.function?.raw_name().ok()?));
        }
        (!names.is_empty()).then_some(names)
    };
    pcs.iter().map(chain).collect()
}

/// Names of the concrete functions that hold an inlined copy of `function`, sorted.
pub fn callers_with_copy(build: &Build, function: &str) -> Vec<String> {
    let dwarf = load(build);
    // Abstract functions by their offset in .debug_info.
    let mut abstracts = HashMap::new();
    let mut units = Vec::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().unwrap() {
        units.push(dwarf.unit(header).unwrap());
    }
    for unit in &units {
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs().unwrap() {
            if entry.tag() == gimli::DW_TAG_subprogram
                && let Some(n) = name(&dwarf, unit, entry)
            {
                abstracts.insert(entry.offset().to_debug_info_offset(&unit.header).unwrap(), n);
            }
        }
    }
    let origin = |unit: &gimli::Unit<Reader>, entry: &DebuggingInformationEntry<Reader>| {
        let at = match entry.attr_value(gimli::DW_AT_abstract_origin)? {
            AttributeValue::UnitRef(at) => at.to_debug_info_offset(&unit.header)?,
            AttributeValue::DebugInfoRef(at) => at,
            _ => return None,
        };
        abstracts.get(&at).cloned()
    };
    let mut callers = BTreeSet::new();
    for unit in &units {
        let mut entries = unit.entries();
        let mut outer = String::new();
        while let Some(entry) = entries.next_dfs().unwrap() {
            if entry.tag() == gimli::DW_TAG_subprogram {
                outer = name(&dwarf, unit, entry).or_else(|| origin(unit, entry)).unwrap_or_default();
            } else if entry.tag() == gimli::DW_TAG_inlined_subroutine
                && origin(unit, entry).as_deref() == Some(function)
            {
                callers.insert(outer.clone());
            }
        }
    }
    callers.into_iter().collect()
}
