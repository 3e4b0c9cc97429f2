//! `lxc_container`: containers of LXC, through its own programs (`community.general`, `lxc_container.py`, which asks the
//! library in Python instead).

use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Creates, configures, starts, stops, clones, archives and removes containers of LXC, and runs commands in them.
#[derive(ModuleArgs)]
struct Args {
    /// The container.
    #[arg(required)]
    name: String,
    /// Where its files are kept.
    #[arg(default = "dir", choices = "dir,lvm,loop,btrfs,overlayfs,zfs")]
    backing_store: String,
    /// The template that makes it.
    #[arg(default = "ubuntu")]
    template: String,
    /// Words for the template.
    template_options: Option<String>,
    /// A configuration file that it starts from.
    config: Option<String>,
    /// The logical volume; the container's name if not given.
    lv_name: Option<String>,
    /// The volume group.
    #[arg(default = "lxc")]
    vg_name: String,
    /// The pool of LVM that it is thin in.
    thinpool: Option<String>,
    /// The file system on a volume.
    #[arg(default = "ext4")]
    fs_type: String,
    /// The size of a volume.
    #[arg(default = "5G")]
    fs_size: String,
    /// The folder for its files.
    directory: Option<String>,
    /// The file system of ZFS that it is in.
    zfs_root: Option<String>,
    /// A script for bash that runs inside.
    container_command: Option<String>,
    /// The folder of containers, if it is not LXC's own.
    lxc_path: Option<String>,
    /// Whether making it is logged, in `/var/log/lxc`.
    container_log: bool,
    /// How much is logged.
    #[arg(default = "INFO", choices = "Info,info,INFO,Error,error,ERROR,Debug,debug,DEBUG")]
    container_log_level: String,
    /// The name of a clone to make.
    clone_name: Option<String>,
    /// Whether the clone is a snapshot.
    clone_snapshot: bool,
    /// Whether an archive is made of it.
    archive: bool,
    /// The folder for the archive.
    archive_path: Option<String>,
    /// How the archive is compressed.
    #[arg(default = "gzip", choices = "gzip,bzip2,none")]
    archive_compression: String,
    /// What it shall be; a new one is created first.
    #[arg(default = "started", choices = "started,stopped,restarted,absent,frozen,clone")]
    state: String,
    /// Settings for its configuration, `key=value`; one that runs is restarted if they change it.
    container_config: Option<Vec<String>>,
}

/// Seconds that a container has to start or to go.
const PATIENCE: usize = 60;

/// What a command inside runs as: with the settings of root's shell, from root's folder, and with what it says in files there.
const INSIDE: &str = r#"umask 077
script=$(mktemp /tmp/lxc-attach-scriptXXXXXX) && cat > "$script" && chmod 700 "$script" || exit
"$script" > "$(mktemp /tmp/lxc-attach-script-logXXXXXX)" 2> "$(mktemp /tmp/lxc-attach-script-errXXXXXX)"
rm -f "$script""#;

struct Container<'a> {
    host: &'a Host,
    args: &'a Args,
    /// The folder of all containers.
    path: PathBuf,
    changed: bool,
}

