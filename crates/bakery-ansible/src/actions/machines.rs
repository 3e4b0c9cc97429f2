//! Actions about machines as a whole: `synchronize` between two of them, `reboot` of one (`ansible/plugins/action/
//! reboot.py`, ansible.posix `plugins/action/synchronize.py`).

use std::time::{Duration, Instant};

use bakery_jinja::Scope as _;
use bakery_lang::{Map, Value};

use super::files::{flag, text};
use super::{Modules, Outcome, Place, Trouble, fail, failure, module, ok};
use crate::Templar;
use crate::connection::Ssh;

/// An absolute path of the controller: from the role's or the playbook's `files`, with the slash at its end kept.
fn here(path: &str, templar: &Templar, modules: &mut dyn Modules) -> String {
    if path.starts_with('/') || path.contains(':') || path.starts_with('~') {
        return path.to_owned();
    }
    let found = templar.find_file("files", path);
    let whole = found.unwrap_or_else(|| modules.loader().playbook_dir.join(path)).display().to_string();
    if path.ends_with('/') && !whole.ends_with('/') { format!("{whole}/") } else { whole }
}

/// `[user@]host:path`, unless the path names its host itself.
fn there(host: &str, user: Option<&str>, path: &str) -> String {
    if path.starts_with("rsync://") {
        return path.to_owned();
    }
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    match (host.contains(':'), path.contains(':'), path.contains('@')) {
        (true, ..) => format!("[{user}{host}]:{path}"),
        (false, false, _) => format!("{user}{host}:{path}"),
        (false, true, false) => format!("{user}{path}"),
        (false, true, true) => path.to_owned(),
    }
}

/// Keeps files of two machines alike: rsync runs on the controller, or on the machine that the task is delegated to.
pub(super) fn synchronize(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let (Some(src), Some(dest)) = (text(args, "src"), text(args, "dest")) else {
        return Err(fail("synchronize requires both src and dest parameters are set"));
    };
    let call = args.copied();
    let variable = |name: &str| -> Option<String> {
        let value = templar.variable(name)?;
        templar.text(&value).ok().filter(|text| !text.is_empty())
    };
    if let Some(program) = variable("ansible_rsync_path") {
        call.set("_local_rsync_path", program);
    }
    let pulls = text(args, "mode").as_deref() == Some("pull");
    let host = variable("inventory_hostname").unwrap_or_else(|| "localhost".into());
    let address = variable("ansible_host").unwrap_or_else(|| host.clone());
    let delegated = modules.delegated();
    let is_itself = delegated.as_ref().is_some_and(|other| *other == host || *other == address);
    match (modules.place(), is_itself, delegated.is_some()) {
        // Both sides are the machine that rsync runs on.
        (_, true, _) => module(modules, "synchronize", &call),
        (Place::Here, ..) => {
            call.set("src", here(&src, templar, modules));
            call.set("dest", here(&dest, templar, modules));
            module(modules, "synchronize", &call)
        }
        (Place::Image, ..) if pulls => Err(fail(
            "while an image is made, synchronize brings files into it only; `fetch` brings them out",
        )),
        (Place::Image, ..) => into_image(&call, &here(&src, templar, modules), templar, modules),
        (Place::Ssh(ssh), false, is_delegated) => {
            let by_user =
                args.get("set_remote_user").is_none_or(|v| bakery_modules::args::boolean(&v).unwrap_or(true));
            let user = variable("ansible_user").or_else(|| ssh.user.clone()).filter(|_| by_user);
            let other = |path: &str| there(&address, user.as_deref(), path);
            let (near, far) = if pulls { (&dest, &src) } else { (&src, &dest) };
            let near = if is_delegated { near.clone() } else { here(near, templar, modules) };
            let far = other(far);
            let (src, dest) = if pulls { (far, near) } else { (near, far) };
            call.set("src", src);
            call.set("dest", dest);
            of_connection(&call, &ssh, &variable);
            if !args.contains("rsync_path")
                && let Some(user) = modules.becomes()
            {
                // The machine that rsync runs on is not where somebody has to be become.
                call.set("rsync_path", format!("sudo -u {user} rsync"));
            }
            if is_delegated {
                return module(modules, "synchronize", &call);
            }
            let result = modules.on_controller("synchronize", &call)?;
            result.as_map().cloned().ok_or_else(|| fail("the module returned no mapping"))
        }
    }
}

/// What rsync's ssh has to know of the connection.
fn of_connection(call: &Map, ssh: &Ssh, variable: &dyn Fn(&str) -> Option<String>) {
    let set = |name: &str, value: Option<String>| {
        if let (false, Some(value)) = (call.contains(name), value) {
            call.set(name, value);
        }
    };
    set("dest_port", variable("ansible_port").or_else(|| ssh.port.clone()).or_else(|| Some("22".into())));
    set("private_key", ssh.key.clone());
    set("_local_rsync_password", ssh.password.as_ref().map(|password| password.0.clone()));
    if flag(call, "use_ssh_args") {
        let all: Vec<&str> = std::iter::once(ssh.args.as_str())
            .chain(ssh.more_args.iter().map(String::as_str))
            .filter(|args| !args.is_empty())
            .collect();
        set("_ssh_args", Some(all.join(" ")));
    }
}

