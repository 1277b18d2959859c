//! Something real: Debian's prometheus, stripped and built with Go 1.19, scraping itself under load.
//!
//! It says itself how many goroutines it has (`go_goroutines`, which is `runtime.NumGoroutine`: all but the runtime's own).
//! A recording is replayed through the library, and at the time of each such answer the session's count is held against it.

use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail, ensure};
use tests::counts::{MARGIN, Sample, replayed};
use tests::gostray::{Background, report, until};
use tests::{http, root_only};
use tracer::session::snapshot::VerdictKind;
use xtask::debian;

/// How long is recorded.
const WATCH: &str = "25s";
/// Ends with its guard.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(package: &str) -> Result<std::path::PathBuf> {
    let program = debian::PROGRAMS.iter().find(|p| p.package == package).context("not one of ours")?;
    let path = program.executable()?;
    ensure!(path.is_file(), "there is no {package} at `{}`; try: cargo xtask setup", path.display());
    Ok(path)
}

/// A prometheus that scrapes itself every second.
struct Prometheus {
    process: Guard,
    address: String,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // Free now; nobody else here asks for ports by number.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: self, static_configs: [{{targets: ['{address}']}}]}}]\n"
        );
        fs::write(&config, text)?;
        let mut cmd = Command::new(program("prometheus")?);
        cmd.arg(format!("--config.file={}", config.display()));
        cmd.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        cmd.arg(format!("--web.listen-address={address}")).arg("--log.level=error");
        let process = Guard(cmd.current_dir(dir.path()).stdin(Stdio::null()).spawn()?);
        let prometheus = Self { process, address, _dir: dir };
        let ready = || prometheus.get("/-/ready").is_ok();
        until("prometheus is ready", Duration::from_secs(60), ready);
        Ok(prometheus)
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn get(&self, path: &str) -> Result<String> {
        http::get(&self.address, path)
    }
}

fn sample(prometheus: &Prometheus) -> Result<Sample> {
    Sample::take(|| {
        let metrics = prometheus.get("/metrics")?;
        let line = metrics.lines().find_map(|l| l.strip_prefix("go_goroutines "));
        Ok(line.context("no `go_goroutines`")?.parse()?)
    })
}

/// How many bytes of the program's code in memory are not those of its file.
fn altered_bytes(pid: u32) -> Result<usize> {
    let exe = fs::read(format!("/proc/{pid}/exe"))?;
    let path = fs::read_link(format!("/proc/{pid}/exe"))?;
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut altered = 0;
    let mut seen = 0;
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, "r-xp", offset, _, _, file] = words[..] else { continue };
        if Path::new(file) != path {
            continue;
        }
        let (from, to) = range.split_once('-').context("a range")?;
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let offset = usize::from_str_radix(offset, 16)?;
        let mut code = vec![0; (to - from) as usize];
        memory.read_exact_at(&mut code, from)?;
        altered += code.iter().zip(&exe[offset..]).filter(|(a, b)| a != b).count();
        seen += code.len();
    }
    ensure!(seen > 0, "no code of `{}` is mapped", path.display());
    Ok(altered)
}

/// Load for as long as the watch lasts: queries over kept connections, and one connection a request.
fn load(prometheus: &Prometheus) -> Result<Vec<Child>> {
    let hey = program("hey")?;
    let start = |args: &[&str], path: &str| {
        let url = format!("http://{}{path}", prometheus.address);
        Command::new(&hey)
            .args(["-z", "28s"])
            .args(args)
            .arg(url)
            .stdout(Stdio::piped())
            .spawn()
            .context("hey does not start")
    };
    Ok(vec![
        start(&["-c", "4", "-q", "20"], "/api/v1/query?query=rate(go_gc_duration_seconds_count[10s])")?,
        start(&["-c", "4", "-q", "10", "-disable-keepalive"], "/api/v1/status/buildinfo")?,
    ])
}

