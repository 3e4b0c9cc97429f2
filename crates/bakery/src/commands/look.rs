//! `lint`, `sbom`, `provenance`, `diff`: images looked into.

use std::path::Path;

use bakery_events::{Event, Reporter as _, exit};
use bakery_image::look::{self, SbomFormat, Severity, Tree};
use bakery_store::{Image, Store};

use super::{Failure, Outcome};
use crate::terminal::{self, Terminal};

/// An image and its tree.
fn open(wanted: &str) -> Result<(Store, Image, Tree), Failure> {
    super::as_root()?;
    let store = Store::open()?;
    let image = store.images().find(wanted)?;
    look::prepare()?;
    let tree = Tree::of(&store, &image)?;
    Ok((store, image, tree))
}

pub(crate) fn lint(wanted: &str, fail_on: &str, terminal: &Terminal) -> Outcome {
    let (_, image, tree) = open(wanted)?;
    let boots = image.files.iter().any(|(format, _)| !matches!(format.as_str(), "tar" | "oci"));
    let findings = look::lint(&tree, boots)?;
    let limit = match fail_on {
        "note" => Severity::Note,
        "warning" => Severity::Warning,
        _ => Severity::Error,
    };
    let data = serde_json::to_value(&findings).unwrap_or_default();
    terminal.event(&Event::Result { verb: "lint".into(), data });
    if !terminal.is_json() {
        for finding in &findings {
            let severity = format!("{:?}", finding.severity).to_lowercase();
            terminal::say(&format!("{severity:<8} {}: {} [{}]", finding.path, finding.text, finding.check));
        }
        let count = |severity: Severity| findings.iter().filter(|f| f.severity == severity).count();
        terminal::say(&format!(
            "{}: {} errors, {} warnings, {} notes",
            image.name,
            count(Severity::Error),
            count(Severity::Warning),
            count(Severity::Note)
        ));
    }
    let failed = findings.iter().any(|finding| finding.severity >= limit);
    Ok(if failed { exit::ERROR } else { exit::OK })
}

fn written(document: &serde_json::Value, output: Option<&Path>) -> Outcome {
    let text = serde_json::to_string_pretty(document).unwrap_or_default() + "\n";
    match output {
        Some(path) => bakery_host::fs::write_atomic(path, text)?,
        None => terminal::write(&text),
    }
    Ok(exit::OK)
}

pub(crate) fn sbom(wanted: &str, format: &str, output: Option<&Path>) -> Outcome {
    let (_, image, tree) = open(wanted)?;
    let format = if format == "spdx" { SbomFormat::Spdx } else { SbomFormat::CycloneDx };
    written(&look::sbom(&tree, &image, format), output)
}

pub(crate) fn provenance(wanted: &str, key: Option<&Path>, output: Option<&Path>) -> Outcome {
    let (store, image, tree) = open(wanted)?;
    written(&look::provenance(&store, &tree, &image, key)?, output)
}

pub(crate) fn diff(one: &str, other: &str, terminal: &Terminal) -> Outcome {
    super::as_root()?;
    let store = Store::open()?;
    let (one, other) = (store.images().find(one)?, store.images().find(other)?);
    look::prepare()?;
    let differences = look::diff(&store, &one, &other)?;
    let data = serde_json::to_value(&differences).unwrap_or_default();
    terminal.event(&Event::Result { verb: "diff".into(), data });
    if !terminal.is_json() {
        for d in &differences {
            let line = match (&d.before, &d.after) {
                (None, Some(after)) => format!("+ {} {} {after}", d.kind, d.name),
                (Some(before), None) => format!("- {} {} {before}", d.kind, d.name),
                (Some(before), Some(after)) => format!("~ {} {} {before} => {after}", d.kind, d.name),
                (None, None) => continue,
            };
            terminal::say(line.trim_end());
        }
        if differences.is_empty() {
            terminal::say("nothing is different");
        }
    }
    Ok(exit::OK)
}
