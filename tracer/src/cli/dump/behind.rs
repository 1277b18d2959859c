//! A file that is written while the next part is made: for a million goroutines, copying into the file takes a quarter of the time.

use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Parts are so long; three are on their way at most.
const PART: usize = 1 << 20;

pub struct Behind<W> {
    parts: Option<SyncSender<Part>>,
    /// Rooms that are written and can be filled again.
    empty: Receiver<Vec<u8>>,
    room: Vec<u8>,
    thread: Option<JoinHandle<io::Result<W>>>,
}

enum Part {
    Bytes(Vec<u8>),
    /// Says when all before is written.
    Flush(SyncSender<()>),
}

impl<W: Write + Send + 'static> Behind<W> {
    pub fn new(mut file: W) -> Self {
        let (parts, coming) = sync_channel::<Part>(1);
        let (written, empty) = sync_channel::<Vec<u8>>(2);
        let thread = std::thread::spawn(move || {
            for part in coming {
                match part {
                    Part::Bytes(mut bytes) => {
                        file.write_all(&bytes)?;
                        bytes.clear();
                        // Nobody may want it any more.
                        written.try_send(bytes).ok();
                    }
                    Part::Flush(done) => {
                        file.flush()?;
                        done.send(()).ok();
                    }
                }
            }
            Ok(file)
        });
        Self { parts: Some(parts), empty, room: Vec::with_capacity(PART), thread: Some(thread) }
    }

    /// The file, with all of it written.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.send_room()?;
        self.parts = None;
        self.ended()
    }

    fn send_room(&mut self) -> io::Result<()> {
        if self.room.is_empty() {
            return Ok(());
        }
        let room = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PART));
        let full = mem::replace(&mut self.room, room);
        self.send(Part::Bytes(full))
    }

    fn send(&mut self, part: Part) -> io::Result<()> {
        match self.parts.as_ref().map(|parts| parts.send(part)) {
            Some(Ok(())) => Ok(()),
            // It ends early only by an error.
            _ => Err(self.ended().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn ended(&mut self) -> io::Result<W> {
        let panicked = || io::Error::other("the thread that writes has panicked");
        let thread = self.thread.take().ok_or_else(|| io::Error::other("an error was told before"))?;
        thread.join().map_err(|_| panicked())?
    }
}

impl<W: Write + Send + 'static> Write for Behind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room.len() + bytes.len() > PART {
            self.send_room()?;
        }
        self.room.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_room()?;
        let (done, wait) = sync_channel(1);
        self.send(Part::Flush(done))?;
        match wait.recv() {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// A file that is given up goes before the process does: dropping it removes it.
impl<W> Drop for Behind<W> {
    fn drop(&mut self) {
        self.parts = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_written_in_order_and_a_flush_waits() {
        let mut out = Behind::new(Vec::new());
        let mut expected = Vec::new();
        for i in 0..40_000u32 {
            let line = format!("{i} {}\n", "x".repeat((i % 97) as usize));
            out.write_all(line.as_bytes()).unwrap();
            expected.extend_from_slice(line.as_bytes());
        }
        let large = vec![b'y'; 3 * PART + 5];
        out.write_all(&large).unwrap();
        expected.extend_from_slice(&large);
        out.flush().unwrap();
        out.write_all(b"end").unwrap();
        expected.extend_from_slice(b"end");
        assert!(out.into_inner().unwrap() == expected);
    }

    #[test]
    fn an_error_is_told_with_its_kind() {
        let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut out = Behind::new(full());
        out.write_all(&[0; 10]).unwrap();
        assert_eq!(out.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(out.flush().is_err());
        let mut out = Behind::new(full());
        let ended = (0..9).find_map(|_| out.write_all(&[0; PART]).err());
        assert_eq!(ended.map(|e| e.kind()), Some(io::ErrorKind::StorageFull), "long before the end");
        let mut out = Behind::new(full());
        out.write_all(b"x").unwrap();
        assert_eq!(out.into_inner().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
