//! `assemble`: a file out of a folder of fragments (`ansible/modules/assemble.py`).

use bakery_host::fs;
use bakery_lang::Value;
use bakery_lang::regex::Flags;
use bakery_macros::ModuleArgs;
use base64::Engine as _;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run, digests};

/// Makes a file out of the files of a folder, in the order of their names.
#[derive(ModuleArgs)]
struct Args {
    /// The folder.
    #[arg(required)]
    src: String,
    /// The file.
    #[arg(required)]
    dest: String,
    /// What stands between two fragments.
    delimiter: Option<String>,
    /// Which names are taken.
    regexp: Option<String>,
    /// Whether names that begin with a dot are left out.
    ignore_hidden: bool,
    /// Whether the folder is on the target; the action reads it where it is not.
    #[arg(default = "true")]
    remote_src: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// A command line with `%s` that must accept the new file first.
    validate: Option<String>,
    /// Whether fragments of the controller are decrypted.
    #[arg(default = "true")]
    decrypt: bool,
    /// Used internally: names and contents in base64, from the controller.
    #[arg(name = "_fragments")]
    fragments: Option<Value>,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

/// `\n` and the like in a delimiter.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r").replace("\\\\", "\\")
}

fn run(args: Args, host: &mut Host) -> Run {
    let (src, dest) = (host.path(&args.src), host.path(&args.dest));
    let sent = args.fragments.as_ref().and_then(Value::as_map);
    if sent.is_none() && !src.exists() {
        return Err(Failure::new(format!("Source ({}) does not exist", args.src)));
    }
    if sent.is_none() && !src.is_dir() {
        return Err(Failure::new(format!("Source ({}) is not a directory", args.src)));
    }
    let wanted = match &args.regexp {
        Some(regexp) => Some(
            bakery_lang::regex::compile(regexp, Flags::default())
                .map_err(|e| Failure::new(format!("Invalid Regexp ({e}) in \"{regexp}\"")))?,
        ),
        None => None,
    };
    let mut content: Vec<u8> = Vec::new();
    let mut any = false;
    let mut fragments: Vec<(String, Vec<u8>)> = Vec::new();
    if let Some(sent) = sent {
        for (name, content) in sent.pairs() {
            let bytes = base64::engine::general_purpose::STANDARD.decode(content.to_string());
            fragments.push((name.to_string(), bytes.map_err(|e| Failure::new(e.to_string()))?));
        }
    } else {
        for path in fs::read_dir(&src)?.into_iter().filter(|p| p.is_file()) {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            fragments.push((name, fs::read(&path)?));
        }
    }
    for (name, bytes) in fragments {
        let taken = wanted.as_ref().is_none_or(|w| w.is_match(&name).unwrap_or(false));
        if !taken || (args.ignore_hidden && name.starts_with('.')) {
            continue;
        }
        if any {
            if !content.ends_with(b"\n") {
                content.push(b'\n');
            }
            if let Some(delimiter) = args.delimiter.as_deref().filter(|d| !d.is_empty()) {
                content.extend(unescaped(delimiter).bytes());
                if !content.ends_with(b"\n") {
                    content.push(b'\n');
                }
            }
        }
        any = true;
        content.extend(bytes);
    }
    let how =
        Replace { backup: args.backup, validate: args.validate, instead_of_link: true, ..Replace::default() };
    let (mut changed, backup) = host.replace(&dest, &content, &how)?;
    let diff = host.take_diffs().pop();
    if dest.exists() {
        changed |= host.attributes(&dest, &args.attributes)?;
    }
    let mut outcome = Outcome::changed(changed).msg("OK");
    outcome = outcome
        .with("src", args.src)
        .with("dest", dest.display().to_string())
        .with("checksum", digests::hex("sha1", &content))
        .with("md5sum", digests::hex("md5", &content));
    if let Some(diff) = diff {
        outcome = outcome.with("diff", diff);
    }
    if let Some(backup) = backup {
        outcome = outcome.with("backup_file", backup.display().to_string());
    }
    Ok(outcome)
}

module!("assemble", "ansible.builtin", Args, run);
