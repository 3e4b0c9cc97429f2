//! `apt_repository`: sources of packages in `sources.list` files (`ansible/modules/apt_repository.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::{fs, signal};
use bakery_lang::{Value, json};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

const MAIN: &str = "/etc/apt/sources.list";
const PARTS: &str = "/etc/apt/sources.list.d";

/// Adds or removes a source of packages for apt.
#[derive(ModuleArgs)]
struct Args {
    /// The source as `sources.list` has it, or `ppa:OWNER/NAME`.
    #[arg(required)]
    repo: String,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The mode of a new file.
    mode: Option<Value>,
    /// Whether the lists of packages are fetched after a change.
    #[arg(default = "true", alias = "update-cache")]
    update_cache: bool,
    /// How often fetching is tried.
    #[arg(default = "5")]
    update_cache_retries: i64,
    /// The most seconds between two tries.
    #[arg(default = "12")]
    update_cache_retry_max_delay: i64,
    /// The file of `sources.list.d`, without `.list`.
    filename: Option<String>,
    /// Accepted for Ansible's sake: no Python is needed.
    #[arg(default = "true")]
    install_python_apt: bool,
    /// Whether certificates of Launchpad are checked.
    #[arg(default = "true")]
    validate_certs: bool,
    /// The release's name that a PPA's source has.
    codename: Option<String>,
}

/// A line of a file.
#[derive(Clone, PartialEq, Eq)]
struct Line {
    valid: bool,
    enabled: bool,
    source: String,
    comment: String,
}

fn parse(line: &str) -> Line {
    let line = line.trim();
    let (enabled, line) = line.strip_prefix('#').map_or((true, line), |rest| (false, rest));
    let (line, comment) = match line.find('#').filter(|at| *at > 0) {
        Some(at) => (&line[..at], line[at + 1..].trim().to_owned()),
        None => (line, String::new()),
    };
    let source = line.trim();
    let valid = matches!(source.split_whitespace().next(), Some("deb" | "deb-src"));
    let source =
        if valid { source.split_whitespace().collect::<Vec<_>>().join(" ") } else { source.to_owned() };
    Line { valid, enabled, source, comment }
}

fn render(lines: &[Line]) -> String {
    let one = |line: &Line| {
        let comment = if line.comment.is_empty() { String::new() } else { format!(" # {}", line.comment) };
        format!("{}{}{comment}\n", if line.enabled { "" } else { "# " }, line.source)
    };
    lines.iter().map(one).collect()
}

/// The file that a source gets by its address (`_suggest_filename`).
fn suggested(line: &str) -> String {
    let bare = without_options(line);
    let first = bare.split_whitespace().find(|w| !matches!(*w, "deb" | "deb-src")).unwrap_or_default();
    let first = first.split_once('@').map_or(first, |(_, rest)| rest);
    let words: String = first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    words.split_whitespace().collect::<Vec<_>>().join("_")
}

/// A line without `[options]` and `scheme://`.
fn without_options(line: &str) -> String {
    let mut out = line.to_owned();
    while let Some(start) = out.find('[') {
        let Some(end) = out[start..].find(']').map(|at| start + at) else { break };
        out.replace_range(start..=end, "");
    }
    while let Some(at) = out.find("://") {
        let start = out[..at].rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |s| s + 1);
        out.replace_range(start..at + 3, "");
    }
    out
}

struct Ppa {
    line: String,
    owner: String,
    name: String,
}

fn ppa(repo: &str, args: &Args, host: &Host) -> Result<Option<Ppa>, Failure> {
    let Some(rest) = repo.strip_prefix("ppa:") else { return Ok(None) };
    let (owner, name) = rest.split_once('/').unwrap_or((rest, "ppa"));
    let codename = match &args.codename {
        Some(codename) => codename.clone(),
        None => {
            let text = host.read_optional(Path::new("/etc/os-release"))?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let line = text.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME="));
            line.map(|l| l.trim_matches('"').to_owned())
                .ok_or("the release's name is not known; give `codename`")?
        }
    };
    Ok(Some(Ppa {
        line: format!("deb https://ppa.launchpadcontent.net/{owner}/{name}/ubuntu {codename} main"),
        owner: owner.to_owned(),
        name: name.to_owned(),
    }))
}

