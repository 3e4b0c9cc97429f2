//! Repositories, by the user's own git and hg, so that keys, agents, proxies and private servers work as they know them.
//!
//! What is taken is what `git archive` gives, as ansible-galaxy does (`ansible/utils/galaxy.py`): files marked
//! `export-ignore` stay away, and submodules, too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::{Cmd, fs};

use crate::cache::Cache;
use crate::http::shown;
use crate::tree::Tree;
use crate::version::Version;
use crate::{Error, Result};

/// What was taken from a repository.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// The files.
    pub tree: Tree,
    /// The commit, in hexadecimal digits.
    pub commit: String,
}

/// How repositories are reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether any certificate will do.
    pub ignore_certificates: bool,
    /// Whether `.git` or `.hg` comes along.
    pub keep_meta: bool,
}

/// The folder of a repository on this machine.
fn local(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    let path = PathBuf::from(path);
    (path.is_absolute() && path.is_dir()).then_some(path)
}

fn safe(word: &str, what: &str) -> Result<()> {
    // A word that begins with a dash would be an option; git knows addresses that run programs.
    if word.starts_with('-') || word.starts_with("ext::") || word.contains('\0') {
        return Err(Error::new(format!("`{word}` is no {what}")));
    }
    Ok(())
}

fn git(options: Options) -> Cmd {
    let mut command = Cmd::new("git").env("GIT_TERMINAL_PROMPT", "0").timeout(Duration::from_mins(15));
    if options.ignore_certificates {
        command = command.args(["-c", "http.sslVerify=false"]);
    }
    command
}

fn needs(program: &str, url: &str) -> Result<()> {
    if bakery_host::command::find_program(program).is_none() {
        return Err(Error::new(format!(
            "`{program}` is not installed, and {} is a repository of it",
            shown(url)
        )));
    }
    Ok(())
}

/// What git says, without the noise.
fn reason(error: &bakery_host::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| l.starts_with("fatal:") || l.starts_with("error:") || l.contains("ermission denied"))
        .collect();
    if lines.is_empty() { text } else { lines.join("; ") }
}

/// A name in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// A tag's or a branch's, or `HEAD`.
    pub name: String,
    /// Where it leads to.
    pub commit: String,
    /// Whether it is a tag, which is not meant to move.
    pub is_tag: bool,
}

/// The names of a repository: `HEAD` first, and tags before branches.
///
/// # Errors
/// What git says.
pub fn refs(url: &str, options: Options) -> Result<Vec<Ref>> {
    needs("git", url)?;
    safe(url, "address")?;
    let output = git(options)
        .args(["ls-remote", "--quiet", "--", url])
        .run()
        .map_err(|e| Error::new(format!("{} cannot be read: {}", shown(url), reason(&e))))?;
    let (mut head, mut tags, mut branches): (Vec<Ref>, Vec<Ref>, Vec<Ref>) = Default::default();
    for line in output.text().lines() {
        let Some((commit, name)) = line.split_once('\t') else { continue };
        let made = |name: &str, is_tag| Ref { name: name.to_owned(), commit: commit.to_owned(), is_tag };
        if name == "HEAD" {
            head.push(made(name, false));
        } else if let Some(tag) = name.strip_prefix("refs/tags/") {
            match tag.strip_suffix("^{}") {
                // The commit behind an annotated tag follows the tag.
                Some(tag) => {
                    if let Some(known) = tags.iter_mut().find(|known| known.name == tag) {
                        known.commit = commit.to_owned();
                    }
                }
                None => tags.push(made(tag, true)),
            }
        } else if let Some(branch) = name.strip_prefix("refs/heads/") {
            branches.push(made(branch, false));
        }
    }
    head.extend(tags);
    head.extend(branches);
    Ok(head)
}

/// The versions that a repository's tags name.
///
/// # Errors
/// What git says.
pub fn versions(url: &str, options: Options) -> Result<Vec<Version>> {
    let tags = refs(url, options)?.into_iter().filter(|r| r.is_tag);
    Ok(tags.map(|tag| Version::new(tag.name)).filter(Version::is_number).collect())
}

