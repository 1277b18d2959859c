//! What the process's descriptors are connected to: which ones its epoll instances watch, and who is at the other end.

use std::collections::HashMap;

use procfs_core::net::{TcpNetEntries, TcpNetEntry, TcpState, UdpNetEntries, UnixNetEntries};
use procfs_core::{ExplicitSystemInfo, FromBufRead as _, FromBufReadSI as _};

use super::Target;

/// A busy proxy has some 100,000 connections, with 150 bytes each in the kernel's lists.
const MAX_LIST: usize = 64 << 20;
/// More descriptors than that are not asked for. The kernel holds the epoll instance's lock while it writes them down (`ep_show_fdinfo`,
/// fs/eventpoll.c), and the process's network waits for it: 0.3 ms for 256, 33 ms for 15,000 were measured.
const MAX_ASKED: usize = 256;

/// A descriptor that an epoll instance watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    pub fd: u32,
    /// What the program has attached to it (`epoll_data`).
    pub data: u64,
}

impl Target {
    /// The descriptors that the process's epoll instances watch; empty where they cannot be looked at. An error is the
    /// reason why they were not: asking would hold up the process.
    pub fn polled(&self) -> Result<Vec<Polled>, String> {
        let entries = std::fs::read_dir(self.dir.path("fd")).into_iter().flatten().flatten();
        let fds = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        let fds: Vec<u32> = fds.take(MAX_ASKED + 1).collect();
        if fds.len() > MAX_ASKED {
            let why = "which descriptors goroutines wait for is not told: the process has more than";
            return Err(format!("{why} {MAX_ASKED}, and asking the kernel would hold up its network"));
        }
        let epolls = fds.into_iter().filter(|fd| {
            self.dir.link(&format!("fd/{fd}")).is_ok_and(|l| l.as_os_str() == "anon_inode:[eventpoll]")
        });
        let infos = epolls.filter_map(|fd| self.dir.read(&format!("fdinfo/{fd}"), MAX_LIST).ok());
        Ok(infos.flat_map(|info| polled(&String::from_utf8_lossy(&info))).collect())
    }

    /// What each of these descriptors is connected to, for people: `10.0.0.1:5432`, `listens on :8080`, a path. Those of
    /// which nothing is known are left out.
    pub fn peers(&self, fds: &[u32]) -> HashMap<u32, String> {
        let sockets: HashMap<u64, u32> = fds.iter().filter_map(|fd| Some((self.socket(*fd)?, *fd))).collect();
        let mut peers = HashMap::new();
        if sockets.is_empty() {
            return peers;
        }
        // Only addresses are read, which are of this machine's byte order.
        let system = ExplicitSystemInfo {
            boot_time_secs: 0,
            ticks_per_second: 100,
            page_size: 4096,
            is_little_endian: cfg!(target_endian = "little"),
        };
        let list = |name: &str| self.dir.read(&format!("net/{name}"), MAX_LIST).unwrap_or_default();
        for name in ["tcp", "tcp6"] {
            let entries = TcpNetEntries::from_buf_read(&list(name)[..], &system).map_or(Vec::new(), |l| l.0);
            peers.extend(entries.iter().filter_map(|e| Some((*sockets.get(&e.inode)?, tcp(e)))));
        }
        for name in ["udp", "udp6"] {
            let entries = UdpNetEntries::from_buf_read(&list(name)[..], &system).map_or(Vec::new(), |l| l.0);
            let text = |e: &procfs_core::net::UdpNetEntry| match e.remote_address.ip().is_unspecified() {
                true => format!("udp, receives on {}", e.local_address),
                false => format!("udp {}", e.remote_address),
            };
            peers.extend(entries.iter().filter_map(|e| Some((*sockets.get(&e.inode)?, text(e)))));
        }
        let entries = UnixNetEntries::from_buf_read(&list("unix")[..]).map_or(Vec::new(), |l| l.0);
        peers.extend(entries.into_iter().filter_map(|e| {
            let path = e.path.map_or("unnamed".to_owned(), |p| p.to_string_lossy().into_owned());
            Some((*sockets.get(&e.inode)?, format!("unix {path}")))
        }));
        peers
    }

    /// The inode of a socket.
    fn socket(&self, fd: u32) -> Option<u64> {
        let link = self.dir.link(&format!("fd/{fd}")).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }
}

fn tcp(e: &TcpNetEntry) -> String {
    match e.state {
        TcpState::Listen => format!("listens on {}", e.local_address),
        TcpState::Established => e.remote_address.to_string(),
        _ => format!("{} ({:?})", e.remote_address, e.state),
    }
}

/// The lines `tfd: 5 events: 2019 data: 7f… pos:0 ino:… sdev:…` of an epoll instance (proc(5)).
fn polled(info: &str) -> Vec<Polled> {
    let value = |line: &str, name: &str| -> Option<String> {
        let rest = &line[line.find(name)? + name.len()..];
        rest.split_whitespace().next().map(str::to_owned)
    };
    info.lines()
        .filter(|line| line.starts_with("tfd:"))
        .filter_map(|line| {
            let fd = value(line, "tfd:")?.parse().ok()?;
            let data = u64::from_str_radix(&value(line, "data:")?, 16).ok()?;
            Some(Polled { fd, data })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoll_instance_as_the_kernel_tells_it() {
        let info = "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1057\n\
            tfd:        5 events:       19 data:           8ab8a8  pos:0 ino:421 sdev:10\n\
            tfd:        3 events: 8000201d data: 7f3a12345678abcd  pos:0 ino:41d6 sdev:9\n\
            tfd: x events: 1 data: zz\n";
        let expected = [Polled { fd: 5, data: 0x8a_b8a8 }, Polled { fd: 3, data: 0x7f3a_1234_5678_abcd }];
        assert_eq!(polled(info), expected);
    }
}
