//! What the process's descriptors are connected to.

use std::collections::HashMap;

use procfs_core::net::{
    TcpNetEntries, TcpNetEntry, TcpState, UdpNetEntries, UdpNetEntry, UnixNetEntries, UnixNetEntry,
};
use procfs_core::{ExplicitSystemInfo, FromBufRead as _, FromBufReadSI as _};

use super::Target;

/// A busy proxy has some 100,000 connections, with 150 bytes each in the kernel's lists.
const MAX_LIST: usize = 64 << 20;

impl Target {
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
        // Each list makes the kernel go through a table for all of the machine's connections, which takes it milliseconds.
        for name in ["tcp", "tcp6", "udp", "udp6", "unix"] {
            if peers.len() == sockets.len() {
                break;
            }
            let list = list(name);
            match name {
                "tcp" | "tcp6" => {
                    let entries =
                        TcpNetEntries::from_buf_read(&list[..], &system).map_or(Vec::new(), |l| l.0);
                    peers.extend(entries.iter().filter_map(|e| Some((*sockets.get(&e.inode)?, tcp(e)))));
                }
                "udp" | "udp6" => {
                    let entries =
                        UdpNetEntries::from_buf_read(&list[..], &system).map_or(Vec::new(), |l| l.0);
                    peers.extend(entries.iter().filter_map(|e| Some((*sockets.get(&e.inode)?, udp(e)))));
                }
                _ => {
                    let entries = UnixNetEntries::from_buf_read(&list[..]).map_or(Vec::new(), |l| l.0);
                    peers.extend(entries.iter().filter_map(|e| Some((*sockets.get(&e.inode)?, unix(e)))));
                }
            }
        }
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

fn udp(e: &UdpNetEntry) -> String {
    match e.remote_address.ip().is_unspecified() {
        true => format!("udp, receives on {}", e.local_address),
        false => format!("udp {}", e.remote_address),
    }
}

fn unix(e: &UnixNetEntry) -> String {
    let path = e.path.as_ref().map_or("unnamed".into(), |p| p.to_string_lossy());
    format!("unix {path}")
}
