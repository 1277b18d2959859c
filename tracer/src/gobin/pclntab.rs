//! The function table (pclntab): present in every Go executable, stripped or not, because the runtime itself
//! needs it to walk stacks.
//!
//! Format: Go's runtime/symtab.go (`pcHeader`, `functab`, `_func`) and cmd/link/internal/ld/pcln.go. Two forms are
//! read: magic `0xfffffff0` (Go 1.18, 1.19) and `0xfffffff1` (Go 1.20 on; seen up to 1.27).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use super::bytes::{self, is_c_str, u8_at, u32_at, u64_at};
use super::error::Reason;
use super::limits::{MAX_FUNCTIONS, MAX_NAME, MAX_NAMES, MAX_PAIRS, MAX_PATH};
use super::pcvalue::{self, Steps};

/// First eight bytes: magic, two zeroes, instruction size quantum 1 (amd64), pointer size 8.
pub const MAGIC_118: [u8; 8] = [0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8];
pub const MAGIC_120: [u8; 8] = [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];

const HEADER: u64 = 72;
const FTAB_ENTRY: u64 = 8;
/// Places in `_func` of the offsets of its pc tables.
const SP_DELTAS: u64 = 16;
const FILES: u64 = 20;
const LINES: u64 = 24;
/// What is looked up by name while attaching, many times; these have an index.
const INDEXED: &str = "runtime.";
/// Symbols of the names asked for: two of a name at most, where an ABI wrapper has it too.
const MAX_SAME_NAMES: usize = 64;
/// Bytes of an indexed name; what is asked for is shorter.
const MAX_INDEXED: usize = 64;

/// Which shape `_func` and the inline tree have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Go 1.18 and 1.19.
    V118,
    /// Go 1.20 on.
    V120,
}

impl Form {
    /// Bytes of `_func` before the PCDATA offsets; funcID, flag and nfuncdata are its last four bytes.
    fn func_size(self) -> u64 {
        match self {
            Self::V118 => 40,
            Self::V120 => 44,
        }
    }
}

/// The checked header: where the sub-tables are, relative to the table's start.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub form: Form,
    pub nfunc: u64,
    pub funcname: u64,
    cu: u64,
    filetab: u64,
    pctab: u64,
    pub pcln: u64,
}

impl Header {
    /// Nothing unless `data` begins with a plausible table that lies wholly inside it.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let form = match data.get(..8)? {
            m if m == MAGIC_118 => Form::V118,
            m if m == MAGIC_120 => Form::V120,
            _ => return None,
        };
        Self::of_form(form, data)
    }

    /// [`Self::parse`] where the mark was altered, so that the table's form is not known.
    pub fn parse_whatever_its_mark(data: &[u8]) -> Option<Self> {
        Self::of_form(Form::V120, data)
    }

    fn of_form(form: Form, data: &[u8]) -> Option<Self> {
        let head = bytes::slice(data, 0, HEADER)?;
        let h = Self {
            form,
            nfunc: u64_at(head, 8)?,
            funcname: u64_at(head, 32)?,
            cu: u64_at(head, 40)?,
            filetab: u64_at(head, 48)?,
            pctab: u64_at(head, 56)?,
            pcln: u64_at(head, 64)?,
        };
        let order = [HEADER, h.funcname, h.cu, h.filetab, h.pctab, h.pcln, data.len() as u64];
        let ftab = h.nfunc.checked_mul(FTAB_ENTRY)?.checked_add(4)?;
        let fits =
            (1..=MAX_FUNCTIONS).contains(&h.nfunc) && ftab <= (data.len() as u64).checked_sub(h.pcln)?;
        (order.is_sorted() && fits).then_some(h)
    }
}

