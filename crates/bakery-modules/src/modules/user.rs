//! `user`: accounts, through useradd, usermod and userdel (`ansible/modules/user.py`).

use std::path::{Path, PathBuf};

use bakery_host::{fs, users};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes, changes and removes accounts.
#[derive(ModuleArgs)]
struct Args {
    /// The account.
    #[arg(required, alias = "user")]
    name: String,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Its number.
    uid: Option<i64>,
    /// Whether the number may be taken already.
    non_unique: bool,
    /// The description.
    comment: Option<String>,
    /// The primary group.
    group: Option<String>,
    /// Further groups.
    groups: Option<Vec<String>>,
    /// Whether `groups` is added to the groups that it has.
    append: bool,
    /// The shell.
    shell: Option<String>,
    /// The home folder.
    home: Option<String>,
    /// A folder to copy into a new home folder.
    skeleton: Option<String>,
    /// Whether a new account gets a home folder.
    #[arg(default = "true", alias = "createhome")]
    create_home: bool,
    /// Whether the home folder is moved when `home` changes.
    move_home: bool,
    /// Whether it is a system account.
    system: bool,
    /// The encrypted password.
    #[arg(secret)]
    password: Option<String>,
    /// When the password is set.
    #[arg(default = "always", choices = "always,on_create")]
    update_password: String,
    /// Whether the password is locked.
    password_lock: Option<bool>,
    /// When the account expires, in seconds since 1970; negative for never.
    expires: Option<f64>,
    /// Whether removal also removes the home folder.
    remove: bool,
    /// Whether removal is forced.
    force: bool,
    /// Whether a local account is meant where others are known too.
    local: bool,
    /// Whether an ssh key is made.
    generate_ssh_key: bool,
    /// The key's size.
    ssh_key_bits: Option<i64>,
    /// The key's kind.
    #[arg(default = "rsa")]
    ssh_key_type: String,
    /// The key's file, relative to the home folder.
    ssh_key_file: Option<String>,
    /// The key's comment.
    ssh_key_comment: Option<String>,
    /// The key's pass phrase.
    #[arg(secret)]
    ssh_key_passphrase: Option<String>,
    /// The permissions mask of a new home folder.
    umask: Option<String>,
    /// Least days between changes of the password.
    password_expire_min: Option<i64>,
    /// Most days between changes of the password.
    password_expire_max: Option<i64>,
    /// Days of warning before the password expires.
    password_expire_warn: Option<i64>,
    /// The least number that a new account may get.
    uid_min: Option<i64>,
    /// The greatest number that a new account may get.
    uid_max: Option<i64>,
    /// Days after the password expired until the account is locked.
    password_expire_account_disable: Option<i64>,
    /// SELinux user.
    seuser: Option<String>,
    /// Login class on BSD.
    login_class: Option<String>,
    /// Accepted; for Solaris.
    authorization: Option<String>,
    /// Accepted; for macOS.
    hidden: Option<bool>,
    /// Accepted; for macOS and Solaris.
    profile: Option<String>,
    /// Accepted; for Solaris.
    role: Option<String>,
}

fn shadow_password(name: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/shadow").ok()?;
    text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))?.split(':').next().map(str::to_owned))
}

fn groups_of(name: &str) -> Vec<String> {
    users::groups("/").into_iter().filter(|g| g.members.iter().any(|m| m == name)).map(|g| g.name).collect()
}

