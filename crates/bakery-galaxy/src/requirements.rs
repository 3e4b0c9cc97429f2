//! `requirements.yml`, the dependencies of `meta/`, and words of a command line: what is wanted, and from where
//! (`ansible/playbook/role/requirement.py`, `galaxy/dependency_resolution/dataclasses.py`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::yaml::{self, Node};
use bakery_lang::{Diagnostic, Origin, Source as Text};
use serde::{Deserialize, Serialize};

use crate::http::shown;
use crate::version::Wanted;
use crate::{Error, Result};

/// A role or a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A role: a folder of `roles/`.
    Role,
    /// A collection: `ansible_collections/NAMESPACE/NAME`.
    Collection,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Role => "role",
            Self::Collection => "collection",
        })
    }
}

/// Where something comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Source {
    /// A git repository, and the folder in it.
    Git(String, String),
    /// A Mercurial repository.
    Hg(String),
    /// An archive behind a URL.
    Url(String),
    /// An archive on this machine.
    File(PathBuf),
    /// A folder on this machine; for collections it may hold several.
    Folder(PathBuf),
    /// A name on a Galaxy server: its `author.role` or `namespace.collection`, and the server's name or URL if one is
    /// demanded.
    Galaxy(String, Option<String>),
}

/// A source as a lock file has it: one key says which kind it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    git: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    galaxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

impl From<Source> for Written {
    fn from(source: Source) -> Self {
        let none = Self::default();
        match source {
            Source::Git(url, folder) => {
                Self { git: Some(url), folder: Some(folder).filter(|f| !f.is_empty()), ..none }
            }
            Source::Hg(url) => Self { hg: Some(url), ..none },
            Source::Url(url) => Self { url: Some(url), ..none },
            Source::File(path) => Self { archive: Some(path), ..none },
            Source::Folder(path) => Self { path: Some(path), ..none },
            Source::Galaxy(name, server) => Self { galaxy: Some(name), server, ..none },
        }
    }
}

impl TryFrom<Written> for Source {
    type Error = &'static str;

    fn try_from(written: Written) -> std::result::Result<Self, Self::Error> {
        Ok(match written {
            Written { git: Some(url), folder, .. } => Self::Git(url, folder.unwrap_or_default()),
            Written { hg: Some(url), .. } => Self::Hg(url),
            Written { url: Some(url), .. } => Self::Url(url),
            Written { archive: Some(path), .. } => Self::File(path),
            Written { path: Some(path), .. } => Self::Folder(path),
            Written { galaxy: Some(name), server, .. } => Self::Galaxy(name, server),
            _ => return Err("a source has one of git, hg, url, archive, path and galaxy"),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(url, folder) if !folder.is_empty() => write!(f, "git+{}#{folder}", shown(url)),
            Self::Git(url, _) => write!(f, "git+{}", shown(url)),
            Self::Hg(url) => write!(f, "hg+{}", shown(url)),
            Self::Url(url) => f.write_str(&shown(url)),
            Self::File(path) | Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Galaxy(name, None) => write!(f, "galaxy:{name}"),
            Self::Galaxy(name, Some(server)) => write!(f, "galaxy:{name} on {}", shown(server)),
        }
    }
}

/// Something that is wanted.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// Which of the two.
    pub kind: Kind,
    /// The name to install it under; empty for a collection whose name its own files tell.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// Which version.
    pub wanted: Wanted,
    /// Where signatures of a collection's manifest are: paths or URLs.
    pub signatures: Vec<String>,
    /// Where it is written.
    pub origin: Option<Origin>,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.source) } else { f.write_str(&self.name) }
    }
}

impl Requirement {
    /// An error about it, at its place.
    pub fn error(&self, message: impl Into<String>) -> Error {
        match &self.origin {
            Some(origin) => Diagnostic::at(origin, message).into(),
            None => Error::new(message),
        }
    }
}