/// Brings the key of a PPA, by its fingerprint on Launchpad and a server of keys.
fn ppa_key(ppa: &Ppa, host: &Host) -> Result<(), Failure> {
    let url = format!("https://api.launchpad.net/1.0/~{}/+archive/{}", ppa.owner, ppa.name);
    let answer = crate::http::get(host, &url, &[("Accept".into(), "application/json".into())])
        .map_err(|e| Failure::new(format!("failed to fetch PPA information, error was: {e}")))?;
    let about = json::parse(&String::from_utf8_lossy(&answer)).map_err(|e| Failure::new(e.to_string()))?;
    let fingerprint = about.get("signing_key_fingerprint").map(|f| f.to_string()).unwrap_or_default();
    if fingerprint.is_empty() || !fingerprint.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("Launchpad does not tell the key of the PPA".into());
    }
    if host.check {
        return Ok(());
    }
    let file = format!("/etc/apt/trusted.gpg.d/{}-{}.gpg", ppa.owner, ppa.name);
    let folder = tempfile::tempdir().map_err(|e| Failure::new(e.to_string()))?;
    let home = folder.path().display().to_string();
    let server = "hkp://keyserver.ubuntu.com:80";
    host.run(&[
        "gpg",
        "--homedir",
        &home,
        "--batch",
        "--no-tty",
        "--keyserver",
        server,
        "--recv-keys",
        &fingerprint,
    ])?;
    let key = host.run(&["gpg", "--homedir", &home, "--batch", "--export", &fingerprint])?;
    fs::write_atomic_mode(&file, key.stdout, 0o644)?;
    Ok(())
}

type Files = BTreeMap<PathBuf, Vec<Line>>;

fn load(host: &Host) -> Result<Files, Failure> {
    let mut files = Files::new();
    let parts = fs::read_dir(PARTS).unwrap_or_default();
    let parts = parts.into_iter().filter(|p| p.extension().is_some_and(|e| e == "list"));
    for path in std::iter::once(PathBuf::from(MAIN)).chain(parts) {
        if let Some(bytes) = host.read_optional(&path)? {
            files.insert(path, String::from_utf8_lossy(&bytes).lines().map(parse).collect());
        }
    }
    Ok(files)
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.repo.is_empty() {
        return Err("Please set argument 'repo' to a non-empty value".into());
    }
    let mut files = load(host)?;
    let before = files.clone();
    let known = ppa(&args.repo, &args, host)?;
    let text = known.as_ref().map_or(args.repo.as_str(), |ppa| ppa.line.as_str());
    let wanted = parse(text);
    if !wanted.valid || !wanted.enabled {
        return Err(Failure::new(format!("Invalid repository string: {}", args.repo)));
    }
    let mut new_file = None;
    if args.state == "present" {
        let there = files.values_mut().flatten().filter(|l| l.valid && l.source == wanted.source);
        let mut found = false;
        for line in there {
            line.enabled = true;
            found = true;
        }
        if !found {
            if let Some(ppa) = &known {
                ppa_key(ppa, host)?;
            }
            let name = args.filename.clone().unwrap_or_else(|| suggested(text));
            let name = format!("{name}.list");
            let path = if name.contains('/') { PathBuf::from(&name) } else { Path::new(PARTS).join(&name) };
            files.entry(path.clone()).or_default().push(Line { comment: String::new(), ..wanted });
            new_file = Some(path);
        }
    } else {
        for lines in files.values_mut() {
            lines.retain(|l| !(l.valid && l.enabled && l.source == wanted.source));
        }
    }
    // A file that lost its last line goes; one that was empty already is not counted.
    let shown = |files: &Files| -> BTreeMap<PathBuf, String> {
        files.iter().filter(|(_, l)| !l.is_empty()).map(|(p, l)| (p.clone(), render(l))).collect()
    };
    let (old, new) = (shown(&before), shown(&files));
    let changed = old != new;
    let only_in = |a: &BTreeMap<PathBuf, String>, b: &BTreeMap<PathBuf, String>| {
        Value::strings(a.keys().filter(|p| !b.contains_key(*p)).map(|p| p.display().to_string()))
    };
    let (added, removed) = (only_in(&new, &old), only_in(&old, &new));
    if changed {
        let kept: Vec<(PathBuf, Vec<u8>)> =
            before.keys().filter_map(|p| Some((p.clone(), host.read_optional(p).ok()??))).collect();
        save(&old, &new, new_file.as_deref(), &args, host)?;
        if args.update_cache
            && !host.check
            && let Err(failure) = update(&args, host)
        {
            // As it was: a source that cannot be read must not stop all others.
            for path in new.keys().filter(|p| !before.contains_key(*p)) {
                fs::remove_all(path)?;
            }
            for (path, bytes) in kept {
                fs::write_atomic(path, bytes)?;
            }
            return Err(failure);
        }
    }
    Ok(Outcome::changed(changed)
        .with("repo", args.repo)
        .with("state", args.state)
        .with("sources_added", added)
        .with("sources_removed", removed))
}

