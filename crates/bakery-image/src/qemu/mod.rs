//! The builder `qemu`: a machine that is installed or started from a disk, provisioned by ssh, and stopped.
//!
//! `options` reads the template, `media` and `served` give the machine its answers, `command` starts it. Keys are typed
//! through QEMU's control socket, so nothing depends on a display; people may watch by VNC. The folder of the artifact has
//! a note of who makes it until it is whole: what a bake that was killed has left is recognised and made anew.

mod command;
mod media;
mod options;
mod served;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use bakery_ansible::Callback;
use bakery_events::Step;
use bakery_host::lock::Lock;
use bakery_host::{Cmd, fs};
use bakery_packer::{Build, fill_in};
use bakery_qemu::{Accelerator, Control, Stroke, choose, free_port_in, strokes};
use serde_json::json;

use self::command::{Parts, accelerator, command};
pub(crate) use self::options::disk_size;
use self::options::{Firmware, Options};
use self::served::Served;
use crate::build::{Artifact, artifact};
use crate::fetch::{self, Wanted};
use crate::machine::{Machine as _, Ssh};
use crate::provision::{self, Place, interrupted};
use crate::{Error, Result};

/// The file in an artifact's folder that whoever makes it holds locked.
const UNFINISHED: &str = ".bakery-unfinished";
/// This machine, as guests of QEMU's user network see it.
const HOST: &str = "10.0.2.2";
/// How long a machine without a `shutdown_command` may take to end after its power button was pressed.
const POWER_BUTTON: Duration = Duration::from_secs(60);

/// Builds; what was made.
pub(crate) fn build(
    build: &Build,
    place: &Place<'_>,
    force: bool,
    callback: &mut dyn Callback,
) -> Result<Artifact> {
    let folder = &place.template.folder;
    let options = Options::of(&build.builder, folder)?;
    if bakery_host::command::find_program(&options.binary).is_none() {
        return Err(Error::new(format!("the program {} is not installed", options.binary))
            .hint("`bakery doctor` says what is missing and the command that installs it"));
    }
    let source = source(build, place)?;
    let output = Output::begin(&options, folder, force)?;
    let made = Making { build, place, options: &options, output: &output.path }.run(&source, callback)?;
    output.finish()?;
    let shown = &options.output.0;
    let files = made.into_iter().map(|name| Path::new(shown).join(name)).collect();
    Ok(artifact("transcend.qemu", "VM", &format!("VM files in directory: {shown}"), files))
}

/// The ISO or disk that the machine starts from.
fn source(build: &Build, place: &Place<'_>) -> Result<PathBuf> {
    let builder = &build.builder;
    let urls: Vec<String> = builder.text("iso_url").into_iter().chain(builder.list("iso_urls")).collect();
    if urls.is_empty() {
        return Err(Error::new("the builder `qemu` needs `iso_url` or `iso_urls`"));
    }
    let checksum = builder.text("iso_checksum").ok_or_else(|| {
        Error::new("the builder `qemu` needs `iso_checksum`").hint("`none` takes whatever comes")
    })?;
    let wanted = Wanted { urls: &urls, checksum: &checksum, folder: &place.template.folder };
    let found = fetch::file(place.store, &wanted, !place.recall, place.reporter)?;
    if let Some(target) = builder.text("iso_target_path") {
        let target = place.template.folder.join(target);
        if !target.exists() {
            fs::copy(&found, &target)?;
        }
    }
    Ok(found)
}

/// The folder of the artifact while it is made.
struct Output {
    path: PathBuf,
    whole: bool,
    _lock: Lock,
}

