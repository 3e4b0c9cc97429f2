//! `synchronize`: folders kept alike by rsync (ansible.posix `synchronize.py`). The action of the same name says between
//! which machines.

use std::path::Path;

use bakery_lang::Value;
use bakery_lang::quote::shell_word;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Copies folders and files by rsync, and only what is another one.
#[derive(ModuleArgs)]
struct Args {
    /// What is copied; with a slash at its end, what is in it.
    #[arg(required)]
    src: String,
    /// Where to.
    #[arg(required)]
    dest: String,
    /// The port of ssh.
    dest_port: Option<i64>,
    /// Whether what the source does not have is deleted.
    delete: bool,
    /// The key of ssh.
    private_key: Option<String>,
    /// The program on the other side.
    rsync_path: Option<String>,
    /// The program on this side; `ansible_rsync_path` says it.
    #[arg(name = "_local_rsync_path", default = "rsync")]
    local_rsync_path: String,
    /// The password of ssh, from the action.
    #[arg(name = "_local_rsync_password", secret)]
    local_rsync_password: Option<String>,
    /// Whether everything but hard links is kept as it is.
    #[arg(default = "true")]
    archive: bool,
    /// Whether contents are compared, not sizes and times.
    checksum: bool,
    /// Whether it is packed on its way.
    #[arg(default = "true")]
    compress: bool,
    /// Whether only files that are there are renewed.
    existing_only: bool,
    /// Whether folders are copied without what is in them.
    dirs: bool,
    /// Whether folders are entered.
    recursive: Option<bool>,
    /// Whether links are copied as links.
    links: Option<bool>,
    /// Whether what links lead to is copied.
    copy_links: bool,
    /// Whether permissions are kept.
    perms: Option<bool>,
    /// Whether times are kept.
    times: Option<bool>,
    /// Whether owners are kept.
    owner: Option<bool>,
    /// Whether groups are kept.
    group: Option<bool>,
    /// Whether the play's user is the one on the other side; the action's affair.
    #[arg(default = "true")]
    set_remote_user: bool,
    /// Seconds without a byte before it is given up.
    #[arg(default = "0")]
    rsync_timeout: i64,
    /// Further options.
    rsync_opts: Vec<String>,
    /// Options of ssh, from the action.
    #[arg(name = "_ssh_args")]
    ssh_args: Option<String>,
    /// Whether the configured options of ssh are used; the action's affair.
    use_ssh_args: bool,
    /// Whether sessions of ssh are shared.
    ssh_connection_multiplexing: bool,
    /// Whether files that did not arrive whole are kept.
    partial: bool,
    /// Whether the other side's key must be known.
    verify_host: bool,
    /// Whether files are put into their places at the end.
    #[arg(default = "true")]
    delay_updates: bool,
    /// From here to there, or from there to here; the action's affair.
    #[arg(default = "push", choices = "pull,push")]
    mode: String,
    /// Folders whose files are linked where they are the same.
    link_dest: Option<Vec<String>>,
}

/// What lines about changes begin with.
const MARK: &str = "<<CHANGED>>";

/// Whether a path is on another machine that is reached by a shell.
fn needs_shell(path: &str) -> bool {
    !path.starts_with("rsync://") && path.split('/').next().is_some_and(|first| first.contains(':'))
}