impl<'a> Container<'a> {
    fn new(host: &'a Host, args: &'a Args) -> Result<Self, Failure> {
        let path = match args.lxc_path.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => host.path(path),
            None => {
                host.program("lxc-config")?;
                PathBuf::from(host.run(&["lxc-config", "lxc.lxcpath"])?.text().trim())
            }
        };
        Ok(Self { host, args, path, changed: false })
    }

    fn folder(&self) -> PathBuf {
        self.path.join(&self.args.name)
    }

    fn config(&self) -> PathBuf {
        self.folder().join("config")
    }

    fn exists(&self) -> bool {
        self.config().exists()
    }

    /// A program of LXC's with its options.
    fn argv(&self, program: &str, more: &[&str]) -> Vec<String> {
        let path = self.path.display().to_string();
        let argv = [&[program, "-n", &self.args.name, "-P", &path], more].concat();
        argv.into_iter().map(str::to_owned).collect()
    }

    /// What `lxc-info` says with an option, nothing on an error.
    fn says(&self, option: &str) -> String {
        let output = self.host.try_run(&self.argv("lxc-info", &["-H", option]));
        output.ok().filter(bakery_host::Output::success).map(|said| said.text()).unwrap_or_default()
    }

    /// `absent`, or LXC's own word: `running`, `stopped`, `frozen`.
    fn state(&self) -> String {
        if self.exists() { self.says("-s").trim().to_lowercase() } else { "absent".to_owned() }
    }

    /// What the result says of it.
    fn data(&self) -> Map {
        let pid = self.says("-p").trim().parse::<i64>().ok().filter(|pid| *pid > 0);
        let devices = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/net/dev")).ok());
        // Two lines of headings.
        let names = devices.iter().flat_map(|text| text.lines().skip(2));
        let names: Vec<&str> = names.filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
        let addresses = if pid.is_some() { self.says("-i") } else { String::new() };
        let data = Map::new();
        data.set("interfaces", Value::strings(names));
        data.set("ips", Value::strings(addresses.lines().map(str::trim).filter(|line| !line.is_empty())));
        data.set("state", self.state());
        data.set("init_pid", pid.unwrap_or(-1));
        data.set("name", self.args.name.as_str());
        data
    }

    fn refused(&self, what: &str) -> Failure {
        let name = &self.args.name;
        Failure::new(format!(
            "The container [ {name} ] failed to {what}. Check to lxc is available and that the container is in a functional \
             state."
        ))
        .with("error", format!("Failed to {what} container [ {name} ]"))
        .with("rc", 1)
        .with("lxc_container", Value::from(self.data()))
    }

    fn run(&self, argv: &[String], trouble: &str) -> Result<(), Failure> {
        let output = self.host.try_run(argv)?;
        if output.success() {
            return Ok(());
        }
        let said = output.error_text();
        Err(Failure::new(format!("{trouble} {}", said.trim()).trim().to_owned())
            .with("err", said)
            .with("rc", output.code)
            .with("command", argv.join(" ")))
    }

    fn start(&mut self) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            if self.state() == "running" {
                return Ok(());
            }
            self.changed = true;
            let started = self.host.try_run(&self.argv("lxc-start", &["-d"]))?;
            if !started.success() {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        if self.state() == "running" { Ok(()) } else { Err(self.refused("start")) }
    }

    /// Ends all that runs in it at once, as the library's `stop` does.
    fn stop(&mut self) -> Result<(), Failure> {
        self.changed = true;
        self.run(&self.argv("lxc-stop", &["-k"]), "Failed executing lxc-stop.")
    }

    fn freeze(&mut self) -> Result<(), Failure> {
        self.changed = true;
        self.run(&self.argv("lxc-freeze", &[]), "Failed executing lxc-freeze.")
    }

    fn unfreeze(&mut self) -> Result<(), Failure> {
        self.changed = true;
        self.run(&self.argv("lxc-unfreeze", &[]), "Failed executing lxc-unfreeze.")
    }

    /// Brings it back to how it was.
    fn restore(&mut self, state: &str) -> Result<(), Failure> {
        if matches!(state, "running" | "frozen") {
            self.start()?;
        }
        if state == "frozen" {
            self.freeze()?;
        }
        Ok(())
    }

    /// Options that lxc-create or lxc-copy take, without those that mean nothing to the backing store.
    fn options(&self, all: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let meaningless: &[&str] = match self.args.backing_store.as_str() {
            "lvm" => &["zfs_root"],
            "btrfs" => &["lv_name", "vg_name", "thinpool", "zfs_root", "fs_type", "fs_size"],
            "loop" => &["lv_name", "vg_name", "thinpool", "zfs_root"],
            "overlayfs" => &["lv_name", "vg_name", "fs_type", "fs_size", "thinpool", "zfs_root"],
            _ => &["lv_name", "vg_name", "fs_type", "fs_size", "thinpool"],
        };
        let given = all.iter().filter_map(|(name, option, value)| {
            let value = value.filter(|value| !value.is_empty() && !meaningless.contains(name))?;
            Some([(*option).to_owned(), value.to_owned()])
        });
        given.flatten().collect()
    }

    fn create(&mut self) -> Result<(), Failure> {
        let a = self.args;
        let program = self.host.program("lxc-create")?;
        let paths = [&a.config, &a.directory, &a.lxc_path];
        let [config, directory, path] =
            paths.map(|path| path.as_ref().map(|path| self.host.path(path).display().to_string()));
        let mut argv = vec![program, "--name".into(), a.name.clone(), "--quiet".into()];
        argv.extend(self.options(&[
            ("config", "--config", config.as_deref()),
            ("template", "--template", Some(&a.template)),
            ("backing_store", "--bdev", Some(&a.backing_store)),
            ("lxc_path", "--lxcpath", path.as_deref()),
            ("lv_name", "--lvname", a.lv_name.as_deref().or(Some(&a.name))),
            ("vg_name", "--vgname", Some(&a.vg_name)),
            ("thinpool", "--thinpool", a.thinpool.as_deref()),
            ("fs_type", "--fstype", Some(&a.fs_type)),
            ("fs_size", "--fssize", Some(&a.fs_size)),
            ("directory", "--dir", directory.as_deref()),
            ("zfs_root", "--zfsroot", a.zfs_root.as_deref()),
        ]));
        if a.container_log {
            fs::create_dir_all("/var/log/lxc")?;
            let level = a.container_log_level.to_uppercase();
            let log = format!("/var/log/lxc/lxc-{}.log", a.name);
            argv.extend(["--logfile".to_owned(), log, "--logpriority".to_owned(), level]);
        }
        if let Some(options) = a.template_options.as_deref().filter(|options| !options.is_empty()) {
            argv.push("--".to_owned());
            argv.extend(super::command::split_line(options)?);
        }
        self.run(&argv, "Failed executing lxc-create.")?;
        self.changed = true;
        Ok(())
    }

    fn execute(&mut self) -> Result<(), Failure> {
        let command = self.args.container_command.as_deref().filter(|command| !command.is_empty());
        let Some(command) = command else { return Ok(()) };
        match self.state().as_str() {
            "frozen" => self.unfreeze()?,
            "stopped" => self.start()?,
            _ => {}
        }
        let script = format!(
            "#!/usr/bin/env bash\npushd \"$(getent passwd $(whoami)|cut -f6 -d':')\"\n    if [[ -f \".bashrc\" ]];then\n        \
             source .bashrc\n        unset HOSTNAME\n    fi\npopd\n\n# User defined command\n{command}\n"
        );
        let argv = self.argv("lxc-attach", &["--", "/bin/sh", "-c", INSIDE]);
        let (program, rest) = argv.split_first().ok_or("no command given")?;
        // How the command ends is nobody's business, as in Ansible.
        self.host
            .cmd(program)
            .args(rest)
            .input(script.into_bytes())
            .timeout(Duration::from_hours(24))
            .output()?;
        self.changed = true;
        Ok(())
    }

    /// Writes settings into the configuration: a new key at its end, another value behind the first of its key.
    fn configure(&mut self) -> Result<(), Failure> {
        let before = fs::read_to_string(self.config())?;
        let mut lines: Vec<String> = before.split_inclusive('\n').map(str::to_owned).collect();
        for setting in self.args.container_config.iter().flatten() {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| format!("container_config: {setting:?} is not of the form key=value"))?;
            let (key, value) = (key.trim(), value.trim());
            let entry = format!("{key} = {value}\n");
            let value_of = |line: &str| {
                let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
                Some(rest.split_whitespace().collect::<Vec<_>>().join(" "))
            };
            match lines.iter().position(|line| value_of(line).is_some()) {
                None => lines.push(entry),
                Some(at) if value_of(&lines[at]).as_deref() != Some(value) && !lines.contains(&entry) => {
                    lines.insert(at + 1, entry);
                }
                Some(_) => {}
            }
        }
        let after = lines.concat();
        if after == before {
            return Ok(());
        }
        let state = self.state();
        if state != "stopped" {
            self.stop()?;
        }
        fs::write_atomic(self.config(), after)?;
        self.changed = true;
        self.restore(&state)
    }

    fn clone(&mut self) -> Result<Option<bool>, Failure> {
        let a = self.args;
        let Some(clone) = a.clone_name.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
        if self.path.join(clone).join("config").exists() {
            return Ok(Some(false));
        }
        let state = self.state();
        if state != "stopped" {
            self.stop()?;
        }
        let path = self.path.display().to_string();
        let mut argv = vec![self.host.program("lxc-copy")?];
        argv.extend(self.options(&[
            ("backing_store", "--backingstorage", Some(&a.backing_store)),
            ("lxc_path", "--lxcpath", Some(&path)),
            ("fs_size", "--fssize", Some(&a.fs_size)),
            ("name", "--name", Some(&a.name)),
            ("clone_name", "--newname", Some(clone)),
        ]));
        if a.clone_snapshot || a.backing_store == "overlayfs" {
            argv.push("--snapshot".into());
        }
        self.run(&argv, "Failed executing lxc-copy.")?;
        self.changed = true;
        self.restore(&state)?;
        Ok(Some(true))
    }

    /// Makes an archive of its folder with its files, while it stands still.
    fn archive(&mut self) -> Result<Option<String>, Failure> {
        if !self.args.archive {
            return Ok(None);
        }
        let Some(place) = &self.args.archive_path else {
            return Err("archive is True but all of the following are missing: archive_path".into());
        };
        let place = self.host.path(place);
        let (extension, option) = match self.args.archive_compression.as_str() {
            "bzip2" => ("tar.bz2", "-cjf"),
            "none" => ("tar", "-cf"),
            _ => ("tar.tgz", "-czf"),
        };
        let state = self.state();
        if state == "running" {
            self.freeze()?;
        }
        let made = self.write_archive(&place.join(format!("{}.{extension}", self.args.name)), option);
        if state == "running" {
            self.unfreeze()?;
        }
        self.changed = true;
        made.map(Some)
    }

    fn write_archive(&self, archive: &Path, option: &str) -> Result<String, Failure> {
        let rootfs = self.host.run(&self.argv("lxc-info", &["-H", "-c", "lxc.rootfs.path"]))?.text();
        let rootfs = rootfs.trim().rsplit(" = ").next().unwrap_or_default().to_owned();
        let parts: Vec<&str> = rootfs.split(':').collect();
        let snapshot = match parts[..] {
            ["lvm", device] | [device] if device.starts_with("/dev/") => {
                Some(Snapshot::new(self.host, device)?)
            }
            _ => None,
        };
        let mounted = match (&snapshot, &parts[..]) {
            (Some(snapshot), _) => Some(Mounted::new(self.host, &["-o", "ro", &snapshot.device])?),
            (None, ["overlay" | "overlayfs", lower, upper]) => {
                let layers = format!("ro,lowerdir={upper}:{lower}");
                Some(Mounted::new(self.host, &["-t", "overlay", "-o", &layers, "overlay"])?)
            }
            (None, _) => None,
        };
        let folder = self.folder().display().to_string();
        let archive = archive.display().to_string();
        if let Some(parent) = Path::new(&archive).parent() {
            fs::create_dir_all(parent)?;
        }
        let mut argv: Vec<String> =
            ["/bin/sh", "-c", "umask 077; exec tar \"$@\"", "tar"].map(str::to_owned).to_vec();
        argv.extend([format!("--directory={folder}"), option.to_owned(), archive.clone()]);
        argv.push(".".to_owned());
        if let Some(mounted) = &mounted {
            let at = mounted.folder.path().display().to_string();
            argv.extend([
                "--exclude=./rootfs".to_owned(),
                format!("--directory={at}"),
                "./rootfs".to_owned(),
            ]);
        }
        self.run(&argv, "failed to create tar archive")?;
        Ok(archive)
    }

    fn destroy(&mut self, data: &mut Said) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            if !self.exists() {
                return Ok(());
            }
            self.keep(data)?;
            if self.state() != "stopped" {
                self.stop()?;
            }
            self.changed = true;
            if !self.host.try_run(&self.argv("lxc-destroy", &[]))?.success() {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        if self.exists() { Err(self.refused("destroy")) } else { Ok(()) }
    }

    /// Brings it into the state that is asked for, after the command and the settings.
    fn bring(&mut self, said: &mut Said) -> Result<(), Failure> {
        let wanted = self.args.state.as_str();
        if !self.exists() {
            self.create()?;
            if !self.exists() {
                return Err(self.refused(wanted));
            }
        }
        if wanted == "started" {
            match self.state().as_str() {
                "running" => {}
                "frozen" => self.unfreeze()?,
                _ => self.start()?,
            }
        }
        self.execute()?;
        self.configure()?;
        let state = self.state();
        match (wanted, state.as_str()) {
            ("frozen", "frozen") | ("stopped", "stopped") => {}
            ("frozen", "running") => self.freeze()?,
            ("frozen", _) => {
                self.start()?;
                self.freeze()?;
            }
            ("stopped", _) => self.stop()?,
            ("restarted", _) => {
                if state != "stopped" {
                    self.stop()?;
                }
                self.start()?;
            }
            _ => {}
        }
        self.keep(said)
    }

    /// Makes the archive and the clone that are asked for.
    fn keep(&mut self, said: &mut Said) -> Result<(), Failure> {
        if let Some(archive) = self.archive()? {
            said.archive = Some(archive);
        }
        if let Some(cloned) = self.clone()? {
            said.cloned = Some(cloned);
        }
        Ok(())
    }
}

