//! The forms of a dump as the tools read them that they are for, and what `-o`, `--filter` and `--watch` do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::fixtures::go_toolchain;
use tests::gostray::{Background, gostray};
use tests::{Fixture, Running, root_only};
use xtask::golang;

/// Goroutines that park on top.
const MANY: usize = 40;

fn parked() -> Result<Running> {
    Fixture::new("parked").start(&["-many", &MANY.to_string()])
}

fn dump(pid: u32, more: &[&str]) -> Result<Vec<u8>> {
    let pid = pid.to_string();
    let output = gostray(&[&["dump", pid.as_str()], more].concat());
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn json(pid: u32, more: &[&str]) -> Result<Value> {
    Ok(serde_json::from_slice(&dump(pid, &[&["--format", "json"], more].concat())?)?)
}

/// How many goroutines of the program's own.
fn own(document: &Value) -> Result<usize> {
    let goroutines = document["goroutines"].as_array().context("goroutines")?;
    Ok(goroutines.iter().filter(|g| g["system"] == false).count())
}

/// What `go tool pprof` says of the profile. Go builds the tool when it is first asked for, into its cache in `home`.
fn pprof(home: &Path, profile: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(go_toolchain(golang::DEFAULT)?)
        .args(["tool", "pprof"])
        .args(args)
        .arg(profile)
        .envs([("GOTOOLCHAIN", "local"), ("GOFLAGS", "-buildvcs=false")])
        .env("HOME", home)
        .env("PPROF_TMPDIR", home)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn pprof_opens_it_and_the_totals_are_right() -> Result<()> {
    root_only()?;
    let program = parked()?;
    let all = own(&json(program.pid(), &[])?)?;
    let dir = tempfile::tempdir()?;
    let profile = dir.path().join("g.pb.gz");
    let name = profile.to_str().context("a name")?;
    dump(program.pid(), &["--format", "pprof", "-o", name])?;

    let top = pprof(dir.path(), &profile, &["-top", "-nodecount=1000"])?;
    assert!(top.contains("Type: goroutines"), "{top}");
    assert!(top.contains(&format!("Total samples = {all} ")), "{all} goroutines: {top}");
    let crowd = top.lines().find(|l| l.contains("main.crowd")).context("main.crowd")?;
    assert_eq!(crowd.split_whitespace().nth(3), Some(MANY.to_string().as_str()), "{crowd}");

    let raw = pprof(dir.path(), &profile, &["-raw"])?;
    assert!(raw.contains("goroutines/count[dflt] wait/nanoseconds"), "{raw}");
    let reasons = "state:[waiting] wait reason:[chan receive (nil chan)]";
    assert!(raw.contains(reasons) && raw.contains("created by:[main.channels "), "{raw}");
    let tags = pprof(dir.path(), &profile, &["-tags"])?;
    assert!(tags.contains(&format!("Total {all} of {all}")), "{tags}");
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn json_reads_back_and_folded_stacks_add_up() -> Result<()> {
    root_only()?;
    let program = parked()?;
    let bytes = dump(program.pid(), &["--format", "json"])?;
    let (read, selection) = tracer::output::dump::json::read(bytes.as_slice())?;
    assert_eq!((read.about.pid, selection), (program.pid(), None));
    let mut again = Vec::new();
    tracer::output::dump::json::write(&read, None, &mut again)?;
    assert!(again == bytes, "what was read is written in other words");

    let own = read.goroutines.iter().filter(|g| !g.system).count();
    let folded = String::from_utf8(dump(program.pid(), &["--format", "folded"])?)?;
    let mut counts = BTreeMap::new();
    for line in folded.lines() {
        let (stack, count) = line.rsplit_once(' ').context("a count")?;
        assert!(stack.starts_with("created by "), "{line}");
        assert!(counts.insert(stack, count.parse::<usize>()?).is_none(), "twice: {stack}");
    }
    assert_eq!(counts.values().sum::<usize>(), own);
    let crowd = counts.iter().find(|(stack, _)| stack.contains(";main.crowd;")).context("main.crowd")?;
    assert_eq!(*crowd.1, MANY);
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn filters_hold_in_every_form() -> Result<()> {
    root_only()?;
    let program = parked()?;
    let filter = ["--filter", "function=main.crowd", "--filter", "state!=select"];
    let document = json(program.pid(), &filter)?;
    assert_eq!(document["goroutines"].as_array().context("goroutines")?.len(), MANY);
    assert_eq!(document["selection"]["filters"], serde_json::json!(["function=main.crowd", "state!=select"]));
    assert!(document["selection"]["of"].as_u64() > Some(MANY as u64));
    let text = String::from_utf8(dump(program.pid(), &filter)?)?;
    assert!(text.contains(&format!("): {MANY} goroutines\n")), "{text}");
    assert!(text.contains(&format!("\n1. {MANY} goroutines  chan receive")), "{text}");
    let go = String::from_utf8(dump(program.pid(), &[&filter[..], &["--format", "go"]].concat())?)?;
    assert_eq!(go.matches("goroutine ").count() - go.matches(" in goroutine ").count(), MANY);
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_file_is_its_owners_and_not_replaced_unasked() -> Result<()> {
    root_only()?;
    let program = parked()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("dump.json");
    let (pid, name) = (program.pid().to_string(), path.to_str().context("a name")?);
    assert!(dump(program.pid(), &["--format", "json", "-o", name])?.is_empty());
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    let first = fs::read(&path)?;
    let refused = gostray(&["dump", &pid, "-o", name]);
    assert_eq!(refused.status.code(), Some(30));
    assert_eq!(fs::read(&path)?, first);
    dump(program.pid(), &["-o", name, "--force"])?;
    assert!(fs::read_to_string(&path)?.starts_with("parked (pid "));
    assert_eq!(fs::read_dir(dir.path())?.count(), 1, "nothing is left beside it");
    Ok(())
}

#[test]
#[ignore = "needs root and Go: cargo xtask test"]
fn a_watch_ends_with_ctrl_c_and_with_the_program() -> Result<()> {
    root_only()?;
    let program = parked()?;
    let pid = program.pid().to_string();
    let mut watch = Background::start(&["dump", &pid, "--watch", "1s"]);
    watch.until_printed("a second dump", |line| line.starts_with("=== "));
    watch.signal(libc::SIGINT);
    let output = watch.finish();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("as many as in the last dump"));

    let mut watch = Background::start(&["dump", &pid, "--watch", "1s", "--format", "json"]);
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(!watch.has_ended());
    program.stop()?;
    let output = watch.finish();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&[u8]> = output.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    assert!(lines.len() >= 2, "{} lines", lines.len());
    for line in lines {
        tracer::output::dump::json::read(line)?;
    }
    Ok(())
}