/// The words of rsync's command line, as a shell reads them.
fn words(args: &Args, host: &Host) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut flag = |on: bool, text: &str| words.extend(on.then(|| text.to_owned()));
    flag(args.delay_updates, "--delay-updates");
    flag(args.delay_updates, "-F");
    flag(args.compress, "--compress");
    flag(args.rsync_timeout != 0, &format!("--timeout={}", args.rsync_timeout));
    flag(host.check, "--dry-run");
    flag(args.delete, "--delete-after");
    flag(args.existing_only, "--existing");
    flag(args.checksum, "--checksum");
    flag(args.copy_links, "--copy-links");
    flag(args.archive, "--archive");
    for (name, value) in [
        ("recursive", args.recursive),
        ("links", args.links),
        ("perms", args.perms),
        ("times", args.times),
        ("owner", args.owner),
        ("group", args.group),
    ] {
        flag(args.archive && value == Some(false), &format!("--no-{name}"));
        flag(!args.archive && value == Some(true), &format!("--{name}"));
    }
    flag(args.dirs, "--dirs");
    let has_shell = args.rsync_opts.iter().any(|option| option.contains("--rsh"));
    if (needs_shell(&args.src) || needs_shell(&args.dest)) && !has_shell {
        let mut ssh = vec![host.program("ssh")?];
        if !args.ssh_connection_multiplexing {
            ssh.extend(["-S", "none"].map(str::to_owned));
        }
        ssh.extend(args.private_key.iter().flat_map(|key| ["-i".to_owned(), key.clone()]));
        ssh.extend(args.dest_port.iter().flat_map(|port| ["-o".to_owned(), format!("Port={port}")]));
        if !args.verify_host {
            ssh.extend(
                ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"].map(str::to_owned),
            );
        }
        let mut line = ssh.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
        if let Some(more) = args.ssh_args.as_ref().filter(|more| !more.is_empty()) {
            line.push_str(&format!(" {more}"));
        }
        words.push(format!("--rsh={}", shell_word(&line)));
    }
    words.extend(args.rsync_path.iter().map(|path| format!("--rsync-path={}", shell_word(path))));
    words.extend(args.rsync_opts.iter().cloned());
    words.extend(args.partial.then(|| "--partial".to_owned()));
    if let Some(folders) = &args.link_dest {
        // Without `-vv`, rsync does not tell of links that it makes.
        words.extend(["-H", "-vv"].map(str::to_owned));
        let into = Path::new(&args.dest).parent().map(Path::to_path_buf).unwrap_or_default();
        for folder in folders {
            let folder = host.path(folder);
            if into.starts_with(&folder) {
                return Err(Failure::new(format!(
                    "Hardlinking into a subdirectory of the source would cause recursion. {} and {}",
                    into.display(),
                    args.dest
                )));
            }
            words.push(format!("--link-dest={}", folder.display()));
        }
    }
    words.push(format!("--out-format={}", shell_word(&format!("{MARK}%i %n%L"))));
    words.extend([shell_word(&args.src), shell_word(&args.dest)]);
    Ok(words)
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.src.starts_with("rsync://") && args.dest.starts_with("rsync://") {
        return Err(Failure::new("either src or dest must be a localhost").with("rc", 1));
    }
    if args.rsync_opts.iter().any(String::is_empty) {
        host.warn("The empty string is present in rsync_opts which will cause rsync to transfer the current working directory. If this is intended, use \".\" instead to get rid of this warning. If this is unintended, check for problems in your playbook leading to empty string in rsync_opts.");
    }
    let rsync = if args.local_rsync_path.contains('/') {
        args.local_rsync_path.clone()
    } else {
        host.program(&args.local_rsync_path)?
    };
    let mut line = format!("{rsync} {}", words(&args, host)?.join(" "));
    let mut command = host.cmd("/bin/sh");
    if let Some(password) = args.local_rsync_password.as_ref().filter(|password| !password.is_empty()) {
        host.program("sshpass").map_err(|_| {
            Failure::new("to use rsync connection with passwords, you must install the sshpass program")
        })?;
        command = command.env("SSHPASS", password);
        line = format!("sshpass -e {line}");
    }
    let output = command.args(["-c", &line]).output()?;
    if !output.success() {
        return Err(Failure::new(output.error_text()).with("rc", output.code).with("cmd", line));
    }
    let said = output.text();
    let changed = match args.link_dest {
        // A period says that nothing was changed.
        Some(_) => !said.contains(&format!("{MARK}.")),
        None => said.contains(MARK),
    };
    let clean = said.replace(MARK, "");
    let lines: Vec<&str> = clean.split('\n').filter(|line| !line.is_empty()).collect();
    let outcome = Outcome::changed(changed)
        .msg(clean.as_str())
        .with("rc", 0)
        .with("cmd", line)
        .with("stdout_lines", Value::strings(lines));
    Ok(if host.diff { outcome.with("diff", Value::map([("prepared", Value::from(clean))])) } else { outcome })
}

module!("synchronize", "ansible.posix", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_other_machines() {
        for (path, expected) in [
            ("/here/a:b", false),
            ("host:/there", true),
            ("me@host:there", true),
            ("rsync://host/x", false),
            ("plain", false),
        ] {
            assert_eq!(needs_shell(path), expected, "{path}");
        }
    }
}
