//! A small core file, as the kernel writes them.

pub struct Segment {
    pub vaddr: u64,
    pub memsz: u64,
    /// `PF_X` 1, `PF_W` 2, `PF_R` 4.
    pub flags: u32,
    /// What the core holds of it.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
pub struct CoreFile {
    pub pid: u32,
    pub comm: String,
    /// Thread id, program counter, stack pointer.
    pub threads: Vec<(u32, u64, u64)>,
    /// Start, end, offset in pages, path.
    pub files: Vec<(u64, u64, u64, String)>,
    /// `AT_ENTRY`, `AT_PHDR`.
    pub auxv: Vec<(u64, u64)>,
    pub segments: Vec<Segment>,
}

impl CoreFile {
    pub fn build(&self) -> Vec<u8> {
        let notes = self.notes();
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        // Type and machine, version, entry; the program headers are at 64.
        out.extend([4, 0, 62, 0, 1, 0, 0, 0]);
        words(&mut out, &[0, 64, 0]);
        out.extend([0, 0, 0, 0, 64, 0, 56, 0]);
        out.extend((self.segments.len() as u16 + 1).to_le_bytes());
        out.extend([64, 0, 0, 0, 0, 0]);
        let mut at = 64 + 56 * (1 + self.segments.len() as u64);
        let mut header = |kind: u32, flags: u32, vaddr: u64, filesz: u64, memsz: u64| {
            out.extend(kind.to_le_bytes());
            out.extend(flags.to_le_bytes());
            words(&mut out, &[at, vaddr, 0, filesz, memsz, 4]);
            at += filesz;
        };
        header(4, 0, 0, notes.len() as u64, 0);
        for s in &self.segments {
            header(1, s.flags, s.vaddr, s.bytes.len() as u64, s.memsz);
        }
        out.extend(notes);
        self.segments.iter().for_each(|s| out.extend(&s.bytes));
        out
    }

    fn notes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // `struct elf_prpsinfo`
        let mut process = vec![0; 136];
        process[24..28].copy_from_slice(&self.pid.to_le_bytes());
        let name = &self.comm.as_bytes()[..self.comm.len().min(16)];
        process[40..40 + name.len()].copy_from_slice(name);
        note(&mut out, 3, &process);
        // `struct elf_prstatus`
        for (tid, pc, sp) in &self.threads {
            let mut status = vec![0; 336];
            status[32..36].copy_from_slice(&tid.to_le_bytes());
            status[240..248].copy_from_slice(&pc.to_le_bytes());
            status[264..272].copy_from_slice(&sp.to_le_bytes());
            note(&mut out, 1, &status);
        }
        let mut auxv = Vec::new();
        self.auxv.iter().for_each(|(key, value)| words(&mut auxv, &[*key, *value]));
        words(&mut auxv, &[0, 0]);
        note(&mut out, 6, &auxv);
        let mut files = Vec::new();
        words(&mut files, &[self.files.len() as u64, 4096]);
        self.files.iter().for_each(|(start, end, page, _)| words(&mut files, &[*start, *end, *page]));
        for (_, _, _, path) in &self.files {
            files.extend(path.as_bytes());
            files.push(0);
        }
        note(&mut out, 0x4649_4c45, &files);
        out
    }
}

fn words(out: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|w| out.extend(w.to_le_bytes()));
}

fn note(out: &mut Vec<u8>, kind: u32, desc: &[u8]) {
    for word in [5, desc.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    out.extend(b"CORE\0\0\0\0");
    out.extend(desc);
    out.resize(out.len().next_multiple_of(4), 0);
}
