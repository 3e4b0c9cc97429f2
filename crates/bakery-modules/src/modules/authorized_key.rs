//! `authorized_key`: keys that may log in as a user.

use bakery_host::{fs, users};
use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds or removes keys that may log in as a user.
#[derive(ModuleArgs)]
struct Args {
    /// The user.
    #[arg(required)]
    user: String,
    /// The keys, one a line.
    #[arg(required)]
    key: String,
    /// The file; the user's own if not given.
    path: Option<String>,
    /// Whether the folder is made and its permissions set.
    #[arg(default = "true")]
    manage_dir: bool,
    /// Whether they shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Options before each key.
    key_options: Option<String>,
    /// Whether other keys are removed.
    exclusive: bool,
    /// A comment instead of the keys' own.
    comment: Option<String>,
    /// Whether certificates are checked when `key` is an address.
    #[arg(default = "true")]
    validate_certs: bool,
    /// Whether a link is followed.
    follow: bool,
}

/// The kind and the key itself, by which two lines are compared.
fn identity(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words
        .iter()
        .position(|w| w.starts_with("ssh-") || w.starts_with("ecdsa-") || w.starts_with("sk-"))?;
    Some((words[at].to_owned(), (*words.get(at + 1)?).to_owned()))
}

fn run(args: Args, host: &mut Host) -> Run {
    let user = users::find_user(&args.user)
        .ok_or_else(|| Failure::new(format!("Failed to lookup user {}", args.user)))?;
    let path = args
        .path
        .as_deref()
        .map_or_else(|| std::path::Path::new(&user.home).join(".ssh/authorized_keys"), |p| host.path(p));
    let given: Vec<String> = args
        .key
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(str::to_owned)
        .collect();
    if let Some(bad) = given.iter().find(|l| identity(l).is_none()) {
        return Err(Failure::new(format!("invalid key specified: {bad}")));
    }
    let text =
        host.read_optional(&path)?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for key in &given {
        let id = identity(key);
        let line = match (&id, &args.key_options, &args.comment) {
            (Some((kind, body)), options, comment) => {
                let own =
                    key.split_whitespace().skip_while(|w| w != body).skip(1).collect::<Vec<_>>().join(" ");
                let comment = comment.clone().unwrap_or(own);
                let given = key.split_once(kind.as_str()).map(|(before, _)| before.trim().to_owned());
                let options = options.clone().or(given).filter(|o| !o.is_empty());
                let options = options.map(|o| format!("{o} ")).unwrap_or_default();
                format!("{options}{kind} {body} {comment}").trim_end().to_owned()
            }
            _ => key.clone(),
        };
        let at = lines.iter().position(|l| identity(l) == id);
        match (args.state.as_str(), at) {
            // One that differs in options or comment goes, and comes again at the end.
            ("present", Some(at)) if lines[at].split_whitespace().ne(line.split_whitespace()) => {
                lines.remove(at);
                lines.push(line);
            }
            ("present", None) => lines.push(line),
            ("absent", Some(at)) => {
                lines.remove(at);
            }
            _ => {}
        }
    }
    if args.exclusive && args.state == "present" {
        let wanted: Vec<_> = given.iter().map(|k| identity(k)).collect();
        lines.retain(|l| wanted.contains(&identity(l)));
    }
    let mut new = lines.join("\n");
    if !new.is_empty() {
        new.push('\n');
    }
    let changed = new != text;
    if changed && !host.check {
        if let (Some(folder), true) = (path.parent(), args.manage_dir)
            && !folder.exists()
        {
            fs::create_private_dir(folder)?;
            fs::lchown(folder, Some(user.uid), Some(user.gid))?;
        }
        host.replace(&path, new.as_bytes(), &Replace::default())?;
        fs::chmod(&path, 0o600)?;
        fs::lchown(&path, Some(user.uid), Some(user.gid))?;
    }
    Ok(Outcome::changed(changed)
        .with("keyfile", path.display().to_string())
        .with("user", args.user)
        .with("key", args.key)
        .with("path", args.path)
        .with("manage_dir", args.manage_dir)
        .with("state", args.state)
        .with("key_options", args.key_options)
        .with("exclusive", args.exclusive)
        .with("comment", args.comment)
        .with("validate_certs", args.validate_certs)
        .with("follow", args.follow))
}

module!("authorized_key", "ansible.posix", Args, run);
