//! `requirements.yml`: the old list form and the `roles:` form.

use std::path::Path;

use bakery_host::fs;
use bakery_lang::yaml::{self, Node};
use bakery_lang::{Diagnostic, Source};

use crate::{Error, Result};

/// A role that a project needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The name to install it under.
    pub name: String,
    /// Where it comes from: an address, a path, or a name of Galaxy.
    pub src: String,
    /// `git`, or nothing for tarballs and folders.
    pub scm: Option<String>,
    /// The tag, branch or commit; the default branch if not given.
    pub version: Option<String>,
}

/// Reads a file of requirements.
///
/// # Errors
/// Text that is no YAML or not of a known shape, with its place.
pub fn read(path: &Path) -> Result<Vec<Requirement>> {
    let text = fs::read_to_string(path)?;
    let node = yaml::parse(&Source::new(path.display().to_string(), text))?;
    let list = match node.get("roles") {
        Some(roles) => roles.as_list().unwrap_or_default(),
        None if node.is_none() => return Ok(vec![]),
        None if node.get("collections").is_some() => &[],
        None => node.as_list().ok_or_else(|| {
            Error::from(Diagnostic::at(
                &node.origin,
                format!("requirements must be a list of roles, found {}", node.kind_name()),
            ))
        })?,
    };
    list.iter().map(one).collect()
}

fn one(node: &Node) -> Result<Requirement> {
    let text = |key: &str| {
        node.get(key).filter(|n| !n.is_none()).map(|n| n.to_value().to_string().trim().to_owned())
    };
    let (src, mut version, mut name) = match node.as_str() {
        // `src,version,name` in one line.
        Some(line) => {
            let mut parts = line.split(',').map(|p| p.trim().to_owned());
            (parts.next().unwrap_or_default(), parts.next(), parts.next())
        }
        None => {
            let src = text("src").or_else(|| text("role")).or_else(|| text("name"));
            let src = src.ok_or_else(|| {
                Error::from(Diagnostic::at(&node.origin, "a requirement needs a `src` or `name`"))
            })?;
            (src, text("version"), text("name"))
        }
    };
    let mut scm = text("scm");
    let mut src = src;
    if let Some(rest) = src.strip_prefix("git+") {
        scm = Some("git".into());
        src = rest.to_owned();
    }
    let looks_git = src.ends_with(".git")
        || src.starts_with("git@")
        || src.starts_with("ssh://")
        || src.starts_with("git://")
        || (src.contains("github.com/") && !src.contains(".tar"));
    if scm.is_none() && looks_git {
        scm = Some("git".into());
    }
    if let Some(other) = scm.as_deref().filter(|s| *s != "git") {
        return Err(Diagnostic::at(&node.origin, format!("the version control `{other}` is not known"))
            .hint("known: git")
            .into());
    }
    version = version.filter(|v| !v.is_empty());
    name = name.filter(|n| !n.is_empty());
    let name = name.unwrap_or_else(|| {
        let last = src.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(&src);
        last.trim_end_matches(".git").trim_end_matches(".tar.gz").trim_end_matches(".tgz").to_owned()
    });
    let valid = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
    if !valid {
        return Err(Diagnostic::at(&node.origin, format!("`{name}` is no name for a role")).into());
    }
    Ok(Requirement { name, src, scm, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Requirement>> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write_atomic(file.path(), text).expect("written");
        read(file.path())
    }

    #[test]
    fn old_and_new_forms() {
        let roles = parse("---\n- src: https://github.com/William-Yeh/ansible-prometheus \n  version: 2.3.2\n  name: ansible-prometheus\n- git+ssh://h/x/y.git,v1\n- /some/role\n").expect("valid");
        assert_eq!(roles[0].version.as_deref(), Some("2.3.2"));
        assert_eq!(roles[0].scm.as_deref(), Some("git"));
        assert_eq!((roles[1].name.as_str(), roles[1].version.as_deref()), ("y", Some("v1")));
        assert_eq!(roles[2].name, "role");
        assert!(parse("roles:\n  - name: ../x\n").is_err());
        assert!(parse("just text\n").is_err());
    }
}