/// Every request was answered, with 200.
fn assert_answered(hey: Child) -> Result<u64> {
    let output = hey.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && !text.contains("Error distribution"), "{text}");
    let statuses: Vec<&str> = text.lines().filter(|l| l.trim_start().starts_with('[')).collect();
    let [status] = statuses[..] else { bail!("not one status: {text}") };
    let words: Vec<&str> = status.split_whitespace().collect();
    ensure!(words[0] == "[200]", "{text}");
    Ok(words[1].parse()?)
}

#[test]
#[ignore = "needs root and the kernel: cargo xtask test"]
fn counts_of_a_real_program_under_load_agree_with_its_own() -> Result<()> {
    root_only()?;
    let mut prometheus = Prometheus::start()?;
    let pid = prometheus.pid();
    ensure!(altered_bytes(pid)? == 0, "its code differs from its file before anyone touched it");
    let loads = load(&prometheus)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("prometheus.gostray");
    let name = file.to_str().context("a temporary path in UTF-8")?;
    let pid_text = pid.to_string();
    let gostray = Background::start(&[
        "record",
        &pid_text,
        "-o",
        name,
        "--duration",
        WATCH,
        "--json",
        "--budget",
        "off",
    ]);

    // The counts before the first look are not complete, and what comes after the end is not recorded.
    until("probes stand", Duration::from_secs(10), || altered_bytes(pid).is_ok_and(|n| n > 0));
    thread::sleep(Duration::from_secs(2));
    let mut samples = Vec::new();
    for _ in 0..11 {
        samples.push(sample(&prometheus)?);
        thread::sleep(Duration::from_millis(1800));
    }
    let output = gostray.finish();
    ensure!(output.status.success(), "gostray ended with {}", output.status);
    ensure!(altered_bytes(pid)? == 0, "a probe is left in its code");
    for hey in loads {
        let answered = assert_answered(hey)?;
        assert!(answered > 500, "only {answered} requests in 28 s");
    }
    ensure!(prometheus.process.0.try_wait()?.is_none(), "prometheus is gone");
    prometheus.get("/-/healthy")?;

    let live = report(&output);
    let (counts, last) = replayed(&file, &samples)?;
    let mut widths = Vec::new();
    for (sample, count) in samples.iter().zip(&counts) {
        let (least, most) = count.context("the recording does not cover the sample")?;
        let ms = (sample.during.end - sample.during.start) / 1_000_000;
        let own = sample.goroutines;
        eprintln!("prometheus says {own}, the session {least} to {most} within {ms} ms");
        assert!(
            (least.saturating_sub(MARGIN)..=most + MARGIN).contains(&own),
            "{sample:?}: {least} to {most}"
        );
        widths.push(most - least);
    }
    // A count that may be anything agrees with everything: at least half of the samples must be narrow.
    widths.sort_unstable();
    assert!(widths[widths.len() / 2] <= 25, "too few of these say anything: {widths:?}");

    eprintln!("{:#}", live.0["totals"]);
    assert!(last.target.go_version.starts_with("go1.19"), "{}", last.target.go_version);
    assert_eq!((live.losses().len(), last.losses.len()), (0, 0), "{:#}", live.0["losses"]);
    assert_eq!(serde_json::to_value(&last.totals)?, live.0["totals"], "live and replay count the same");
    // The end of the watch is no special moment: not many more than while it lasted. (Probes go one by one, and births
    // without deaths would come in at some hundreds a second.)
    let most = counts.iter().flatten().map(|c| c.1).max().unwrap_or(0);
    assert!(last.totals.live <= most + 10, "{} at the end, {most} at most before", last.totals.live);
    assert!(last.totals.born > 1000, "there was no load: {:?}", last.totals);
    let accused: Vec<_> = last
        .sites
        .iter()
        .filter(|s| matches!(s.verdict.kind, VerdictKind::Leak | VerdictKind::Suspect))
        .collect();
    assert!(accused.is_empty(), "wrongly accused: {accused:#?}");
    // Stripped, but its functions and lines are known.
    let known = last.sites.iter().filter(|s| s.created_at.unknown_because.is_none()).count();
    assert_eq!(known, last.sites.len(), "sites without a name");
    assert!(last.sites.iter().any(|s| s.created_at.function == "net/http.(*Server).Serve"));
    Ok(())
}
