//! Load on an HTTP server, and how long it takes to answer: as fast as it can, or at a rate.
//!
//! At a rate each request has a time at which it is due, and its latency counts from then on: a server that stops for a while makes
//! all that were due meanwhile late, not only the one that it stopped at. The usual generators send the others later instead.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Load {
    pub address: String,
    pub path: String,
    /// Each has its connection and waits for its answers.
    pub clients: u32,
    /// Requests a second of all together; as fast as they are answered if there is none.
    pub rate: Option<f64>,
    pub lasts: Duration,
}

/// What became of it.
pub struct Answers {
    /// With status 200 and whole.
    pub count: u64,
    pub took: Duration,
    /// Microseconds.
    pub latency: Histogram<u64>,
}

impl Answers {
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    /// Milliseconds that 99 of 100 did not exceed.
    pub fn p99(&self) -> f64 {
        self.latency.value_at_quantile(0.99) as f64 / 1e3
    }
}

impl Load {
    pub fn run(&self) -> Result<Answers> {
        let begin = Instant::now() + Duration::from_millis(50);
        let end = begin + self.lasts;
        let clients: Vec<_> = (0..self.clients)
            .map(|n| {
                let load = self.clone();
                thread::spawn(move || load.client(n, begin, end))
            })
            .collect();
        let mut all = Histogram::new(3)?;
        for client in clients {
            let latency = client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))??;
            all.add(latency)?;
        }
        Ok(Answers { count: all.len(), took: begin.elapsed(), latency: all })
    }

    fn client(&self, n: u32, begin: Instant, end: Instant) -> Result<Histogram<u64>> {
        let mut connection = Connection::open(&self.address, &self.path)?;
        let mut latency = Histogram::new(3)?;
        let every = self.rate.map(|rate| Duration::from_secs_f64(f64::from(self.clients) / rate));
        // Not all at the same moment.
        let mut due = begin + every.unwrap_or_default() * n / self.clients;
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if due >= end || every.is_none() && Instant::now() >= end {
                return Ok(latency);
            }
            let from = if every.is_some() { due } else { Instant::now() };
            connection.ask()?;
            latency.record(from.elapsed().as_micros() as u64)?;
            due += every.unwrap_or_default();
        }
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(address: &str, path: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        Ok(Self { stream, request, answer: vec![0; 64 << 10] })
    }

    /// Asks once and reads the whole answer.
    fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.request)?;
        let mut len = 0;
        loop {
            ensure!(len < self.answer.len(), "an answer of more than {len} bytes");
            let read = self.stream.read(&mut self.answer[len..]).context("no answer")?;
            ensure!(read > 0, "the connection was closed");
            len += read;
            if is_whole(&self.answer[..len])? {
                return Ok(());
            }
        }
    }
}

/// Of an answer to a `GET`: whether that is all of it.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(false) };
    let body = &answer[head + 4..];
    let head = std::str::from_utf8(&answer[..head])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(status.split(' ').nth(1) == Some("200"), "{status}");
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else { bail!("`{line}` is no header") };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => return Ok(body.len() >= value.parse()?),
            "transfer-encoding" => return Ok(body.ends_with(b"0\r\n\r\n")),
            _ => {}
        }
    }
    bail!("it does not say how long it is: {head}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_at_its_end_and_not_before() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for answer in [length, chunks].map(str::as_bytes) {
            for len in 0..answer.len() {
                assert!(!is_whole(&answer[..len]).unwrap(), "{len}");
            }
            assert!(is_whole(answer).unwrap());
        }
        for wrong in ["HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: now\r\n\r\n"]
        {
            assert!(is_whole(wrong.as_bytes()).is_err());
        }
    }
}
