//! The Go version a binary says it was built with, as `runtime.Version` prints it.

use std::fmt;

/// Forms seen: `go1.26.6`, `go1.21rc2`, `go1.24.3 X:nospinbitmutex`, `go1.27.3-X:nodwarf5`, `go1.22.9 (Red Hat 1.22.9-2.el9) X:boringcrypto`,
/// `devel go1.28-0a1b2c3 Mon Jan …`, `go1.28-devel_0a1b2c3 Mon …`, `go1.21.5-fips`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoVersion {
    /// As it stands in the binary.
    pub raw: String,
    pub major: u32,
    pub minor: u32,
    /// 0 for `go1.20`, which is how the first release was called before 1.21.
    pub patch: u32,
    /// Built from a development tree: between two minors, layout unknown.
    pub devel: bool,
    /// `rc1`, `beta2`.
    pub pre_release: Option<String>,
    /// `GOEXPERIMENT`s that differ from the release's defaults.
    pub experiments: Vec<String>,
    /// What a vendor added, for instance `-fips` or `(Red Hat 1.22.9-2.el9)`.
    pub vendor: Option<String>,
}

impl GoVersion {
    /// Nothing when no `goMAJOR.MINOR` is found in it.
    pub fn parse(raw: &str) -> Option<Self> {
        let raw = raw.trim();
        let devel_word = raw.starts_with("devel ");
        let rest = raw.strip_prefix("devel ").unwrap_or(raw).trim_start().strip_prefix("go")?;
        let (major, rest) = number(rest)?;
        let (minor, mut rest) = number(rest.strip_prefix('.')?)?;
        let mut patch = 0;
        if let Some((p, r)) = rest.strip_prefix('.').and_then(number) {
            (patch, rest) = (p, r);
        }
        let mut pre_release = None;
        for word in ["rc", "beta"] {
            if let Some((n, r)) = rest.strip_prefix(word).and_then(number) {
                pre_release = Some(format!("{word}{n}"));
                rest = r;
            }
        }
        let devel = devel_word || rest.starts_with("-devel");
        // A development version goes on with a commit and a date; neither is a vendor's addition.
        let (tail, experiments) = match rest.split_once("X:") {
            Some((tail, x)) => {
                (tail, x.split([',', ' ']).filter(|e| !e.is_empty()).map(str::to_owned).collect())
            }
            None => (rest, Vec::new()),
        };
        // From Go 1.26 on experiments come after a dash.
        let tail = tail.trim();
        let tail = if experiments.is_empty() { tail } else { tail.strip_suffix('-').unwrap_or(tail) };
        let vendor = (!devel && !tail.is_empty()).then(|| tail.to_owned());
        Some(Self { raw: raw.to_owned(), major, minor, patch, devel, pre_release, experiments, vendor })
    }

    /// `goMAJOR.MINOR.PATCH`, as the layout table is keyed.
    pub fn release(&self) -> String {
        format!("go{}.{}.{}", self.major, self.minor, self.patch)
    }

    /// Same minor or newer.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

fn number(s: &str) -> Option<(u32, &str)> {
    let end = s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    Some((s[..end].parse().ok()?, &s[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> GoVersion {
        GoVersion::parse(s).unwrap_or_else(|| panic!("`{s}` is a version"))
    }

    #[test]
    fn releases() {
        let v = parse("go1.26.6");
        assert_eq!((v.major, v.minor, v.patch, v.devel), (1, 26, 6, false));
        assert_eq!((v.pre_release, v.vendor, v.experiments.len()), (None, None, 0));
        let v = parse("go1.20");
        assert_eq!((v.minor, v.patch), (20, 0));
        assert_eq!(v.release(), "go1.20.0");
    }

    #[test]
    fn pre_releases_and_development() {
        assert_eq!(parse("go1.27rc1").pre_release.as_deref(), Some("rc1"));
        assert_eq!(parse("go1.21beta2").pre_release.as_deref(), Some("beta2"));
        let v = parse("devel go1.28-0a1b2c3d4e Mon Jan 6 10:00:00 2026 +0000");
        assert!(v.devel && v.minor == 28 && v.vendor.is_none());
        let v = parse("go1.26-devel_0a1b2c3 Mon Jan 6 10:00:00 2026 +0000 X:jsonv2");
        assert!(v.devel && v.minor == 26);
        assert_eq!(v.experiments, ["jsonv2"]);
    }

    #[test]
    fn suffixes() {
        let v = parse("go1.24.3 X:nospinbitmutex,noswissmap");
        assert_eq!(v.experiments, ["nospinbitmutex", "noswissmap"]);
        assert_eq!((v.patch, v.vendor), (3, None));
        let v = parse("go1.27.3-X:heapminimum512kib");
        assert_eq!((v.experiments, v.vendor), (vec!["heapminimum512kib".to_owned()], None));
        let v = parse("go1.22.9 (Red Hat 1.22.9-2.el9_5) X:strictfipsruntime");
        assert_eq!(v.vendor.as_deref(), Some("(Red Hat 1.22.9-2.el9_5)"));
        assert_eq!(v.experiments, ["strictfipsruntime"]);
        assert_eq!(parse("go1.21.5-fips").vendor.as_deref(), Some("-fips"));
    }

    #[test]
    fn not_versions() {
        for s in ["", "go", "go1", "1.26", "gone.1", "devel +a1b2c3", "go1.", "go99999999999.1"] {
            assert_eq!(GoVersion::parse(s), None, "{s}");
        }
    }
}
