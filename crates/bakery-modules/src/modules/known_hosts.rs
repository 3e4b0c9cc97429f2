//! `known_hosts`: keys of ssh servers (`ansible/modules/known_hosts.py`).

use bakery_host::fs;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;
use base64::Engine as _;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds or removes the key of an ssh server.
#[derive(ModuleArgs)]
struct Args {
    /// The server's name.
    #[arg(required, alias = "host")]
    name: String,
    /// The key's line, as ssh-keyscan writes it.
    key: Option<String>,
    /// The file.
    #[arg(default = "~/.ssh/known_hosts")]
    path: String,
    /// Whether the server's name is hashed.
    hash_host: bool,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
}

/// A line's marker, host, type and key.
#[derive(PartialEq, Eq, Clone)]
struct Key {
    marker: String,
    host: String,
    kind: String,
    key: String,
}

fn key_of(line: &str) -> Option<Key> {
    let mut words = line.split_whitespace().map(str::to_owned).peekable();
    let marker = words.next_if(|w| w.starts_with('@')).unwrap_or_default();
    Some(Key { marker, host: words.next()?, kind: words.next()?, key: words.next()? })
}

/// The line with the name hashed, as ssh-keygen -H does: HMAC-SHA1 with a key by chance.
fn hashed(host: &str, line: &str) -> Result<String, Failure> {
    let mut salt = [0u8; 20];
    getrandom::fill(&mut salt).map_err(|e| Failure::new(e.to_string()))?;
    let mut block = [0u8; 64];
    block[..20].copy_from_slice(&salt);
    let pad = |byte: u8| block.map(|b| b ^ byte);
    use sha1::Digest as _;
    let inner = sha1::Sha1::new().chain_update(pad(0x36)).chain_update(host).finalize();
    let outer = sha1::Sha1::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let at = usize::from(words.first().is_some_and(|w| w.starts_with('@')));
    if let Some(word) = words.get_mut(at) {
        *word = format!("|1|{}|{}", text(&salt), text(&outer));
    }
    Ok(words.join(" "))
}

fn run(args: Args, host: &mut Host) -> Run {
    let name = args.name.to_lowercase();
    let path = host.path(&args.path);
    let file = path.display().to_string();
    let present = args.state == "present";
    let mut key = args.key.clone().filter(|k| !k.trim().is_empty());
    if key.is_none() && present {
        return Err("No key specified when adding a host".into());
    }
    if let Some(line) = &key {
        if name.contains(',') {
            return Err("Comma separated list of names is not supported. Please pass a single name to lookup in the known_hosts file.".into());
        }
        let line = if args.hash_host { hashed(&name, line)? } else { line.clone() };
        let line = format!("{}\n", line.trim_end_matches('\n'));
        // ssh-keygen knows whether a key is this server's, hashed or not.
        let scratch = tempfile::NamedTempFile::new().map_err(|e| Failure::new(e.to_string()))?;
        fs::write_atomic(scratch.path(), &line)?;
        let found =
            host.try_run(&["ssh-keygen", "-F", &name, "-f", &scratch.path().display().to_string()])?;
        if found.stdout.is_empty() {
            return Err("Host parameter does not match hashed host field in supplied key".into());
        }
        key = Some(line);
    }
    // Whether the server is there, whether its line is another one, and where that is.
    let (mut found, mut replace, mut at) = (false, false, None);
    if path.exists() {
        let output = host.try_run(&["ssh-keygen", "-F", &name, "-f", &file])?;
        let text = output.text();
        if !(text.is_empty() && output.stderr.is_empty()) {
            if output.code != 0 {
                return Err(Failure::new(format!(
                    "ssh-keygen failed (rc={}, stdout='{text}',stderr='{}')",
                    output.code,
                    output.error_text()
                )));
            }
            found = true;
            if let Some(mut wanted) = key.as_deref().and_then(key_of) {
                replace = true;
                let mut number = None;
                for line in text.lines().filter(|l| !l.is_empty()) {
                    if line.starts_with('#') {
                        number = line
                            .split("found: line ")
                            .nth(1)
                            .and_then(|n| n.trim().split(' ').next()?.parse::<usize>().ok());
                        continue;
                    }
                    let Some(known) = key_of(line) else { continue };
                    let marked =
                        known.marker.starts_with("@cert-authority") || known.marker.starts_with("@revoke");
                    if !marked && wanted.host.starts_with("|1|") && known.host.starts_with("|1|") {
                        wanted.host.clone_from(&known.host);
                    }
                    if wanted == known {
                        (replace, at) = (false, number);
                        break;
                    }
                    if !marked && wanted.kind == known.kind {
                        at = number;
                        break;
                    }
                }
            }
        }
    }
    let before = host.read_optional(&path)?;
    let existed = before.is_some();
    let before = String::from_utf8_lossy(&before.unwrap_or_default()).into_owned();
    let drop = |number: usize| at == Some(number + 1) && (replace || !present);
    let mut after: String =
        before.split_inclusive('\n').enumerate().filter(|(n, _)| !drop(*n)).map(|(_, l)| l).collect();
    if let (true, Some(line)) = (present && (replace || at.is_none()), &key) {
        after.push_str(line);
    }
    let diff = Value::map([
        ("before_header", Value::from(if existed { file.as_str() } else { "/dev/null" })),
        ("after_header", file.as_str().into()),
        ("before", before.as_str().into()),
        ("after", after.as_str().into()),
    ]);
    let result = |changed: bool| {
        Outcome::changed(changed)
            .with("diff", diff.clone())
            .with("name", args.name.as_str())
            .with("key", args.key.as_deref().map_or(Value::None, Value::from))
            .with("path", file.as_str())
            .with("hash_host", args.hash_host)
            .with("state", args.state.as_str())
    };
    if !present && at.is_none() && key.is_some() {
        return Ok(result(false));
    }
    let changed = replace || found != present;
    if !changed {
        return Ok(result(false));
    }
    if !present && key.is_none() {
        if !host.check {
            host.run(&["ssh-keygen", "-R", &name, "-f", &file])?;
        }
        return Ok(result(true));
    }
    if !host.check
        && let Some(folder) = path.parent()
        && !folder.is_dir()
    {
        return Err(Failure::new(format!(
            "Failed to write to file {file}: there is no folder {}",
            folder.display()
        )));
    }
    host.replace(&path, after.as_bytes(), &Replace::default())?;
    Ok(result(true))
}

module!("known_hosts", "ansible.builtin", Args, run);
