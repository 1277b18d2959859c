//! A reader of debug sections that counts what it reads, so that reading ends.
//!
//! Debug information is a program of sorts: a few bytes can ask for the same long list a million times, or nest inlined
//! calls so deep that a recursive reader leaves its stack. Every loop and every allocation of gimli and addr2line goes
//! with a read, so a bound on reads, priced by what a read can lead to, bounds time and memory of all of them.

use std::borrow::Cow;
use std::cell::Cell;

use gimli::{EndianSlice, Error, LittleEndian, Reader, ReaderOffsetId, SectionId};

/// A byte of a line program can become a row of 24 bytes, an entry of `.debug_info` of a byte an inlined call of 80, and at
/// 16 per byte ranges (of which every look-up may see all) stay under half a million. With these prices the worst that was
/// written by hand (`dwarf_tests.rs`) took about 110 MiB. `cmd/go`, asked for
/// 35,000 addresses from all over, stays within the rounds that a session has.
pub const BUDGET: u64 = 24 << 20;
/// Of our stack, for the recursion into inlined calls: enough for a few hundred levels.
const MAX_STACK: usize = 384 << 10;

/// Why reading was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    Work,
    Depth,
}

/// What may still be read.
#[derive(Debug, Default)]
pub struct Meter {
    left: Cell<u64>,
    stack: Cell<usize>,
    exceeded: Cell<Option<Exceeded>>,
}

impl Meter {
    pub fn refill(&self, budget: u64) {
        self.left.set(budget);
        self.exceeded.set(None);
    }

    /// To be called right before reading: from here the stack is measured.
    pub fn enter(&self) {
        self.stack.set(stack_pointer());
    }

    pub fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get()
    }

    #[inline]
    pub fn charge(&self, price: u64) -> gimli::Result<()> {
        match self.left.get().checked_sub(price) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(self.end(Exceeded::Work)),
        }
    }

    fn check_stack(&self) -> gimli::Result<()> {
        if self.stack.get().abs_diff(stack_pointer()) > MAX_STACK {
            return Err(self.end(Exceeded::Depth));
        }
        Ok(())
    }

    #[cold]
    fn end(&self, why: Exceeded) -> Error {
        // Some errors are passed over: whatever is read next must fail too.
        self.left.set(0);
        self.exceeded.set(self.exceeded.get().or(Some(why)));
        Error::TooManyIterations
    }
}

/// Roughly: the address of a variable of the caller's depth.
#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// A section, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'m> {
    slice: EndianSlice<'m, LittleEndian>,
    meter: &'m Meter,
    /// Of a byte.
    byte: u8,
    /// Of a number of variable length; in `.debug_info` every entry begins with one.
    leb: u8,
    recursive: bool,
}

impl<'m> Metered<'m> {
    pub fn new(id: SectionId, data: &'m [u8], meter: &'m Meter) -> Self {
        let (byte, leb) = match id {
            SectionId::DebugInfo => (1, 8),
            SectionId::DebugLine => (3, 3),
            SectionId::DebugRanges | SectionId::DebugRngLists | SectionId::DebugAranges => (16, 16),
            _ => (2, 2),
        };
        let slice = EndianSlice::new(data, LittleEndian);
        Self { slice, meter, byte, leb, recursive: id == SectionId::DebugInfo }
    }

    #[inline]
    fn charge(&self, bytes: usize) -> gimli::Result<()> {
        self.meter.charge(bytes as u64 * u64::from(self.byte))
    }
}

impl<'m> Reader for Metered<'m> {
    type Endian = LittleEndian;
    type Offset = usize;

    #[inline]
    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    #[inline]
    fn len(&self) -> usize {
        self.slice.len()
    }

    #[inline]
    fn empty(&mut self) {
        self.slice.empty();
    }

    #[inline]
    fn truncate(&mut self, len: usize) -> gimli::Result<()> {
        self.slice.truncate(len)
    }

    #[inline]
    fn offset_from(&self, base: &Self) -> usize {
        self.slice.offset_from(base.slice)
    }

    #[inline]
    fn offset_id(&self) -> ReaderOffsetId {
        self.slice.offset_id()
    }

    #[inline]
    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        self.slice.lookup_offset_id(id)
    }

    fn find(&self, byte: u8) -> gimli::Result<usize> {
        let at = Reader::find(&self.slice, byte)?;
        self.charge(at + 1)?;
        Ok(at)
    }

    #[inline]
    fn skip(&mut self, len: usize) -> gimli::Result<()> {
        self.charge(1)?;
        self.slice.skip(len)
    }

    #[inline]
    fn split(&mut self, len: usize) -> gimli::Result<Self> {
        self.charge(1)?;
        Ok(Self { slice: self.slice.split(len)?, ..*self })
    }

    fn to_slice(&self) -> gimli::Result<Cow<'_, [u8]>> {
        self.charge(self.len())?;
        self.slice.to_slice()
    }

    fn to_string(&self) -> gimli::Result<Cow<'_, str>> {
        self.charge(self.len())?;
        Reader::to_string(&self.slice)
    }

    fn to_string_lossy(&self) -> gimli::Result<Cow<'_, str>> {
        self.charge(self.len())?;
        Reader::to_string_lossy(&self.slice)
    }

    #[inline]
    fn read_slice(&mut self, buf: &mut [u8]) -> gimli::Result<()> {
        self.charge(buf.len())?;
        Reader::read_slice(&mut self.slice, buf)
    }

    #[inline]
    fn read_u8(&mut self) -> gimli::Result<u8> {
        self.charge(1)?;
        self.slice.read_u8()
    }

    #[inline]
    fn read_uleb128(&mut self) -> gimli::Result<u64> {
        self.meter.charge(u64::from(self.leb))?;
        if self.recursive {
            self.meter.check_stack()?;
        }
        self.slice.read_uleb128()
    }
}