/// Everything that a file wants.
#[derive(Debug, Clone, Default)]
pub struct Requirements {
    /// Roles and collections, in the order of the file.
    pub all: Vec<Requirement>,
}

impl Requirements {
    /// Those of one kind.
    pub fn of(&self, kind: Kind) -> Vec<Requirement> {
        self.all.iter().filter(|r| r.kind == kind).cloned().collect()
    }
}

/// Reads a file of requirements: the old list of roles, or `roles:` and `collections:`.
///
/// # Errors
/// Text that is no YAML or not of a known shape, with its place.
pub fn read(path: &Path) -> Result<Requirements> {
    if !path.is_file() {
        return Err(Error::new(format!("the requirements file '{}' does not exist", path.display())));
    }
    let mut all = Vec::new();
    read_into(path, &mut all, &mut Vec::new())?;
    Ok(Requirements { all })
}

fn read_into(path: &Path, all: &mut Vec<Requirement>, above: &mut Vec<PathBuf>) -> Result<()> {
    let real = fs::canonicalize(path)?;
    if above.contains(&real) {
        return Err(Error::new(format!("{} includes itself", path.display())));
    }
    above.push(real);
    let text = fs::read_to_string(path)?;
    let node = yaml::parse(&Text::new(path.display().to_string(), text))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let bad = |node: &Node, message: String| Error::from(Diagnostic::at(&node.origin, message));
    if node.is_none() {
        return Err(bad(&node, format!("no requirements found in {}", path.display())));
    }
    let list = |node: &Node, what: &str| -> Result<Vec<Node>> {
        if node.is_none() {
            return Ok(vec![]);
        }
        let list = node.as_list().map(<[Node]>::to_vec);
        list.ok_or_else(|| bad(node, format!("{what} must be a list, found {}", node.kind_name())))
    };
    let (roles, collections) = if let Some(map) = node.as_map() {
        for (key, _) in map {
            if !matches!(key.as_str(), Some("roles" | "collections")) {
                return Err(bad(
                    key,
                    format!(
                        "a requirements file has `roles` and `collections` at its top, not `{}`",
                        key.to_value()
                    ),
                ));
            }
        }
        let part = |key: &str| node.get(key).map_or(Ok(vec![]), |n| list(n, key));
        (part("roles")?, part("collections")?)
    } else {
        (list(&node, "requirements")?, vec![])
    };
    for node in &roles {
        if let Some(include) = node.get("include").and_then(Node::as_str) {
            let included = located(include, folder);
            if !included.is_file() {
                return Err(bad(node, format!("the included file '{include}' does not exist")));
            }
            read_into(&included, all, above)?;
        } else {
            all.push(role(node, folder)?);
        }
    }
    for node in &collections {
        all.push(collection(node, folder)?);
    }
    above.pop();
    Ok(())
}

/// A path as seen from the working folder, as ansible-galaxy takes it, else from the file that names it.
fn located(text: &str, folder: &Path) -> PathBuf {
    let text = text.strip_prefix("file://").unwrap_or(text);
    let path = match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    };
    let path = if path.is_absolute() || path.exists() { path } else { folder.join(path) };
    // The same path however it is written: locks compare it.
    fs::canonicalize(&path).unwrap_or(path)
}