fn run(args: Args, host: &mut Host) -> Run {
    let name = args.name.as_str();
    let existing = users::users("/").into_iter().find(|u| u.name == name);
    if args.state == "absent" {
        let Some(_) = existing else {
            return Ok(Outcome::unchanged().with("name", name).with("state", "absent"));
        };
        let mut said = None;
        if !host.check {
            let mut argv = vec!["userdel"];
            if args.force {
                argv.push("-f");
            }
            if args.remove {
                argv.push("-r");
            }
            argv.push(name);
            said = Some(host.run(&argv)?);
        }
        let outcome = Outcome::changed(true)
            .with("name", name)
            .with("state", "absent")
            .with("force", args.force)
            .with("remove", args.remove);
        return Ok(with_said(outcome, said.as_ref()));
    }
    for group in args.groups.iter().flatten().chain(&args.group).filter(|g| !g.is_empty()) {
        if users::find_group(group).is_none() && !host.check {
            return Err(Failure::new(format!("Group {group} does not exist")));
        }
    }
    if args.password.as_deref().is_some_and(seems_plain) {
        host.warn("The input password appears not to have been hashed. The 'password' argument must be encrypted for this module to work properly.");
    }
    let mut changed = false;
    let created = existing.is_none();
    let mut argv: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: &str| {
        argv.push(flag.into());
        argv.push(value.into());
    };
    let now = existing.clone();
    for (name, is_set) in [
        ("umask", args.umask.is_some()),
        ("uid_min", args.uid_min.is_some()),
        ("uid_max", args.uid_max.is_some()),
    ] {
        if args.local && is_set {
            return Err(Failure::new(format!("'{name}' can not be used with 'local'")));
        }
    }
    let differs =
        |wanted: Option<&String>, have: Option<&String>| wanted.filter(|w| Some(*w) != have).cloned();
    if let Some(uid) = args.uid.filter(|uid| now.as_ref().map(|u| i64::from(u.uid)) != Some(*uid)) {
        add("-u", &uid.to_string());
    }
    if let Some(comment) = differs(args.comment.as_ref(), now.as_ref().map(|u| &u.gecos)) {
        add("-c", &comment);
    }
    let shell = args.shell.as_ref().map(|shell| host.path(shell).display().to_string());
    if let Some(shell) = differs(shell.as_ref(), now.as_ref().map(|u| &u.shell)) {
        add("-s", &shell);
    }
    if let Some(home) = differs(args.home.as_ref(), now.as_ref().map(|u| &u.home)) {
        add("-d", &home);
    }
    if let Some(group) = &args.group {
        let gid = users::find_group(group).map(|g| g.gid);
        if now.as_ref().map(|u| u.gid) != gid || created {
            add("-g", group);
        }
    }
    if args.append && args.groups.is_none() {
        host.warn("'append' is set, but no 'groups' are specified. Use 'groups' for appending new groups.This will change to an error in Ansible 2.14.");
    }
    if let Some(groups) = &args.groups {
        // Groups may be named by their number.
        let named =
            |group: &String| users::find_group(group).map_or_else(|| group.clone(), |found| found.name);
        let wanted: Vec<String> = groups.iter().filter(|g| !g.is_empty()).map(named).collect();
        let have = groups_of(name);
        let missing = wanted.iter().any(|g| !have.contains(g));
        let extra = !args.append && have.iter().any(|g| !wanted.contains(g));
        if (missing || extra) && !(created && wanted.is_empty()) {
            add("-G", &wanted.join(","));
            if args.append && !created {
                argv.push("-a".into());
            }
        }
    }
    if let Some(expires) = args.expires {
        let date = if expires < 0.0 {
            String::new()
        } else {
            jiff::Timestamp::from_second(expires as i64)
                .map(|t| t.strftime("%Y-%m-%d").to_string())
                .unwrap_or_default()
        };
        let days = if expires < 0.0 { String::new() } else { ((expires / 86400.0) as i64).to_string() };
        let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
        // An account that is not in that file gets its line by this.
        let line = shadow.lines().find(|l| l.starts_with(&format!("{name}:")));
        if line.and_then(|l| l.split(':').nth(7)) != Some(days.as_str()) {
            argv.push("-e".into());
            argv.push(date);
        }
    }
    let has = shadow_password(name);
    let plain = |password: &str| password.trim_start_matches('!').to_owned();
    let is_other =
        args.password.as_deref().is_some_and(|wanted| has.as_deref().map(plain) != Some(plain(wanted)));
    if let Some(password) =
        args.password.as_ref().filter(|_| created || args.update_password == "always" && is_other)
    {
        argv.push("-p".into());
        argv.push(if args.password_lock == Some(true) {
            format!("!{}", plain(password))
        } else {
            password.clone()
        });
    } else if let Some(lock) = args.password_lock
        && !created
        && has.is_some_and(|p| p.starts_with('!')) != lock
    {
        argv.push(if lock { "-L" } else { "-U" }.into());
    }
    if created {
        changed = true;
        if args.system {
            argv.push("-r".into());
        }
        for (name, value) in [("UID_MIN", args.uid_min), ("UID_MAX", args.uid_max)] {
            if let Some(value) = value {
                argv.extend(["-K".into(), format!("{name}={value}")]);
            }
        }
        if args.create_home {
            argv.push("-m".into());
            if let Some(skeleton) = &args.skeleton {
                argv.extend(["-k".into(), skeleton.clone()]);
            }
            if let Some(umask) = &args.umask {
                argv.extend(["-K".into(), format!("UMASK={umask}")]);
            }
        } else {
            argv.push("-M".into());
        }
        if args.group.is_none() && users::groups("/").iter().any(|g| g.name == name) {
            argv.extend(["-g".into(), name.into()]);
        }
    } else if argv.iter().any(|a| a == "-d") && args.move_home {
        argv.push("-m".into());
    }
    if args.non_unique && argv.iter().any(|a| a == "-u") {
        argv.push("-o".into());
    }
    let mut said = None;
    if created || !argv.is_empty() {
        changed = true;
        if !host.check {
            let mut command = vec![if created { "useradd" } else { "usermod" }.to_owned()];
            command.extend(argv);
            command.push(name.into());
            // Passwords must not show in errors; the words are therefore not repeated there.
            let output = host.try_run(&command)?;
            if !output.success() {
                return Err(Failure::new(output.error_text().trim().to_owned())
                    .with("rc", output.code)
                    .with("name", name));
            }
            said = Some(output);
        }
    }
    let ages = ages(&args, name);
    if !ages.is_empty() {
        changed = true;
        if !host.check {
            let command: Vec<String> =
                ["chage".to_owned()].into_iter().chain(ages).chain([name.to_owned()]).collect();
            host.run(&command)?;
        }
    }
    let Some(user) = users::users("/").into_iter().find(|u| u.name == name) else {
        return Ok(Outcome::changed(changed).with("name", name).with("state", "present"));
    };
    if args.create_home && !created && !Path::new(&user.home).exists() {
        changed = true;
        if !host.check {
            make_home(host, &user, args.skeleton.as_deref())?;
        }
    }
    let mut outcome = Outcome::changed(changed)
        .with("name", name)
        .with("state", "present")
        .with("uid", user.uid)
        .with("group", user.gid)
        .with("home", user.home.as_str())
        .with("shell", user.shell.as_str())
        .with("comment", user.gecos.as_str());
    outcome = with_said(outcome, said.as_ref());
    if created {
        outcome = outcome.with("system", args.system).with("create_home", args.create_home);
    } else {
        outcome = outcome.with("append", args.append).with("move_home", args.move_home);
    }
    if let Some(groups) = &args.groups {
        outcome = outcome.with("groups", groups.join(","));
    }
    if args.password.is_some() {
        outcome = outcome.with("password", "NOT_LOGGING_PASSWORD");
    }
    if args.generate_ssh_key {
        outcome = generate_key(outcome, &args, host, &user)?;
    }
    Ok(outcome)
}

