//! Published Go programs, as they come: where each is from and how it is started on loopback, in a directory of its own.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::{debian, npm};

use crate::http;

/// Where a program comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A suite and its packages, the program's own first.
    Debian(&'static str, &'static [&'static str]),
    Npm(npm::Package),
}

/// One published program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub source: Source,
    /// Traced in every test run; the others only for docs/binaries.md.
    pub always: bool,
    how: How,
}

/// How it is started.
#[derive(Clone, Copy, Debug)]
enum How {
    Prometheus,
    Etcd,
    Caddy,
    Nats,
    NodeExporter,
    Dockerd,
    Rclone,
    Coredhcp,
    Esbuild,
}

const DOCKER: &[&str] = &["docker.io", "containerd", "runc"];

const fn debian(suite: &'static str, packages: &'static [&'static str], how: How, always: bool) -> Program {
    Program { source: Source::Debian(suite, packages), always, how }
}

const fn esbuild(package: npm::Package, always: bool) -> Program {
    Program { source: Source::Npm(package), always, how: How::Esbuild }
}

/// By package, then by age.
pub const PROGRAMS: [Program; 23] = [
    debian("bookworm", &["prometheus"], How::Prometheus, false),
    debian("trixie", &["prometheus"], How::Prometheus, false),
    debian("sid", &["prometheus"], How::Prometheus, true),
    debian("bookworm", &["etcd-server"], How::Etcd, true),
    debian("trixie", &["etcd-server"], How::Etcd, false),
    debian("sid", &["etcd-server"], How::Etcd, true),
    debian("bookworm", &["caddy"], How::Caddy, false),
    debian("trixie", &["caddy"], How::Caddy, false),
    debian("trixie-backports", &["caddy"], How::Caddy, false),
    debian("sid", &["caddy"], How::Caddy, false),
    debian("bookworm", &["nats-server"], How::Nats, false),
    debian("trixie", &["nats-server"], How::Nats, true),
    debian("sid", &["nats-server"], How::Nats, false),
    debian("bookworm", &["prometheus-node-exporter"], How::NodeExporter, false),
    debian("trixie", &["prometheus-node-exporter"], How::NodeExporter, false),
    debian("sid", &["prometheus-node-exporter"], How::NodeExporter, false),
    debian("bookworm", DOCKER, How::Dockerd, false),
    debian("trixie", DOCKER, How::Dockerd, true),
    debian("sid", DOCKER, How::Dockerd, false),
    debian("trixie", &["rclone"], How::Rclone, true),
    debian("trixie", &["coredhcp-server"], How::Coredhcp, false),
    esbuild(npm::ESBUILD, true),
    esbuild(npm::ESBUILD_122, false),
];

impl Program {
    /// Its executable, fetched when it is not in the tools cache yet, and what to call it.
    pub fn fetch(&self) -> Result<(PathBuf, String)> {
        match self.source {
            Source::Debian(suite, packages) => {
                let unpacked = debian::from_suite(suite, packages)?;
                let path = unpacked.root.join(self.how.path());
                ensure!(path.is_file(), "{suite}'s {} has no `{}`", packages[0], self.how.path());
                Ok((path, format!("{} {} ({suite})", packages[0], unpacked.version)))
            }
            Source::Npm(package) => {
                Ok((package.executable()?, format!("{} {} (npm)", package.name, package.version)))
            }
        }
    }

    /// What to call it when it could not be fetched.
    pub fn name(&self) -> String {
        match self.source {
            Source::Debian(suite, packages) => format!("{} ({suite})", packages[0]),
            Source::Npm(package) => format!("{} {} (npm)", package.name, package.version),
        }
    }

    /// Why the dynamic linker of this machine refuses it: another suite's program may want a newer libc.
    pub fn cannot_run(&self, executable: &Path) -> Result<Option<String>> {
        let mut cmd = Command::new(executable);
        let output = cmd
            .arg("--help")
            .env("LD_LIBRARY_PATH", libraries(executable))
            .env("LD_BIND_NOW", "1")
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let wanted = said.split(['`', '\'']).find(|word| word.starts_with("GLIBC_"));
        Ok(wanted.map(|version| format!("it does not run here: it wants a libc that has `{version}`")))
    }

    /// It gives its own full dump to who asks.
    pub fn dumps_itself(&self) -> bool {
        self.how.has_pprof()
    }

    /// Starts it and waits until it answers.
    pub fn start(&self, executable: &Path) -> Result<Started> {
        Started::new(self.how, executable)
    }
}

/// An address and a path that it answers requests at.
type Answers = Option<(String, &'static str)>;

/// What it says about its own goroutines.
#[derive(Clone, Debug)]
enum Says {
    /// `go_goroutines` of its metrics.
    Metrics(String),
    /// The head of Go's own goroutine profile.
    Profile(String),
    Nothing(&'static str),
}

impl How {
    /// It answers `/debug/pprof/` where it says how many goroutines it has.
    fn has_pprof(self) -> bool {
        !matches!(self, Self::Dockerd | Self::Coredhcp | Self::Esbuild)
    }

    /// Inside the package.
    fn path(self) -> &'static str {
        match self {
            Self::Prometheus => "usr/bin/prometheus",
            Self::Etcd => "usr/bin/etcd",
            Self::Caddy => "usr/bin/caddy",
            Self::Nats => "usr/sbin/nats-server",
            Self::NodeExporter => "usr/bin/prometheus-node-exporter",
            Self::Dockerd => "usr/sbin/dockerd",
            Self::Rclone => "usr/bin/rclone",
            Self::Coredhcp => "usr/bin/coredhcp",
            Self::Esbuild => "bin/esbuild",
        }
    }

    /// Its arguments, what it says of itself, and where it answers requests.
    fn arguments(self, dir: &Path) -> Result<(Vec<String>, Says, Answers)> {
        let (a, b, c) = (free_address()?, free_address()?, free_address()?);
        let at = |name: &str| dir.join(name).display().to_string();
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        let args = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let file = |name: &str, text: String| fs::write(dir.join(name), text);
        Ok(match self {
            Self::Prometheus => {
                let target =
                    format!("scrape_configs: [{{job_name: self, static_configs: [{{targets: ['{a}']}}]}}]");
                file("config", format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n{target}\n"))?;
                let text = format!(
                    "--config.file={} --storage.tsdb.path={} --web.listen-address={a}",
                    at("config"),
                    at("data")
                );
                (args(text), Says::Metrics(a.clone()), Some((a, "/-/ready")))
            }
            Self::Etcd => {
                let text = format!(
                    "--data-dir={} --listen-client-urls=http://{a} --advertise-client-urls=http://{a} \
                     --listen-peer-urls=http://{b} --initial-advertise-peer-urls=http://{b} --initial-cluster=default=http://{b} --enable-pprof",
                    at("data")
                );
                (args(text), Says::Metrics(a.clone()), Some((a, "/health")))
            }
            Self::Caddy => {
                file(
                    "config",
                    format!("{{\n admin {a}\n auto_https off\n}}\nhttp://{b} {{\n respond \"here\"\n}}\n"),
                )?;
                let text = format!("run --adapter caddyfile --config {}", at("config"));
                (args(text), Says::Metrics(a), Some((b, "/")))
            }
            Self::Nats => {
                let text = format!("-a 127.0.0.1 -p {} -m {} --profile {}", port(&a), port(&b), port(&c));
                (args(text), Says::Profile(c), Some((b, "/varz")))
            }
            Self::NodeExporter => {
                // With all its collectors fifty goroutines come and go while it counts itself.
                (
                    args(format!(
                        "--web.listen-address={a} --collector.disable-defaults --collector.loadavg"
                    )),
                    Says::Metrics(a.clone()),
                    Some((a, "/")),
                )
            }
            Self::Dockerd => {
                let experimental = "{\"experimental\": true, \"bridge\": \"none\", \"iptables\": false, \"ip6tables\": false}";
                file("config", experimental.to_owned())?;
                let text = format!(
                    "--config-file={} --data-root={} --exec-root={} --pidfile={} --host=unix://{} --storage-driver=vfs \
                     --ip-forward=false --metrics-addr={a}",
                    at("config"),
                    at("data"),
                    at("exec"),
                    at("pid"),
                    at("socket")
                );
                (args(text), Says::Metrics(a.clone()), Some((a, "/metrics")))
            }
            Self::Rclone => {
                let text =
                    format!("rcd --rc-addr={a} --rc-no-auth --rc-enable-metrics --config={}", at("config"));
                (args(text), Says::Metrics(a.clone()), Some((a, "/metrics")))
            }
            Self::Coredhcp => {
                let plugins = "  plugins:\n    - server_id: 127.0.0.1\n    - lease_time: 60s\n";
                file("config.yml", format!("server4:\n  listen:\n    - \"{a}\"\n{plugins}"))?;
                (
                    args(format!("--conf {}", at("config.yml"))),
                    Says::Nothing("it does not say how many goroutines it has"),
                    None,
                )
            }
            Self::Esbuild => {
                let text = format!("--serve={a} --servedir={}", dir.display());
                (args(text), Says::Nothing("it does not say how many goroutines it has"), Some((a, "/")))
            }
        })
    }
}

/// Of the packages that were unpacked with it.
fn libraries(executable: &Path) -> PathBuf {
    executable.ancestors().nth(3).unwrap_or(Path::new("/")).join("usr/lib/x86_64-linux-gnu")
}

/// Free now; nobody else here asks for ports by number.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// A running program. It and what it has started end with this.
pub struct Started {
    child: Child,
    says: Says,
    answers: Answers,
    dir: tempfile::TempDir,
}

impl Started {
    fn new(how: How, executable: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (args, says, answers) = how.arguments(dir.path())?;
        let mut cmd = Command::new(executable);
        let output = fs::File::create(dir.path().join("output"))?;
        // dockerd looks for its helpers there.
        let root = executable.ancestors().nth(3).unwrap_or(Path::new("/"));
        let path = format!(
            "{0}/usr/bin:{0}/usr/sbin:{1}",
            root.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        cmd.env("LD_LIBRARY_PATH", libraries(executable));
        cmd.args(args).current_dir(dir.path()).env("PATH", path).env("HOME", dir.path());
        cmd.env("XDG_DATA_HOME", dir.path()).env("XDG_CONFIG_HOME", dir.path());
        // esbuild ends with its stdin.
        cmd.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = cmd.spawn().with_context(|| format!("`{}` does not start", executable.display()))?;
        let mut started = Self { child, says, answers, dir };
        let start = Instant::now();
        while !started.is_ready() {
            let ended = started.child.try_wait()?;
            if ended.is_some() || start.elapsed() > Duration::from_secs(40) {
                bail!("it does not answer ({ended:?}): {}", started.said());
            }
            thread::sleep(Duration::from_millis(50));
        }
        // What it begins with is over: it is watched in its everyday life.
        thread::sleep(Duration::from_secs(1));
        ensure!(started.is_alive()?, "it has ended: {}", started.said());
        Ok(started)
    }

    fn is_ready(&self) -> bool {
        match &self.says {
            Says::Nothing(_) => self.request().is_ok(),
            _ => self.goroutines().is_ok(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// The last of what it printed.
    fn said(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("output")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }

    /// Where it answers requests, if it takes any.
    pub fn address(&self) -> Option<&str> {
        self.answers.as_ref().map(|(address, _)| address.as_str())
    }

    /// One request over a connection of its own, where it takes any.
    pub fn request(&self) -> Result<()> {
        let Some((address, path)) = &self.answers else { return Ok(()) };
        http::get(address, path).map(drop)
    }

    /// Why it cannot be asked for its goroutines.
    pub fn silent_because(&self) -> Option<&'static str> {
        if let Says::Nothing(why) = self.says { Some(why) } else { None }
    }

    /// Its own full dump, if it [gives that](Program::dumps_itself).
    pub fn own_dump(&self) -> Result<String> {
        match &self.says {
            Says::Metrics(address) | Says::Profile(address) => {
                http::get(address, "/debug/pprof/goroutine?debug=2")
            }
            Says::Nothing(why) => bail!("{why}"),
        }
    }

    /// How many goroutines it says it has (`runtime.NumGoroutine`).
    pub fn goroutines(&self) -> Result<u64> {
        let (text, before) = match &self.says {
            Says::Metrics(address) => (http::get(address, "/metrics")?, "go_goroutines "),
            Says::Profile(address) => {
                (http::get(address, "/debug/pprof/goroutine?debug=1")?, "goroutine profile: total ")
            }
            Says::Nothing(why) => bail!("{why}"),
        };
        let number =
            text.lines().find_map(|l| l.strip_prefix(before)).with_context(|| format!("no `{before}`"))?;
        Ok(number.trim().parse()?)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let group = -(self.child.id() as i32);
        // SAFETY: kill(2) takes two integers; the child was not waited for or its group is empty, which is an error that
        // changes nothing.
        let signal = |signal| unsafe { libc::kill(group, signal) };
        signal(libc::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        signal(libc::SIGKILL);
        let _ = self.child.wait();
    }
}