/// What was made beside the container.
#[derive(Default)]
struct Said {
    archive: Option<String>,
    cloned: Option<bool>,
}

/// A file system for as long as it is looked at, in the folder `rootfs` of a temporary one.
struct Mounted<'a> {
    host: &'a Host,
    folder: tempfile::TempDir,
}

impl<'a> Mounted<'a> {
    /// Mounts it by mount(8): options, and what to mount.
    fn new(host: &'a Host, options: &[&str]) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(|error| Failure::new(error.to_string()))?;
        let at = folder.path().join("rootfs");
        fs::create_dir_all(&at)?;
        host.run(&[&["mount"], options, &[&at.display().to_string()]].concat())?;
        Ok(Self { host, folder })
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = self.host.run(&["umount", &self.folder.path().join("rootfs").display().to_string()]);
    }
}

/// A snapshot of a logical volume, for as long as it is looked at.
struct Snapshot<'a> {
    host: &'a Host,
    device: String,
}

impl<'a> Snapshot<'a> {
    fn new(host: &'a Host, origin: &str) -> Result<Self, Failure> {
        let device = format!("{origin}_lxc_snapshot");
        let name = device.rsplit('/').next().unwrap_or_default();
        if Path::new(&device).exists() {
            return Err(format!(
                "The snapshot [ {name} ] already exists. Please clean up old snapshot of containers before continuing."
            )
            .into());
        }
        host.run(&["lvcreate", "-n", name, "-s", origin, "-l", "100%ORIGIN"])?;
        Ok(Self { host, device })
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let _ = self.host.run(&["lvremove", "-f", &self.device]);
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.archive && args.archive_path.is_none() {
        return Err("archive is True but all of the following are missing: archive_path".into());
    }
    if host.check {
        return Ok(Outcome::no_check_mode("lxc_container"));
    }
    let mut container = Container::new(host, &args)?;
    let mut said = Said::default();
    if args.state == "absent" {
        container.destroy(&mut said)?;
    } else {
        container.bring(&mut said)?;
    }
    let data = container.data();
    if let Some(archive) = said.archive {
        data.set("archive", archive);
    }
    if let Some(cloned) = said.cloned {
        data.set("cloned", cloned);
    }
    Ok(Outcome::changed(container.changed).with("lxc_container", Value::from(data)))
}

module!("lxc_container", "community.general", Args, run);
