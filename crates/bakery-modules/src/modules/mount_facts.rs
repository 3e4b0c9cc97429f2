//! `mount_facts`: what is mounted, and what is said to be (`ansible/modules/mount_facts.py`).

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::facts::hardware::{add_size, unescaped};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Tells of mounts, from the kernel, from files or from mount(8).
#[derive(ModuleArgs)]
struct Args {
    /// Patterns of devices.
    devices: Option<Vec<String>>,
    /// Patterns of file systems' types.
    fstypes: Option<Vec<String>>,
    /// Files, or `mount` for the program, or `static`, `dynamic` or `all` for what there is of both kinds.
    sources: Option<Vec<String>>,
    /// The program that lists mounts where no file does.
    #[arg(default = "mount")]
    mount_binary: Value,
    /// Seconds to wait for a file system, or for the program.
    timeout: Option<f64>,
    /// What happens when it takes longer.
    #[arg(default = "error", choices = "error,warn,ignore")]
    on_timeout: String,
    /// Whether all are told that lie over each other, and not only the first.
    include_aggregate_mounts: Option<bool>,
}

const STATIC: [&str; 3] = ["/etc/fstab", "/etc/vfstab", "/etc/filesystems"];
const DYNAMIC: [&str; 3] = ["/etc/mtab", "/proc/mounts", "/etc/mnttab"];

/// A mount as a source has it.
struct Found {
    source: String,
    line: String,
    fields: Map,
}

/// A line of fstab(5), of four to six fields.
fn of_fstab(line: &str) -> Option<Map> {
    let fields: Vec<String> = line.split_whitespace().map(unescaped).collect();
    let [device, mount, fstype, options, rest @ ..] = fields.as_slice() else { return None };
    let map = Map::from_iter([
        ("device", Value::from(device)),
        ("mount", mount.into()),
        ("fstype", fstype.into()),
        ("options", options.into()),
    ]);
    for (name, text) in ["dump", "passno"].iter().zip(rest) {
        map.set(name, text.parse::<i64>().ok()?);
    }
    Some(map)
}

/// A line of Solaris' vfstab, of seven fields.
fn of_vfstab(line: &str) -> Option<Map> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [device, checked, mount, fstype, pass, at_boot, options, ..] = fields.as_slice() else { return None };
    let pass = pass.parse::<i64>().map_or_else(|_| Value::from(*pass), Value::from);
    Some(Map::from_iter([
        ("device", Value::from(*device)),
        ("device_to_fsck", (*checked).into()),
        ("mount", (*mount).into()),
        ("fstype", (*fstype).into()),
        ("passno", pass),
        ("mount_at_boot", (*at_boot).into()),
        ("options", (*options).into()),
    ]))
}

/// A line of mount(8): `DEVICE on MOUNT type TYPE (OPTIONS)`.
fn of_program(line: &str) -> Option<Map> {
    let words: Vec<&str> = line.splitn(6, ' ').collect();
    let [device, "on", mount, "type", fstype, options] = words.as_slice() else { return None };
    let options = options.strip_prefix('(')?.strip_suffix(')')?;
    Some(Map::from_iter([
        ("device", Value::from(*device)),
        ("mount", (*mount).into()),
        ("fstype", (*fstype).into()),
        ("options", options.into()),
    ]))
}

/// The mounts of lines, if all of them are what `read` reads.
fn all(source: &str, lines: &[&str], read: fn(&str) -> Option<Map>) -> Option<Vec<Found>> {
    let found = |line: &&str| {
        Some(Found { source: source.to_owned(), line: (*line).to_owned(), fields: read(line)? })
    };
    lines.iter().map(found).collect()
}

fn of_file(source: &str) -> Vec<Found> {
    let text = fs::read_to_string(source).unwrap_or_default();
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    all(source, &lines, of_vfstab).or_else(|| all(source, &lines, of_fstab)).unwrap_or_default()
}

