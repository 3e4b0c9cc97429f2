//! What rpm knows of installed packages and of package files, and what dnf says of its transactions.

mod refusal;
mod transaction;
mod version;

use bakery_host::Output;

use crate::{Failure, Host};

pub(crate) use refusal::{failure, missing, no_group, unknown_repository};
pub(crate) use transaction::Transaction;
pub(crate) use version::Evr;

/// How rpm is asked about a package: name, architecture, epoch (`(none)` if there is none), version, release.
const FORMAT: &str = "%{NAME}\t%{ARCH}\t%{EPOCH}\t%{VERSION}\t%{RELEASE}\n";

/// A package, installed or in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) arch: String,
    pub(crate) evr: Evr,
}

impl Package {
    /// As dnf shows it: `name-[epoch:]version-release.arch`, the epoch if it is not 0.
    pub(crate) fn nevra(&self) -> String {
        format!("{}-{}.{}", self.name, self.evr, self.arch)
    }

    /// What it may be called, the least said first (`libdnf`, `HY_FORM_*`).
    fn forms(&self) -> Vec<String> {
        let Self { name, arch, evr } = self;
        let Evr { epoch, version, release } = evr;
        let release = release.as_deref().unwrap_or_default();
        let mut forms = vec![name.clone(), format!("{name}.{arch}")];
        for version in [version.clone(), format!("{epoch}:{version}")] {
            forms.push(format!("{name}-{version}"));
            forms.push(format!("{name}-{version}-{release}"));
            forms.push(format!("{name}-{version}-{release}.{arch}"));
        }
        forms
    }
}

/// The packages of a root folder, as rpm has them.
pub(crate) struct Installed<'a> {
    host: &'a Host,
    root: Option<&'a str>,
}

impl<'a> Installed<'a> {
    pub(crate) fn below(host: &'a Host, root: Option<&'a str>) -> Self {
        Self { host, root: root.filter(|root| *root != "/") }
    }

    fn ask(&self, words: &[&str]) -> Result<Output, Failure> {
        let mut argv = vec!["rpm", "-q", "--queryformat", FORMAT];
        argv.extend(self.root.iter().flat_map(|root| ["--root", *root]));
        argv.extend(words);
        self.host.try_run(&argv)
    }

    /// All of them, without the keys that rpm keeps among them.
    pub(crate) fn all(&self) -> Result<Vec<Package>, Failure> {
        let mut all = read(&self.ask(&["-a"])?.text());
        all.retain(|package| package.name != "gpg-pubkey");
        Ok(all)
    }

    /// Those of a name; of a name with a version, a release or an architecture; or of a pattern of those.
    pub(crate) fn called(&self, spec: &str) -> Result<Vec<Package>, Failure> {
        if is_pattern(spec) {
            // rpm's own patterns are of names only.
            let Ok(pattern) = glob::Pattern::new(spec) else { return Ok(vec![]) };
            let mut all = self.all()?;
            all.retain(|package| package.forms().iter().any(|form| pattern.matches(form)));
            return Ok(all);
        }
        let output = self.ask(&["--", spec])?;
        Ok(if output.success() { read(&output.text()) } else { vec![] })
    }

    /// Whether there is one for each of some names: one question for all.
    pub(crate) fn has(&self, names: &[String]) -> Result<bool, Failure> {
        let words: Vec<&str> = ["--"].into_iter().chain(names.iter().map(String::as_str)).collect();
        Ok(self.ask(&words)?.success())
    }

    /// Those that provide what a name or a path stands for.
    pub(crate) fn providing(&self, what: &str) -> Result<Vec<Package>, Failure> {
        let output = self.ask(&["--whatprovides", "--", what])?;
        Ok(if output.success() { read(&output.text()) } else { vec![] })
    }
}

/// The package in a file.
pub(crate) fn of_file(host: &Host, path: &str) -> Result<Package, Failure> {
    let output = host.run(&["rpm", "-qp", "--nosignature", "--queryformat", FORMAT, "--", path])?;
    let package = read(&output.text()).into_iter().next();
    package.ok_or_else(|| Failure::new(format!("rpm says nothing of {path}")))
}

/// Whether dnf would take it for a pattern of names (`dnf/util.py`, `is_glob_pattern`).
pub(crate) fn is_pattern(spec: &str) -> bool {
    spec.contains(['*', '?', '['])
}

fn read(text: &str) -> Vec<Package> {
    let package = |line: &str| {
        let [name, arch, epoch, version, release] = line.split('\t').collect::<Vec<_>>()[..] else {
            return None;
        };
        let evr = Evr::new(epoch.parse().unwrap_or(0), version, Some(release));
        Some(Package { name: name.to_owned(), arch: arch.to_owned(), evr })
    };
    text.lines().filter_map(package).collect()
}