fn is_commit(version: &str) -> bool {
    version.len() >= 7 && version.len() <= 64 && version.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A repository's files at a tag, branch or commit; at its default branch if `version` is empty or `HEAD`.
///
/// # Errors
/// What git says, and a version that is not there.
pub fn checkout(url: &str, version: &str, cache: &Cache, options: Options) -> Result<Checkout> {
    needs("git", url)?;
    safe(url, "address")?;
    safe(version, "version")?;
    let version = if version.is_empty() { "HEAD" } else { version };
    let missing = |e: bakery_host::Error| {
        let text = reason(&e);
        let unknown = ["not a valid object name", "couldn't find remote ref", "bad revision", "not a tree"];
        if unknown.iter().any(|u| text.contains(u)) {
            return Error::new(format!("{} has no tag, branch or commit `{version}`", shown(url)));
        }
        Error::new(format!("{} cannot be read: {text}", shown(url)))
    };
    if options.keep_meta {
        return with_meta(url, version, options);
    }
    if let Some(path) = local(url) {
        // The objects are here already. No repository further up is meant.
        let ceiling = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let run = git(options).arg("-C").arg(&path).env("GIT_CEILING_DIRECTORIES", ceiling);
        return archive(run, version, url).map_err(|e| match e {
            Failed::Git(e) => missing(e),
            Failed::Other(e) => e,
        });
    }
    let (place, _lock) = cache.repository(url)?;
    if !place.join("HEAD").is_file() {
        git(options).args(["init", "--quiet", "--bare", "--template="]).arg(&place).run()?;
    }
    let run = || git(options).arg("-C").arg(&place);
    let fetch = |depth: bool, what: &str| {
        let command = run().args(["fetch", "--quiet", "--no-tags", "--force"]);
        let command = if depth { command.arg("--depth=1") } else { command };
        command.args(["--", url, what]).run()
    };
    let asked = format!("+{version}:refs/bakery/asked");
    let (mut fetched, mut at) = (fetch(true, &asked), "refs/bakery/asked".to_owned());
    if fetched.is_err() && is_commit(version) {
        // Servers may refuse to give a commit that no name leads to by itself, and a short one is no name.
        at = version.to_owned();
        let shallow = place.join("shallow");
        fetched = fetch(false, "+refs/*:refs/bakery/all/*");
        if fetched.is_ok() && shallow.is_file() {
            fetched = run().args(["fetch", "--quiet", "--unshallow", "--", url]).run();
        }
    } else if let Err(error) = &fetched
        && error.to_string().contains("shallow")
    {
        // Plain files behind a web server have no shallow copies.
        fetched = fetch(false, &asked);
    }
    fetched.map_err(missing)?;
    archive(run(), &at, url).map_err(|e| match e {
        Failed::Git(e) => missing(e),
        Failed::Other(e) => e,
    })
}

enum Failed {
    Git(bakery_host::Error),
    Other(Error),
}

fn archive(command: Cmd, version: &str, url: &str) -> std::result::Result<Checkout, Failed> {
    let output = command
        .args(["archive", "--format=tar"])
        // `VERSION` may be the name of a file as well.
        .arg(format!("{version}^{{commit}}"))
        .run()
        .map_err(Failed::Git)?;
    let (tree, commit) = Tree::from_archive(&output.stdout).map_err(Failed::Other)?;
    let commit = commit.ok_or_else(|| {
        Failed::Other(Error::new(format!("git did not say which commit of {} it gave", shown(url))))
    })?;
    Ok(Checkout { tree, commit })
}

fn with_meta(url: &str, version: &str, options: Options) -> Result<Checkout> {
    let folder = tempfile::tempdir().map_err(|e| Error::new(format!("no temporary folder: {e}")))?;
    let place = folder.path().join("clone");
    let failed = |e: bakery_host::Error| Error::new(format!("{} cannot be read: {}", shown(url), reason(&e)));
    git(options).args(["clone", "--quiet", "--", url]).arg(&place).run().map_err(failed)?;
    let run = || git(options).arg("-C").arg(&place);
    if version != "HEAD" {
        run().args(["checkout", "--quiet", version]).run().map_err(failed)?;
    }
    let commit = run().args(["rev-parse", "HEAD"]).run()?.text().trim().to_owned();
    Ok(Checkout { tree: Tree::from_folder(&place)?, commit })
}

/// A Mercurial repository's files at a tag, branch or change.
///
/// # Errors
/// What hg says, also that it is not installed.
pub fn checkout_hg(url: &str, version: &str, options: Options) -> Result<Checkout> {
    needs("hg", url)?;
    safe(url, "address")?;
    safe(version, "version")?;
    let folder = tempfile::tempdir().map_err(|e| Error::new(format!("no temporary folder: {e}")))?;
    let place = folder.path().join("clone");
    let hg = || {
        let command = Cmd::new("hg").env("HGPLAIN", "1").timeout(Duration::from_mins(15));
        if options.ignore_certificates { command.arg("--insecure") } else { command }
    };
    let failed = |e: bakery_host::Error| Error::new(format!("{} cannot be read: {e}", shown(url)));
    hg().args(["clone", "--quiet", "--", url]).arg(&place).run().map_err(failed)?;
    let at = |command: Cmd| {
        let command = command.arg("-R").arg(&place);
        if version.is_empty() { command } else { command.args(["-r", version]) }
    };
    let id = at(hg().args(["identify", "--id", "--debug"])).run().map_err(failed)?;
    let out = folder.path().join("files");
    at(hg().args(["archive", "--type", "files"])).arg(&out).run().map_err(failed)?;
    if options.keep_meta {
        fs::rename(place.join(".hg"), out.join(".hg"))?;
    }
    Ok(Checkout { tree: Tree::from_folder(&out)?, commit: id.text().trim().trim_end_matches('+').to_owned() })
}