/// Asks for something that may never answer; what took too long is told as the task wants it.
fn in_time<T: Send + 'static>(
    host: &mut Host,
    args: &Args,
    what: &str,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Failure> {
    let Some(seconds) = args.timeout else { return Ok(Some(ask())) };
    let (sender, receiver) = mpsc::channel();
    // A thread that hangs is left behind: nothing can end it.
    std::thread::spawn(move || {
        let _ = sender.send(ask());
    });
    match (receiver.recv_timeout(Duration::from_secs_f64(seconds)), args.on_timeout.as_str()) {
        (Ok(answer), _) => Ok(Some(answer)),
        (Err(_), "error") => Err(Failure::new(what)),
        (Err(_), "warn") => {
            host.warn(what);
            Ok(None)
        }
        (Err(_), _) => Ok(None),
    }
}

fn of_mount(host: &mut Host, args: &Args, program: &str) -> Result<Vec<Found>, Failure> {
    let program = if program.contains('/') { program.to_owned() } else { host.program(program)? };
    let mut cmd = host.cmd(&program).env("LC_ALL", "C.UTF-8");
    if let Some(seconds) = args.timeout {
        cmd = cmd.timeout(Duration::from_secs_f64(seconds));
    }
    let output = cmd.output()?;
    if output.timed_out {
        let what =
            format!("Command '{program}' timed out after {} seconds", args.timeout.unwrap_or_default());
        match args.on_timeout.as_str() {
            "error" => return Err(what.into()),
            "warn" => host.warn(what),
            _ => {}
        }
        return Ok(vec![]);
    }
    if !output.success() {
        return Err(format!("Failed to execute {program}: exit code {}", output.code).into());
    }
    let text = output.text();
    Ok(all("mount", &text.lines().collect::<Vec<_>>(), of_program).unwrap_or_default())
}

/// What all sources have, each of them once, whatever its names.
fn found(host: &mut Host, args: &Args) -> Result<Vec<Found>, Failure> {
    let everything = vec!["all".to_owned()];
    let mut sources: Vec<String> = Vec::new();
    for source in args.sources.as_ref().filter(|sources| !sources.is_empty()).unwrap_or(&everything) {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        match source.as_str() {
            "" => return Err("sources contains an empty string".into()),
            "dynamic" => sources.extend(of(&DYNAMIC)),
            "static" => sources.extend(of(&STATIC)),
            "all" => {
                sources.extend(of(&DYNAMIC));
                sources.extend(of(&STATIC));
            }
            _ => sources.push(source.clone()),
        }
    }
    if (1..sources.len()).any(|at| sources[..at].contains(&sources[at])) {
        host.warn(format!(
            "mount_facts option 'sources' contains duplicate entries, repeat sources will be ignored: {:?}",
            Value::strings(&sources)
        ));
    }
    let program = args.mount_binary.as_str().ok_or_else(|| {
        Failure::new(format!("argument 'mount_binary' must be a string or null, not {}", args.mount_binary))
    })?;
    let is_dynamic = |source: &str| DYNAMIC.contains(&source);
    let mut needs_program = !program.is_empty() && sources.iter().any(|source| is_dynamic(source));
    let (mut seen, mut all): (Vec<PathBuf>, Vec<Found>) = (vec![], vec![]);
    for source in &sources {
        let real = match source.as_str() {
            "mount" => PathBuf::from("mount"),
            path => fs::canonicalize(path).unwrap_or_else(|_| path.into()),
        };
        if seen.contains(&real) {
            continue;
        }
        seen.push(real);
        let new = if source == "mount" { of_mount(host, args, program)? } else { of_file(source) };
        needs_program &= new.is_empty() || !(source == "mount" || is_dynamic(source));
        all.extend(new);
    }
    if needs_program {
        all.extend(of_mount(host, args, program)?);
    }
    Ok(all)
}

/// The id of a device's file system: by udev's links, lsblk(8) or udev itself.
fn uuid_of(host: &Host, listed: &mut Option<String>, device: &str) -> Option<String> {
    let folder = "/dev/disk/by-uuid";
    let links = fs::read_dir(folder).unwrap_or_default();
    let linked = links.iter().find(|link| fs::canonicalize(link).is_ok_and(|to| to.as_os_str() == device));
    if let Some(link) = linked {
        return Some(link.file_name()?.to_string_lossy().into_owned());
    }
    let options = ["lsblk", "--list", "--noheadings", "--paths", "--output", "NAME,UUID", "--exclude", "2"];
    let listed =
        listed.get_or_insert_with(|| host.try_run(&options).map(|output| output.text()).unwrap_or_default());
    let pairs = listed.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        <[&str; 2]>::try_from(words).ok()
    });
    if let Some([_, uuid]) = pairs.into_iter().find(|[name, _]| *name == device) {
        return Some(uuid.to_owned());
    }
    // Old releases of lsblk know no paths.
    if !device.starts_with("/dev/") {
        return None;
    }
    let said = host.try_run(&["udevadm", "info", "--query", "property", "--name", device]).ok()?.text();
    said.lines().find_map(|line| line.strip_prefix("ID_FS_UUID=")).map(str::to_owned)
}