/// One function. Bounds come from the table; the last one's end includes alignment padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Func<'d> {
    /// As linked, without load bias.
    pub entry: u64,
    /// Next function's entry.
    pub end: u64,
    /// Without `.abi0`: an ABI wrapper and the function it wraps share one name.
    pub name: &'d str,
    /// `internal/abi.FuncID`; its numbers move between versions.
    pub func_id: u8,
    /// `internal/abi.FuncFlag`; bit 0 is TopFrame, the end of a stack.
    pub flag: u8,
    record: Record,
}

/// A function without its name, which costs more to read than the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub entry: u64,
    pub end: u64,
    /// Offset of its `_func` in the table of functions.
    at: u64,
}

impl Func<'_> {
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// A stack walk ends here (`goexit`, `mstart`, `rt0_go`, …).
    pub fn is_top_frame(&self) -> bool {
        self.flag & 1 != 0
    }

    pub fn size(&self) -> u64 {
        self.end - self.entry
    }
}

/// All functions of the executable, by address.
#[derive(Debug)]
pub struct FuncTable<'d> {
    form: Form,
    nfunc: u64,
    text: u64,
    wrapper_id: Option<u8>,
    names: &'d [u8],
    cus: &'d [u8],
    files: &'d [u8],
    pcs: &'d [u8],
    funcs: &'d [u8],
    runtime: OnceLock<Index>,
}

/// Functions whose name begins with [`INDEXED`]: hash of the name and number, sorted. Keyed anew for each file, so that
/// no file can be made of names that collide.
#[derive(Debug, Default)]
struct Index {
    state: RandomState,
    entries: Vec<(u64, u32)>,
}