fn text(node: &Node, key: &str) -> Option<String> {
    let value = node.get(key).filter(|n| !n.is_none())?.to_value().to_string().trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// A role of a list of requirements or dependencies.
///
/// # Errors
/// A shape that is not known, with its place.
pub fn role(node: &Node, folder: &Path) -> Result<Requirement> {
    let at = |message: String| Error::from(Diagnostic::at(&node.origin, message));
    if let Some(line) = node.as_str() {
        let mut requirement = role_line(line, folder).map_err(|e| at(e.to_string()))?;
        requirement.origin = Some(node.origin.clone());
        return Ok(requirement);
    }
    if node.as_map().is_none() {
        return Err(at(format!("a role is a name or has keys such as `src`, found {}", node.kind_name())));
    }
    let given = text(node, "role").or_else(|| text(node, "name"));
    let src = text(node, "src").or_else(|| given.clone());
    let src = src.ok_or_else(|| at("a role needs `src` or `name`".into()))?;
    let version = text(node, "version").unwrap_or_default();
    let made = role_from(&src, &version, given, text(node, "scm").as_deref(), folder);
    let mut requirement = made.map_err(|e| at(e.to_string()))?;
    requirement.origin = Some(node.origin.clone());
    Ok(requirement)
}

/// `src[,version[,name]]`.
///
/// # Errors
/// More commas, or words that name nothing.
pub fn role_line(line: &str, folder: &Path) -> Result<Requirement> {
    let parts: Vec<&str> = line.trim().split(',').map(str::trim).collect();
    if parts.len() > 3 {
        return Err(Error::new(format!("`{line}` is no role: it is written src[,version[,name]]")));
    }
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    role_from(part(0), part(1), (!part(2).is_empty()).then(|| part(2).to_owned()), None, folder)
}

/// The name that a role has by its address (`repo_url_to_role_name`).
fn name_of(src: &str) -> String {
    if !src.contains("://") && !src.contains('@') && !src.contains('/') {
        return src.to_owned();
    }
    let last = src.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(src);
    let last = last.strip_suffix(".git").unwrap_or(last);
    [".tar.gz", ".tgz", ".tar"].iter().find_map(|e| last.strip_suffix(e)).unwrap_or(last).to_owned()
}

fn role_from(
    src: &str,
    version: &str,
    name: Option<String>,
    scm: Option<&str>,
    folder: &Path,
) -> Result<Requirement> {
    let (mut scm, mut src) = (scm.map(str::to_owned), src.trim().to_owned());
    if let Some((program, rest)) = src.split_once('+')
        && matches!(program, "git" | "hg")
    {
        (scm, src) = (Some(program.to_owned()), rest.to_owned());
    }
    let archive = [".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz"].iter().any(|e| src.ends_with(e));
    let looks_git = src.ends_with(".git")
        || src.starts_with("git@")
        || src.starts_with("ssh://")
        || src.starts_with("git://")
        || (src.contains("github.com/") && !archive);
    let name = name.unwrap_or_else(|| name_of(&src));
    let source = match scm.as_deref() {
        Some("git") => Source::Git(repository(&src, folder), String::new()),
        Some("hg") => Source::Hg(repository(&src, folder)),
        Some(other) => {
            return Err(Error::new(format!("the version control `{other}` is not known; git and hg are")));
        }
        None if looks_git => Source::Git(repository(&src, folder), String::new()),
        None if src.starts_with("http://") || src.starts_with("https://") => Source::Url(src),
        None if src.starts_with("file://") || src.contains('/') || archive => {
            let path = located(&src, folder);
            if path.is_dir() { Source::Folder(path) } else { Source::File(path) }
        }
        None if located(&src, folder).is_file() => Source::File(located(&src, folder)),
        None => Source::Galaxy(src, None),
    };
    let inside = Path::new(&name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if name.is_empty() || !inside || name.starts_with('.') || name.contains('\0') {
        return Err(Error::new(format!("`{name}` is no name for a role")));
    }
    Ok(Requirement {
        kind: Kind::Role,
        name,
        source,
        wanted: Wanted::parse(version)?,
        signatures: vec![],
        origin: None,
    })
}

/// An address of a repository; paths become absolute.
fn repository(src: &str, folder: &Path) -> String {
    let remote = src.contains("://") || (src.contains(':') && !src.starts_with('/') && !src.starts_with('.'));
    if remote {
        return src.to_owned();
    }
    located(src, folder).display().to_string()
}

/// Whether a word is `namespace.name` as Python's identifiers are.
pub fn is_collection_name(word: &str) -> bool {
    let identifier = |w: &str| {
        !w.is_empty()
            && !w.starts_with(|c: char| c.is_ascii_digit())
            && w.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    word.split_once('.').is_some_and(|(namespace, name)| identifier(namespace) && identifier(name))
}

/// A collection of a list of requirements.
///
/// # Errors
/// A shape that is not known, with its place.
pub fn collection(node: &Node, folder: &Path) -> Result<Requirement> {
    let at = |message: String| Error::from(Diagnostic::at(&node.origin, message));
    let made = if let Some(word) = node.as_str() {
        collection_from(word, "", None, None, folder)
    } else if node.as_map().is_some() {
        let name = text(node, "name").or_else(|| text(node, "source"));
        let name = name.ok_or_else(|| at("a collection needs `name`".into()))?;
        let source = text(node, "source").filter(|s| *s != name);
        let version = text(node, "version").unwrap_or_default();
        collection_from(&name, &version, source.as_deref(), text(node, "type").as_deref(), folder)
    } else {
        return Err(at(format!(
            "a collection is a name or has keys such as `name`, found {}",
            node.kind_name()
        )));
    };
    let mut requirement = made.map_err(|e| at(e.to_string()))?;
    requirement.origin = Some(node.origin.clone());
    requirement.signatures = match node.get("signatures") {
        Some(one) if one.as_list().is_none() => text(node, "signatures").into_iter().collect(),
        Some(list) => {
            list.as_list().unwrap_or_default().iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()
        }
        None => vec![],
    };
    Ok(requirement)
}

/// A collection of a command line: `namespace.name[:version]`, `namespace.name>=1`, a path or an address.
///
/// # Errors
/// Words that name nothing.
pub fn collection_word(word: &str) -> Result<Requirement> {
    let here = Path::new(".");
    let (name, version) = match word.find([':', '>', '<', '=', '!']) {
        Some(at) if is_collection_name(word[..at].trim()) => {
            (word[..at].trim(), word[at..].trim_start_matches(':').trim())
        }
        _ => (word, ""),
    };
    collection_from(name, version, None, None, here)
}

fn collection_from(
    name: &str,
    version: &str,
    source: Option<&str>,
    kind: Option<&str>,
    folder: &Path,
) -> Result<Requirement> {
    // An address in `source` means the same as one in `name`.
    let is_git = |w: &str| w.starts_with("git+") || w.starts_with("git@");
    let is_url = |w: &str| w.starts_with("http://") || w.starts_with("https://");
    let word = match (kind, source) {
        (Some("galaxy"), _) | (None, None) => name,
        (Some(_), Some(source)) => source,
        (Some(_), None) => name,
        (None, Some(source)) if is_git(source) || (!is_url(source) && located(source, folder).exists()) => {
            source
        }
        (None, Some(_)) => name,
    };
    let kind = match kind {
        Some(kind) => kind,
        None if is_git(word) => "git",
        None if is_url(word) => "url",
        None if is_collection_name(word) && !(word.contains('/') || located(word, folder).is_file()) => {
            "galaxy"
        }
        None if located(word, folder).is_file() => "file",
        None if located(word, folder).is_dir() => "dir",
        None => {
            return Err(Error::new(format!(
                "`{word}` is neither a collection's name, as `namespace.name`, nor an address or a path that is there"
            )));
        }
    };
    let known = if is_collection_name(name) { name.to_owned() } else { String::new() };
    let mut version = version.to_owned();
    let source = match kind {
        "galaxy" => {
            if !is_collection_name(name) {
                return Err(Error::new(format!(
                    "`{name}` is no collection's name: they are `namespace.name`"
                )));
            }
            Source::Galaxy(name.to_owned(), source.map(str::to_owned))
        }
        "git" => {
            // `git+URL#/folder,version` (`parse_scm`).
            let word = word.strip_prefix("git+").unwrap_or(word);
            let (word, given) = word.split_once(',').map_or((word, None), |(w, v)| (w, Some(v)));
            if let Some(given) = given {
                version = given.to_owned();
            }
            let (url, fragment) = word.split_once('#').unwrap_or((word, ""));
            let fragment = fragment.trim_matches('/');
            if fragment.split('/').any(|part| part == "..") {
                return Err(Error::new(format!("`{fragment}` leads out of the repository")));
            }
            Source::Git(repository(url, folder), fragment.to_owned())
        }
        "url" => Source::Url(word.to_owned()),
        "file" => Source::File(located(word, folder)),
        "dir" | "subdirs" => Source::Folder(located(word, folder)),
        other => {
            return Err(Error::new(format!(
                "the type `{other}` is not known; known are file, galaxy, git, url, dir and subdirs"
            )));
        }
    };
    Ok(Requirement {
        kind: Kind::Collection,
        name: known,
        source,
        wanted: Wanted::parse(&version)?,
        signatures: vec![],
        origin: None,
    })
}

/// The dependencies that a collection names: names or addresses, and versions.
///
/// # Errors
/// Words that name nothing.
pub fn collection_dependencies(of: &BTreeMap<String, String>) -> Result<Vec<Requirement>> {
    of.iter().map(|(name, version)| collection_from(name, version, None, None, Path::new("/"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Requirements> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write_atomic(file.path(), text).expect("written");
        read(file.path())
    }

    #[test]
    fn old_and_new_forms() {
        let old = parse("---\n- src: https://github.com/William-Yeh/ansible-prometheus \n  version: 2.3.2\n  name: ansible-prometheus\n- git+ssh://h/x/y.git,v1\n- /some/role\n- geerlingguy.nginx,3.1\n- src: hg+https://h/z\n").expect("valid").all;
        assert_eq!(old[0].wanted.text(), "2.3.2");
        assert!(matches!(&old[0].source, Source::Git(url, _) if url.ends_with("prometheus")));
        assert_eq!((old[1].name.as_str(), old[1].wanted.text()), ("y", "v1"));
        assert_eq!(old[2].name, "role");
        assert_eq!(old[3].source, Source::Galaxy("geerlingguy.nginx".into(), None));
        assert!(matches!(&old[4].source, Source::Hg(_)));
        let new = parse("roles:\n- {name: a.b, version: '>=1,<2'}\ncollections:\n- n.c\n- {name: n.d, version: '*', source: my_server}\n- {name: 'git+https://h/r.git#/sub/,v2', type: git}\n- {name: 'https://h/n-e-1.0.0.tar.gz'}\n").expect("valid");
        assert!(new.of(Kind::Role)[0].wanted.is_range());
        let collections = new.of(Kind::Collection);
        assert_eq!(collections[1].source, Source::Galaxy("n.d".into(), Some("my_server".into())));
        assert_eq!(collections[2].source, Source::Git("https://h/r.git".into(), "sub".into()));
        assert_eq!(collections[2].wanted.text(), "v2");
        assert!(matches!(&collections[3].source, Source::Url(_)));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, words) in [
            ("roles:\n  - name: ../x\n", ":2", "no name for a role"),
            ("just text\n", ":1", "must be a list"),
            ("rolez: []\n", ":1", "rolez"),
            ("- name: a\n- 5\n", ":2", "a role is"),
            ("collections:\n- name: nodots\n", ":2", "nodots"),
            ("collections:\n- {name: a.b, version: '>=main'}\n", ":2", "no version number"),
            ("- src: x\n  scm: svn\n", ":1", "svn"),
            ("- include: /nowhere.yml\n", ":1", "/nowhere.yml"),
            ("- a: [\n", ":", ""),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(words) && error.contains(line), "{text}: {error}");
        }
    }

    #[test]
    fn words_of_a_command_line() {
        let word = |w: &str| collection_word(w).expect("valid");
        assert_eq!(word("a.b:1.2.3").wanted.text(), "1.2.3");
        assert_eq!(word("a.b>=1,<2").wanted.text(), ">=1,<2");
        assert!(collection_word("nothing").is_err());
    }
}
