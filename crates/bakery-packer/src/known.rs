//! Which builders, provisioners and post-processors there are, and the options of those that bakery runs.

use bakery_lang::{Diagnostic, suggest};

use crate::catalog::{self, BUILDERS, COMMON, POST_PROCESSORS, PROVISIONERS};
use crate::{Build, Component, Result, Template, rules};

/// A kind of component.
#[derive(Debug)]
pub struct Known {
    /// Its type.
    pub kind: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Whether bakery runs it.
    pub runs: bool,
    /// Its options, by what they are about; empty for those that are only recognised.
    pub keys: &'static [&'static [&'static str]],
}

/// Checks the names of everything in some builds and the options of what bakery runs; the provisioners' files must be there.
///
/// # Errors
/// What is not known, with its place and what is.
pub fn validate(template: &Template, builds: &[&Build]) -> Result<()> {
    for build in builds {
        check(&build.builder, "builder", BUILDERS, catalog::OTHER_BUILDERS, &[])?;
        for provisioner in build.provisioners.iter().chain(&build.error_cleanup) {
            check(provisioner, "provisioner", PROVISIONERS, catalog::OTHER_PROVISIONERS, COMMON)?;
            for key in ["playbook_file", "script", "galaxy_file", "inventory_file"] {
                if let Some(file) = provisioner.text(key)
                    && !template.folder.join(&file).exists()
                {
                    let message =
                        format!("`{key}`: there is no file `{file}` in {}", template.folder.display());
                    return Err(at(provisioner, message).into());
                }
            }
            if provisioner.kind == "ansible" && provisioner.text("playbook_file").is_none() {
                return Err(at(provisioner, "`playbook_file` must be specified".into()).into());
            }
        }
        for component in build.post_processors.iter().flatten() {
            check(
                component,
                "post-processor",
                POST_PROCESSORS,
                catalog::OTHER_POST_PROCESSORS,
                &["keep_input_artifact", "only", "except", "name"],
            )?;
        }
    }
    Ok(())
}

/// Checks what the options of builders come to, as far as that can be said without running them.
///
/// # Errors
/// All that is wrong with the first builder of which something is.
pub fn validate_builders(template: &Template, builds: &[&Build]) -> Result<()> {
    for build in builds {
        let complaints = rules::broken(&build.builder, &template.folder);
        if let [first, more @ ..] = complaints.as_slice() {
            let message = format!("the builder `{}`: {first}", build.builder.name);
            let more = more.iter().map(|complaint| format!("also: {complaint}"));
            let error = at(&build.builder, message);
            return Err(error
                .maybe_hint(Some(more.collect::<Vec<_>>().join("\n")).filter(|m| !m.is_empty()))
                .into());
        }
    }
    Ok(())
}

fn at(component: &Component, message: String) -> Diagnostic {
    match &component.origin {
        Some(origin) => Diagnostic::at(origin, message),
        None => Diagnostic::new(message),
    }
}

fn check(component: &Component, what: &str, known: &[Known], others: &[&str], common: &[&str]) -> Result<()> {
    if others.contains(&component.kind.as_str()) {
        return Ok(());
    }
    let names = || known.iter().map(|k| k.kind);
    let Some(found) = known.iter().find(|k| k.kind == component.kind) else {
        let instead = catalog::INSTEAD.iter().find(|(kind, _)| *kind == component.kind);
        let hint = instead
            .map(|(_, what)| (*what).to_owned())
            .or_else(|| suggest(&component.kind, names()))
            .unwrap_or_else(|| format!("known: {}", names().collect::<Vec<_>>().join(", ")));
        return Err(at(component, format!("unknown {what} type `{}`", component.kind)).hint(hint).into());
    };
    if found.keys.is_empty() {
        return Ok(());
    }
    for key in component.config.keys() {
        let key = key.to_string();
        let mut all = found.keys.iter().copied().flatten().copied();
        if !all.any(|other| other == key) && !common.contains(&key.as_str()) && !key.starts_with('_') {
            let hint = suggest(&key, found.keys.iter().copied().flatten().copied());
            return Err(at(component, format!("unknown option `{key}` of the {what} `{}`", component.kind))
                .maybe_hint(hint)
                .into());
        }
    }
    Ok(())
}
