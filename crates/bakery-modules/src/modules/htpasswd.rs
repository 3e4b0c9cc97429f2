//! `htpasswd`: the users of a file for basic authentication (community.general `htpasswd.py`, and what it uses of passlib).

use bakery_host::fs;
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::passwords::{self, Wanted};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds and removes users of a file for basic authentication.
#[derive(ModuleArgs)]
struct Args {
    /// The file.
    #[arg(required, alias = "dest", alias = "destfile")]
    path: String,
    /// The user.
    #[arg(required, alias = "username")]
    name: String,
    /// The user's password.
    #[arg(secret)]
    password: Option<String>,
    /// How it is hashed: `apr_md5_crypt`, `md5_crypt`, `sha256_crypt`, `sha512_crypt`, `bcrypt`, `ldap_sha1`, `plaintext`.
    #[arg(default = "apr_md5_crypt", alias = "crypt_scheme")]
    hash_scheme: String,
    /// Whether the user shall be there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// Whether a missing file is made.
    #[arg(default = "true")]
    create: bool,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn hashed(password: &str, scheme: &str) -> Result<String, Failure> {
    let algorithm = match scheme {
        "plaintext" => return Ok(password.to_owned()),
        "ldap_sha1" => return Ok(passwords::ldap_sha1(password)),
        // What passlib takes for them where bcrypt is there (`_init_default_schemes` in `passlib/apache.py`).
        "portable_apache_22" => "apr_md5_crypt",
        "linux_apache_22" => "sha256_crypt",
        "portable" | "portable_apache_24" | "host" | "host_apache_22" | "host_apache_24"
        | "linux_apache_24" => "bcrypt",
        other => other,
    };
    // Apache's own library knows no other name of bcrypt.
    let ident = (algorithm == "bcrypt").then(|| "2y".to_owned());
    passwords::hash(password, &Wanted { algorithm: algorithm.into(), ident, ..Wanted::default() })
        .map_err(|why| Failure::new(format!("{why} ({scheme})")))
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.path);
    let name = args.name.as_str();
    let old = host.read_optional(&path)?;
    let text = old.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    // Blank lines go whenever the file is read.
    let mut lines: Vec<String> = text
        .iter()
        .flat_map(|text| text.lines())
        .filter(|l| !l.trim().is_empty())
        .map(str::to_owned)
        .collect();
    let at = lines.iter().position(|line| line.split_once(':').is_some_and(|(user, _)| user == name));
    let (message, changed) = match (args.state.as_str(), at) {
        ("absent", _) if old.is_none() => {
            host.warn(format!("{} does not exist", args.path));
            return Ok(Outcome::unchanged().msg(format!("{name} not present")));
        }
        ("absent", None) => (format!("{name} not present"), false),
        ("absent", Some(at)) => {
            lines.remove(at);
            (format!("Remove {name}"), true)
        }
        _ if old.is_none() && !args.create => {
            return Err(Failure::new(format!("Destination {} does not exist", args.path)));
        }
        (_, at) => {
            let password = args.password.as_deref().ok_or("secret must be unicode or bytes, not None")?;
            let held = at.and_then(|at| lines[at].split_once(':')).map(|(_, hash)| hash.to_owned());
            if held
                .is_some_and(|held| passwords::verify(password, held.split(':').next().unwrap_or_default()))
            {
                (format!("{name} already present"), false)
            } else {
                // Of a file that is yet to be made nothing is hashed in check mode, there as here.
                let is_only_said = host.check && old.is_none();
                let hash = if is_only_said { String::new() } else { hashed(password, &args.hash_scheme)? };
                let line = format!("{name}:{hash}");
                match at {
                    Some(at) => lines[at] = line,
                    None => lines.push(line),
                }
                let message = match (&old, host.check) {
                    (None, true) => format!("Create {}", args.path),
                    (None, false) => format!("Created {} and added {name}", args.path),
                    _ => format!("Add/update {name}"),
                };
                (message, true)
            }
        }
    };
    if let (None, Some(folder), false) = (&old, path.parent(), host.check) {
        fs::create_dir_all(folder)?;
    }
    let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if text.as_deref() != Some(content.as_str()) {
        host.replace(&path, content.as_bytes(), &Replace::default())?;
    }
    let mut message = message;
    let wanted = &args.attributes;
    let attributes = if path.exists() {
        host.attributes(&path, wanted)?
    } else {
        // What would be made would be given them.
        wanted.mode.is_some() || wanted.owner.is_some() || wanted.group.is_some()
    };
    if attributes {
        if changed {
            message.push_str(" and ");
        }
        message.push_str("ownership, perms or SE linux context changed");
    }
    Ok(Outcome::changed(changed || attributes).msg(message))
}

module!("htpasswd", "community.general", Args, run);