fn run(args: Args, host: &mut Host) -> Run {
    if let Some(seconds) = args.timeout.filter(|seconds| *seconds <= 0.0) {
        let seconds = Value::from(seconds);
        return Err(format!("argument 'timeout' must be a positive number or null, not {seconds}").into());
    }
    let patterns = |given: &Option<Vec<String>>| {
        let given =
            given.as_ref().filter(|given| !given.is_empty()).cloned().unwrap_or_else(|| vec!["*".into()]);
        let read = |text: &String| {
            glob::Pattern::new(text).map_err(|error| Failure::new(format!("{text}: {error}")))
        };
        given.iter().map(read).collect::<Result<Vec<_>, _>>()
    };
    let (devices, types) = (patterns(&args.devices)?, patterns(&args.fstypes)?);
    let (mut mounts, mut listed): (Vec<Map>, _) = (vec![], None);
    for Found { source, line, fields } in found(host, &args)? {
        let word = |name: &str| fields.get(name).unwrap_or_default().to_string();
        let (mut device, kind, mount) = (word("device"), word("fstype"), word("mount"));
        let mut uuid = device.strip_prefix("UUID=").map(str::to_owned);
        if let Some(uuid) = &uuid {
            let found = host.try_run(&["blkid", "--uuid", uuid]).ok().filter(bakery_host::Output::success);
            device = found.map_or(device, |output| output.text());
        }
        let fits =
            |patterns: &[glob::Pattern], text: &str| patterns.iter().any(|pattern| pattern.matches(text));
        if !fits(&devices, &device) || !fits(&types, &kind) {
            continue;
        }
        let what = format!("Timed out getting mount size for mount {mount} (type {kind})");
        if let Some(Ok(size)) = in_time(host, &args, &what, move || rustix::fs::statvfs(mount.as_str()))? {
            add_size(&fields, &size);
        }
        if uuid.is_none() {
            uuid = uuid_of(host, &mut listed, &device);
        }
        let context = [("source", Value::from(source)), ("source_data", line.into())];
        fields.set("ansible_context", Value::map(context));
        fields.set("uuid", uuid);
        mounts.push(fields);
    }
    let points = Map::new();
    let mut places: Vec<(String, Vec<String>)> = Vec::new();
    for mount in &mounts {
        let place = mount.get("mount").unwrap_or_default().to_string();
        if !points.contains(&place) {
            points.set(&place, mount.clone());
        }
        let source =
            mount.get("ansible_context").and_then(|context| context.get("source")).unwrap_or_default();
        let source = source.to_string();
        match places.iter_mut().find(|(name, _)| *name == source) {
            Some((_, known)) => known.push(place),
            None => places.push((source, vec![place])),
        }
    }
    places.retain(|(_, known)| (1..known.len()).any(|at| known[..at].contains(&known[at])));
    if !places.is_empty() && args.include_aggregate_mounts.is_none() {
        let shown = places.iter().map(|(source, known)| format!("{source} ({:?})", Value::strings(known)));
        host.warn(format!(
            "mount_facts: ignoring repeat mounts in the following sources: {}. You can disable this warning by configuring the 'include_aggregate_mounts' option as True or False.",
            shown.collect::<Vec<_>>().join(", ")
        ));
    }
    let aggregate = if args.include_aggregate_mounts == Some(true) { mounts } else { vec![] };
    let aggregate = Value::list(aggregate.into_iter().map(Value::from).collect());
    let facts = [("mount_points", Value::from(points)), ("aggregate_mounts", aggregate)];
    Ok(Outcome::unchanged().with("ansible_facts", Value::map(facts)))
}

module!("mount_facts", "ansible.builtin", Args, run);
