//! `acl`: an entry of a file's access control list (ansible.posix `acl.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets, removes or returns entries of a file's access control list.
#[derive(ModuleArgs)]
struct Args {
    /// The path.
    #[arg(required, alias = "name")]
    path: String,
    /// What shall be; `query` returns what is.
    #[arg(default = "query", choices = "absent,present,query")]
    state: String,
    /// An entry as setfacl(1) takes it, instead of `etype`, `entity` and `permissions`.
    entry: Option<String>,
    /// Whom the entry is for: a name, or nothing for the owner.
    #[arg(default = "")]
    entity: String,
    /// The kind of entry.
    #[arg(choices = "group,mask,other,user")]
    etype: Option<String>,
    /// Permissions: `r`, `w`, `x`, `X` and `-`.
    permissions: Option<String>,
    /// Whether it is an entry of a folder for what will be in it.
    default: bool,
    /// Whether everything in a folder gets it.
    #[arg(alias = "recurse")]
    recursive: bool,
    /// Whether a link's target is meant.
    #[arg(default = "true")]
    follow: bool,
    /// Whether the mask is worked out anew.
    #[arg(default = "default", choices = "default,mask,no_mask")]
    recalculate_mask: String,
    /// Whether the entries are those of NFS 4; not supported.
    use_nfsv4_acls: bool,
}

/// One entry's parts.
#[derive(Default)]
struct Entry {
    default: bool,
    kind: String,
    entity: String,
    permissions: Option<String>,
}

fn parse(entry: &str) -> Result<Entry, Failure> {
    let mut fields: Vec<&str> = entry.split(':').map(str::trim).collect();
    let default = matches!(fields.first(), Some(&("d" | "default")));
    if default {
        fields.remove(0);
    }
    let bad = || Failure::new("'entry' MUST have 2 or 3 sections divided by ':'".to_owned());
    let kind = fields.first().and_then(|k| k.chars().next()).ok_or_else(bad)?;
    let kind = match kind {
        'u' => "user",
        'g' => "group",
        'm' => "mask",
        'o' => "other",
        _ => return Err(bad()),
    };
    let (entity, permissions) = match fields[1..] {
        [permissions] if matches!(kind, "mask" | "other") => ("", Some(permissions)),
        [entity] => (entity, None),
        [entity, permissions] => (entity, Some(permissions)),
        _ => return Err(bad()),
    };
    Ok(Entry {
        default,
        kind: kind.into(),
        entity: entity.into(),
        permissions: permissions.map(str::to_owned),
    })
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.use_nfsv4_acls {
        return Err("use_nfsv4_acls is not supported; `command: nfs4_setfacl …` is".into());
    }
    let path = host.path(&args.path);
    if path.symlink_metadata().is_err() {
        return Err(Failure::new(format!("Path not found or not accessible: {}", args.path)));
    }
    let mut wanted = Entry {
        default: args.default,
        kind: args.etype.clone().unwrap_or_default(),
        entity: args.entity.clone(),
        permissions: args.permissions.clone(),
    };
    if let Some(entry) = &args.entry {
        if args.etype.is_some() || !args.entity.is_empty() || args.permissions.is_some() {
            return Err("'entry' MUST NOT be set when 'entity', 'etype' or 'permissions' are set.".into());
        }
        wanted = parse(entry)?;
        wanted.default |= args.default;
        match (args.state.as_str(), &wanted.permissions) {
            ("present", None) => {
                return Err("'entry' MUST have 3 sections divided by ':' when 'state=present'.".into());
            }
            ("absent", Some(_)) => {
                return Err("'entry' MUST have 2 sections divided by ':' when 'state=absent'.".into());
            }
            _ => {}
        }
    } else if args.state != "query" && wanted.kind.is_empty() {
        return Err(Failure::new("'etype' MUST be set when 'state' is not 'query' and there is no 'entry'"));
    }
    let text = path.display().to_string();
    let mut base: Vec<&str> = Vec::new();
    if args.recursive {
        base.push("--recursive");
    }
    let link = if args.follow { &[][..] } else { &["--physical"] };
    let mut changed = false;
    if args.state != "query" {
        let scope = if wanted.default { "d:" } else { "" };
        let letter = wanted.kind.chars().next().unwrap_or_default();
        let mut argv: Vec<String> = vec!["setfacl".into()];
        match args.recalculate_mask.as_str() {
            "mask" => argv.push("--mask".into()),
            "no_mask" => argv.push("--no-mask".into()),
            _ => {}
        }
        argv.extend(base.iter().chain(link).map(|&w| w.to_owned()));
        if args.state == "present" {
            let permissions = wanted.permissions.clone().unwrap_or_default();
            argv.extend(["-m".to_owned(), format!("{scope}{letter}:{}:{permissions}", wanted.entity)]);
        } else {
            argv.extend(["-x".to_owned(), format!("{scope}{letter}:{}", wanted.entity)]);
        }
        argv.push(text.clone());
        // What setfacl would leave, against what is there.
        let mut trial = argv.clone();
        trial.insert(1, "--test".into());
        let would = host.run(&trial)?.text();
        changed = would.lines().filter(|l| !l.trim().is_empty()).any(|line| !line.ends_with("*,*"));
        if changed && !host.check {
            host.run(&argv)?;
        }
    }
    let mut argv: Vec<&str> = vec!["getfacl", "--omit-header", "--absolute-names"];
    if wanted.default {
        argv.push("--default");
    }
    argv.extend(&base);
    argv.extend(link);
    argv.push(&text);
    let all = host.run(&argv)?.text();
    let list: Vec<&str> = all.trim_end().lines().map(str::trim_end).collect();
    let said = match (args.state.as_str(), list.len()) {
        ("query", _) => "current acl".to_owned(),
        (state, _) => {
            let permissions = wanted.permissions.as_deref().map(|p| format!(":{p}")).unwrap_or_default();
            format!("{}:{}{permissions} is {state}", wanted.kind, wanted.entity)
        }
    };
    Ok(Outcome::changed(changed).msg(said).with("acl", Value::strings(list)))
}

module!("acl", "ansible.posix", Args, run);
