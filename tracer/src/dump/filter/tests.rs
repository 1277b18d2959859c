use super::*;
use crate::output::dump::fixture::fixture;

/// Ids of those that all of them hold of.
fn ids(filters: &[&str]) -> Vec<u64> {
    let mut dump = fixture();
    let filters: Vec<Filter> = filters.iter().map(|f| f.parse().unwrap()).collect();
    keep(&mut dump, &filters);
    dump.goroutines.iter().map(|g| g.goid).collect()
}

fn all_but(out: &[u64]) -> Vec<u64> {
    fixture().goroutines.iter().map(|g| g.goid).filter(|id| !out.contains(id)).collect()
}

#[test]
fn each_kind() {
    assert_eq!(ids(&["function=(*queue).put"]), [10, 11, 12, 13, 22, 34]);
    assert_eq!(ids(&["function=(*pool).run"]), [20, 21], "what a wrapper calls");
    assert_eq!(ids(&["function=chansend1"]), [10, 11, 12, 13, 34]);
    assert_eq!(ids(&["function=go.shape.struct { A int"]), [23], "the full name");
    assert_eq!(ids(&["function=main.fill"]), [20, 21], "the creator");
    assert_eq!(ids(&["function!=main."]), [2]);
    assert_eq!(ids(&["state=Mutex"]), [20, 21]);
    assert_eq!(ids(&["state=running"]), [30]);
    assert_eq!(ids(&["reason=Mutex"]), [20, 21]);
    assert_eq!(ids(&["reason=running"]), [0u64; 0]);
    assert_eq!(ids(&["reason=(leaked)"]), [0u64; 0], "which is no reason");
    assert_eq!(ids(&["state!=waiting"]), [1, 30, 31, 33, 34]);
    assert_eq!(ids(&["state=wait reason 77"]), [23]);
    assert_eq!(ids(&["state=send (leaked)"]), [34], "as it is shown");
    assert_eq!(ids(&["id=31"]), [31]);
    assert_eq!(ids(&["created=pool.go:9"]), [20, 21]);
    assert_eq!(ids(&["created!=main.main"]), [1, 2, 20, 21]);
    assert_eq!(ids(&["label.job=mail"]), [10, 12]);
    assert_eq!(ids(&["label.job!=mail"]), all_but(&[10, 12]), "also those without the label");
    assert_eq!(ids(&["label.job=mai"]), [0u64; 0]);
}

#[test]
fn an_unknown_age_is_never_old() {
    assert_eq!(ids(&["age>4m"]), [10, 11, 34]);
    assert_eq!(ids(&["age>5m"]), [11]);
    assert_eq!(ids(&["age<4m"]), all_but(&[10, 11, 34]));
    assert_eq!(ids(&["age>0s"]), [10, 11, 13, 22, 34]);
}

#[test]
fn all_must_hold() {
    assert_eq!(ids(&["label.job=mail", "age>1m"]), [10]);
    assert_eq!(ids(&["id=1", "id=2"]), [0u64; 0]);
    assert_eq!(ids(&[]), all_but(&[]));
}

#[test]
fn what_remains_refers_to_the_same() {
    let whole = fixture();
    let mut dump = fixture();
    keep(&mut dump, &["id=23".parse().unwrap()]);
    let g = &dump.goroutines[0];
    let before = whole.goroutines.iter().find(|g| g.goid == 23).unwrap();
    assert_eq!(dump.stack(g), whole.stack(before));
    let object = |dump: &Dump, g: &Goroutine, n: usize| dump.objects[g.waits_on[n].object as usize].clone();
    assert_eq!(object(&dump, g, 3), object(&whole, before, 3));
    // Two more objects are those of the circles that it is in.
    assert_eq!((dump.stacks.len(), dump.objects.len(), dump.labels.len()), (1, 15, 0));
    let step = |dump: &Dump, n: usize| dump.objects[dump.cycles[n].steps[1].object as usize].clone();
    assert_eq!(dump.cycles.len(), 2);
    assert_eq!((step(&dump, 0), step(&dump, 1)), (step(&whole, 1), step(&whole, 2)));
    assert!(dump.places.0.len() < whole.places.0.len() && dump.places.creation(g.gopc).is_some());
    let mut labelled = fixture();
    keep(&mut labelled, &["id=11".parse().unwrap()]);
    assert_eq!(labelled.labels(&labelled.goroutines[0]).unwrap()["job"], "index");
}

#[test]
fn what_is_no_filter_is_told_so() {
    let cases = [
        ("", "there is nothing to compare with"),
        ("select", "there is nothing to compare with"),
        ("state!select", "there is nothing to compare with"),
        ("status=select", "`status` is not known; it is function, state, reason,"),
        ("age=5m", "`age` is compared by `<` or `>`, not by `=`"),
        ("age>", "there is no text after `>`"),
        ("age>5", "`5` is not a time"),
        ("age>=5m", "`=5m` is not a time"),
        ("state>x", "`state` is compared by `=` or `!=`, not by `>`"),
        ("state=", "there is no text after `=`"),
        ("id=x", "`x` is not a goroutine's id"),
        ("id!=7", "`id` is compared by `=`, not by `!=`"),
        ("label.=x", "there is no key after `label.`"),
        ("label=x", "`label` is not known"),
    ];
    for (text, says) in cases {
        let error = text.parse::<Filter>().expect_err(text).to_string();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}

#[test]
fn values_may_hold_operators() {
    assert_eq!("created=a=b<c".parse::<Filter>().unwrap().what, What::Created("a=b<c".into()));
    let label = "label.http.path=/x?y=1".parse::<Filter>().unwrap();
    assert_eq!(label.what, What::Label("http.path".into(), "/x?y=1".into()));
    assert_eq!(label.to_string(), "label.http.path=/x?y=1");
}

proptest::proptest! {
    #[test]
    fn no_text_is_a_panic(text in "\\PC*") {
        let _ = text.parse::<Filter>();
    }
}
