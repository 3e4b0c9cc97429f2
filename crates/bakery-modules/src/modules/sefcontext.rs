//! `sefcontext`: what the SELinux policy says of paths (community.general `sefcontext.py`), by `semanage`.

use bakery_lang::Value;
use bakery_lang::quote::shell_word;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Says which context files get in the SELinux policy; `restorecon` gives it to those that are there.
#[derive(ModuleArgs)]
#[args(exclusive = "setype,substitute", exclusive = "substitute,seuser", exclusive = "substitute,selevel")]
struct Args {
    /// A regular expression of whole paths; with `substitute`, a path.
    #[arg(required, alias = "path")]
    target: String,
    /// What kind of file: all, block and character devices, directories, files, links, pipes, sockets.
    #[arg(default = "a", choices = "a,b,c,d,f,l,p,s")]
    ftype: String,
    /// The type; `<<none>>` for no context at all.
    setype: Option<String>,
    /// The path whose contexts hold for what is below `target`, too.
    #[arg(alias = "equal")]
    substitute: Option<String>,
    /// The user; `system_u` for what is new.
    seuser: Option<String>,
    /// The level; `s0` for what is new.
    #[arg(alias = "serange")]
    selevel: Option<String>,
    /// Whether the policy shall say so.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether the policy is loaded anew.
    #[arg(default = "true")]
    reload: bool,
    /// Whether it is set where SELinux is off, too.
    ignore_selinux_state: bool,
}

/// The kinds of files, as options and as listings call them.
const KINDS: [(&str, &str); 8] = [
    ("a", "all files"),
    ("b", "block device"),
    ("c", "character device"),
    ("d", "directory"),
    ("f", "regular file"),
    ("l", "symbolic link"),
    ("p", "named pipe"),
    ("s", "socket"),
];

/// The type of a path that gets no context.
const NO_TYPE: &str = "<<none>>";

/// A user, a type and a level; a mapping to no context has a type only.
#[derive(Debug, PartialEq)]
struct Context {
    user: Option<String>,
    kind: String,
    level: Option<String>,
}

/// What is said of a path, in the lines of `semanage fcontext --list`: it, a kind of files, a context.
fn context(listing: &str, target: &str, ftype: &str) -> Option<Context> {
    let kind = KINDS.iter().find_map(|(option, kind)| (*option == ftype).then_some(*kind))?;
    let found = listing.lines().find_map(|line| {
        let rest = line.strip_prefix(target)?.strip_prefix(' ')?.trim_start();
        rest.strip_prefix(kind)?.strip_prefix(' ').map(str::trim)
    })?;
    let mut parts = found.splitn(4, ':').map(str::to_owned);
    let user = parts.next().filter(|user| !user.eq_ignore_ascii_case(NO_TYPE));
    let kind = parts.nth(1).unwrap_or_else(|| NO_TYPE.to_owned());
    Some(Context { user, kind, level: parts.next() })
}

/// The path whose contexts hold for another one: `/usr/local/lib = /usr/lib`.
fn substitute(listing: &str, target: &str) -> Option<String> {
    listing.lines().find_map(|line| Some(line.strip_prefix(target)?.strip_prefix(" = ")?.trim().to_owned()))
}