impl<'d> FuncTable<'d> {
    /// `data` begins at the header; `text` is `moduledata.text`, what function offsets count from.
    /// `wrapper_id` is `FuncID_wrapper` in the binary's version.
    pub(super) fn new(data: &'d [u8], h: &Header, text: u64, wrapper_id: Option<u8>) -> Option<Self> {
        let part = |from: u64, to: u64| data.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?);
        Some(Self {
            form: h.form,
            nfunc: h.nfunc,
            text,
            wrapper_id,
            names: part(h.funcname, h.cu)?,
            cus: part(h.cu, h.filetab)?,
            files: part(h.filetab, h.pctab)?,
            pcs: part(h.pctab, h.pcln)?,
            funcs: part(h.pcln, data.len() as u64)?,
            runtime: OnceLock::new(),
        })
    }

    /// Number of functions.
    pub fn len(&self) -> usize {
        self.nfunc as usize
    }

    pub fn is_empty(&self) -> bool {
        self.nfunc == 0
    }

    /// Where Go code begins and ends.
    pub fn text_range(&self) -> (u64, u64) {
        (self.entry(0).unwrap_or(self.text), self.entry(self.nfunc).unwrap_or(self.text))
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Entry of function `i`; `i == nfunc` gives the end of the last one.
    fn entry(&self, i: u64) -> Option<u64> {
        self.text.checked_add(u64::from(u32_at(self.funcs, i.checked_mul(FTAB_ENTRY)?)?))
    }

    fn record(&self, i: u64) -> Option<Record> {
        if i >= self.nfunc {
            return None;
        }
        let entry = self.entry(i)?;
        let end = self.entry(i + 1).filter(|&end| end >= entry)?;
        Some(Record { entry, end, at: u64::from(u32_at(self.funcs, i * FTAB_ENTRY + 4)?) })
    }

    fn name_offset(&self, i: u64) -> Option<u32> {
        u32_at(self.funcs, u64::from(u32_at(self.funcs, i * FTAB_ENTRY + 4)?) + 4)
    }

    fn get(&self, i: u64) -> Option<Func<'d>> {
        let record = self.record(i)?;
        let name = self.name(u32_at(self.funcs, record.at + 4)?)?;
        let tail = record.at + self.form.func_size() - 4;
        let (func_id, flag) = (u8_at(self.funcs, tail)?, u8_at(self.funcs, tail + 1)?);
        Some(Func { entry: record.entry, end: record.end, name, func_id, flag, record })
    }

    /// The function whose code holds `pc`.
    pub fn by_pc(&self, pc: u64) -> Option<Func<'d>> {
        let (mut low, mut high) = (0, self.nfunc);
        // Invariant: entry(low) <= pc < entry(high), as far as the table is sorted.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(middle)? <= pc { low = middle } else { high = middle }
        }
        self.get(low).filter(|f| f.entry <= pc && pc < f.end)
    }

    /// The one function of that name that is not an ABI wrapper; nothing when there is none, or more than one (then
    /// the name says too little to act upon). The first question about the runtime, and each about other functions,
    /// looks at every function: a few milliseconds in a large program.
    pub fn by_name(&self, name: &str) -> Option<Func<'d>> {
        let mut all = self.all_by_name(name).filter(|f| Some(f.func_id) != self.wrapper_id);
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    /// Every function of that name, wrappers too.
    pub fn all_by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Func<'d>> + 'a {
        let indexed = name.starts_with(INDEXED) && name.len() < MAX_INDEXED;
        let (index, all) = if indexed { (self.indexed(name), 0) } else { (&[][..], self.nfunc) };
        let numbers = index.iter().map(|&(_, i)| u64::from(i)).chain(0..all);
        numbers.filter_map(
            move |i| {
                if is_c_str(self.names, self.name_offset(i)?, name) { self.get(i) } else { None }
            },
        )
    }

    /// The functions that may have this name.
    fn indexed(&self, name: &str) -> &[(u64, u32)] {
        let index = self.runtime.get_or_init(|| self.index());
        let hash = index.state.hash_one(name.as_bytes());
        let from = index.entries.partition_point(|e| e.0 < hash);
        let len = index.entries[from..].partition_point(|e| e.0 == hash);
        &index.entries[from..from + len]
    }

    fn index(&self) -> Index {
        let state = RandomState::new();
        let entry = |i| {
            let rest = self.names.get(self.name_offset(i)? as usize..)?;
            let name = rest.starts_with(INDEXED.as_bytes()).then(|| bytes::c_str(rest, 0, MAX_INDEXED))??;
            Some((state.hash_one(name), i as u32))
        };
        let mut entries: Vec<(u64, u32)> = (0..self.nfunc).filter_map(entry).collect();
        entries.sort_unstable();
        Index { state, entries }
    }

    /// Everything but the names, in order of address. Damaged entries are left out.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        (0..self.nfunc).filter_map(|i| self.record(i))
    }

    /// In order of address. Damaged entries are left out.
    pub fn iter(&self) -> impl Iterator<Item = Func<'d>> + '_ {
        (0..self.nfunc).filter_map(|i| self.get(i))
    }

    /// Bytes of its arguments and results in its caller's frame, room for those in registers too (`runtime/runtime2.go`,
    /// `_func.args`; `cmd/compile/internal/abi`, ArgWidth). Assembly may not tell: 0.
    pub fn args(&self, f: &Func<'_>) -> u32 {
        let args = f.record.at.checked_add(8).and_then(|at| u32_at(self.funcs, at)).unwrap_or(0);
        // `abi.ArgsSizeUnknown` is negative.
        i32::try_from(args).map_or(0, |args| args as u32)
    }

    /// Whether the function only adapts one calling convention to another.
    pub fn is_wrapper(&self, f: &Func<'_>) -> bool {
        Some(f.func_id) == self.wrapper_id
    }

    /// Where each name stands in the table of names: (offset, number of the name). The linker writes a name once for
    /// each symbol of that name.
    pub(super) fn name_offsets(&self, wanted: &[&str]) -> Result<Vec<(u32, usize)>, Reason> {
        if self.names.len() > MAX_NAMES {
            return Err(Reason::TooMuchWork { limit: MAX_NAMES as u64 });
        }
        let (mut found, mut from) = (Vec::new(), 0);
        for to in memchr::memchr_iter(0, self.names) {
            let name = &self.names[from..to];
            if let Some(i) = wanted.iter().position(|w| !w.is_empty() && w.as_bytes() == name)
                && found.len() < MAX_SAME_NAMES
            {
                found.push((from as u32, i));
            }
            from = to + 1;
        }
        Ok(found)
    }

    /// Some function has this name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        memchr::memmem::find(self.names, &[b"\0", name.as_bytes(), b"\0"].concat()).is_some()
    }

    pub(super) fn name(&self, offset: u32) -> Option<&'d str> {
        std::str::from_utf8(bytes::c_str(self.names, u64::from(offset), MAX_NAME)?).ok()
    }

    /// Source file and line at `pc`. Each is absent when the table does not know it.
    pub(super) fn file_line(&self, f: &Record, pc: u64, steps: &mut Steps) -> (Option<&'d str>, Option<u32>) {
        let mut number = |at| self.pc_table(f, at, pc, steps).and_then(|v| u32::try_from(v).ok());
        let file = number(FILES).and_then(|no| self.file(f, no));
        (file, number(LINES).filter(|&line| line > 0))
    }

    fn file(&self, f: &Record, no: u32) -> Option<&'d str> {
        let cu = u64::from(u32_at(self.funcs, f.at + 32)?);
        let offset = u32_at(self.cus, (cu + u64::from(no)) * 4).filter(|&o| o != u32::MAX)?;
        std::str::from_utf8(bytes::c_str(self.files, u64::from(offset), MAX_PATH)?).ok()
    }

    /// Value at `pc` of the pc table whose offset stands at `at` in `_func`.
    fn pc_table(&self, f: &Record, at: u64, pc: u64, steps: &mut Steps) -> Option<i32> {
        pcvalue::at(self.pc_bytes(u32_at(self.funcs, f.at + at)?)?, f.entry, f.end, pc, steps)
    }

    fn pc_bytes(&self, offset: u32) -> Option<&'d [u8]> {
        // 0: no such table (runtime/symtab.go: `pcvalue`).
        if offset == 0 { None } else { self.pcs.get(offset as usize..) }
    }

    /// The pc table of PCDATA `index` (`internal/abi.PCDATA_*`).
    pub(super) fn pcdata(&self, f: &Record, index: u32) -> Option<&'d [u8]> {
        let count = u32_at(self.funcs, f.at + 28)?;
        if index >= count {
            return None;
        }
        self.pc_bytes(u32_at(self.funcs, f.at + self.form.func_size() + 4 * u64::from(index))?)
    }

    /// Offset from `moduledata.gofunc` of FUNCDATA `index` (`internal/abi.FUNCDATA_*`).
    pub(super) fn funcdata(&self, f: &Record, index: u32) -> Option<u32> {
        let pcdata = u64::from(u32_at(self.funcs, f.at + 28)?);
        let size = self.form.func_size();
        let count = u8_at(self.funcs, f.at + size - 1)?;
        if index >= u32::from(count) {
            return None;
        }
        let at = f.at + size + 4 * pcdata + 4 * u64::from(index);
        u32_at(self.funcs, at).filter(|&o| o != u32::MAX)
    }

    /// Where the function's instructions end and padding begins, as its line table tells; absent without one.
    pub fn code_end(&self, f: &Func<'_>) -> Option<u64> {
        self.record_end(&f.record, &mut Steps(MAX_PAIRS))
    }

    pub(super) fn record_end(&self, f: &Record, steps: &mut Steps) -> Option<u64> {
        let table = self.pc_bytes(u32_at(self.funcs, f.at + LINES)?)?;
        pcvalue::end(table, f.entry, f.end, steps).map(|end| end.min(f.end))
    }

    /// Bytes the stack pointer is below its value at entry, at `pc`: the return address is at `SP + delta` (amd64).
    pub fn sp_delta(&self, f: &Func<'_>, pc: u64) -> Option<i32> {
        self.pc_table(&f.record, SP_DELTAS, pc, &mut Steps(MAX_PAIRS))
    }
}
