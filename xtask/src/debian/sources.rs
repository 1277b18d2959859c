//! The machine's own apt sources, in both of their forms: which archive is Debian's, and whose signature it has.
//! The formats are sources.list(5)'s.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// A Debian archive as this machine reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    uri: String,
    /// A keyring's path or a whole key, as it stands in the source; without one, apt's own keyrings hold.
    signed_by: Option<String>,
}

impl Archive {
    /// The archive that the machine installs its own Debian from.
    pub fn of_this_machine() -> Result<Self> {
        let mut archives = Vec::new();
        for file in files() {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            archives.extend(match file.extension().is_some_and(|e| e == "sources") {
                true => stanzas(&text),
                false => lines(&text),
            });
        }
        // The first of the best: another archive may call its suites like Debian's.
        archives.reverse();
        match archives.into_iter().max_by_key(Self::likeness) {
            Some(archive) if archive.likeness() > 0 => Ok(archive),
            _ => bail!(
                "this machine's apt sources name no Debian archive; try: add a source with the suite of your \
                 Debian and the component main"
            ),
        }
    }

    /// A source of one of the archive's suites, for a file whose name ends in `.sources`. Only its list of packages
    /// is wanted. Old lists are good enough: nothing that is fetched is installed.
    pub fn source(&self, suite: &str) -> String {
        let signed_by = self.signed_by.as_ref().map_or(String::new(), |key| format!("Signed-By: {key}\n"));
        format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nArchitectures: amd64\nTargets: Packages\n\
             Check-Valid-Until: no\n{signed_by}",
            self.uri
        )
    }

    fn likeness(&self) -> u8 {
        let signed = self.signed_by.as_ref().is_some_and(|key| key.contains("debian-archive"));
        2 * u8::from(signed) + u8::from(self.uri.contains("debian"))
    }
}

fn files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path());
    files.extend(parts.filter(|p| p.extension().is_some_and(|e| e == "list" || e == "sources")));
    files.sort();
    files
}

/// Whether a source has what its archive's other suites have too: updates and security fixes stand elsewhere.
fn is_whole(suites: &str, components: &str) -> bool {
    let plain = |suite: &str| suite.bytes().all(|b| b.is_ascii_lowercase());
    suites.split_whitespace().any(plain) && components.split_whitespace().any(|c| c == "main")
}

/// Of a file in the form of Debian's control files.
fn stanzas(text: &str) -> Vec<Archive> {
    let text: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    text.split(|line| line.trim().is_empty()).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Archive> {
    let field = |name: &str| {
        let is_it = |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = lines.iter().position(is_it)?;
        let more = lines[first + 1..].iter().take_while(|l| l.starts_with([' ', '\t'])).copied();
        let (_, value) = lines[first].split_once(':')?;
        Some(std::iter::once(value.trim()).chain(more).collect::<Vec<_>>().join("\n"))
    };
    let off = field("Enabled").is_some_and(|v| v == "no");
    let deb = field("Types")?.split_whitespace().any(|t| t == "deb");
    if off || !deb || !is_whole(&field("Suites")?, &field("Components")?) {
        return None;
    }
    let uri = field("URIs")?.split_whitespace().next()?.to_owned();
    Some(Archive { uri, signed_by: field("Signed-By") })
}

/// Of a file with one source a line: `deb [OPTION=VALUE …] URI SUITE COMPONENT…`.
fn lines(text: &str) -> Vec<Archive> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Archive> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?.to_owned(), words.next()?);
    if !is_whole(suite, &words.collect::<Vec<_>>().join(" ")) {
        return None;
    }
    let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by=")).map(str::to_owned);
    Some(Archive { uri, signed_by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_are_read() {
        let text = "Types: deb deb-src\n# a remark\nURIs: mirror+file:/etc/mirrors/debian.list\n\
                    Suites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By:\n -----BEGIN\n .\n KEY\n\n\
                    Types: deb\nURIs: http://a.test/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://b.test/debian\nSuites: sid\nComponents: main\n";
        let signed_by = Some("\n -----BEGIN\n .\n KEY".to_owned());
        let archive = Archive { uri: "mirror+file:/etc/mirrors/debian.list".into(), signed_by };
        assert_eq!(stanzas(text), std::slice::from_ref(&archive));
        let source = archive.source("trixie");
        assert!(
            source.contains("\nSuites: trixie\n") && source.ends_with("Signed-By: \n -----BEGIN\n .\n KEY\n")
        );
    }

    #[test]
    fn lines_are_read() {
        let text = "# deb http://a.test/debian bookworm main\ndeb-src http://a.test/debian bookworm main\n\
                    deb http://a.test/debian bookworm-updates main\n\
                    deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] http://b.test/debian bookworm main # x\n\
                    deb http://c.test/debian bookworm contrib\ndeb http://d.test/pub stable main\n";
        let archive =
            |uri: &str, key: Option<&str>| Archive { uri: uri.into(), signed_by: key.map(str::to_owned) };
        let debian = archive("http://b.test/debian", Some("/k/debian-archive-keyring.gpg"));
        assert_eq!(lines(text), [debian.clone(), archive("http://d.test/pub", None)]);
        assert_eq!(debian.likeness(), 3);
        assert!(!debian.source("sid").contains("bookworm"));
    }

    #[test]
    fn what_is_no_source_is_passed_over() {
        for text in ["", "deb", "deb [", "deb []", "deb http://a.test", "URIs: x", "Types: deb\nURIs:\n"] {
            assert!(lines(text).is_empty() && stanzas(text).is_empty(), "{text}");
        }
    }
}
