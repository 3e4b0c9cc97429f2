//! `validate`, `inspect`, `fmt`, `eval`, `fix`, `hcl2_upgrade`, `init`: templates, looked at and rewritten.

use std::io::{BufRead as _, Read as _};
use std::path::{Path, PathBuf};

use bakery_events::{Event, Reporter as _, exit};
use bakery_host::fs;
use bakery_packer::console::Console;
use bakery_packer::{Known, format};

use super::{Failure, Outcome, bake};
use crate::cli::{FmtArgs, TemplateArgs, ValidateArgs};
use crate::terminal::{self, Terminal};

pub(crate) fn validate(args: &ValidateArgs, terminal: &Terminal) -> Outcome {
    let template = bake::load(&args.template, terminal)?;
    let builds = bake::named(&template, &args.template)?;
    if args.syntax_only {
        terminal::say("Syntax-only check passed. Everything looks okay.");
        return Ok(exit::OK);
    }
    bakery_packer::validate(&template, &builds)?;
    bakery_packer::validate_builders(&template, &builds)?;
    terminal::say("The configuration is valid.");
    Ok(exit::OK)
}

pub(crate) fn inspect(args: &TemplateArgs) -> Outcome {
    terminal::write(&bakery_packer::inspect(args.template.as_deref(), &bake::variables(args)?)?);
    Ok(exit::OK)
}

pub(crate) fn console(args: &TemplateArgs) -> Outcome {
    let console = Console::new(args.template.as_deref(), &bake::variables(args)?)?;
    let mut code = exit::OK;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Failure::new(e.to_string()))?;
        match line.trim() {
            "" => {}
            "exit" => break,
            "help" => terminal::say(
                "An expression is evaluated; `variables` lists what a template has; `exit` ends.",
            ),
            text => match console.evaluate(text) {
                Ok(shown) => terminal::say(&shown),
                Err(error) => {
                    terminal::complain(&error.to_string(), None);
                    code = exit::ERROR;
                }
            },
        }
    }
    Ok(code)
}

pub(crate) fn fix(template: &Path, validate: bool, terminal: &Terminal) -> Outcome {
    let (text, notes) = bakery_packer::fixed(template)?;
    terminal::say(&format!("{text}\n"));
    for note in notes {
        terminal.note(&note);
    }
    if validate {
        let folder = tempfile::tempdir_in(
            template.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        );
        let folder = folder.map_err(|e| Failure::new(e.to_string()))?;
        let path = folder.path().join("fixed.json");
        fs::write_atomic(&path, &text)?;
        bakery_packer::inspect(Some(&path), &bakery_packer::Variables::default())?;
    }
    Ok(exit::OK)
}

pub(crate) fn upgrade(template: &Path, output: Option<PathBuf>) -> Outcome {
    let output = output.unwrap_or_else(|| {
        let mut name = template.as_os_str().to_owned();
        name.push(".pkr.hcl");
        PathBuf::from(name)
    });
    fs::write_atomic(&output, bakery_packer::upgrade(template)?)?;
    terminal::say(&format!("Successfully created {}", output.display()));
    Ok(exit::OK)
}

/// The files that are meant: `*.pkr.hcl` and `*.pkrvars.hcl` of folders.
fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let all = if recursive { fs::walk(path)? } else { fs::read_dir(path)? };
    let is_ours = |p: &PathBuf| {
        let name = p.to_string_lossy().into_owned();
        (name.ends_with(".pkr.hcl") || name.ends_with(".pkrvars.hcl")) && p.is_file()
    };
    Ok(all.into_iter().filter(is_ours).collect())
}

pub(crate) fn fmt(args: &FmtArgs) -> Outcome {
    let mut changed = false;
    if args.paths.iter().any(|p| p.as_os_str() == "-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|e| Failure::new(e.to_string()))?;
        terminal::write(&format::format(&text));
        return Ok(exit::OK);
    }
    for path in &args.paths {
        for file in files(path, args.recursive)? {
            let text = fs::read_to_string(&file)?;
            // What cannot be read must not be rewritten.
            bakery_lang::hcl::parse(&bakery_lang::Source::new(file.display().to_string(), text.as_str()))
                .map_err(|e| Failure::new(e.to_string()))?;
            let formatted = format::format(&text);
            if formatted == text {
                continue;
            }
            changed = true;
            terminal::say(&file.display().to_string());
            if args.diff {
                let diff = similar::TextDiff::from_lines(&text, &formatted);
                let name = file.display().to_string();
                terminal::say(
                    &diff.unified_diff().header(&format!("old/{name}"), &format!("new/{name}")).to_string(),
                );
            }
            if args.write && !args.check {
                fs::write_atomic(&file, formatted)?;
            }
        }
    }
    // Packer's code for files that would change.
    Ok(if args.check && changed { 3 } else { exit::OK })
}

pub(crate) fn init(template: Option<&Path>, terminal: &Terminal) -> Outcome {
    if let Some(path) = template {
        // Whatever it asks for is built in, or said to be missing when it is validated.
        bakery_packer::inspect(Some(path), &bakery_packer::Variables::default())?;
    }
    let groups: [(&str, &[Known]); 3] = [
        ("builders", bakery_packer::BUILDERS),
        ("provisioners", bakery_packer::PROVISIONERS),
        ("post-processors", bakery_packer::POST_PROCESSORS),
    ];
    let data = groups.iter().map(|(what, known)| {
        let all =
            known.iter().map(|k| serde_json::json!({ "type": k.kind, "about": k.about, "runs": k.runs }));
        ((*what).to_owned(), all.collect::<Vec<_>>().into())
    });
    let data: serde_json::Map<_, serde_json::Value> = data.collect();
    terminal.event(&Event::Result { verb: "init".into(), data: data.into() });
    if !terminal.is_json() {
        terminal::say("Everything is built in; nothing is downloaded.\n");
        let mut rows = vec![["", "TYPE", "RUNS HERE", "WHAT IT IS"].map(str::to_owned).to_vec()];
        for (what, known) in groups {
            let runs = |k: &Known| if k.runs { "yes" } else { "no" }.to_owned();
            rows.extend(
                known.iter().map(|k| vec![what.to_owned(), k.kind.to_owned(), runs(k), k.about.to_owned()]),
            );
        }
        terminal::table(&rows);
    }
    Ok(exit::OK)
}
