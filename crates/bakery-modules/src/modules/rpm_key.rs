//! `rpm_key`: keys that rpm trusts (`ansible/modules/rpm_key.py`).

use std::collections::BTreeSet;

use bakery_macros::ModuleArgs;

use crate::http::{self, Request};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds a key to those that rpm trusts, or takes it away.
#[derive(ModuleArgs)]
struct Args {
    /// Where the key is: an address, a file, or the id of a key that is there.
    #[arg(required)]
    key: String,
    /// Whether it shall be trusted.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Fingerprints that the key must have, all of them, before it is added.
    fingerprint: Option<Vec<String>>,
    /// Whether certificates are checked.
    #[arg(default = "true")]
    validate_certs: bool,
}

/// Whether a text is the id of a key, as `rpm_key.is_keyid` knows it: eight hexadecimal digits, and what follows.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    digits.len() >= 8 && digits.bytes().take(8).all(|b| b.is_ascii_hexdigit())
}

/// Fields of gpg's listing with colons.
fn fields(listing: &str, record: &str, field: usize) -> Vec<String> {
    let lines = listing.lines().map(|line| line.trim().split(':').collect::<Vec<_>>());
    let of_record = lines.filter(|fields| fields.first() == Some(&record));
    of_record.filter_map(|fields| fields.get(field).map(|f| (*f).to_owned())).collect()
}

fn fetch(host: &Host, args: &Args) -> Result<Vec<u8>, Failure> {
    let request = Request { validate_certs: args.validate_certs, ..Request::by(host, &args.key) };
    let refused =
        |why: String| Failure::new(format!("failed to fetch key at {} , error was: {why}", args.key));
    let answer = http::send(&request).map_err(refused)?;
    if answer.status != 200 {
        return Err(refused(format!("HTTP Error {}", answer.status)));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let begin = text.find("-----BEGIN PGP PUBLIC KEY BLOCK-----");
    if begin.is_none_or(|at| !text[at..].contains("-----END PGP PUBLIC KEY BLOCK-----")) {
        return Err(Failure::new(format!("Not a public key: {}", args.key)));
    }
    Ok(answer.body)
}

/// The ids of keys that rpm trusts.
fn trusted(host: &Host, rpm: &str, gpg: &str) -> Result<Vec<String>, Failure> {
    if !host.try_run(&[rpm, "-q", "gpg-pubkey"])?.success() {
        return Ok(vec![]);
    }
    let keys = host.run(&[rpm, "-q", "gpg-pubkey", "--qf", "%{description}"])?.stdout;
    let options = ["--no-tty", "--batch", "--with-colons", "--fixed-list-mode", "-"];
    let listing = host.cmd(gpg).args(options).input(keys).output()?;
    if !listing.success() {
        return Err(Failure::new(listing.error_text()));
    }
    Ok(listing.text().lines().filter_map(|line| line.split(':').nth(4).map(str::to_owned)).collect())
}

fn run(args: Args, host: &mut Host) -> Run {
    let rpm = host.program("rpm")?;
    let gpg = host.program("gpg").or_else(|_| host.program("gpg2"))?;
    let options = ["--no-tty", "--batch", "--with-colons", "--fixed-list-mode"];
    let scratch = tempfile::NamedTempFile::new().map_err(|e| Failure::new(e.to_string()))?;
    let file = if args.key.contains("://") {
        bakery_host::fs::write_atomic_mode(scratch.path(), fetch(host, &args)?, 0o600)?;
        Some(scratch.path().to_path_buf())
    } else if is_id(&args.key) {
        None
    } else if host.path(&args.key).is_file() {
        Some(host.path(&args.key))
    } else {
        return Err(Failure::new(format!("Not a valid key {}", args.key)));
    };
    let file = file.map(|path| path.display().to_string());
    let id = match &file {
        Some(file) => {
            let listing = host.run(&[&[gpg.as_str()], &options[..], &[file.as_str()]].concat())?;
            fields(&listing.text(), "pub", 4).into_iter().next().ok_or("Unexpected gpg output")?
        }
        None => args.key.clone(),
    };
    let id = id.trim().to_uppercase();
    let id = id.strip_prefix("0X").unwrap_or(&id);
    let there = trusted(host, &rpm, &gpg)?.iter().any(|known| known.contains(id));
    if there == (args.state == "present") {
        return Ok(Outcome::unchanged());
    }
    if there {
        if !host.check {
            let short = id[id.len().saturating_sub(8)..].to_lowercase();
            host.run(&[&rpm, "--erase", "--allmatches", &format!("gpg-pubkey-{short}")])?;
        }
        return Ok(Outcome::changed(true));
    }
    let file = file.ok_or("When importing a key, a valid file must be given")?;
    if let Some(wanted) = &args.fingerprint {
        let wanted: BTreeSet<String> = wanted.iter().map(|f| f.replace(' ', "").to_uppercase()).collect();
        let look = ["--import", "--import-options", "show-only", "--dry-run", &file];
        let listing = host.run(&[&[gpg.as_str()], &options[..], &look[..]].concat())?;
        let held: BTreeSet<String> = fields(&listing.text(), "fpr", 9).into_iter().collect();
        if !wanted.is_subset(&held) {
            return Err(Failure::new(format!(
                "The specified fingerprint, '{wanted:?}', does not match any key fingerprints in '{held:?}'"
            )));
        }
    }
    if !host.check {
        host.run(&[&rpm, "--import", &file])?;
    }
    Ok(Outcome::changed(true))
}

module!("rpm_key", "ansible.builtin", Args, run);
