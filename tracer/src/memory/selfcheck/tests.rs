//! What can be said without a live process; the rest is in `tests/tests/selfcheck.rs`.

use std::collections::HashSet;

use super::*;

struct Nothing;

impl ReadMemory for Nothing {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        // A list of no goroutines, and nothing else.
        if (0x1000..0x1018).contains(&addr) {
            buf.fill(0);
            return Ok(());
        }
        Err(MemoryError::Unmapped { addr, len: buf.len() })
    }
}

impl Surroundings for Nothing {
    fn function(&self, _: u64) -> Option<(u64, &str)> {
        None
    }
    fn wrapped(&self, _: u64) -> Option<String> {
        None
    }
    fn is_behind_a_call(&self, _: u64) -> bool {
        false
    }
    fn is_foreign_code(&self, _: u64) -> bool {
        false
    }
    fn is_thread(&self, _: u64) -> Option<bool> {
        Some(false)
    }
    fn wait_reasons(&self) -> Option<&[String]> {
        None
    }
    fn lifetime_ns(&self) -> (u64, u64) {
        (0, 0)
    }
    fn pause(&self, _: Duration) {}
}

#[test]
fn a_program_that_has_not_begun_is_neither_right_nor_wrong() {
    let layout = crate::gobin::newest_layout().expect("the built-in table");
    let empty = check(&Nothing, &layout, 0x1000, &Nothing).expect("nothing speaks against it");
    let Outcome::TooEarly(why) = empty else { panic!("{empty:?}") };
    assert_eq!(
        why.to_string(),
        "`runtime.allgs` at 0x1000 lists 0 goroutines, and every Go program comes to 4"
    );
    let unreadable = check(&Nothing, &layout, 0x5000, &Nothing);
    assert!(matches!(unreadable, Err(CheckError::Misfit(Misfit::List { .. }))), "{unreadable:?}");
}

#[test]
fn every_invariant_has_a_place_and_names_of_its_own() {
    let places: HashSet<_> = Invariant::ALL.iter().map(|i| i.index()).collect();
    let names: HashSet<_> = Invariant::ALL.iter().map(|i| i.name()).collect();
    assert_eq!((places.len(), names.len()), (Invariant::ALL.len(), Invariant::ALL.len()));
    assert_eq!(places.iter().max(), Some(&(Invariant::ALL.len() - 1)));
    let document = include_str!("../../../../docs/json.md");
    for name in names {
        assert!(document.contains(&format!("`{name}`")), "`{name}` is not in docs/json.md");
    }
}
