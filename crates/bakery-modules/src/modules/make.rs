//! `make`: a target of a Makefile (community.general `make.py`).

use bakery_lang::quote::shell_word;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Makes targets of a Makefile, unless they are up to date.
#[derive(ModuleArgs)]
#[args(exclusive = "target,targets")]
struct Args {
    /// The folder.
    #[arg(required)]
    chdir: String,
    /// The target.
    target: Option<String>,
    /// Several targets.
    targets: Option<Vec<String>>,
    /// Variables to set.
    params: Option<Map>,
    /// The Makefile, if it has another name.
    file: Option<String>,
    /// The program.
    make: Option<String>,
    /// How many commands run side by side.
    jobs: Option<i64>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let program = match &args.make {
        Some(make) => host.path(make).display().to_string(),
        None => host.program("gmake").or_else(|_| host.program("make"))?,
    };
    let mut argv = vec![program];
    if let Some(jobs) = args.jobs {
        argv.extend(["-j".to_owned(), jobs.to_string()]);
    }
    if let Some(file) = &args.file {
        argv.extend(["-f".to_owned(), host.path(file).display().to_string()]);
    }
    argv.extend(args.target.iter().chain(args.targets.iter().flatten()).cloned());
    for (name, value) in args.params.iter().flat_map(Map::pairs) {
        argv.push(if value.is_none() { name.to_string() } else { format!("{name}={value}") });
    }
    let shown = argv.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
    let outer = host.cwd.replace(host.path(&args.chdir));
    let question: Vec<String> = argv.iter().cloned().chain(["-q".to_owned()]).collect();
    let done = host.try_run(&question).and_then(|asked| {
        let changed = !asked.success();
        Ok((changed, if changed && !host.check { host.run(&argv)? } else { asked }))
    });
    host.cwd = outer;
    let (changed, output) = done?;
    let strip = |text: String| text.trim_end_matches(['\r', '\n']).to_owned();
    let list = |l: Option<Vec<String>>| l.map_or(Value::None, Value::strings);
    Ok(Outcome::changed(changed)
        .with("stdout", strip(output.text()))
        .with("stderr", strip(output.error_text()))
        .with("target", args.target)
        .with("targets", list(args.targets))
        .with("params", args.params.map_or(Value::None, Value::Map))
        .with("chdir", args.chdir)
        .with("file", args.file)
        .with("jobs", args.jobs.map_or(Value::None, Value::from))
        .with("command", shown))
}

module!("make", "community.general", Args, run);
