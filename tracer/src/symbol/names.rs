//! Names as a reader of Go's tracebacks expects them.

use crate::event::message::Frame;

/// The frame with the name that Go prints; the name as the compiler wrote it goes beside it where the two differ.
pub fn printable(frame: Frame) -> Frame {
    match shortened(&frame.function) {
        Some(function) => Frame { function, full_name: frame.function, ..frame },
        None => frame,
    }
}

/// `main.Map[go.shape.int]` as `main.Map[...]` (runtime/symtab.go, `funcNameForPrint`). Nothing when it is short already.
fn shortened(name: &str) -> Option<String> {
    let (open, close) = (name.find('[')?, name.rfind(']')?);
    let inside = name.get(open + 1..close)?;
    (inside != "...").then(|| format!("{}[...]{}", &name[..open], &name[close + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that Go writes that is not a plain `package.function`: only type arguments are left out.
    #[test]
    fn as_go_prints_them() {
        for (name, printed) in [
            ("main.(*Set[go.shape.string]).Add", "main.(*Set[...]).Add"),
            ("main.Map[go.shape.int,go.shape.[]uint8].func1", "main.Map[...].func1"),
            ("main.Map[...]", "main.Map[...]"),
            ("main.(*T).M-fm", "main.(*T).M-fm"),
            ("main.glob..func1", "main.glob..func1"),
            ("main.init.0", "main.init.0"),
            ("main.main.gowrap1", "main.main.gowrap1"),
            ("main.main.deferwrap2", "main.main.deferwrap2"),
            ("main._Cfunc_add", "main._Cfunc_add"),
            ("_cgo_1a2b_Cfunc_add", "_cgo_1a2b_Cfunc_add"),
            ("type:.eq.[2]interface {}", "type:.eq.[...]interface {}"),
            ("main.f", "main.f"),
            ("main.odd]name[", "main.odd]name["),
            ("", ""),
        ] {
            let frame = printable(Frame { function: name.to_owned(), line: 7, ..Frame::default() });
            assert_eq!((frame.function.as_str(), frame.line), (printed, 7));
            let full = if name == printed { "" } else { name };
            assert_eq!(frame.full_name, full);
        }
    }
}