/// While an image is made, no rsync reaches from the host into it: what is copied goes to the image first, and rsync,
/// which is the image's, does the rest there.
fn into_image(call: &Map, src: &str, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    // The same name on every bake: what was asked before is answered from memory.
    let scratch = "/var/tmp/.bakery-synchronize";
    let (source, inner) = match src.strip_suffix('/') {
        Some(folder) => (folder, "/"),
        None => (src, ""),
    };
    let name = source.rsplit('/').next().unwrap_or(source);
    let carry = Map::from_iter([
        ("src", Value::from(source)),
        ("dest", format!("{scratch}/").into()),
        ("mode", "preserve".into()),
    ]);
    let folder = |state: &str| {
        Map::from_iter([("path", Value::from(scratch)), ("state", state.into()), ("mode", "0700".into())])
    };
    module(modules, "file", &folder("directory"))?;
    let carried = super::run("copy", &carry, templar, modules);
    let outcome = carried.and_then(|_| {
        call.set("src", format!("{scratch}/{name}{inner}"));
        module(modules, "synchronize", call)
    });
    module(modules, "file", &folder("absent"))?;
    outcome
}

/// Restarts a machine and waits until it is back.
pub(super) fn reboot(args: &Map, modules: &mut dyn Modules) -> Outcome {
    let result = ok();
    match modules.place() {
        Place::Image => {
            result.set("rebooted", false);
            result.set("left_to_boot", Value::strings(["a restart: the image starts when it is booted"]));
            return Ok(result);
        }
        Place::Here if !modules.check() => {
            result.set("changed", false);
            result.set("elapsed", 0);
            result.set("rebooted", false);
            result.set("failed", true);
            result.set("msg", "Running reboot with local connection would reboot the control node.");
            return Err(Trouble::Failed(result, None));
        }
        _ => {}
    }
    if modules.check() {
        result.set("changed", true);
        result.set("elapsed", 0);
        result.set("rebooted", true);
        return Ok(result);
    }
    let number = |names: &[&str], default: f64| {
        let given = names.iter().find_map(|name| args.get(name).filter(|value| !value.is_none()));
        given.and_then(|v| v.as_float().or_else(|| v.to_string().trim().parse().ok())).unwrap_or(default)
    };
    let seconds = |value: f64| Duration::from_secs_f64(value.clamp(0.0, 1e8));
    let limit = seconds(number(&["reboot_timeout", "reboot_timeout_sec"], 600.0));
    let boot =
        text(args, "boot_time_command").unwrap_or_else(|| "cat /proc/sys/kernel/random/boot_id".to_owned());
    let began = Instant::now();
    let before = said(modules, &boot)?;
    let minutes = (number(&["pre_reboot_delay", "pre_reboot_delay_sec"], 0.0) / 60.0).floor();
    let message = text(args, "msg").unwrap_or_else(|| "Reboot initiated by Ansible".into());
    let command = text(args, "reboot_command")
        .unwrap_or_else(|| format!("shutdown -r {minutes} {}", bakery_lang::quote::shell_word(&message)));
    // Programs for the machine as a whole are not on everybody's PATH.
    let places = match args.get("search_paths") {
        Some(paths) => bakery_modules::args::string_list(&paths).map_err(fail)?,
        None => ["/sbin", "/bin", "/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(str::to_owned).to_vec(),
    };
    let line = format!("PATH=\"$PATH:{}\"; export PATH; {command}", places.join(":"));
    match shell(modules, &line) {
        Ok(answer) if answer.get("rc").is_some_and(|rc| rc.as_int() != Some(0)) => {
            let part = |name: &str| answer.get(name).unwrap_or_default().to_string().trim().to_owned();
            let told = failure(&format!(
                "Reboot command failed. Error was: '{}, {}'",
                part("stdout"),
                part("stderr")
            ));
            told.set("rebooted", false);
            told.set("elapsed", began.elapsed().as_secs());
            return Err(Trouble::Failed(told, None));
        }
        // A machine that goes down may take the connection with it.
        _ => {}
    }
    let test = text(args, "test_command").unwrap_or_else(|| "whoami".into());
    let mut wait = Duration::from_secs(1);
    let back = loop {
        if began.elapsed() >= limit || bakery_host::signal::caught().is_some() {
            break false;
        }
        bakery_host::signal::sleep(wait.min(limit.saturating_sub(began.elapsed())));
        wait = (wait * 2).min(Duration::from_secs(12));
        modules.reset();
        let is_new = said(modules, &boot).is_ok_and(|now| !now.is_empty() && now != before);
        if is_new
            && shell(modules, &test)
                .is_ok_and(|answer| answer.get("rc").and_then(|rc| rc.as_int()) == Some(0))
        {
            break true;
        }
    };
    if !back {
        let told =
            failure(&format!("Timed out waiting for last boot time check (timeout={})", limit.as_secs()));
        told.set("rebooted", true);
        told.set("elapsed", began.elapsed().as_secs());
        return Err(Trouble::Failed(told, None));
    }
    bakery_host::signal::sleep(seconds(number(&["post_reboot_delay", "post_reboot_delay_sec"], 0.0)));
    result.set("changed", true);
    result.set("rebooted", true);
    result.set("elapsed", began.elapsed().as_secs());
    Ok(result)
}

fn shell(modules: &mut dyn Modules, line: &str) -> Result<Value, Trouble> {
    Ok(modules.module("shell", &Map::from_iter([("_raw_params", Value::from(line))]))?)
}

/// What a command that must succeed said.
fn said(modules: &mut dyn Modules, line: &str) -> Result<String, Trouble> {
    let answer = shell(modules, line)?;
    let part = |name: &str| answer.get(name).unwrap_or_default().to_string();
    match answer.get("rc").and_then(|rc| rc.as_int()) {
        Some(0) => Ok(part("stdout").trim().to_owned()),
        rc => Err(fail(format!(
            "reboot: failed to get host boot time info, rc: {}, stdout: {}, stderr: {}",
            rc.unwrap_or(-1),
            part("stdout"),
            part("stderr")
        ))),
    }
}
