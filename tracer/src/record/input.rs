//! A bounded window over a stream: enough look-ahead for one chunk, no seeking, so a pipe will do.

use std::io::{self, Read};

/// Reads ahead on demand. The buffer grows to what [`Window::fill`] was asked for and no further.
#[derive(Debug)]
pub struct Window<R> {
    input: R,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Position of `start` in the stream.
    offset: u64,
    eof: bool,
}

/// Read at least this much at a time.
const STEP: usize = 64 << 10;

impl<R: Read> Window<R> {
    pub fn new(input: R) -> Self {
        Self { input, buf: Vec::new(), start: 0, end: 0, offset: 0, eof: false }
    }

    /// Position of the next byte in the stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is there already.
    pub fn data(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Makes `n` bytes available unless the stream ends before; gives how many are there.
    pub fn fill(&mut self, n: usize) -> io::Result<usize> {
        if self.data().len() >= n || self.eof {
            return Ok(self.data().len());
        }
        if self.start + n > self.buf.len() {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buf.len() < n {
                self.buf.resize(n.max(STEP), 0);
            }
        }
        while self.end - self.start < n {
            match self.input.read(&mut self.buf[self.end..]) {
                Ok(0) => {
                    self.eof = true;
                    break;
                }
                Ok(k) => self.end += k,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.data().len())
    }

    /// Steps over bytes that are available.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.data().len());
        self.start += n;
        self.offset += n as u64;
    }
}
