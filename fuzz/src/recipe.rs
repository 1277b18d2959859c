//! A fuzzer's input as a list of parts, so that a change to one part leaves the others where they are.
//!
//! Form: each part is its length (16 bits, little endian) and its bytes. Any bytes are a recipe: a length that reaches
//! beyond the end is cut.

pub fn parts(data: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut parts) = (data, Vec::new());
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (part, after) = after.split_at(after.len().min(u16::from_le_bytes(*len).into()));
        parts.push(part.to_vec());
        rest = after;
    }
    parts
}

pub fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let part = &part[..part.len().min(u16::MAX.into())];
        out.extend_from_slice(&(part.len() as u16).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Changes one part with `change` (a buffer, how much of it is used, how long it may get; gives the new length).
/// `data` holds `size` bytes in use; the new size is the answer.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    change: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut parts = parts(&data[..size]);
    // Now and then the recipe itself, so that parts come and go.
    if parts.is_empty() || seed.is_multiple_of(64) {
        return change(data, size, max_size);
    }
    let which = (seed / 64) as usize % parts.len();
    let part = &mut parts[which];
    let used = part.len();
    part.resize(used + 64, 0);
    let len = change(part, used, used + 64);
    part.truncate(len);
    let out = join(&parts);
    let len = out.len().min(max_size);
    data[..len].copy_from_slice(&out[..len]);
    len
}
