//! `bake`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bakery_events::{Event, Reporter as _, exit};
use bakery_host::cgroup::Limits;
use bakery_image::{Artifact, BakeOptions, BuildOptions, Built, plan};
use bakery_packer::{Build, Request, Response, Template, Variables};
use bakery_play::DefaultOutput;
use bakery_store::Store;

use super::{Failure, Outcome, pairs};
use crate::cli::{self, BakeArgs, BuildArgs, TemplateArgs};
use crate::terminal::{self, Masked, Terminal};

/// The static agent: `BAKERY_AGENT`, else beside this program.
pub(crate) fn agent() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os("BAKERY_AGENT") {
        return Ok(PathBuf::from(path));
    }
    let exe = std::env::current_exe().map_err(|e| Failure::new(e.to_string()))?;
    let beside = exe.with_file_name("bakery-agent");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Failure {
        hint: Some(
            "build it with `cargo build --release -p bakery-agent`, or name it in BAKERY_AGENT".into(),
        ),
        ..Failure::new(format!("the agent for images is not at {}", beside.display()))
    })
}

/// The variables that were given.
pub(crate) fn variables(args: &TemplateArgs) -> Result<Variables, Failure> {
    Ok(Variables {
        values: pairs(&args.vars)?,
        files: args.var_file.clone(),
        fetch: Some(fetch),
        lenient: false,
    })
}

/// Asks a server for a data source.
fn fetch(request: &Request) -> Result<Response, String> {
    let client = bakery_galaxy::http::Client::new(Duration::from_secs(60), true);
    let (headers, body) = client
        .ask(&request.method, &request.url, &request.headers, &request.body)
        .map_err(|error| error.to_string())?;
    Ok(Response { headers, body })
}

/// A template, and what the user should know of it.
pub(crate) fn load(args: &TemplateArgs, terminal: &Terminal) -> Result<Template, Failure> {
    let template = bakery_packer::load(args.template.as_deref(), &variables(args)?)?;
    for note in &template.notes {
        terminal.note(note);
    }
    Ok(template)
}

/// The builds that `-only` and `-except` leave. Who names none of them means their builders.
pub(crate) fn named<'a>(template: &'a Template, args: &TemplateArgs) -> Result<Vec<&'a Build>, Failure> {
    let meant = |build: &Build, patterns: &[String]| {
        if template.builds.iter().any(|b| b.is_named(patterns)) {
            build.is_named(patterns)
        } else {
            build.is_called(patterns)
        }
    };
    let wanted = |b: &&Build| (args.only.is_empty() || meant(b, &args.only)) && !meant(b, &args.except);
    let builds: Vec<&Build> = template.builds.iter().filter(wanted).collect();
    if builds.is_empty() {
        return Err(Failure::new("no build is left to run (--only and --except)"));
    }
    Ok(builds)
}

/// The builds that are asked for and run here.
fn chosen<'a>(
    template: &'a Template,
    args: &BuildArgs,
    terminal: &Terminal,
) -> Result<Vec<&'a Build>, Failure> {
    let mut builds = named(template, &args.template)?;
    bakery_packer::validate(template, &builds)?;
    // A template that names a disk builder bakes that; AMIs beside it are for the cloud.
    let has_disk = builds.iter().any(|b| b.builder.kind == "disk");
    let asked_for =
        |b: &Build| args.local && (b.is_named(&args.template.only) || b.is_called(&args.template.only));
    builds.retain(|b| {
        let is_left_out = has_disk && b.builder.kind.starts_with("amazon-") && !asked_for(b);
        if is_left_out {
            let kind = &b.builder.kind;
            terminal.note(&format!("the builder {kind} needs an AWS account and is left out"));
        }
        !is_left_out
    });
    Ok(builds)
}

/// Says for every build what a bake would have to make, and why.
pub(crate) fn why(args: &BuildArgs, terminal: &Terminal) -> Outcome {
    super::as_root()?;
    let template = load(&args.template, terminal)?;
    let (agent, store) = (agent()?, Store::open()?);
    let _in_use = store.in_use()?;
    for build in chosen(&template, args, terminal)? {
        let planned = plan(&store, &template, build, args.local, args.base.as_deref(), &agent)?;
        let missed = bakery_image::first_missed(&store, &template, &planned, &agent)?;
        let data = serde_json::json!({ "build": build.name, "first_missed": missed });
        terminal.event(&Event::Result { verb: "cache why".into(), data });
        if !terminal.is_json() {
            let missed = missed.unwrap_or_else(|| "nothing changed".into());
            terminal::say(&format!("{}: {missed}", build.name));
        }
    }
    Ok(exit::OK)
}