/// What chage(1) has to change of the days that a password lasts.
fn ages(args: &Args, name: &str) -> Vec<String> {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    let line = shadow.lines().find(|line| line.starts_with(&format!("{name}:")));
    let has = |field: usize| line.and_then(|line| line.split(':').nth(field)?.parse::<i64>().ok());
    [
        (args.password_expire_min, "-m", 3),
        (args.password_expire_max, "-M", 4),
        (args.password_expire_warn, "-W", 5),
        (args.password_expire_account_disable, "-I", 6),
    ]
    .into_iter()
    .filter(|(wanted, _, field)| wanted.is_some() && *wanted != has(*field))
    .flat_map(|(wanted, flag, _)| [flag.to_owned(), wanted.unwrap_or_default().to_string()])
    .collect()
}

/// Makes a key pair, unless there is one. What is in its place, a link of the account's owner perhaps, is only replaced
/// with `force`, and never written through.
fn generate_key(
    mut outcome: Outcome,
    args: &Args,
    host: &mut Host,
    user: &users::User,
) -> Result<Outcome, Failure> {
    let name = args.ssh_key_file.clone().unwrap_or_else(|| format!(".ssh/id_{}", args.ssh_key_type));
    let file = Path::new(&user.home).join(name);
    let public = PathBuf::from(format!("{}.pub", file.display()));
    let mut is_wanted = true;
    for (path, kind) in [(&file, "private"), (&public, "public")] {
        if path.symlink_metadata().is_err() || !is_wanted {
            continue;
        }
        let shown = path.display();
        if args.force {
            host.warn(format!("Overwriting existing ssh key {kind} file \"{shown}\""));
            if !host.check {
                fs::remove_file(path)?;
            }
        } else {
            let left = format!(
                "Found existing ssh key {kind} file \"{shown}\", no force, so skipping ssh-keygen generation"
            );
            host.warn(left);
            is_wanted = false;
        }
    }
    if is_wanted {
        outcome.changed = true;
    }
    if is_wanted && !host.check {
        let owner = (Some(user.uid), Some(user.gid));
        let folder = file.parent().unwrap_or(Path::new("/"));
        if !folder.exists() {
            fs::create_private_dir(folder)?;
            fs::lchown(folder, owner.0, owner.1)?;
        }
        let comment = args.ssh_key_comment.clone().unwrap_or_else(|| "ansible-generated".into());
        let mut cmd =
            host.cmd("ssh-keygen").args(["-q", "-t", &args.ssh_key_type, "-C", &comment, "-f"]).arg(&file);
        if let Some(bits) = args.ssh_key_bits {
            cmd = cmd.arg("-b").arg(bits.to_string());
        }
        // A passphrase is not for the list of processes: without a terminal, it is read from what comes in.
        cmd = match &args.ssh_key_passphrase {
            Some(secret) => {
                cmd.detached().env("SSH_ASKPASS_REQUIRE", "never").input(format!("{secret}\n{secret}\n"))
            }
            None => cmd.args(["-N", ""]),
        };
        cmd.run()?;
        for path in [&file, &public] {
            fs::lchown(path, owner.0, owner.1)?;
        }
    }
    let key = fs::read_to_string(&public).unwrap_or_default();
    Ok(outcome.with("ssh_key_file", file.display().to_string()).with("ssh_public_key", key.trim()))
}

