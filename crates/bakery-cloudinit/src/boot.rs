//! The order of a boot: grow, who am I, names, files, keys, commands; once per instance.

use std::io::{BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bakery_host::{Cmd, fs};
use clap::Args;

use crate::apply;
use crate::config::{CloudConfig, Command, UserData};
use crate::datasource::{self, Instance};
use crate::report::{self, Report};
use crate::{Error, Result, grow, volumes};

/// Finishes this machine's boot from its user-data.
#[derive(Debug, Clone, Args)]
pub struct BootArgs {
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take this file as user-data instead of asking the platform
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// The distribution's cloud-init has ended: say how, and let whoever started this machine in
    #[arg(long, hide = true)]
    pub after_cloud_init: bool,
}

/// Where state is kept, as cloud-init keeps it.
const STATE: &str = "/var/lib/cloud";

/// Carries a boot out; the exit code is 0 when all went well, 1 when something failed.
///
/// # Errors
/// What stops the boot as a whole; failures of commands are in the exit code and the status files.
pub fn boot(args: &BootArgs, out: &mut dyn Write) -> Result<i32> {
    if args.dry_run {
        return dry_run(args, out);
    }
    if Path::new("/etc/cloud/cloud-init.disabled").exists() {
        return Ok(0);
    }
    fs::create_dir_all("/run/bakery")?;
    let mut report = Report::open(out);
    if args.after_cloud_init {
        return after_cloud_init(&mut report);
    }
    report.phase("boot", "start");
    let result = steps(args, &mut report);
    let (state, code) = match &result {
        Ok(done) if done.errors.is_empty() => ("done", 0),
        _ => ("failed", 1),
    };
    let empty = Done::default();
    let (errors, done) = match &result {
        Ok(done) => (done.errors.clone(), done),
        Err(error) => (vec![error.0.clone()], &empty),
    };
    for error in &errors {
        report.line(&format!("bakery: error: {error}"));
    }
    if done.is_cloud_inits {
        // The end of the boot is told when cloud-init has ended, by a unit of its own.
        return Ok(code);
    }
    report::write(if code == 0 { "done" } else { "error" }, &done.datasource, &errors, &done.warnings)?;
    report.phase("boot", state);
    Ok(code)
}

/// What is left to do when the distribution's cloud-init has carried the user-data out: to say how that went
/// (`/run/cloud-init/result.json`), and on a machine that bakery has started to let its owner in as root, whom cloud-init
/// sends to another user.
fn after_cloud_init(report: &mut Report<'_>) -> Result<i32> {
    let text = fs::read_to_string("/run/cloud-init/result.json").unwrap_or_default();
    let result: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let errors = result["v1"]["errors"].as_array().cloned().unwrap_or_default();
    for error in errors.iter().filter_map(|error| error.as_str()) {
        report.line(&format!("bakery: error: cloud-init: {error}"));
    }
    if let Some(instance) = datasource::detect()?.filter(|instance| instance.is_local) {
        apply::authorized_keys(&instance.public_keys)?;
    }
    let failed = !errors.is_empty() || text.is_empty();
    report.phase("boot", if failed { "failed" } else { "done" });
    Ok(i32::from(failed))
}

#[derive(Debug, Default)]
struct Done {
    datasource: String,
    errors: Vec<String>,
    warnings: Vec<String>,
    /// Whether the distribution's cloud-init carries the user-data out, and says how that went.
    is_cloud_inits: bool,
}

/// Whether the distribution's own cloud-init runs in a system: whoever put it there, or left it there, means it to. Nothing
/// of the user-data is done twice then.
fn distributions_own(root: &Path) -> bool {
    let unit = ["usr/lib/systemd/system", "lib/systemd/system"].iter().any(|folder| {
        root.join(folder).join("cloud-init.service").exists()
            || root.join(folder).join("cloud-init-network.service").exists()
    });
    let program = root.join("usr/bin/cloud-init").exists();
    let masked =
        ["cloud-init.service", "cloud-init-network.service", "cloud-final.service"].iter().any(|name| {
            fs::read_link(root.join("etc/systemd/system").join(name))
                .is_ok_and(|target| target == Path::new("/dev/null"))
        });
    unit && program && !masked
}

fn steps(args: &BootArgs, report: &mut Report<'_>) -> Result<Done> {
    let mut done = Done::default();
    match grow::root() {
        Ok(Some(said)) => report.line(&format!("bakery: root grown: {said}")),
        Ok(None) => {}
        Err(error) => done.warnings.push(format!("the root file system was not grown: {error}")),
    }
    report.phase("datasource", "start");
    let mut instance = datasource::detect()?.unwrap_or_else(|| Instance {
        datasource: "None",
        id: "iid-none".into(),
        ..Instance::default()
    });
    if let Some(file) = &args.user_data {
        instance.user_data = fs::read(file)?;
    }
    done.datasource = instance.datasource.to_owned();
    report.phase("datasource", instance.datasource);
    let wanted =
        if instance.volumes.is_empty() { volumes::default_names() } else { instance.volumes.clone() };
    for said in volumes::link(&wanted, Duration::from_mins(1))? {
        report.line(&format!("bakery: volume: {said}"));
    }
    if args.user_data.is_none() && distributions_own(Path::new("/")) {
        report.phase("user-data", "left to cloud-init");
        done.is_cloud_inits = true;
        return Ok(done);
    }
    let folder = PathBuf::from(STATE).join("instances").join(safe_name(&instance.id));
    if folder.join("boot-finished").exists() {
        report.phase("user-data", "done-before");
        return Ok(done);
    }
    report::write("running", instance.datasource, &[], &[])?;
    fs::create_private_dir(&folder)?;
    fs::create_dir_all(PathBuf::from(STATE).join("data"))?;
    fs::write_atomic_mode(folder.join("user-data.txt"), &instance.user_data, 0o600)?;
    let link = PathBuf::from(STATE).join("instance");
    fs::remove_all(&link)?;
    fs::symlink(&folder, &link)?;
    report.phase("user-data", "start");
    let config = match UserData::parse(&instance.user_data)? {
        UserData::Empty => CloudConfig::default(),
        UserData::CloudConfig(config) => config,
        UserData::Script(text) => {
            let path = folder.join("scripts/part-001");
            fs::create_private_dir(folder.join("scripts"))?;
            fs::write_atomic_mode(&path, text, 0o700)?;
            CloudConfig {
                runcmd: vec![Command::Words(vec![path.display().to_string()])],
                ..CloudConfig::default()
            }
        }
    };
    done.warnings.extend(config.warnings.iter().cloned());
    for warning in &config.warnings {
        report.line(&format!("bakery: warning: {warning}"));
    }
    // Each part is tried even when another one failed: a machine with a wrong name can still be logged into.
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            done.errors.push(error.0);
        }
    };
    note(apply::names(&config, instance.hostname.as_deref()));
    let mut keys = instance.public_keys.clone();
    keys.extend(config.ssh_authorized_keys.iter().cloned());
    note(apply::authorized_keys(&keys));
    for file in &config.write_files {
        note(apply::write_file(file));
    }
    if !config.runcmd.is_empty() {
        report.phase("runcmd", "start");
        let (errors, warnings) = run_commands(&config.runcmd, &folder, report)?;
        done.errors.extend(errors);
        done.warnings.extend(warnings);
        report.phase("runcmd", "done");
    }
    fs::write_atomic(PathBuf::from(STATE).join("data/instance-id"), format!("{}\n", instance.id))?;
    fs::write_atomic(folder.join("boot-finished"), "bakery\n")?;
    report.phase("user-data", "done");
    Ok(done)
}