/// Puts one path in another's stead, at once: semanage(8) takes several commands for one transaction, but knows none that
/// changes this.
fn exchange(
    args: &Args,
    host: &Host,
    semanage: &str,
    enabled: bool,
    old: &str,
    new: &str,
) -> Result<(), Failure> {
    if host.check {
        return Ok(());
    }
    let [old, new, target] = [old, new, &args.target].map(shell_word);
    let commands = format!("fcontext -d -e {old} {target}\nfcontext -a -e {new} {target}\n");
    let mut cmd = host.cmd(semanage).arg("import").input(commands);
    if !args.reload || !enabled {
        cmd = cmd.arg("-N");
    }
    let output = cmd.output()?;
    if output.success() { Ok(()) } else { Err(Failure::new(output.error_text().trim()).with_output(&output)) }
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.state == "present" && args.setype.is_none() && args.substitute.is_none() {
        return Err("state is present but any of the following are missing: setype, substitute".into());
    }
    let enabled = super::selinux::is_enabled();
    if !enabled && !args.ignore_selinux_state {
        return Err("SELinux is disabled on this host.".into());
    }
    let semanage = host.program("semanage")?;
    let listing = host.run(&[semanage.as_str(), "fcontext", "--list", "--noheading"])?.text();
    let change = |verb: &str, words: &[&str]| -> Result<(), Failure> {
        if host.check {
            return Ok(());
        }
        let mut argv = vec![semanage.as_str(), "fcontext", verb];
        argv.extend((!args.reload || !enabled).then_some("--noreload"));
        argv.extend(words);
        argv.push(&args.target);
        host.run(&argv).map(drop).map_err(|failure| Failure::new(failure.msg))
    };
    let shown = |outcome: Outcome| {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::None, Value::from);
        outcome
            .with("target", args.target.as_str())
            .with("ftype", args.ftype.as_str())
            .with("setype", text(&args.setype))
            .with("substitute", text(&args.substitute))
            .with("state", args.state.as_str())
    };
    let now = context(&listing, &args.target, &args.ftype);
    let equal = substitute(&listing, &args.target);
    if args.state == "absent" {
        let mut changed = false;
        if now.is_some() && args.substitute.is_none() {
            change("--delete", &["--ftype", &args.ftype])?;
            changed = true;
        }
        let is_meant =
            |equal: &&String| args.setype.is_none() && args.substitute.as_ref().is_none_or(|s| s == *equal);
        if let Some(equal) = equal.as_ref().filter(is_meant) {
            change("--delete", &["--equal", equal])?;
            changed = true;
        }
        return Ok(shown(Outcome::changed(changed)));
    }
    let (mut user, mut level) = (args.seuser.clone(), args.selevel.clone());
    let changed = match (&args.substitute, &args.setype) {
        (Some(wanted), _) => {
            let changed = equal.as_ref() != Some(wanted);
            match &equal {
                Some(equal) if changed => exchange(&args, host, &semanage, enabled, equal, wanted)?,
                None => change("--add", &["--equal", wanted])?,
                Some(_) => {}
            }
            changed
        }
        (None, setype) => {
            let setype = setype.as_deref().unwrap_or_default();
            let is_same = |now: &Context| {
                now.kind == setype
                    || now.kind.eq_ignore_ascii_case(NO_TYPE) && setype.eq_ignore_ascii_case(NO_TYPE)
            };
            let (changed, verb) = match &now {
                Some(now) => {
                    user = user.or_else(|| now.user.clone());
                    level = level.or_else(|| now.level.clone());
                    (!is_same(now) || user != now.user || level != now.level, "--modify")
                }
                None => {
                    user = user.or_else(|| Some("system_u".into()));
                    level = level.or_else(|| Some("s0".into()));
                    (true, "--add")
                }
            };
            if changed {
                let (user, level) = (user.as_deref().unwrap_or("system_u"), level.as_deref().unwrap_or("s0"));
                let words = ["--ftype", &args.ftype, "--type", setype, "--range", level, "--seuser", user];
                change(verb, &words)?;
            }
            changed
        }
    };
    Ok(shown(Outcome::changed(changed)).with("seuser", user).with("serange", level))
}

module!("sefcontext", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_semanage() {
        let listing = "/                directory          system_u:object_r:root_t:s0 \n/boot/\\.journal  all files  <<None>>\n/srv(/.*)?       all files          staff_u:object_r:var_t:s0:c0,c3 \n/var/run = /run\n";
        let read = |target: &str, ftype: &str| context(listing, target, ftype);
        assert_eq!(read("/", "d").map(|c| c.kind), Some("root_t".into()));
        assert_eq!(read("/", "a"), None);
        assert_eq!(
            read("/boot/\\.journal", "a"),
            Some(Context { user: None, kind: NO_TYPE.into(), level: None })
        );
        assert_eq!(read("/srv(/.*)?", "a").and_then(|c| c.level), Some("s0:c0,c3".into()));
        assert_eq!(substitute(listing, "/var/run"), Some("/run".into()));
        assert_eq!(substitute(listing, "/var"), None);
    }
}
