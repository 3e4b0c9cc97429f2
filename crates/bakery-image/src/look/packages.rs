//! The packages of an image, from the databases of its package managers: dpkg, apk, and Python's own records.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Tree;

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// What keeps it: `deb`, `apk`, `pypi`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, if it has one.
    pub architecture: String,
    /// Who made it.
    pub supplier: String,
    /// Where it is from.
    pub homepage: String,
}

/// The distribution: its id and version, as `/etc/os-release` has them.
pub(crate) fn distribution(tree: &Tree) -> (String, String) {
    let text = tree.files.text("etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("{name}=")));
        line.map(|v| v.trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    (field("ID"), field("VERSION_ID"))
}

/// The packages of a tree, sorted.
pub fn packages(tree: &Tree) -> Vec<Package> {
    let mut found = BTreeSet::new();
    let mut status = tree.files.text("var/lib/dpkg/status").unwrap_or_default();
    for name in tree.files.names("var/lib/dpkg/status.d") {
        status.push_str(&tree.files.text(&format!("var/lib/dpkg/status.d/{name}")).unwrap_or_default());
        status.push_str("\n\n");
    }
    for stanza in status.split("\n\n") {
        let field = |name: &str| {
            let line = stanza.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_default().to_owned()
        };
        let is_installed = field("Status").is_empty() || field("Status").ends_with(" installed");
        if field("Package").is_empty() || !is_installed {
            continue;
        }
        found.insert(Package {
            kind: "deb".into(),
            name: field("Package"),
            version: field("Version"),
            architecture: field("Architecture"),
            supplier: field("Maintainer"),
            homepage: field("Homepage"),
        });
    }
    for stanza in tree.files.text("lib/apk/db/installed").unwrap_or_default().split("\n\n") {
        let field = |letter: &str| {
            let line = stanza.lines().find_map(|l| l.strip_prefix(&format!("{letter}:")));
            line.unwrap_or_default().to_owned()
        };
        if !field("P").is_empty() {
            found.insert(Package {
                kind: "apk".into(),
                name: field("P"),
                version: field("V"),
                architecture: field("A"),
                supplier: field("m"),
                homepage: field("U"),
            });
        }
    }
    for lib in ["usr/lib", "usr/local/lib"] {
        for python in tree.files.names(lib).into_iter().filter(|n| n.starts_with("python3")) {
            for place in ["site-packages", "dist-packages"] {
                let folder = format!("{lib}/{python}/{place}");
                for record in tree.files.names(&folder).into_iter().filter(|n| n.ends_with(".dist-info")) {
                    let text = tree.files.text(&format!("{folder}/{record}/METADATA")).unwrap_or_default();
                    let field = |name: &str| {
                        let line = text
                            .lines()
                            .take_while(|l| !l.is_empty())
                            .find_map(|l| l.strip_prefix(&format!("{name}: ")));
                        line.unwrap_or_default().to_owned()
                    };
                    if !field("Name").is_empty() {
                        found.insert(Package {
                            kind: "pypi".into(),
                            name: field("Name"),
                            version: field("Version"),
                            architecture: String::new(),
                            supplier: field("Author"),
                            homepage: field("Home-page"),
                        });
                    }
                }
            }
        }
    }
    found.into_iter().collect()
}

impl Package {
    /// Its name for other tools (`package-url` specification).
    pub(crate) fn purl(&self, distribution: &(String, String)) -> String {
        let escaped = |text: &str| {
            text.bytes()
                .map(|b| match b {
                    b if b.is_ascii_alphanumeric() || b"-._~:".contains(&b) => char::from(b).to_string(),
                    b => format!("%{b:02X}"),
                })
                .collect::<String>()
        };
        let (id, version) = distribution;
        match self.kind.as_str() {
            "pypi" => format!(
                "pkg:pypi/{}@{}",
                escaped(&self.name.to_lowercase().replace('_', "-")),
                escaped(&self.version)
            ),
            kind => format!(
                "pkg:{kind}/{id}/{}@{}?arch={}&distro={id}-{version}",
                escaped(&self.name),
                escaped(&self.version),
                escaped(&self.architecture)
            ),
        }
    }
}
