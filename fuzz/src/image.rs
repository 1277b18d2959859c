//! A Go executable put together from its parts, each of which may be anything: what stands between the parts (headers,
//! offsets, lengths, the words that point from one to the other) is right, so that a reader gets to them.
//!
//! Formats: runtime/symtab.go (`pcHeader`, `moduledata`), debug/buildinfo, the ELF specification.

pub const TEXT: u64 = 0x1000;
pub const RODATA: u64 = 0x1000_0000;
pub const DATA: u64 = 0x4000_0000;
/// Places within the data segment.
const MODULE: u64 = 0;
pub const MODULE_SIZE: usize = 352;
const DYNAMIC: u64 = 0x180;
pub const ALLGS: u64 = 0x200;
pub const ALLGLEN: u64 = 0x220;
pub const ALLGPTR: u64 = 0x228;
pub const WAIT_REASONS: u64 = 0x240;
const INFO: u64 = 0x300;
const PHDRS: u64 = 6;

/// Bytes and their description in the section header.
#[derive(Clone, Debug, Default)]
pub struct Section {
    pub name: String,
    pub kind: u32,
    pub flags: u64,
    pub addr: u64,
    pub bytes: Vec<u8>,
    /// The size that the header claims, when it lies.
    pub claims: Option<u64>,
    pub link: u32,
}

#[derive(Clone, Debug)]
pub struct Image {
    pub version: String,
    pub pie: bool,
    /// Relocated words are in the file; else only in the relocations.
    pub in_place: bool,
    /// With section headers (and the hints in them).
    pub sections: bool,
    pub text: Vec<u8>,
    pub nfunc: u64,
    pub names: Vec<u8>,
    pub cus: Vec<u8>,
    pub files: Vec<u8>,
    pub pcs: Vec<u8>,
    pub funcs: Vec<u8>,
    pub trees: Vec<u8>,
    /// Build information, with its header.
    pub info: Vec<u8>,
    /// Module data as they stand in the file; else sound ones are made.
    pub module: Option<Vec<u8>>,
    /// Entries put before the sound ones.
    pub relocations: Vec<u8>,
    pub notes: Vec<u8>,
    pub others: Vec<Section>,
}