fn save(
    old: &BTreeMap<PathBuf, String>,
    new: &BTreeMap<PathBuf, String>,
    made: Option<&Path>,
    args: &Args,
    host: &mut Host,
) -> Result<(), Failure> {
    for (path, text) in new {
        if old.get(path) == Some(text) {
            continue;
        }
        if !host.check
            && let Some(folder) = path.parent()
        {
            fs::create_dir_all(folder)?;
        }
        host.replace(path, text.as_bytes(), &Replace::default())?;
        if made == Some(path) && !host.check {
            let mode = args.mode.clone().unwrap_or_else(|| "0644".into());
            host.attributes(path, &FileAttributes::of_mode(mode))?;
        }
    }
    for (path, text) in old.iter().filter(|(p, _)| !new.contains_key(*p)) {
        host.record_diff(path, text.as_bytes(), b"");
        if !host.check {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn update(args: &Args, host: &mut Host) -> Result<(), Failure> {
    let mut said = String::new();
    for attempt in 0..args.update_cache_retries.max(1) {
        let output = host.try_run(&["apt-get", "update", "-q"])?;
        // Lists that cannot be fetched are a warning for apt-get, and its exit code is zero.
        let text = output.error_text();
        if output.success() && !text.lines().any(|l| l.starts_with("E:") || l.contains("Failed to fetch")) {
            return Ok(());
        }
        text.trim().clone_into(&mut said);
        host.warn(format!("Failed to update cache after {} due to {said} retry, retrying", attempt + 1));
        let delay =
            2i64.saturating_pow(u32::try_from(attempt).unwrap_or(30)).min(args.update_cache_retry_max_delay);
        if !signal::sleep(Duration::from_secs(u64::try_from(delay).unwrap_or(0))) {
            break;
        }
    }
    Err(Failure::new(format!(
        "Failed to update apt cache after {} retries: {}",
        args.update_cache_retries,
        if said.is_empty() { "unknown reason" } else { &said }
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_the_source() {
        assert_eq!(
            suggested("deb [arch=amd64] https://me:pw@apt.example.org/debian/ stable main"),
            "apt_example_org_debian"
        );
        assert_eq!(suggested("deb-src http://x.y/z s m"), "x_y_z");
        let line = parse("# deb   http://a  b c # why");
        assert!(line.valid && !line.enabled && line.source == "deb http://a b c" && line.comment == "why");
        assert_eq!(render(&[line]), "# deb http://a b c # why\n");
    }
}

module!("apt_repository", "ansible.builtin", Args, run);
