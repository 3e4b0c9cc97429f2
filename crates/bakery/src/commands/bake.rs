//! `bake` and `validate`.

use std::io::Write as _;
use std::path::PathBuf;

use bakery_events::{Event, Reporter as _, exit};
use bakery_image::{BakeOptions, plan};
use bakery_packer::{Component, Template, Variables};
use bakery_play::DefaultOutput;
use bakery_store::Store;

use super::{Failure, Outcome, pairs};
use crate::cli::{BakeArgs, BuildArgs, TemplateArgs, ValidateArgs};
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

pub(crate) fn load(args: &TemplateArgs) -> Result<Template, Failure> {
    let variables = Variables { values: pairs(&args.vars)?, files: args.var_file.clone() };
    Ok(bakery_packer::load(args.template.as_deref(), &variables)?)
}

pub(crate) fn validate(args: &ValidateArgs) -> Outcome {
    let template = load(&args.template)?;
    if !args.syntax_only {
        bakery_packer::validate(&template)?;
    }
    terminal::say("The configuration is valid.");
    Ok(exit::OK)
}

/// The builders that are asked for.
fn chosen<'a>(
    template: &'a Template,
    args: &BuildArgs,
    terminal: &Terminal,
) -> Result<Vec<&'a Component>, Failure> {
    let (only, except) = (&args.template.only, &args.template.except);
    let mut chosen: Vec<_> = template.builders.iter().collect();
    chosen.retain(|b| {
        let names = [b.name.clone(), b.kind.clone(), format!("{}.{}", b.kind, b.name)];
        (only.is_empty() || names.iter().any(|n| only.contains(n)))
            && !names.iter().any(|n| except.contains(n))
    });
    // A template that names a disk builder bakes that; AMIs beside it are for the cloud.
    let has_disk = chosen.iter().any(|b| b.kind == "disk");
    let is_cloud = |b: &Component| has_disk && b.kind.starts_with("amazon-");
    for skipped in chosen.iter().filter(|b| is_cloud(b) && !(args.local && only.contains(&b.name))) {
        terminal.note(&format!("the builder {} needs an AWS account and is left out", skipped.kind));
    }
    chosen.retain(|b| !is_cloud(b) || args.local && only.contains(&b.name));
    if chosen.is_empty() {
        return Err(Failure::new("no builder is left to run (--only and --except)"));
    }
    Ok(chosen)
}

/// Says for every build what a bake would have to make, and why.
pub(crate) fn why(args: &BuildArgs, terminal: &Terminal) -> Outcome {
    let template = load(&args.template)?;
    bakery_packer::validate(&template)?;
    let (agent, store) = (agent()?, Store::open()?);
    let _in_use = store.in_use()?;
    for builder in chosen(&template, args, terminal)? {
        let planned = plan(&store, &template, builder, args.local, args.base.as_deref(), &agent)?;
        let missed = bakery_image::first_missed(&store, &template, &planned, &agent)?;
        let data = serde_json::json!({ "build": builder.name, "first_missed": missed });
        terminal.event(&Event::Result { verb: "cache why".into(), data });
        if !terminal.is_json() {
            let missed = missed.unwrap_or_else(|| "nothing changed".into());
            terminal::say(&format!("{}: {missed}", builder.name));
        }
    }
    Ok(exit::OK)
}

pub(crate) fn bake(args: &BakeArgs, terminal: &Terminal) -> Outcome {
    let template = load(&args.build.template)?;
    bakery_packer::validate(&template)?;
    let agent = agent()?;
    let store = Store::open()?;
    let chosen = chosen(&template, &args.build, terminal)?;
    bakery_image::install_roles(&template, &store, terminal)?;
    for builder in chosen {
        let planned = plan(&store, &template, builder, args.build.local, args.build.base.as_deref(), &agent)?;
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
        manifest(&template, &baked.image)?;
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
fn manifest(template: &Template, image: &bakery_store::Image) -> Result<(), Failure> {
    for component in template.post_processors.iter().flatten().filter(|c| c.kind == "manifest") {
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
