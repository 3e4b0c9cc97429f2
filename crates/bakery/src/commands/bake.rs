//! `bake` and `validate`.

use std::io::Write as _;
use std::path::PathBuf;

use bakery_events::{Event, Reporter as _, exit};
use bakery_image::{BakeOptions, plan};
use bakery_packer::{Template, Variables};
use bakery_play::DefaultOutput;
use bakery_store::Store;

use super::{Failure, Outcome, pairs};
use crate::cli::{BakeArgs, ValidateArgs};
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

fn load(template: Option<&PathBuf>, vars: &[String], var_files: &[PathBuf]) -> Result<Template, Failure> {
    let variables = Variables { values: pairs(vars)?, files: var_files.to_vec() };
    Ok(bakery_packer::load(template.map(PathBuf::as_path), &variables)?)
}

pub(crate) fn validate(args: &ValidateArgs) -> Outcome {
    let template = load(args.template.as_ref(), &args.vars, &args.var_file)?;
    if !args.syntax_only {
        bakery_packer::validate(&template)?;
    }
    terminal::say("The configuration is valid.");
    Ok(exit::OK)
}

pub(crate) fn bake(args: &BakeArgs, terminal: &Terminal) -> Outcome {
    let template = load(args.template.as_ref(), &args.vars, &args.var_file)?;
    bakery_packer::validate(&template)?;
    let agent = agent()?;
    let store = Store::open()?;
    let chosen: Vec<_> = template
        .builders
        .iter()
        .filter(|b| {
            let names = [b.name.clone(), b.kind.clone(), format!("{}.{}", b.kind, b.name)];
            (args.only.is_empty() || names.iter().any(|n| args.only.contains(n)))
                && !names.iter().any(|n| args.except.contains(n))
        })
        .collect();
    // A template that names a disk builder bakes that; AMIs beside it are for the cloud.
    let has_disk = chosen.iter().any(|b| b.kind == "disk");
    let chosen: Vec<_> = chosen
        .into_iter()
        .filter(|b| {
            !has_disk
                || args.local && args.only.contains(&b.name)
                || b.kind == "disk"
                || !b.kind.starts_with("amazon-")
        })
        .collect();
    if chosen.is_empty() {
        return Err(Failure::new("no builder is left to run (--only and --except)"));
    }
    for skipped in template.builders.iter().filter(|b| has_disk && b.kind.starts_with("amazon-")) {
        terminal.note(&format!("the builder {} needs an AWS account and is left out", skipped.kind));
    }
    bakery_image::install_roles(&template, &store, terminal)?;
    for builder in chosen {
        let planned = plan(&store, &template, builder, args.local, args.base.as_deref(), &agent)?;
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
