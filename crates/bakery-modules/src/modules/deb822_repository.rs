//! `deb822_repository`: a source of packages for apt in the newer form (`ansible/modules/deb822_repository.py`).

use bakery_host::fs;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

const KEYRINGS: &str = "/etc/apt/keyrings";

/// Adds or removes a source of packages for apt, as a `.sources` file.
#[derive(ModuleArgs)]
struct Args {
    /// The source's name, from which that of the file is made.
    #[arg(required)]
    name: String,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// What is taken from it.
    #[arg(default = "deb", choices = "deb,deb-src")]
    types: Vec<String>,
    /// Addresses.
    uris: Option<Vec<String>>,
    /// Suites, such as `bookworm`, or paths that end in a slash.
    suites: Option<Vec<String>>,
    /// Components, such as `main`.
    components: Option<Vec<String>>,
    /// Architectures.
    architectures: Option<Vec<String>>,
    /// Languages of translations.
    languages: Option<Vec<String>>,
    /// Which files of the source are fetched.
    targets: Option<Vec<String>>,
    /// The key: a file, an address to fetch it from, its text, or a fingerprint.
    signed_by: Option<String>,
    /// Whether the source is used.
    enabled: Option<bool>,
    /// Whether it needs no signature.
    trusted: Option<bool>,
    /// Whether what was signed may become unsigned.
    allow_downgrade_to_insecure: Option<bool>,
    /// Whether unsigned sources are used.
    allow_insecure: Option<bool>,
    /// Whether weak signatures count.
    allow_weak: Option<bool>,
    /// Whether files are fetched by their digests.
    by_hash: Option<bool>,
    /// Whether the machine's clock is trusted.
    check_date: Option<bool>,
    /// Whether old lists are refused.
    check_valid_until: Option<bool>,
    /// Seconds that lists may be ahead of the clock.
    date_max_future: Option<i64>,
    /// Where the signed list is, if not in its usual place.
    inrelease_path: Option<String>,
    /// Whether differences between lists are fetched.
    pdiffs: Option<bool>,
    /// The mode of the file.
    #[arg(default = "0644")]
    mode: Value,
}

/// The name in the file's name.
fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            // Several of them are one dash.
            c if (c == '_' || c.is_whitespace()) && out.ends_with('\u{1}') => {}
            c if c == '_' || c.is_whitespace() => out.push('\u{1}'),
            'a'..='z' | '0'..='9' | '-' => out.push(c),
            _ => {}
        }
    }
    out.replace('\u{1}', "-")
}

/// Several lines below their field; an empty one is a dot.
fn lines(text: &str) -> String {
    let inner = text.trim().lines().map(str::trim).map(|l| if l.is_empty() { "." } else { l });
    inner.map(|line| format!("\n    {line}")).collect()
}

/// A key that is at an address is kept beside the others; whether that was a change, and what the field says.
fn key(host: &mut Host, given: &str, slug: &str) -> Result<(bool, String, Option<String>), Failure> {
    if host.path(given).is_file() {
        return Ok((false, given.to_owned(), Some(given.to_owned())));
    }
    if !given.contains("://") {
        return Ok((false, given.to_owned(), None));
    }
    let bytes = crate::http::get(host, given, &[])
        .map_err(|problem| Failure::new(format!("Could not fetch signed_by key: {problem}")))?;
    let armored = bytes.windows(36).any(|w| w == b"-----BEGIN PGP PUBLIC KEY BLOCK-----");
    let path = format!("{KEYRINGS}/{slug}.{}", if armored { "asc" } else { "gpg" });
    if !host.check {
        fs::create_dir_all(KEYRINGS)?;
        host.attributes(KEYRINGS.as_ref(), &FileAttributes::of_mode("0755"))?;
    }
    let (mut changed, _) = host.replace(path.as_ref(), &bytes, &Replace::default())?;
    changed |= host.attributes(path.as_ref(), &FileAttributes::of_mode("0644"))?;
    Ok((changed, path.clone(), Some(path)))
}

fn run(args: Args, host: &mut Host) -> Run {
    let slug = slug(&args.name);
    let path = format!("/etc/apt/sources.list.d/{slug}.sources");
    let mut changed = false;
    if args.state == "absent" {
        let mut last = String::new();
        let keys = ["asc", "gpg"].map(|kind| format!("{KEYRINGS}/{slug}.{kind}"));
        for file in std::iter::once(&path).chain(&keys) {
            if std::path::Path::new(file).exists() {
                changed = true;
                if !host.check {
                    fs::remove_file(file)?;
                }
            }
            last.clone_from(file);
        }
        return Ok(Outcome::changed(changed)
            .with("repo", Value::None)
            .with("dest", path)
            .with("key_filename", last));
    }
    let list = |l: &Option<Vec<String>>| l.as_ref().map(|l| l.join(" "));
    let flag = |b: Option<bool>| b.map(|b| (if b { "yes" } else { "no" }).to_owned());
    let mut signed = None;
    let mut key_file = None;
    if let Some(given) = &args.signed_by {
        let (fetched, field, file) = key(host, given, &slug)?;
        changed |= fetched;
        signed = Some(field);
        key_file = file;
    }
    // In the order of the arguments' names, as Ansible has it.
    let fields = [
        ("Allow-Downgrade-To-Insecure", flag(args.allow_downgrade_to_insecure)),
        ("Allow-Insecure", flag(args.allow_insecure)),
        ("Allow-Weak", flag(args.allow_weak)),
        ("Architectures", list(&args.architectures)),
        ("By-Hash", flag(args.by_hash)),
        ("Check-Date", flag(args.check_date)),
        ("Check-Valid-Until", flag(args.check_valid_until)),
        ("Components", list(&args.components)),
        ("Date-Max-Future", args.date_max_future.map(|n| n.to_string())),
        ("Enabled", flag(args.enabled)),
        ("Inrelease-Path", args.inrelease_path.clone()),
        ("Languages", list(&args.languages)),
        ("X-Repolib-Name", Some(args.name.clone())),
        ("Pdiffs", flag(args.pdiffs)),
        ("Signed-By", signed),
        ("Suites", list(&args.suites)),
        ("Targets", list(&args.targets)),
        ("Trusted", flag(args.trusted)),
        ("Types", Some(args.types.join(" "))),
        ("URIs", list(&args.uris)),
    ];
    let mut repo = String::new();
    for (name, value) in fields {
        match value {
            Some(value) if value.contains('\n') => repo.push_str(&format!("{name}:{}\n", lines(&value))),
            Some(value) => repo.push_str(&format!("{name}: {value}\n")),
            None => {}
        }
    }
    changed |= host.replace(path.as_ref(), repo.as_bytes(), &Replace::default())?.0;
    changed |= host.attributes(path.as_ref(), &FileAttributes::of_mode(args.mode))?;
    Ok(Outcome::changed(changed).with("repo", repo).with("dest", path).with("key_filename", key_file))
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_are_named_after_the_source() {
        assert_eq!(super::slug("My _ Own  Repo! 2"), "my-own-repo-2");
        assert_eq!(super::lines("a\n\nb\n"), "\n    a\n    .\n    b");
    }
}

module!("deb822_repository", "ansible.builtin", Args, run);