impl Output {
    fn begin(options: &Options, project: &Path, force: bool) -> Result<Self> {
        let (shown, path) = &options.output;
        let note = path.join(UNFINISHED);
        if fs::symlink_metadata(path).is_ok() {
            let inside = fs::canonicalize(path)?;
            if fs::canonicalize(project)?.starts_with(&inside) {
                return Err(Error::new(format!(
                    "the folder {shown} holds the template; nothing is built over it"
                ))
                .hint("`output_directory` names another"));
            }
            // Whoever still makes it holds the note; what nobody holds was left by a bake that was killed.
            let was_begun = fs::symlink_metadata(&note).is_ok();
            if was_begun {
                Lock::take(&note, "build")
                    .map_err(|_| Error::new(format!("the folder {shown} is being made by another bake")))?;
            }
            if !force && !was_begun {
                return Err(Error::new(format!("the folder {shown} is there already"))
                    .hint("`--force` replaces it, `output_directory` names another"));
            }
            fs::remove_all(path)?;
        }
        fs::create_dir_all(path)?;
        Ok(Self { path: path.clone(), whole: false, _lock: Lock::take(&note, "build")? })
    }

    fn finish(mut self) -> Result<()> {
        fs::remove_file(self.path.join(UNFINISHED))?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.whole {
            // What cannot be removed now is removed by the next bake.
            let _ = fs::remove_all(&self.path);
        }
    }
}

/// A machine that runs; it ends with this.
struct Running {
    child: Child,
    log: PathBuf,
    control: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or nothing that it still does is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// An error if the machine has gone.
    fn check(&mut self) -> Result<()> {
        if !self.has_ended() {
            return Ok(());
        }
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        Err(Error::new(format!("the machine has ended: {}", said.trim())))
    }