/// Makes the home folder of an account that has none, with the mode that useradd(8) would give it.
fn make_home(host: &mut Host, user: &users::User, skeleton: Option<&str>) -> Result<(), Failure> {
    let skeleton = skeleton.unwrap_or("/etc/skel");
    if skeleton != "/dev/null" && Path::new(skeleton).is_dir() {
        host.run(&["cp".to_owned(), "-aT".into(), skeleton.to_owned(), user.home.clone()])?;
    } else {
        fs::create_dir_all(&user.home)?;
    }
    if let Ok(text) = fs::read_to_string("/etc/login.defs") {
        let number = |name: &str| {
            let words = text.lines().filter_map(|line| line.strip_prefix(name));
            words.filter_map(|rest| u32::from_str_radix(rest.trim(), 8).ok()).next_back()
        };
        let masked = number("UMASK ").or_else(|| number("UMASK\t")).map(|mask| 0o777 & !mask);
        let mode = number("HOME_MODE ").or_else(|| number("HOME_MODE\t")).or(masked);
        fs::chmod(&user.home, mode.unwrap_or(0o755))?;
    }
    let (uid, gid) = (Some(user.uid), Some(user.gid));
    fs::lchown(&user.home, uid, gid)?;
    for path in fs::walk(&user.home)? {
        fs::lchown(&path, uid, gid)?;
    }
    Ok(())
}

/// Adds what a program said, where it said something.
fn with_said(outcome: Outcome, output: Option<&bakery_host::Output>) -> Outcome {
    let Some(output) = output else { return outcome };
    for (name, text) in [("stdout", output.text()), ("stderr", output.error_text())] {
        if !text.is_empty() {
            outcome.fields.set(name, text);
        }
    }
    outcome
}

/// Whether a password looks as if it were not hashed (`check_password_encrypted` in `user.py`).
fn seems_plain(password: &str) -> bool {
    if password.is_empty() || matches!(password, "*" | "!" | "*************") {
        return false;
    }
    if password.contains([':', '*', '!']) {
        return true;
    }
    let fields: Vec<&str> = password.split('$').collect();
    let Some(hash) = fields.last().filter(|_| fields.len() >= 3) else { return true };
    let strange = hash.chars().any(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '=')));
    let length = match fields[1] {
        "1" => 22,
        "5" | "y" => 43,
        "6" => 86,
        _ => hash.len(),
    };
    strange || hash.len() != length
}

module!("user", "ansible.builtin", Args, run);
