//! `crypttab`: encrypted block devices that are opened at boot (`community.general`, `crypttab.py`).

use bakery_host::fs;
use bakery_macros::ModuleArgs;

use crate::host::Replace;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets or removes a line of `/etc/crypttab`, or options of one.
#[derive(ModuleArgs)]
struct Args {
    /// The device's name; `/dev/mapper/` before it is left out.
    #[arg(required)]
    name: String,
    /// Whether the line, or the options in it, shall be there.
    #[arg(required, choices = "absent,opts_absent,opts_present,present")]
    state: String,
    /// The device or file that is encrypted, or its `UUID=`.
    backing_device: Option<String>,
    /// A file with the password; `none` and `-` ask at boot.
    password: Option<String>,
    /// Options with commas between them.
    opts: Option<String>,
    /// The file.
    #[arg(default = "/etc/crypttab")]
    path: String,
}

/// A line of the file: four fields, or what it is instead.
enum Line {
    Device(Device),
    Other(String),
}

/// Options and their values, in order; each name once.
type Options = Vec<(String, Option<String>)>;

struct Device {
    name: String,
    backing: String,
    password: Option<String>,
    options: Options,
}

fn options(text: Option<&str>) -> Options {
    let mut all = Options::new();
    for option in text.iter().flat_map(|text| text.split(',')) {
        let mut parts = option.splitn(2, '=');
        let name = parts.next().unwrap_or_default();
        set(&mut all, name, parts.next().map(str::to_owned));
    }
    all
}

/// Whether that is another value than before.
fn set(options: &mut Options, name: &str, value: Option<String>) -> bool {
    match options.iter_mut().find(|(known, _)| known == name) {
        Some((_, before)) => std::mem::replace(before, value.clone()) != value,
        None => {
            options.push((name.to_owned(), value));
            true
        }
    }
}

fn read(text: &str) -> Vec<Line> {
    let line = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, backing, ref more @ ..] if !line.starts_with('#') && more.len() <= 2 => Line::Device(Device {
            name: name.to_owned(),
            backing: backing.to_owned(),
            password: more.first().map(|&password| password.to_owned()),
            options: options(more.get(1).copied()),
        }),
        _ => Line::Other(line.to_owned()),
    };
    text.lines().map(line).collect()
}

fn write(lines: &[Line]) -> String {
    let line = |line: &Line| match line {
        Line::Other(text) => text.clone(),
        Line::Device(device) => {
            let option = |(name, value): &(String, Option<String>)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            };
            let options: Vec<String> = device.options.iter().map(option).collect();
            let mut fields = vec![device.name.clone(), device.backing.clone()];
            if device.password.is_some() || !options.is_empty() {
                fields.push(device.password.clone().unwrap_or_else(|| "none".to_owned()));
            }
            if !options.is_empty() {
                fields.push(options.join(","));
            }
            fields.join(" ")
        }
    };
    let lines: Vec<String> = lines.iter().map(line).collect();
    let text = lines.join("\n");
    if text.ends_with('\n') { text } else { text + "\n" }
}

fn run(args: Args, host: &mut Host) -> Run {
    let name = args.name.strip_prefix("/dev/mapper/").unwrap_or(&args.name);
    let password = args.password.as_deref().map(|path| host.expand(path));
    let (backing, opts) = (args.backing_device.as_deref(), args.opts.as_deref());
    if args.state != "absent" && backing.is_none() && password.is_none() && opts.is_none() {
        return Err("expected one or more of 'backing_device', 'password' or 'opts'".into());
    }
    if args.state.contains("opts") && (backing.is_some() || password.is_some()) {
        return Err(format!("cannot update 'backing_device' or 'password' when state={}", args.state).into());
    }
    let given = [
        ("name", Some(name)),
        ("backing_device", backing),
        ("password", password.as_deref()),
        ("opts", opts),
    ];
    for (field, value) in given {
        if value.is_some_and(|value| value.is_empty() || value.contains([' ', '\t'])) {
            return Err(format!("invalid '{field}': contains white space or is empty").into());
        }
    }
    let path = host.path(&args.path);
    let before = host.read_optional(&path)?;
    if before.is_none() && !host.check {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write_new(&path, "")?;
    }
    let mut lines = read(&String::from_utf8_lossy(&before.unwrap_or_default()));
    let is_it = |line: &Line| matches!(line, Line::Device(device) if device.name == name);
    let at = lines.iter().position(is_it);
    let added = || -> Result<Line, Failure> {
        let backing = backing.ok_or("'backing_device' required to add a new entry")?.to_owned();
        let (name, options) = (name.to_owned(), options(opts));
        Ok(Line::Device(Device { name, backing, password: password.clone(), options }))
    };
    let (changed, reason) = match (at, args.state.as_str()) {
        (None, "absent" | "opts_absent") => (false, "?"),
        (None, _) => {
            lines.push(added()?);
            (true, "added line")
        }
        (Some(at), "absent") => {
            lines[at] = Line::Other(String::new());
            (true, "removed line")
        }
        (Some(at), state) => {
            let Line::Device(device) = &mut lines[at] else { return Ok(Outcome::unchanged()) };
            let wanted = options(opts);
            match state {
                "opts_absent" => {
                    let count = device.options.len();
                    device.options.retain(|(name, _)| !wanted.iter().any(|(gone, _)| gone == name));
                    (device.options.len() != count, "removed options")
                }
                "opts_present" => {
                    let mut changed = false;
                    for (name, value) in wanted {
                        changed |= set(&mut device.options, &name, value);
                    }
                    (changed, "updated options")
                }
                _ => {
                    let mut changed = false;
                    if let Some(backing) = backing.filter(|backing| *backing != device.backing) {
                        device.backing = backing.to_owned();
                        changed = true;
                    }
                    if password.is_some() && password != device.password {
                        device.password.clone_from(&password);
                        changed = true;
                    }
                    let sorted = |options: &Options| {
                        let mut sorted = options.clone();
                        sorted.sort();
                        sorted
                    };
                    if opts.is_some() && sorted(&wanted) != sorted(&device.options) {
                        device.options = wanted;
                        changed = true;
                    }
                    (changed, "updated line")
                }
            }
        }
    };
    if changed {
        host.replace(&path, write(&lines).as_bytes(), &Replace::default())?;
    }
    Ok(Outcome::changed(changed)
        .msg(reason)
        .with("name", args.name.as_str())
        .with("state", args.state.as_str())
        .with("backing_device", args.backing_device.clone())
        .with("password", password.clone())
        .with("opts", args.opts.clone())
        .with("path", path.display().to_string()))
}

module!("crypttab", "community.general", Args, run);
