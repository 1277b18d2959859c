//! Payloads, unpacked into no more room than their header was allowed to ask for.

use super::columns;
use super::format::{ChunkHeader, codec};
use super::problem::Cause;

/// Unpacks a payload into `out`. No more than the header's `raw_len` is allocated, and that was checked: a payload
/// that would unpack to more is refused by what its frame states, or by the room it gets.
pub(super) fn unpack(
    unpack: &mut zstd::bulk::Decompressor<'static>,
    header: &ChunkHeader,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Cause> {
    let expected = header.raw_len as usize;
    let mismatch = |stated: u64| Cause::LengthMismatch { stated, expected: expected as u64 };
    match header.codec {
        codec::STORED => {
            if payload.len() != expected {
                return Err(mismatch(payload.len() as u64));
            }
            out.extend_from_slice(payload);
        }
        codec::ZSTD => {
            match zstd::zstd_safe::get_frame_content_size(payload) {
                Ok(Some(stated)) if stated == expected as u64 => {}
                Ok(Some(stated)) => return Err(mismatch(stated)),
                Ok(None) | Err(_) => return Err(Cause::BadCompression),
            }
            out.resize(expected, 0);
            match unpack.decompress_to_buffer(payload, &mut out[..]) {
                Ok(n) if n == expected => {}
                Ok(n) => return Err(mismatch(n as u64)),
                Err(_) => return Err(Cause::BadCompression),
            }
        }
        codec::COLUMNS => columns::unpack(unpack, payload, expected, out)?,
        codec => return Err(Cause::BadCodec { codec }),
    }
    Ok(())
}
