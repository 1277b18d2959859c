//! The function table (pclntab): present in every Go executable, stripped or not, because the runtime itself
//! needs it to walk stacks.
//!
//! Format: Go's runtime/symtab.go (`pcHeader`, `functab`, `_func`) and cmd/link/internal/ld/pcln.go. Two forms are
//! read: magic `0xfffffff0` (Go 1.18, 1.19) and `0xfffffff1` (Go 1.20 on; seen up to 1.27).

use super::bytes::{self, u8_at, u32_at, u64_at};
use super::pcvalue;

/// First eight bytes: magic, two zeroes, instruction size quantum 1 (amd64), pointer size 8.
pub const MAGIC_118: [u8; 8] = [0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8];
pub const MAGIC_120: [u8; 8] = [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];

const HEADER: u64 = 72;
const FTAB_ENTRY: u64 = 8;
/// Places in `_func` of the offsets of its pc tables.
const SP_DELTAS: u64 = 16;
const FILES: u64 = 20;
const LINES: u64 = 24;
/// Instantiated generics have long names, but not this long.
const MAX_NAME: usize = 64 * 1024;
const MAX_PATH: usize = 16 * 1024;

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
        let head = bytes::slice(data, 0, HEADER)?;
        let form = match head.get(..8)? {
            m if m == MAGIC_118 => Form::V118,
            m if m == MAGIC_120 => Form::V120,
            _ => return None,
        };
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
        let fits = h.nfunc > 0 && ftab <= (data.len() as u64).checked_sub(h.pcln)?;
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
    /// Offset of its `_func` in the table of functions.
    record: u64,
}

impl Func<'_> {
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

    fn get(&self, i: u64) -> Option<Func<'d>> {
        if i >= self.nfunc {
            return None;
        }
        let entry = self.entry(i)?;
        let end = self.entry(i + 1).filter(|&end| end >= entry)?;
        let record = u64::from(u32_at(self.funcs, i * FTAB_ENTRY + 4)?);
        let name = self.name(u32_at(self.funcs, record + 4)?)?;
        let tail = record + self.form.func_size() - 4;
        let (func_id, flag) = (u8_at(self.funcs, tail)?, u8_at(self.funcs, tail + 1)?);
        Some(Func { entry, end, name, func_id, flag, record })
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
    /// the name says too little to act upon). Looks at every function: a few milliseconds in a large program.
    pub fn by_name(&self, name: &str) -> Option<Func<'d>> {
        let mut all = self.all_by_name(name).filter(|f| Some(f.func_id) != self.wrapper_id);
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }

    /// Every function of that name, wrappers too.
    pub fn all_by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Func<'d>> + 'a {
        let offsets = self.name_offsets(name);
        (0..self.nfunc).filter_map(move |i| {
            let record = u64::from(u32_at(self.funcs, i * FTAB_ENTRY + 4)?);
            let offset = u32_at(self.funcs, record + 4)?;
            if offsets.contains(&offset) { self.get(i) } else { None }
        })
    }

    /// In order of address. Damaged entries are left out.
    pub fn iter(&self) -> impl Iterator<Item = Func<'d>> + '_ {
        (0..self.nfunc).filter_map(|i| self.get(i))
    }

    /// Whether the function only adapts one calling convention to another.
    pub fn is_wrapper(&self, f: &Func<'_>) -> bool {
        Some(f.func_id) == self.wrapper_id
    }

    /// The offsets at which `name` stands in the table of names. The linker writes each name once.
    pub(super) fn name_offsets(&self, name: &str) -> Vec<u32> {
        if name.is_empty() || name.len() >= MAX_NAME {
            return Vec::new();
        }
        let needle = [b"\0", name.as_bytes(), b"\0"].concat();
        let first = self.names.starts_with(&needle[1..]).then_some(0);
        let rest = memchr::memmem::find_iter(self.names, &needle).map(|at| at as u32 + 1);
        first.into_iter().chain(rest).take(64).collect()
    }

    pub(super) fn name(&self, offset: u32) -> Option<&'d str> {
        std::str::from_utf8(bytes::c_str(self.names, u64::from(offset), MAX_NAME)?).ok()
    }

    /// Source file and line at `pc`. Each is absent when the table does not know it.
    pub(super) fn file_line(&self, f: &Func<'_>, pc: u64) -> (Option<&'d str>, Option<u32>) {
        let number = |at| self.pc_table(f, at, pc).and_then(|v| u32::try_from(v).ok());
        let file = number(FILES).and_then(|no| self.file(f, no));
        (file, number(LINES).filter(|&line| line > 0))
    }

    fn file(&self, f: &Func<'_>, no: u32) -> Option<&'d str> {
        let cu = u64::from(u32_at(self.funcs, f.record + 32)?);
        let offset = u32_at(self.cus, (cu + u64::from(no)) * 4).filter(|&o| o != u32::MAX)?;
        std::str::from_utf8(bytes::c_str(self.files, u64::from(offset), MAX_PATH)?).ok()
    }

    /// Value at `pc` of the pc table whose offset stands at `at` in `_func`.
    fn pc_table(&self, f: &Func<'_>, at: u64, pc: u64) -> Option<i32> {
        pcvalue::at(self.pc_bytes(u32_at(self.funcs, f.record + at)?)?, f.entry, f.end, pc)
    }

    fn pc_bytes(&self, offset: u32) -> Option<&'d [u8]> {
        // 0: no such table (runtime/symtab.go: `pcvalue`).
        if offset == 0 { None } else { self.pcs.get(offset as usize..) }
    }

    /// The pc table of PCDATA `index` (`internal/abi.PCDATA_*`).
    pub(super) fn pcdata(&self, f: &Func<'_>, index: u32) -> Option<&'d [u8]> {
        let count = u32_at(self.funcs, f.record + 28)?;
        if index >= count {
            return None;
        }
        self.pc_bytes(u32_at(self.funcs, f.record + self.form.func_size() + 4 * u64::from(index))?)
    }

    /// Offset from `moduledata.gofunc` of FUNCDATA `index` (`internal/abi.FUNCDATA_*`).
    pub(super) fn funcdata(&self, f: &Func<'_>, index: u32) -> Option<u32> {
        let pcdata = u64::from(u32_at(self.funcs, f.record + 28)?);
        let size = self.form.func_size();
        let count = u8_at(self.funcs, f.record + size - 1)?;
        if index >= u32::from(count) {
            return None;
        }
        let at = f.record + size + 4 * pcdata + 4 * u64::from(index);
        u32_at(self.funcs, at).filter(|&o| o != u32::MAX)
    }

    /// Where the function's instructions end and padding begins, as its line table tells; absent without one.
    pub fn code_end(&self, f: &Func<'_>) -> Option<u64> {
        let table = self.pc_bytes(u32_at(self.funcs, f.record + LINES)?)?;
        pcvalue::Runs::new(table, f.entry, f.end).last().map(|(end, _)| end.min(f.end))
    }

    /// Bytes the stack pointer is below its value at entry, at `pc`: the return address is at `SP + delta` (amd64).
    pub fn sp_delta(&self, f: &Func<'_>, pc: u64) -> Option<i32> {
        self.pc_table(f, SP_DELTAS, pc)
    }
}
