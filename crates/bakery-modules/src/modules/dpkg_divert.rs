//! `dpkg_divert`: files of packages that go elsewhere (community.general `dpkg_divert.py`).

use std::path::Path;

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Diverts a file of a package to another name, or ends that.
#[derive(ModuleArgs)]
struct Args {
    /// The file.
    #[arg(required)]
    path: String,
    /// Whether it shall be diverted.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The package that keeps the name for itself; `LOCAL` for none.
    holder: Option<String>,
    /// The other name; `.distrib` is added if not given.
    divert: Option<String>,
    /// Whether the file itself is renamed.
    rename: bool,
    /// Whether a file that is in the way is removed.
    force: bool,
}

/// What is known of a file's diversion.
#[derive(Clone, PartialEq)]
struct Diversion {
    path: String,
    present: bool,
    divert: Option<String>,
    holder: Option<String>,
}

impl Diversion {
    fn value(&self) -> Value {
        let text = |value: &Option<String>| value.clone().map_or(Value::None, Value::from);
        Map::from_iter([
            ("path", Value::from(self.path.as_str())),
            ("state", if self.present { "present" } else { "absent" }.into()),
            ("divert", text(&self.divert)),
            ("holder", text(&self.holder)),
        ])
        .into()
    }
}

fn diversion(host: &Host, program: &str, path: &str) -> Result<Diversion, Failure> {
    let holder = host.run(&[program, "--listpackage", path])?.text().trim_end().to_owned();
    let present = !holder.is_empty();
    let divert = if present {
        Some(host.run(&[program, "--truename", path])?.text().trim_end().to_owned())
    } else {
        None
    };
    Ok(Diversion { path: path.into(), present, divert, holder: present.then_some(holder) })
}

fn run(args: Args, host: &mut Host) -> Run {
    let program = host.program("dpkg-divert")?;
    let path = host.path(&args.path).display().to_string();
    let before = diversion(host, &program, &path)?;
    let present = args.state == "present";
    let rename = |on: bool| if on { "--rename" } else { "--no-rename" }.to_owned();
    let (wanted, words) = if present {
        let holder = args.holder.clone().filter(|holder| holder != "LOCAL");
        let divert = args.divert.as_ref().map(|divert| host.path(divert).display().to_string());
        let mut words = match &holder {
            Some(holder) => vec!["--package".to_owned(), holder.clone()],
            None => vec!["--local".to_owned()],
        };
        words.extend(divert.iter().flat_map(|divert| ["--divert".to_owned(), divert.clone()]));
        words.extend(["--add".to_owned(), path.clone()]);
        let holder = holder.unwrap_or_else(|| "LOCAL".into());
        let target = divert.unwrap_or_else(|| format!("{path}.distrib"));
        (Diversion { path: path.clone(), present, divert: Some(target), holder: Some(holder) }, words)
    } else {
        let words = vec!["--remove".to_owned(), path.clone()];
        (Diversion { path: path.clone(), present, divert: None, holder: None }, words)
    };
    let command = |renames: bool, test: bool, words: &[String]| {
        let mut argv = vec![program.clone()];
        argv.extend(test.then(|| "--test".to_owned()));
        argv.push(rename(renames));
        argv.extend(words.iter().cloned());
        argv
    };
    let test = host.check || wanted == before;
    let shown = command(args.rename, false, &words).join(" ");
    let mut commands = vec![shown.clone()];
    let output = host.try_run(&command(args.rename, test, &words))?;
    let refused = |msg: &str, output: &bakery_host::Output| {
        Failure::new(msg).with("cmd", shown.as_str()).with_output(output).with("diversion", before.value())
    };
    let line = |output: &bakery_host::Output| output.text().trim_end().to_owned();
    let mut messages = vec![line(&output)];
    if !output.success() && present != before.present {
        // dpkg-divert does not rename a file to one that is there.
        let target = wanted.divert.clone().unwrap_or_default();
        let in_the_way = if present {
            Path::new(&target).exists()
        } else {
            before.divert.as_ref().is_some_and(|divert| Path::new(divert).exists())
        };
        if !(args.rename && Path::new(&path).exists() && in_the_way) {
            return Err(refused("Unexpected error while changing state of the diversion.", &output));
        }
        if !args.force {
            return Err(refused("Set 'force' param to True to force renaming of files.", &output));
        }
        if !host.check {
            bakery_host::fs::remove_file(if present { &target } else { &path })?;
            messages = vec![line(&host.run(&command(args.rename, false, &words))?)];
        } else {
            messages = vec![line(&output)];
        }
    } else if !output.success() {
        // Neither the holder nor the other name can be changed: the diversion is made anew.
        let remove = ["--remove".to_owned(), path.clone()];
        commands = vec![command(false, false, &remove).join(" "), command(false, false, &words).join(" ")];
        let removed = host.run(&command(false, host.check, &remove))?;
        if host.check {
            messages = vec![line(&removed), "Running in check mode".into()];
        } else {
            let added = host.run(&command(false, false, &words))?;
            messages = vec![line(&removed), line(&added)];
            if let (Some(old), Some(new)) = (&before.divert, &wanted.divert)
                && old != new
                && Path::new(old).exists()
                && !Path::new(new).exists()
            {
                bakery_host::fs::rename(old, new)?;
            }
        }
    }
    let after = if host.check { wanted.clone() } else { diversion(host, &program, &path)? };
    if after != wanted {
        return Err(refused("Unexpected error: see stdout and stderr for details.", &output));
    }
    Ok(Outcome::changed(after != before)
        .with("diversion", after.value())
        .with("commands", Value::strings(commands))
        .with("messages", Value::strings(messages))
        .with("diff", Value::map([("before", before.value()), ("after", after.value())])))
}

module!("dpkg_divert", "community.general", Args, run);