    fn control(&mut self) -> Result<Control> {
        let started = Instant::now();
        loop {
            self.check()?;
            match Control::connect(&self.control) {
                Ok(control) => return Ok(control),
                Err(error) if started.elapsed() > Duration::from_secs(10) => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Whether it ends within a time.
    fn ends_within(&mut self, limit: Duration) -> Result<bool> {
        let started = Instant::now();
        while !self.has_ended() {
            interrupted()?;
            if started.elapsed() > limit {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(true)
    }
}

/// A build under way.
struct Making<'a> {
    build: &'a Build,
    place: &'a Place<'a>,
    options: &'a Options,
    output: &'a Path,
}

impl Making<'_> {
    /// Makes everything; the names of the artifact's files.
    fn run(&self, source: &Path, callback: &mut dyn Callback) -> Result<Vec<String>> {
        let (options, place, builder) = (self.options, self.place, &self.build.builder);
        let folder = &place.template.folder;
        let work = place.store.work()?;
        let disks = self.disks(source)?;
        let vars = self.vars()?;
        let (cd, floppy) = (
            media::cd(&options.cd, folder, work.path())?,
            media::floppy(&options.floppy, folder, work.path())?,
        );
        let served = Served::start(builder, options, folder)?;
        let place = Place { http: served.port.map(|port| (HOST, port)), ..*place };
        let mut ssh = if options.has_ssh { Some(Ssh::of_guest(builder, folder, work.path())?) } else { None };
        let forwarded = ssh.is_some() && options.bridge.is_none() && !builder.flag("skip_nat_mapping", false);
        let port = if forwarded {
            Some(free_port_in("127.0.0.1", options.ssh_ports.0..=options.ssh_ports.1)?)
        } else {
            None
        };
        if let (Some(ssh), Some(port)) = (&mut ssh, port) {
            ssh.reached_at("127.0.0.1", port);
        }
        let vnc = options
            .vnc
            .then(|| free_port_in(&options.vnc_address, options.vnc_ports.0..=options.vnc_ports.1))
            .transpose()?;
        let texts = [
            served.port.map_or_else(String::new, |port| port.to_string()),
            builder.text("http_directory").unwrap_or_default(),
            self.output.display().to_string(),
            port.map_or_else(String::new, |port| port.to_string()),
            ssh.as_ref().and_then(|ssh| ssh.public_key.clone()).unwrap_or_default(),
        ];
        let fields = [
            ("HTTPIP", HOST),
            ("HTTPPort", &texts[0]),
            ("HTTPDir", &texts[1]),
            ("Name", &options.vm_name),
            ("OutputDir", &texts[2]),
            ("SSHHostPort", &texts[3]),
            ("SSHPublicKey", &texts[4]),
        ];
        let parts = Parts {
            disks: &disks,
            iso: (!options.disk_image).then_some(source),
            cd: cd.as_deref(),
            floppy: floppy.as_deref(),
            vars: vars.as_deref(),
            ssh: port,
            vnc,
            control: &work.path().join("control.sock"),
            fields: &fields,
        };
        let ours = choose(place.store)?;
        let mut machine = self.start(&parts, &ours, work.path())?;
        self.boot(&mut machine, &fields)?;
        if let Some(ssh) = &ssh {
            let step =
                Step::start(place.reporter, "connect", &format!("{}@{}:{}", ssh.user, ssh.host, ssh.port));
            ssh.wait(&mut || machine.check())?;
            step.finish("done");
        }
        provision::all_on_machine(self.build, &place, ssh.as_ref(), callback)?;
        self.stop(&mut machine, ssh.as_ref())?;
        drop(machine);
        self.convert(&disks[0])?;
        self.files(vars.as_deref())
    }

    /// Makes the disks in the artifact's folder.
    fn disks(&self, source: &Path) -> Result<Vec<PathBuf>> {
        let options = self.options;
        let step = Step::start(self.place.reporter, "disk", &options.format);
        let mut disks = Vec::new();
        for (at, size) in options.disk_sizes.iter().enumerate() {
            let name = if at == 0 { options.vm_name.clone() } else { format!("{}-{at}", options.vm_name) };
            let path = self.output.join(name);
            let img = |verb: &str| Cmd::new("qemu-img").arg(verb);
            let failed = |e: bakery_host::Error| Error::new(format!("the disk could not be made: {e}"));
            let is_first = at == 0 && options.disk_image;
            match is_first {
                true if options.backing_file => {
                    let cmd = img("create")
                        .args(["-f", &options.format, "-F", &kind_of(source)?, "-b"])
                        .arg(source)
                        .arg(&path);
                    cmd.run().map_err(failed)?;
                }
                true => {
                    let cmd = img("convert").args(["-O", &options.format]).arg(source).arg(&path);
                    cmd.run().map_err(failed)?;
                }
                false => {
                    let cmd = img("create").args(["-f", &options.format]).arg(&path).arg(size.to_string());
                    cmd.run().map_err(failed)?;
                }
            }
            if is_first && options.resize && self.build.builder.text("disk_size").is_some() {
                let cmd = img("resize").args(["-f", &options.format]).arg(&path).arg(size.to_string());
                cmd.run().map_err(|e| {
                    Error::new(format!("the disk could not be resized: {e}"))
                        .hint("`disk_size` must not be less than what the disk is; `skip_resize_disk` leaves it as it is")
                })?;
            }
            disks.push(path);
        }
        step.finish("done");
        Ok(disks)
    }

    /// The machine's own EFI variables.
    fn vars(&self) -> Result<Option<PathBuf>> {
        let Firmware::Efi { vars, .. } = &self.options.firmware else { return Ok(None) };
        let own = self.output.join("efivars.fd");
        fs::copy(vars, &own)?;
        Ok(Some(own))
    }

    fn start(&self, parts: &Parts<'_>, ours: &Accelerator, work: &Path) -> Result<Running> {
        let reporter = self.place.reporter;
        let (accelerator, why) = accelerator(self.options, ours);
        if let Some(why) = why {
            reporter.note(&why);
        }
        let step = Step::start(reporter, "machine", &format!("{accelerator}, {} MiB", self.options.memory));
        let log = work.join("qemu.log");
        let mut cmd = command(self.options, parts, accelerator).current_dir(&self.place.template.folder);
        cmd.raw()
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(fs::create(&log)?);
        let mut running = Running { child: cmd.spawn()?, log, control: parts.control.to_path_buf() };
        running.control()?;
        step.finish("started");
        if let Some(port) = parts.vnc {
            reporter.note(&format!("its screen is shown at vnc://{}:{port}", self.options.vnc_address));
        }
        Ok(running)
    }

    /// Waits and types as the template says.
    fn boot(&self, machine: &mut Running, fields: &[(&str, &str)]) -> Result<()> {
        let options = self.options;
        if options.boot_command.is_empty() {
            return Ok(());
        }
        let step = Step::start(self.place.reporter, "boot", "boot_command");
        let pieces: Vec<Vec<Stroke>> = options
            .boot_command
            .iter()
            .map(|piece| Ok(strokes(&fill_in(piece, fields))?))
            .collect::<Result<_>>()?;
        pause(options.boot_wait, machine)?;
        let mut control = machine.control()?;
        for piece in pieces {
            for stroke in piece {
                match &stroke {
                    Stroke::Wait(time) => pause(*time, machine)?,
                    _ => {
                        control.strike(&stroke)?;
                        pause(options.key_interval, machine)?;
                    }
                }
            }
            if let Some(time) = options.group_interval {
                pause(time, machine)?;
            }
        }
        step.finish("typed");
        Ok(())
    }

    /// Lets the machine end itself; an error if it does not.
    fn stop(&self, machine: &mut Running, ssh: Option<&Ssh>) -> Result<()> {
        let options = self.options;
        let step = Step::start(
            self.place.reporter,
            "shutdown",
            options.shutdown_command.as_deref().unwrap_or_default(),
        );
        let limit = match (&options.shutdown_command, ssh) {
            (Some(line), Some(ssh)) => {
                // The session goes with the machine: whatever ssh says of it is no failure.
                ssh.shell(line)?.timeout(options.shutdown_timeout).output()?;
                options.shutdown_timeout
            }
            // Whoever has no way in ends by itself.
            (_, None) => options.shutdown_timeout,
            (None, Some(_)) => {
                machine.control()?.execute("system_powerdown", json!({}))?;
                POWER_BUTTON
            }
        };
        if machine.ends_within(limit)? {
            step.finish("done");
            return Ok(());
        }
        if options.shutdown_command.is_none() && ssh.is_some() {
            self.place.reporter.warn("the machine did not hear its power button and was cut off; `shutdown_command` lets it write what it has");
            step.finish("cut off");
            return Ok(());
        }
        Err(Error::new(format!("the machine did not end within {} s", limit.as_secs()))
            .hint("`shutdown_timeout` says how long it may take"))
    }

    /// Writes the disk anew without what the machine does not use any more.
    fn convert(&self, disk: &Path) -> Result<()> {
        let options = self.options;
        if options.backing_file || !(options.compact || options.compress) {
            return Ok(());
        }
        let step = Step::start(self.place.reporter, "compact", &options.format);
        let part = disk.with_extension("part");
        Cmd::new("qemu-img")
            .args(["convert"])
            .args(options.compress.then_some("-c"))
            .args(["-O", &options.format])
            .arg(disk)
            .arg(&part)
            .run()
            .map_err(|e| Error::new(format!("the disk could not be written anew: {e}")))?;
        fs::rename(&part, disk)?;
        step.finish("done");
        Ok(())
    }

    /// The names of the artifact's files.
    fn files(&self, vars: Option<&Path>) -> Result<Vec<String>> {
        if let (Firmware::Efi { drop: true, .. }, Some(vars)) = (&self.options.firmware, vars) {
            fs::remove_file(vars)?;
        }
        let names = fs::read_dir(self.output)?.into_iter().filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            (name != UNFINISHED).then_some(name)
        });
        Ok(names.collect())
    }
}

/// Waits, unless somebody wants an end or the machine has gone.
fn pause(time: Duration, machine: &mut Running) -> Result<()> {
    let until = Instant::now() + time;
    loop {
        interrupted()?;
        machine.check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(200)));
    }
}

/// What `qemu-img` calls the format of a disk.
fn kind_of(disk: &Path) -> Result<String> {
    let output = Cmd::new("qemu-img").args(["info", "--output=json"]).arg(disk).run()?;
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let format = info["format"].as_str().map(str::to_owned);
    format.ok_or_else(|| Error::new(format!("{} is no disk", disk.display())))
}