pub fn put(out: &mut [u8], at: u64, bytes: &[u8]) {
    out[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

pub fn put64(out: &mut [u8], at: u64, value: u64) {
    put(out, at, &value.to_le_bytes());
}

pub fn put32(out: &mut [u8], at: u64, value: u32) {
    put(out, at, &value.to_le_bytes());
}

fn align(out: &mut Vec<u8>, to: usize) -> u64 {
    out.resize(out.len().next_multiple_of(to), 0);
    out.len() as u64
}

impl Image {
    /// Linked address of offset 0.
    pub fn base(&self) -> u64 {
        if self.pie { 0 } else { 0x40_0000 }
    }

    pub fn is_118(&self) -> bool {
        self.version.starts_with("go1.19")
    }

    fn pclntab(&self) -> (Vec<u8>, u64) {
        let mut out = vec![if self.is_118() { 0xf0 } else { 0xf1 }, 0xff, 0xff, 0xff, 0, 0, 1, 8];
        let mut at = 72;
        let mut words = vec![self.nfunc, 2, 0];
        for part in [&self.names, &self.cus, &self.files, &self.pcs] {
            words.push(at);
            at += part.len() as u64;
        }
        let pcln = at.next_multiple_of(8);
        words.push(pcln);
        words.iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
        for part in [&self.names, &self.cus, &self.files, &self.pcs] {
            out.extend_from_slice(part);
        }
        out.resize(pcln as usize, 0);
        out.extend_from_slice(&self.funcs);
        (out, pcln)
    }

    /// What the module data say when they are sound: (place, value, is an address).
    fn module_words(&self, pcln: u64, trees: u64) -> Vec<(u64, u64, bool)> {
        let gofunc = match self.version.get(..6) {
            Some("go1.19") => 304,
            Some("go1.27") => 344,
            _ => 320,
        };
        let end = TEXT + self.text.len().max(1) as u64;
        vec![
            (0, RODATA, true),
            (8, RODATA + 72, true),
            (128, RODATA + pcln, true),
            (136, self.nfunc + 1, false),
            (160, TEXT, true),
            (168, end, true),
            (176, TEXT, true),
            (184, end, true),
            (gofunc, RODATA + trees, true),
        ]
    }

    /// The file's bytes.
    pub fn build(&self) -> Vec<u8> {
        let base = self.base();
        let mut out = vec![0; (64 + 56 * PHDRS) as usize];
        let notes = out.len() as u64;
        out.extend_from_slice(&self.notes);
        let text = align(&mut out, 16);
        out.extend_from_slice(&self.text);
        let rodata = align(&mut out, 16);
        let (table, pcln) = self.pclntab();
        out.extend_from_slice(&table);
        let trees = align(&mut out, 16) - rodata;
        // A tree's address must be in the segment, so there is at least one byte.
        out.extend_from_slice(&self.trees);
        out.push(0);
        let data = align(&mut out, 16);
        let (bytes, dynamic) = self.data(pcln, trees);
        out.extend_from_slice(&bytes);
        let end = out.len() as u64;
        let segments = [
            (1u32, 5u32, text, TEXT, rodata - text),
            (1, 4, rodata, RODATA, data - rodata),
            (1, 6, data, DATA, end - data),
            (2, 6, data + DYNAMIC, DATA + DYNAMIC, dynamic),
            (4, 4, notes, 0x200, self.notes.len() as u64),
        ];
        put(&mut out, 0, b"\x7fELF\x02\x01\x01");
        put(&mut out, 16, &[if self.pie { 3 } else { 2 }, 0, 62, 0, 1]);
        put64(&mut out, 32, 64); // e_phoff
        put(&mut out, 52, &[64, 0, 56, 0, segments.len() as u8, 0, 64]);
        for (i, (kind, flags, offset, vaddr, size)) in segments.into_iter().enumerate() {
            let p = 64 + 56 * i as u64;
            put32(&mut out, p, kind);
            put32(&mut out, p + 4, flags);
            let memsz = if flags == 6 && kind == 1 { size + 0x1000 } else { size };
            for (field, value) in [(8, offset), (16, base + vaddr), (32, size), (40, memsz), (48, 4)] {
                put64(&mut out, p + field, value);
            }
        }
        if self.sections {
            self.section_headers(&mut out);
        }
        out
    }

    /// The data segment and the size of its dynamic section.
    fn data(&self, pcln: u64, trees: u64) -> (Vec<u8>, u64) {
        let base = self.base();
        let mut out = vec![0; INFO as usize];
        out.extend_from_slice(&self.info);
        let rela = align(&mut out, 8);
        out.extend_from_slice(&self.relocations);
        for (place, value, address) in self.module_words(pcln, trees) {
            if address && !self.in_place {
                for word in [base + DATA + MODULE + place, 8, base + value] {
                    out.extend_from_slice(&word.to_le_bytes()); // R_X86_64_RELATIVE
                }
            } else {
                put64(&mut out, MODULE + place, if address { base + value } else { value });
            }
        }
        let size = out.len() as u64 - rela;
        if let Some(module) = &self.module {
            put(&mut out, MODULE, &module[..module.len().min(MODULE_SIZE)]);
        }
        for (i, (tag, value)) in [(7, base + DATA + rela), (8, size), (0, 0)].into_iter().enumerate() {
            put64(&mut out, DYNAMIC + 16 * i as u64, tag);
            put64(&mut out, DYNAMIC + 16 * i as u64 + 8, value);
        }
        (out, 48)
    }

    fn section_headers(&self, out: &mut Vec<u8>) {
        let base = self.base();
        let hint = |name: &str, addr| Section { name: name.into(), kind: 8, addr, ..Section::default() };
        let mut list = vec![
            Section::default(),
            hint(".gopclntab", base + RODATA),
            hint(".go.buildinfo", base + DATA + INFO),
        ];
        list.extend(self.others.iter().cloned());
        list.push(Section { name: ".shstrtab".into(), kind: 3, ..Section::default() });
        let mut names = Vec::new();
        let at: Vec<u32> = list
            .iter()
            .map(|s| {
                names.extend_from_slice(s.name.as_bytes());
                names.push(0);
                (names.len() - s.name.len() - 1) as u32
            })
            .collect();
        let last = list.len() - 1;
        list[last].bytes = names;
        let placed: Vec<u64> = list
            .iter()
            .map(|s| {
                let at = align(out, 8);
                out.extend_from_slice(&s.bytes);
                at
            })
            .collect();
        let table = align(out, 8);
        put64(out, 40, table); // e_shoff
        put(out, 58, &[64, 0, list.len() as u8, 0, last as u8, 0]);
        for (i, s) in list.iter().enumerate() {
            let h = out.len() as u64;
            out.resize(out.len() + 64, 0);
            put32(out, h, at[i]);
            put32(out, h + 4, s.kind);
            put32(out, h + 40, s.link);
            let entry = if s.kind == 2 { 24 } else { 0 };
            let size = s.claims.unwrap_or(s.bytes.len() as u64);
            for (field, value) in [(8, s.flags), (16, s.addr), (24, placed[i]), (32, size), (56, entry)] {
                put64(out, h + field, value);
            }
        }
    }
}

/// Build information as the linker writes it from Go 1.18 on.
pub fn build_info(version: &str, module: &[u8]) -> Vec<u8> {
    let mut out = b"\xff Go buildinf:\x08\x02".to_vec();
    out.resize(32, 0);
    for s in [version.as_bytes(), module] {
        let mut len = s.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(s);
    }
    out
}
