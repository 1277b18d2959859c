//! Bounds-checked little-endian reads out of a byte slice. Every read of the file ends here.

/// `len` bytes at `at`, or nothing when they do not all exist.
pub fn slice(data: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(at).ok()?;
    let end = usize::try_from(at.checked_add(len)?).ok()?;
    data.get(start..end)
}

fn array<const N: usize>(data: &[u8], at: u64) -> Option<[u8; N]> {
    slice(data, at, N as u64)?.try_into().ok()
}

pub fn u8_at(data: &[u8], at: u64) -> Option<u8> {
    array::<1>(data, at).map(|b| b[0])
}

pub fn u32_at(data: &[u8], at: u64) -> Option<u32> {
    array(data, at).map(u32::from_le_bytes)
}

pub fn u64_at(data: &[u8], at: u64) -> Option<u64> {
    array(data, at).map(u64::from_le_bytes)
}

/// The bytes from `at` up to (not including) the next NUL, which must come within `max` bytes.
pub fn c_str(data: &[u8], at: u64, max: usize) -> Option<&[u8]> {
    let rest = data.get(usize::try_from(at).ok()?..)?;
    let rest = &rest[..rest.len().min(max)];
    memchr::memchr(0, rest).map(|end| &rest[..end])
}

/// Whether `text` and its NUL stand at `at`.
pub fn is_c_str(data: &[u8], at: u32, text: &str) -> bool {
    let rest = data.get(at as usize..).unwrap_or_default();
    rest.starts_with(text.as_bytes()) && rest.get(text.len()) == Some(&0)
}

/// An unsigned LEB128 number of at most 32 bits and what follows it (Go's `readvarint`, runtime/symtab.go).
pub fn uvarint(data: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u32;
    for (i, &b) in data.iter().take(5).enumerate() {
        value |= u32::from(b & 0x7f).checked_shl(7 * i as u32)?;
        if b & 0x80 == 0 {
            return Some((value, &data[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end_of_the_data() {
        let d = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(u32_at(&d, 4), Some(0x0807_0605));
        assert_eq!(u32_at(&d, 5), None);
        assert_eq!(u64_at(&d, 0), Some(0x0807_0605_0403_0201));
        assert_eq!(u64_at(&d, u64::MAX), None);
        assert_eq!(slice(&d, u64::MAX, 2), None);
        assert_eq!(slice(&d, 8, 0), Some(&[][..]));
    }

    #[test]
    fn names_need_their_nul() {
        assert_eq!(c_str(b"ab\0cd", 0, 10), Some(&b"ab"[..]));
        assert_eq!(c_str(b"ab\0cd", 3, 10), None);
        assert_eq!(c_str(b"abcdef\0", 0, 3), None);
    }

    #[test]
    fn a_name_is_compared_to_its_nul() {
        assert!(is_c_str(b"ab\0abc\0", 0, "ab") && is_c_str(b"ab\0abc\0", 3, "abc"));
        assert!(!is_c_str(b"ab\0abc\0", 3, "ab"), "a prefix");
        assert!(!is_c_str(b"ab", 0, "ab"), "cut off");
        assert!(!is_c_str(b"ab\0", u32::MAX, ""));
    }

    #[test]
    fn uvarints() {
        assert_eq!(uvarint(&[0x7f, 9]), Some((0x7f, &[9][..])));
        assert_eq!(uvarint(&[0x80, 0x01]), Some((0x80, &[][..])));
        assert_eq!(uvarint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), None, "too long");
        assert_eq!(uvarint(&[0x80]), None, "cut off");
    }
}
