//! Carries a cloud-config out.

use std::path::Path;

use bakery_host::{fs, users};

use crate::config::{CloudConfig, Command, WriteFile};
use crate::{Error, Result};

/// Sets the names of the machine.
pub(crate) fn names(config: &CloudConfig, fallback: Option<&str>) -> Result<()> {
    if config.preserve_hostname {
        return Ok(());
    }
    let fqdn = config
        .fqdn
        .clone()
        .or_else(|| config.hostname.clone().filter(|h| h.contains('.')))
        .or_else(|| fallback.map(str::to_owned));
    let short = config
        .hostname
        .clone()
        .or_else(|| fqdn.clone())
        .map(|name| name.split('.').next().unwrap_or(&name).to_owned());
    let Some(short) = short.filter(|s| !s.is_empty()) else { return Ok(()) };
    fs::write_atomic("/etc/hostname", format!("{short}\n"))?;
    fs::set_hostname(&short)?;
    if config.manage_etc_hosts {
        let fqdn = fqdn.unwrap_or_else(|| short.clone());
        fs::write_atomic("/etc/hosts", hosts_file(&fqdn, &short))?;
    }
    Ok(())
}

/// /etc/hosts as cloud-init's template for Debian writes it (`templates/hosts.debian.tmpl`).
fn hosts_file(fqdn: &str, short: &str) -> String {
    format!(
        "# Written from user-data (manage_etc_hosts: true); changes are lost at the next first boot.\n\
         127.0.1.1 {fqdn} {short}\n127.0.0.1 localhost\n\n\
         ::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    )
}

/// Writes a file with its owner and permissions.
pub(crate) fn write_file(file: &WriteFile) -> Result<()> {
    let path = Path::new(&file.path);
    if !path.is_absolute() {
        return Err(Error(format!("write_files: the path `{}` is not absolute", file.path)));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut content = if file.append { fs::read(path).unwrap_or_default() } else { Vec::new() };
    content.extend_from_slice(&file.content);
    fs::write_atomic_mode(path, &content, file.mode)?;
    fs::chmod(path, file.mode)?;
    let (user, group) = file.owner.split_once(':').unwrap_or((&file.owner, ""));
    let unknown =
        |kind: &str, name: &str| Error(format!("write_files: {}: there is no {kind} `{name}`", file.path));
    let user = users::find_user(user).ok_or_else(|| unknown("user", user))?;
    let gid = if group.is_empty() {
        user.gid
    } else {
        users::find_group(group).ok_or_else(|| unknown("group", group))?.gid
    };
    Ok(fs::lchown(path, Some(user.uid), Some(gid))?)
}

/// Adds keys that may log in as root.
pub(crate) fn authorized_keys(keys: &[String]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let folder = Path::new("/root/.ssh");
    fs::create_private_dir(folder)?;
    let path = folder.join("authorized_keys");
    let text = fs::read_to_string(&path).unwrap_or_default();
    Ok(fs::write_atomic_mode(path, with_keys(&text, keys), 0o600)?)
}

/// `authorized_keys` with keys that may do anything: where one is there with restrictions, those go.
fn with_keys(text: &str, keys: &[String]) -> String {
    let keys: Vec<&str> = keys.iter().map(|key| key.trim()).filter(|key| !key.is_empty()).collect();
    let body = |key: &str| key.split_whitespace().nth(1).map(str::to_owned);
    let is_another = |line: &&str| {
        let same =
            |key: &&str| body(key).is_some_and(|body| line.split_whitespace().any(|word| word == body));
        !keys.iter().any(|key| line == key || same(key))
    };
    let kept = text.lines().filter(is_another);
    kept.chain(keys.iter().copied()).map(|line| format!("{line}\n")).collect()
}

/// The file in which the script notes commands that failed, one `number code` a line.
pub(crate) const FAILURES: &str = "/run/bakery/runcmd-failures";

/// All commands as one script of the shell, as cloud-init makes it: variables and the folder carry over, a failure
/// does not stop it. After each command that is complete by itself its exit code is noted.
pub(crate) fn script(commands: &[Command]) -> String {
    let mut script = String::from("#!/bin/sh\n");
    for (at, command) in commands.iter().enumerate() {
        let (line, complete) = match command {
            Command::Words(words) => (words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" "), true),
            Command::Line(line) => (line.clone(), is_complete(line)),
        };
        script.push_str(&line);
        script.push('\n');
        if complete {
            // Keeps `$?` for the next line and for the script's own exit code.
            script.push_str(&format!(
                "bakery_rc=$?; [ $bakery_rc -eq 0 ] || echo \"{at} $bakery_rc\" >>{FAILURES}; (exit $bakery_rc)\n"
            ));
        }
    }
    script
}

/// Whether a line is a whole command, so that another one may follow it.
fn is_complete(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let opens = [
        "if", "for", "while", "until", "case", "then", "else", "elif", "fi", "do", "done", "esac", "{", "}",
        "(",
    ];
    let odd = |quote: char| line.matches(quote).count() % 2 == 1;
    !opens.contains(&first)
        && !line.contains("<<")
        && !line.trim_end().ends_with(['\\', '|', '&', '{', '('])
        && !odd('\'')
        && !odd('"')
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_let_in_once_and_without_restrictions() {
        let keys = ["ssh-ed25519 AAAA me".to_owned(), " \n".to_owned()];
        let restricted = "no-pty,command=\"echo no\" ssh-ed25519 AAAA me\nssh-rsa BBBB other\n";
        assert_eq!(with_keys(restricted, &keys), "ssh-rsa BBBB other\nssh-ed25519 AAAA me\n");
        assert_eq!(with_keys("ssh-ed25519 AAAA me\n", &keys), "ssh-ed25519 AAAA me\n");
        assert_eq!(with_keys("", &[]), "");
    }

    #[test]
    fn the_script_keeps_state_between_commands() {
        let commands = [
            Command::Line("A=1".into()),
            Command::Words(vec!["echo".into(), "it's".into()]),
            Command::Line("if true; then".into()),
            Command::Line("echo $A".into()),
            Command::Line("fi".into()),
        ];
        let text = script(&commands).replace(FAILURES, "/dev/null");
        let output = bakery_host::Cmd::new("/bin/sh").arg("-c").arg(text).output().expect("runs");
        assert_eq!(output.text(), "it's\n1\n");
        assert!(output.success());
    }
}
