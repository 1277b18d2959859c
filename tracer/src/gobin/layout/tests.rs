//! The table and its rule.

use tracer_common::config::ABSENT;

use super::*;

fn of(version: &str) -> Result<Runtime, LayoutError> {
    find(&GoVersion::parse(version).unwrap(), || Err(DebugError::None))
}

fn why(version: &str) -> Unknown {
    match of(version) {
        Err(LayoutError::Unknown { why, dwarf: DwarfError::Sections(DebugError::None), .. }) => why,
        other => panic!("{version}: {other:?}"),
    }
}

#[test]
fn every_row_is_reached_by_its_own_version() {
    let rows = table::amd64().unwrap();
    assert!(rows.len() >= 30, "{}", rows.len());
    for row in &rows {
        let runtime = find(&row.version, || panic!("the table is enough")).unwrap();
        assert_eq!(runtime.offsets, row.offsets, "{}", row.version);
        assert!(runtime.is_sure && runtime.layout().provenance.starts_with("measured in"), "{}", row.version);
        assert!(runtime.provenance.contains(&row.source));
    }
    for minor in 19..=27 {
        assert!(rows.iter().any(|r| r.version.minor == minor), "1.{minor}");
    }
}

#[test]
fn known_values() {
    let l = of("go1.19.8").unwrap().layout();
    assert_eq!((l.kernel.g_goid, l.kernel.g_parent_goid, l.g_syscallbp), (152, ABSENT, None));
    assert_eq!((l.sudog.c, l.hchan.recvq_first, l.status_dead_extra), (80, 56, None));
    let l = of("go1.20.12").unwrap().layout();
    assert_eq!((l.kernel.g_goid, l.kernel.g_parent_goid, l.kernel.g_gopc), (152, ABSENT, 296));
    let l = of("go1.26.6").unwrap().layout();
    assert_eq!((l.kernel.m_waitlock, l.kernel.m_curg, l.g_status), (768, 184, 144));
    assert_eq!((l.sudog.elem, l.sudog.c, l.status_dead_extra), (32, 96, Some(11)));
    assert!(l.semaphores_in_waiting);
    assert!(!of("go1.25.5").unwrap().layout().semaphores_in_waiting);
    assert_eq!(newest().unwrap().kernel.g_goid, 152);
}

#[test]
fn between_two_that_agree() {
    let r = of("go1.23.7").unwrap();
    assert_eq!(r.offsets, of("go1.23.9").unwrap().offsets);
    assert!(!r.is_sure && r.provenance.contains("between go1.23.5 and go1.23.9"), "{}", r.provenance);
}

#[test]
fn between_two_that_differ_in_the_lock() {
    let (old, new) = (of("go1.24.4").unwrap(), of("go1.24.11").unwrap());
    assert_ne!(old.offsets.m.waitlock, new.offsets.m.waitlock);
    let r = of("go1.24.7").unwrap();
    assert_eq!((r.layout().kernel.m_waitlock, r.layout().kernel.m_waitunlockf), (ABSENT, ABSENT));
    assert_eq!(r.offsets, new.offsets.without_lock());
    assert!(r.provenance.contains("differ in m.waitlock"), "{}", r.provenance);
}

#[test]
fn beyond_what_was_measured() {
    for (version, than) in [("go1.22.3", "older"), ("go1.27.99", "newer"), ("go1.20.1", "older")] {
        let r = of(version).unwrap();
        assert_eq!(r.layout().kernel.m_waitlock, ABSENT, "{version}");
        assert!(!r.is_sure && r.provenance.contains(than), "{}", r.provenance);
    }
}

#[test]
fn the_programs_own_description_completes_or_contradicts() {
    let of_program = |offsets: &Offsets| Goroutines {
        g: offsets.g,
        m: offsets.m,
        sudog: offsets.sudog,
        hchan: offsets.hchan,
        timer: offsets.timer,
        semaphores_in_waiting: offsets.semaphores_in_waiting,
    };
    let known = of("go1.24.7").unwrap().offsets;
    let exact = of("go1.24.11").unwrap().offsets;
    assert_eq!(known.agreeing(&of_program(&exact)), Some(exact.clone()));
    let mut other = of_program(&exact);
    other.g.goid += 8;
    assert_eq!(known.agreeing(&other), None);
    let mut other = of_program(&exact);
    other.m.curg += 8;
    assert_eq!(known.agreeing(&other), None);
    // What was measured of the lock must agree too.
    let mut other = of_program(&exact);
    other.m.waitlock = Some(1);
    assert_eq!(exact.agreeing(&other), None);
}

#[test]
fn refused_by_name() {
    assert_eq!(of("go1.17.3").unwrap_err(), LayoutError::TooOld { version: "go1.17.3".into() });
    assert_eq!(why("go1.99.1"), Unknown::NotMeasured);
    assert_eq!(why("go1.27rc1"), Unknown::PreRelease);
    assert_eq!(why("devel go1.27-abcdef"), Unknown::PreRelease);
    assert_eq!(why("go1.26.6-X:staticlockranking"), Unknown::Experiment("staticlockranking".into()));
    let error = of("go1.28.0").unwrap_err().to_string();
    assert_eq!(
        error,
        "`go1.28.0` was not measured, and debug information does not tell the runtime's layout: no debug \
         information (DWARF) in the file"
    );
}

#[test]
fn vendors_and_harmless_experiments_pass() {
    let r = of("go1.26.6 X:boringcrypto").unwrap();
    assert_eq!(r.offsets, of("go1.26.6").unwrap().offsets);
    assert!(r.provenance.contains("boringcrypto"), "{}", r.provenance);
    let r = of("go1.26.6-fips").unwrap();
    assert!(r.provenance.contains("-fips") && !r.is_sure);
}

#[test]
fn the_table_holds_each_layout_once() {
    let table: Table = serde_json::from_str(include_str!("table.json")).unwrap();
    for (i, layout) in table.layouts.iter().enumerate() {
        assert_eq!(table.layouts.iter().position(|l| l == layout), Some(i));
        assert!(table.measured.iter().any(|m| m.layout == i), "layout {i} is no version's");
    }
    assert!(table.measured.iter().all(|m| m.layout < table.layouts.len()));
    for arch in ["amd64", "arm64"] {
        assert!(table.measured.iter().filter(|m| m.arch == arch).count() >= 30, "{arch}");
    }
}
