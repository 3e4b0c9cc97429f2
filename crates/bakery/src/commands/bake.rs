//! `bake`.

use std::io::Write as _;
use std::path::PathBuf;

use bakery_events::{Event, Reporter as _, exit};
use bakery_image::{BakeOptions, plan};
use bakery_packer::{Build, Template, Variables};
use bakery_play::DefaultOutput;
use bakery_store::Store;

use super::{Failure, Outcome, pairs};
use crate::cli::{BakeArgs, BuildArgs, TemplateArgs};
use crate::terminal::{self, Terminal};

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
    Ok(Variables { values: pairs(&args.vars)?, files: args.var_file.clone() })
}

/// A template, and what the user should know of it.
pub(crate) fn load(args: &TemplateArgs, terminal: &Terminal) -> Result<Template, Failure> {
    let template = bakery_packer::load(args.template.as_deref(), &variables(args)?)?;
    for note in &template.notes {
        terminal.note(note);
    }
    Ok(template)
}

/// The builds that `-only` and `-except` leave.
pub(crate) fn named<'a>(template: &'a Template, args: &TemplateArgs) -> Result<Vec<&'a Build>, Failure> {
    let wanted = |b: &&Build| (args.only.is_empty() || b.is_named(&args.only)) && !b.is_named(&args.except);
    let builds: Vec<&Build> = template.builds.iter().filter(wanted).collect();
    if builds.is_empty() {
        return Err(Failure::new("no build is left to run (--only and --except)"));
    }
    Ok(builds)
}

/// The builds that are asked for and run here.
fn chosen<'a>(template: &'a Template, args: &BuildArgs, terminal: &Terminal) -> Result<Vec<&'a Build>, Failure> {
    let mut builds = named(template, &args.template)?;
    bakery_packer::validate(template, &builds)?;
    // A template that names a disk builder bakes that; AMIs beside it are for the cloud.
    let has_disk = builds.iter().any(|b| b.builder.kind == "disk");
    let asked_for = |b: &Build| args.local && b.is_named(&args.template.only);
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
    let agent = agent()?;
    let store = Store::open()?;
    let chosen = chosen(&template, &args.build, terminal)?;
    bakery_image::install_roles(&template, &chosen, &store, terminal)?;
    for build in chosen {
        let planned = plan(&store, &template, build, args.build.local, args.build.base.as_deref(), &agent)?;
        let options = BakeOptions {
            agent: agent.clone(),
            no_cache: args.no_cache,
            refresh: args.refresh,
            fresh_disk: args.fresh_disk,
        };
        let (mut out, mut err) = (std::io::stderr(), std::io::stderr());
        let colour = terminal::stdout_colour();
        let mut playbook_output = DefaultOutput::new(&mut out, &mut err, colour, 0, false);
        let mut quiet = bakery_ansible::callback::Quiet;
        let callback: &mut dyn bakery_ansible::Callback =
            if terminal.is_json() { &mut quiet } else { &mut playbook_output };
        let started = std::time::Instant::now();
        let baked = bakery_image::bake(&store, &template, &planned, &options, terminal, callback)?;
        terminal.settle();
        let data = serde_json::json!({
            "id": baked.image.id, "name": baked.image.name, "cached": baked.cached,
            "files": baked.image.files.iter().map(|(f, n)| (f.clone(), store.images().folder(&baked.image.id).join(n).display().to_string())).collect::<std::collections::BTreeMap<_, _>>(),
        });
        terminal.event(&Event::Result { verb: "bake".into(), data: data.clone() });
        manifest(&template, build, &baked.image)?;
        if !terminal.is_json() {
            let how = if baked.cached { "nothing changed" } else { "baked" };
            terminal::say(&format!(
                "{} {} ({how} in {:.2} s)",
                baked.image.id,
                baked.image.name,
                started.elapsed().as_secs_f64()
            ));
            for (format, name) in &baked.image.files {
                terminal::say(&format!(
                    "  {format}: {}",
                    store.images().folder(&baked.image.id).join(name).display()
                ));
            }
        }
    }
    let _ = std::io::stdout().flush();
    Ok(exit::OK)
}

/// The `manifest` post-processor: what was built, for other tools.
fn manifest(template: &Template, build: &Build, image: &bakery_store::Image) -> Result<(), Failure> {
    for component in build.post_processors.iter().flatten().filter(|c| c.kind == "manifest") {
        let path =
            template.folder.join(component.text("output").unwrap_or_else(|| "packer-manifest.json".into()));
        let entry = serde_json::json!({
            "name": image.name, "builder_type": "disk", "artifact_id": image.id,
            "files": image.files.iter().map(|(_, n)| serde_json::json!({"name": n})).collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(
            &serde_json::json!({ "builds": [entry], "last_run_uuid": image.key }),
        )
        .unwrap_or_default();
        bakery_host::fs::write_atomic(path, text + "\n")?;
    }
    Ok(())
}