/// A name for a folder: instance ids of foreign platforms may hold anything.
fn safe_name(id: &str) -> String {
    let kept: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    if kept.trim_matches('.').is_empty() { "unnamed".into() } else { kept }
}

/// Runs the commands; what failed for good, and what failed in passing. As with cloud-init the last exit code counts,
/// and besides that of every playbook.
fn run_commands(
    commands: &[Command],
    folder: &Path,
    report: &mut Report<'_>,
) -> Result<(Vec<String>, Vec<String>)> {
    fs::create_private_dir(folder.join("scripts"))?;
    let path = folder.join("scripts/runcmd");
    fs::write_atomic_mode(&path, apply::script(commands), 0o700)?;
    fs::remove_all(apply::FAILURES)?;
    // Both streams in order, as people read them.
    let mut cmd = Cmd::new("/bin/sh")
        .args(["-c", "exec /bin/sh \"$1\" 2>&1", "sh"])
        .arg(&path)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .current_dir("/");
    cmd.raw().stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = cmd.spawn()?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(std::result::Result::ok) {
            report.line(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().map_err(|e| Error(e.to_string()))?;
    let shown = |at: usize| match commands.get(at) {
        Some(Command::Line(line)) => line.clone(),
        Some(Command::Words(words)) => words.join(" "),
        None => String::new(),
    };
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for line in fs::read_to_string(apply::FAILURES).unwrap_or_default().lines() {
        let Some((at, code)) = line.split_once(' ').and_then(|(a, c)| Some((a.parse::<usize>().ok()?, c)))
        else {
            continue;
        };
        let text = shown(at);
        // The words are shown up to the first option: what follows may hold secrets.
        let short = text.split(" -").next().unwrap_or(&text).chars().take(60).collect::<String>();
        let said = format!("runcmd: command {} (`{short}`) ended with exit code {code}", at + 1);
        if at + 1 == commands.len() || text.contains("ansible-playbook") {
            errors.push(said);
        } else {
            warnings.push(said);
        }
    }
    if !status.success() && errors.is_empty() {
        errors.push(format!("runcmd: the commands ended with exit code {}", status.code().unwrap_or(-1)));
    }
    Ok((errors, warnings))
}

fn dry_run(args: &BootArgs, out: &mut dyn Write) -> Result<i32> {
    let bytes = match &args.user_data {
        Some(file) => fs::read(file)?,
        None => datasource::detect()?.unwrap_or_default().user_data,
    };
    let mut say = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    match UserData::parse(&bytes)? {
        UserData::Empty => say("no user-data: nothing to do".into()),
        UserData::Script(text) => say(format!("run a script of {} lines", text.lines().count())),
        UserData::CloudConfig(config) => {
            if let Some(name) = config.fqdn.as_ref().or(config.hostname.as_ref()) {
                say(format!("set the host name to {name}"));
            }
            if config.manage_etc_hosts {
                say("write /etc/hosts".into());
            }
            for file in &config.write_files {
                say(format!(
                    "write {} ({} bytes, mode {:04o}, owner {})",
                    file.path,
                    file.content.len(),
                    file.mode,
                    file.owner
                ));
            }
            if !config.ssh_authorized_keys.is_empty() {
                say(format!("let {} keys log in as root", config.ssh_authorized_keys.len()));
            }
            for command in &config.runcmd {
                match command {
                    Command::Line(line) => say(format!("run: {line}")),
                    Command::Words(words) => say(format!("run: {}", words.join(" "))),
                }
            }
            for warning in config.warnings {
                say(format!("warning: {warning}"));
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distributions_cloud_init_is_recognised() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let put = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write_atomic(path, "").expect("written");
        };
        assert!(!distributions_own(root));
        put("usr/bin/cloud-init");
        assert!(!distributions_own(root));
        put("lib/systemd/system/cloud-init.service");
        assert!(distributions_own(root));
        fs::create_dir_all(root.join("etc/systemd/system")).expect("made");
        fs::symlink("/dev/null", root.join("etc/systemd/system/cloud-final.service")).expect("linked");
        assert!(!distributions_own(root));
    }
}
