//! What dpkg and apt know of packages: what is installed, what could be, and what provides what.

use std::collections::HashMap;

use bakery_host::fs;

use crate::{Failure, Host};

/// A package's name, how its version is compared (`=` or `>=`) and with which version: `name`, `name=1.0*`, `name>=2`.
pub(crate) fn split(spec: &str) -> (&str, Option<(&str, &str)>) {
    match spec.split_once('=') {
        Some((name, version)) => match name.strip_suffix('>') {
            Some(name) => (name, Some((">=", version))),
            None => (name, Some(("=", version))),
        },
        None => (spec, None),
    }
}

/// Packages that dpkg has, by name and by `name:architecture`.
pub(crate) struct Installed(HashMap<String, State>);

struct State {
    version: String,
    /// Else only files of it are left, such as its configuration.
    is_installed: bool,
}

impl Installed {
    /// Asks dpkg.
    pub(crate) fn read(host: &Host) -> Result<Self, Failure> {
        let format = "${Package}\t${Architecture}\t${Version}\t${db:Status-Status}\n";
        let output = host.run(&["dpkg-query", "-W", "-f", format])?;
        // Written once there is another architecture than the first.
        let architectures = fs::read_to_string("/var/lib/dpkg/arch").unwrap_or_default();
        let native = architectures.lines().next();
        let mut packages = HashMap::new();
        for line in output.text().lines() {
            let [name, architecture, version, status] = line.split('\t').collect::<Vec<_>>()[..] else {
                continue;
            };
            let state = || State { version: version.to_owned(), is_installed: status == "installed" };
            if architecture == "all" || native.is_none_or(|native| native == architecture) {
                packages.insert(name.to_owned(), state());
            }
            packages.insert(format!("{name}:{architecture}"), state());
        }
        Ok(Self(packages))
    }

    /// The version that is installed.
    pub(crate) fn version(&self, name: &str) -> Option<&str> {
        self.0.get(name).filter(|state| state.is_installed).map(|state| state.version.as_str())
    }

    /// Whether files of a package are there that only purging removes.
    pub(crate) fn has_leftovers(&self, name: &str) -> bool {
        let base = name.split(':').next().unwrap_or(name);
        let listed = [format!("/var/lib/dpkg/info/{base}.list"), format!("/var/lib/dpkg/info/{name}.list")];
        self.0.contains_key(name)
            && listed.iter().any(|list| fs::metadata(list).is_ok_and(|found| found.len() > 0))
    }
}

/// What apt would do with a package.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Policy {
    /// The version that apt would install, or keep.
    pub(crate) candidate: Option<String>,
    /// All versions, the newest first; none of a package that others only provide.
    pub(crate) versions: Vec<String>,
}

/// What apt says of packages.
#[derive(Default)]
pub(crate) struct Policies(HashMap<String, Policy>);

impl Policies {
    /// What it says of one; nothing if it does not know it.
    pub(crate) fn of(&self, name: &str) -> Option<&Policy> {
        // It leaves out the machine's own architecture.
        let base = || name.split(':').next().and_then(|base| self.0.get(base));
        self.0.get(name).or_else(base)
    }
}

/// Asks apt about packages, in a release if one is named.
pub(crate) fn policies(host: &Host, names: &[&str], release: Option<&str>) -> Result<Policies, Failure> {
    let mut argv = vec!["apt-cache".to_owned()];
    argv.extend(release.map(|release| format!("-oAPT::Default-Release={release}")));
    argv.extend(["policy".to_owned(), "--".to_owned()]);
    argv.extend(names.iter().map(|name| (*name).to_owned()));
    let output = host.run(&argv)?;
    Ok(read_policies(&output.text()))
}

fn read_policies(text: &str) -> Policies {
    let mut packages: HashMap<String, Policy> = HashMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(named) = line.strip_suffix(':').filter(|named| !named.starts_with(' ')) {
            name = named;
            packages.insert(name.to_owned(), Policy::default());
            continue;
        }
        let Some(policy) = packages.get_mut(name) else { continue };
        if let Some(version) = line.strip_prefix("  Candidate: ") {
            policy.candidate = Some(version.to_owned()).filter(|version| version != "(none)");
        } else if let Some(rest) = line.strip_prefix(" *** ").or_else(|| line.strip_prefix("     ")) {
            // Where a version comes from stands further to the right.
            policy
                .versions
                .extend(rest.split_whitespace().next().filter(|_| !rest.starts_with(' ')).map(str::to_owned));
        }
    }
    Policies(packages)
}

/// Packages that provide what has no version of its own.
pub(crate) fn providers(host: &Host, name: &str) -> Result<Vec<String>, Failure> {
    let output = host.try_run(&["apt-cache", "showpkg", "--", name])?;
    let text = output.text();
    let mut names: Vec<String> = text
        .lines()
        .skip_while(|line| !line.starts_with("Reverse Provides:"))
        .skip(1)
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether a version is another one, or later than that: `eq`, `ge`, `gt` (dpkg(1)).
pub(crate) fn is(host: &Host, version: &str, how: &str, other: &str) -> Result<bool, Failure> {
    Ok(host.try_run(&["dpkg", "--compare-versions", version, how, other])?.success())
}

#[cfg(test)]
mod tests {
    use super::{Policy, read_policies, split};

    #[test]
    fn specs_are_split() {
        assert_eq!(split("hello"), ("hello", None));
        assert_eq!(split("hello=2.10*"), ("hello", Some(("=", "2.10*"))));
        assert_eq!(split("hello>=2.10"), ("hello", Some((">=", "2.10"))));
    }

    #[test]
    fn policies_are_read() {
        let text = "hello:\n  Installed: 2.10-2\n  Candidate: 2.10-3\n  Version table:\n     2.10-3 500\n        500 \
            http://deb.example.org/debian stable/main amd64 Packages\n *** 2.10-2 100\n        100 /var/lib/dpkg/status\n\
            mail-transport-agent:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        let read = read_policies(text);
        let versions = vec!["2.10-3".to_owned(), "2.10-2".to_owned()];
        assert_eq!(read.of("hello"), Some(&Policy { candidate: Some("2.10-3".to_owned()), versions }));
        assert_eq!(read.of("mail-transport-agent"), Some(&Policy::default()));
        assert_eq!(read.of("nothing"), None);
    }
}
