//! The two ways out to a terminal or pipe. A reader that has gone (`gostray report x | head`) is no error.

use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::poll::{PollFd, PollFlags, poll};

use crate::failure::{Class, Failure};

/// Where text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    /// For `run`: standard output is the traced program's.
    Err,
}

/// Whether the reader is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    There,
    Gone,
}

/// Writes all of `text` and flushes it.
pub fn print(stream: Stream, text: &str) -> Result<Reader, Failure> {
    print_bytes(stream, text.as_bytes())
}

/// [`print()`] for what need not be text: the moves of a cursor.
pub fn print_bytes(stream: Stream, bytes: &[u8]) -> Result<Reader, Failure> {
    let done = match stream {
        Stream::Out => write(&mut io::stdout().lock(), bytes),
        Stream::Err => write(&mut io::stderr().lock(), bytes),
    };
    done.map_err(|e| {
        let class = if e.kind() == io::ErrorKind::StorageFull { Class::DiskFull } else { Class::CannotWrite };
        let name = if stream == Stream::Out { "output" } else { "error" };
        Failure::because(class, format!("cannot write to standard {name}: {e}"))
            .with_hint("look at where the output goes")
    })
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<Reader> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(e) => Err(e),
    }
}

/// A word on standard error that nobody may wait for: while signals are held back or a child's are to be passed on. A
/// reader that has taken nothing for a tenth of a second goes without it. One line, at most `PIPE_BUF` (4096) bytes:
/// so much fits into a pipe that takes anything at all.
pub fn note(line: &str) {
    let text = crate::output::words::clean_lines(&format!("gostray: {line}\n")).into_owned();
    // Not by the standard library's handle: the thread that writes lines may hold it for as long as nobody reads.
    let _ = note_to(io::stderr().as_fd(), &text);
}

/// Whether there was room for it.
fn note_to(fd: BorrowedFd<'_>, text: &str) -> io::Result<bool> {
    let mut wanted = [PollFd::new(fd, PollFlags::POLLOUT)];
    let room =
        poll(&mut wanted, 100u8)? > 0 && wanted[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT));
    if room {
        nix::unistd::write(fd, text.as_bytes())?;
    }
    Ok(room)
}

/// The one place that tells a failure: the sentence with its causes and the "try:" line. Nothing can be done when
/// standard error is gone.
pub fn print_error(failure: &Failure) {
    let text = crate::output::words::clean_lines(&format!("gostray: {failure:#}\n")).into_owned();
    let _ = write(&mut io::stderr().lock(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        assert_eq!(write(&mut Broken(io::ErrorKind::BrokenPipe), b"x").unwrap(), Reader::Gone);
        assert_eq!(write(&mut Vec::new(), b"x").unwrap(), Reader::There);
        assert!(write(&mut Broken(io::ErrorKind::StorageFull), b"x").is_err());
    }

    #[test]
    fn a_note_waits_for_nobody() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        assert!(note_to(writer.as_fd(), "first\n").unwrap());
        let room = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap() as usize;
        // The first has taken a page, and whole pages join no other.
        writer.write_all(&vec![b'x'; room - 4096]).unwrap();
        assert!(!note_to(writer.as_fd(), "second\n").unwrap());
        drop(writer);
        let mut read = String::new();
        io::Read::read_to_string(&mut reader, &mut read).unwrap();
        assert!(read.starts_with("first\nx") && !read.contains("second"));
    }
}
