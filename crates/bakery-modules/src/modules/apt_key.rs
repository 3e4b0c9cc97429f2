//! `apt_key`: keys that apt trusts, by the deprecated `apt-key` (`ansible/modules/apt_key.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds or removes a key that apt trusts for every source. `deb822_repository` keeps keys to their sources.
#[derive(ModuleArgs)]
struct Args {
    /// The key's id: 8, 16 or more hexadecimal digits.
    id: Option<String>,
    /// Where the key is.
    url: Option<String>,
    /// The key itself.
    data: Option<String>,
    /// A file with the key.
    file: Option<String>,
    /// The file that keys are kept in.
    keyring: Option<String>,
    /// Whether certificates are checked.
    #[arg(default = "true")]
    validate_certs: bool,
    /// A server of keys.
    keyserver: Option<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
}

/// The ids in a listing of gpg, or of apt-key, which says them in another form.
fn ids(listing: &str, short: bool) -> Vec<String> {
    let id = |line: &str| -> Option<String> {
        if !(line.starts_with("pub") || line.starts_with("sub")) || line.contains("expired") {
            return None;
        }
        let by_words = line.split_whitespace().nth(1).and_then(|code| code.split_once('/')).map(|(_, id)| id);
        by_words.or_else(|| line.split(':').nth(4)).map(str::to_owned)
    };
    let all = listing.lines().filter_map(id);
    all.map(|id| if short { id[id.len().saturating_sub(8)..].to_owned() } else { id }).collect()
}

fn apt_key<'a>(args: &'a Args, rest: &[&'a str]) -> Vec<&'a str> {
    let mut command = vec!["apt-key"];
    if let Some(keyring) = &args.keyring {
        command.extend(["--keyring", keyring]);
    }
    command.extend(rest);
    command
}

fn all(args: &Args, host: &Host, short: bool) -> Result<Vec<String>, Failure> {
    let listing = host.run(&apt_key(args, &["adv", "--list-public-keys", "--keyid-format=long"]))?;
    Ok(ids(&listing.text(), short))
}

fn run(args: Args, host: &mut Host) -> Run {
    for program in ["apt-key", "gpg"] {
        if bakery_host::command::find_program(program).is_none() {
            return Err(Failure::new(format!(
                "Failed to find required executable \"{program}\". apt-key is not part of newer releases; see deb822_repository."
            )));
        }
    }
    let given = [&args.url, &args.data, &args.file, &args.keyserver].iter().filter(|o| o.is_some()).count();
    if given > 1 {
        return Err("parameters are mutually exclusive: data|file|keyserver|url".into());
    }
    let mut data = args.data.clone().map(String::into_bytes);
    let fetch = |url: &str| {
        crate::http::get(host, url, &[])
            .map_err(|e| Failure::new(format!("Failed to download key at {url}: {e}")))
    };
    let mut id = args.id.clone();
    if id.is_none() {
        if args.keyserver.is_some() {
            return Err("Missing key_id, required with keyserver.".into());
        }
        if let Some(url) = &args.url {
            data = Some(fetch(url)?);
        }
        let file = args.file.as_ref().map(|f| host.path(f));
        let bytes = match (&file, &data) {
            (Some(file), _) => bakery_host::fs::read(file)?,
            (None, Some(data)) => data.clone(),
            (None, None) => return Err("Invalid key_id".into()),
        };
        let output = host.cmd("gpg").args(["--with-colons", "-"]).input(bytes).output()?;
        if !output.success() {
            let what = args.file.clone().unwrap_or_else(|| "inline data".into());
            return Err(Failure::new(format!("Unable to extract key from '{what}'"))
                .with("stdout", output.text())
                .with("stderr", output.error_text()));
        }
        id = ids(&output.text(), false).into_iter().next();
    }
    let id = id.unwrap_or_default();
    let bare = id.to_uppercase();
    let bare = bare.strip_prefix("0X").unwrap_or(&bare).to_owned();
    let valid =
        bare.bytes().all(|b| b.is_ascii_hexdigit()) && (matches!(bare.len(), 8 | 16) || bare.len() > 16);
    if !valid {
        return Err(Failure::new("Invalid key_id").with("id", id));
    }
    let short_id = bare[bare.len() - 8..].to_owned();
    let print = bare[bare.len().saturating_sub(16)..].to_owned();
    let short = bare.len() == 8;
    let looked_up = if short { &short_id } else { &print };
    let before = all(&args, host, short)?;
    let there = before.contains(looked_up);
    let present = args.state == "present";
    let changed = there != present;
    let outcome = Outcome::changed(changed)
        .with("id", id)
        .with("short_id", short_id.as_str())
        .with("fp", print.as_str())
        .with("key_id", bare.as_str())
        .with("before", Value::strings(&before));
    if !changed || host.check {
        return Ok(outcome);
    }
    if !present {
        host.run(&apt_key(&args, &["del", &short_id]))?;
    } else if let Some(file) = &args.file {
        host.run(&apt_key(&args, &["add", file]))?;
    } else if let Some(server) = &args.keyserver {
        let options = ["adv", "--no-tty", "--keyserver", server, "--recv", &bare];
        let mut attempts = 0;
        loop {
            attempts += 1;
            match host.run(&apt_key(&args, &options)) {
                Ok(_) => break,
                Err(failure) if attempts == 5 => {
                    return Err(Failure {
                        msg: format!("Error fetching key {bare} from keyserver: {server}"),
                        ..failure
                    });
                }
                Err(_) => {}
            }
        }
    } else {
        let bytes = match (data, &args.url) {
            (Some(data), _) => data,
            (None, Some(url)) => fetch(url)?,
            (None, None) => return Err("No key to add".into()),
        };
        let command = apt_key(&args, &["add", "-"]);
        let output = host.cmd(command[0]).args(&command[1..]).input(bytes).output()?;
        if !output.success() {
            return Err(
                Failure::new("Unable to add a key from binary data").with("stderr", output.error_text())
            );
        }
    }
    let after = all(&args, host, short)?;
    if after.contains(looked_up) != present {
        let what = if present { "failed to add the key" } else { "the key was not removed" };
        return Err(Failure::new(format!(
            "apt-key did not return an error, but {what} (check that the id is correct and *not* a subkey)"
        )));
    }
    Ok(outcome.with("after", Value::strings(after)))
}

module!("apt_key", "ansible.builtin", Args, run);