pub(crate) fn bake(args: &BakeArgs, terminal: &Terminal) -> Outcome {
    let template = load(&args.build.template, terminal)?;
    let mut chosen = chosen(&template, &args.build, terminal)?;
    if let Some(one) = &args.one_build {
        chosen.retain(|build| build.name == *one);
    }
    if chosen.iter().any(|build| bakery_image::makes_trees(build, args.build.local)) {
        super::as_root()?;
    }
    let store = Store::open()?;
    bakery_image::install_roles(&template, &chosen, &store, terminal)?;
    let run = std::env::var("PACKER_RUN_UUID").unwrap_or_else(|_| uuid::Uuid::new_v4().to_string());
    if chosen.len() > 1 {
        return side_by_side(&chosen, args, &run, terminal);
    }
    let options = BuildOptions {
        bake: BakeOptions {
            agent: agent()?,
            no_cache: args.no_cache,
            refresh: args.refresh,
            fresh_disk: args.fresh_disk,
            limits: Limits {
                memory: args.memory.as_deref().map(bakery_image::bytes).transpose()?,
                processes: args.processes,
            },
        },
        local: args.build.local,
        base: args.build.base.clone(),
        force: args.force,
        run,
    };
    for build in chosen {
        let secrets = template.secrets();
        let (mut out, mut err) =
            (Masked::new(std::io::stderr(), &secrets), Masked::new(std::io::stderr(), &secrets));
        let mut playbook_output = DefaultOutput::new(&mut out, &mut err, terminal::stdout_colour(), 0, false);
        let mut quiet = bakery_ansible::callback::Quiet;
        let callback: &mut dyn bakery_ansible::Callback =
            if terminal.is_json() { &mut quiet } else { &mut playbook_output };
        let started = std::time::Instant::now();
        terminal.hide(&secrets);
        let built = bakery_image::build(&store, &template, build, &options, terminal, callback)?;
        terminal.settle();
        report(build, &built, &store, started.elapsed(), args, terminal);
    }
    Ok(exit::OK)
}

/// Says what a build came to.
fn report(build: &Build, built: &Built, store: &Store, took: Duration, args: &BakeArgs, terminal: &Terminal) {
    let files = |image: &bakery_store::Image| -> BTreeMap<String, String> {
        let folder = store.images().folder(&image.id);
        image.files.iter().map(|(f, n)| (f.clone(), folder.join(n).display().to_string())).collect()
    };
    let mut data =
        serde_json::json!({ "build": build.name, "cached": built.cached, "artifacts": built.artifacts });
    if let Some(image) = &built.image {
        data["id"] = image.id.as_str().into();
        data["name"] = image.name.as_str().into();
        data["files"] = serde_json::json!(files(image));
    }
    terminal.event(&Event::Result { verb: "bake".into(), data });
    if args.machine_readable {
        machine_readable(build, &built.artifacts);
    } else if !terminal.is_json() {
        let how = if built.cached { "nothing changed" } else { "built" };
        let took = format!("{how} in {:.2} s", took.as_secs_f64());
        match &built.image {
            Some(image) => {
                terminal::say(&format!("{} {} ({took})", image.id, image.name));
                for (format, path) in files(image) {
                    terminal::say(&format!("  {format}: {path}"));
                }
            }
            None => terminal::say(&format!("{} ({took})", build.name)),
        }
        for artifact in built.artifacts.iter().skip(usize::from(built.image.is_some())) {
            terminal::say(&format!("--> {}: {}", build.name, artifact.text));
        }
    }
}

/// The artifacts as lines of fields, as Packer's `-machine-readable` has them.
fn machine_readable(build: &Build, artifacts: &[Artifact]) {
    let now = bakery_store::seconds(&bakery_store::now()).unwrap_or(0);
    let line = |fields: &[String]| {
        let fields: Vec<String> = fields
            .iter()
            .map(|f| f.replace(',', "%!(PACKER_COMMA)").replace('\r', "\\r").replace('\n', "\\n"))
            .collect();
        terminal::say(&format!("{now},{},{}", build.name, fields.join(",")));
    };
    line(&["artifact-count".into(), artifacts.len().to_string()]);
    for (at, artifact) in artifacts.iter().enumerate() {
        let part = |name: &str, value: Option<String>| {
            let mut fields = vec!["artifact".to_owned(), at.to_string(), name.to_owned()];
            fields.extend(value);
            line(&fields);
        };
        part("builder-id", Some(artifact.builder_id.clone()));
        part("id", Some(artifact.id.clone()));
        part("string", Some(artifact.text.clone()));
        part("files-count", Some(artifact.files.len().to_string()));
        for (number, file) in artifact.files.iter().enumerate() {
            line(&[
                "artifact".into(),
                at.to_string(),
                "file".into(),
                number.to_string(),
                file.display().to_string(),
            ]);
        }
        part("end", None);
    }
}

/// Several builds: each is a process of its own, its lines under its name.
fn side_by_side(builds: &[&Build], args: &BakeArgs, run: &str, terminal: &Terminal) -> Outcome {
    let exe = std::env::current_exe().map_err(|e| Failure::new(e.to_string()))?;
    let most = if args.parallel_builds == 0 { builds.len() } else { args.parallel_builds };
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    // The processes end with the thread that started them, which waits for them.
    std::thread::scope(|threads| {
        for _ in 0..most.min(builds.len()) {
            threads.spawn(|| {
                while let Some(build) = builds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let cmd = bakery_host::Cmd::new(&exe)
                        .args(cli::typed())
                        .args(["--one-build", &build.name])
                        .env("PACKER_RUN_UUID", run);
                    let name = if terminal.is_json() || args.machine_readable {
                        String::new()
                    } else {
                        format!("{}: ", build.name)
                    };
                    let ended = cmd.lines(&|line: &str, is_error: bool| {
                        if is_error {
                            terminal.talk(&format!("{name}{line}"));
                        } else {
                            terminal::say(&format!("{name}{line}"));
                        }
                    });
                    if !ended.is_ok_and(|code| code == exit::OK) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        0 => Ok(exit::OK),
        some => Err(Failure::new(format!("{some} of {} builds failed", builds.len()))),
    }
}
