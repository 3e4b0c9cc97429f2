//! The provisioners `shell` and `shell-local`.

use bakery_events::Event;
use bakery_host::{Cmd, Output, fs};
use bakery_lang::Value;
use bakery_packer::{Component, fill_in};

use super::Place;
use crate::machine::Machine;
use crate::{Error, Result};

/// The variables that Packer gives scripts, then those of the options.
fn environment(component: &Component, place: &Place<'_>) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("PACKER_BUILD_NAME".to_owned(), place.builder.name.clone()),
        ("PACKER_BUILDER_TYPE".to_owned(), place.builder.kind.clone()),
    ];
    if let Some((address, port)) = place.http {
        pairs.push(("PACKER_HTTP_ADDR".to_owned(), format!("{address}:{port}")));
        pairs.push(("PACKER_HTTP_IP".to_owned(), address.to_owned()));
        pairs.push(("PACKER_HTTP_PORT".to_owned(), port.to_string()));
    }
    for text in component.list("environment_vars") {
        if let Some((key, value)) = text.split_once('=') {
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    if let Some(map) = component.config.get("env").and_then(|e| e.as_map().cloned()) {
        pairs.extend(map.pairs().into_iter().map(|(k, v)| (k.to_string(), v.to_string())));
    }
    pairs
}

/// The scripts as texts.
fn scripts(component: &Component, place: &Place<'_>) -> Result<Vec<String>> {
    let inline: Vec<String> = match component.config.get("inline") {
        Some(value) => {
            value.as_items().unwrap_or_else(|| vec![value.clone()]).iter().map(ToString::to_string).collect()
        }
        None => vec![],
    };
    let mut texts = Vec::new();
    if !inline.is_empty() {
        let shebang = component.text("inline_shebang").unwrap_or_else(|| "/bin/sh -e".into());
        texts.push(format!("#!{shebang}\n{}\n", inline.join("\n")));
    }
    let files: Vec<String> = component.text("script").into_iter().chain(component.list("scripts")).collect();
    for file in files {
        texts.push(fs::read_to_string(place.template.folder.join(file))?);
    }
    Ok(texts)
}

fn valid_codes(component: &Component) -> Vec<i32> {
    let codes: Vec<i32> = component.list("valid_exit_codes").iter().filter_map(|c| c.parse().ok()).collect();
    if codes.is_empty() { vec![0] } else { codes }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Says what a script said, and whether its code is one of those that are fine.
fn judge(component: &Component, place: &Place<'_>, output: &Output) -> Result<()> {
    let said = output.text() + &output.error_text();
    for line in said.lines() {
        place.reporter.event(&Event::StepProgress { step: component.kind.clone(), line: line.to_owned() });
    }
    let disconnected = output.code == 255 && component.flag("expect_disconnect", false);
    if valid_codes(component).contains(&output.code) || disconnected {
        return Ok(());
    }
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n");
    Err(Error::new(format!("a script of `{}` ended with exit code {}\n{tail}", component.kind, output.code)))
}

pub(crate) fn shell(component: &Component, place: &Place<'_>, machine: &dyn Machine) -> Result<()> {
    let variables = environment(component, place);
    // Go's `%s='%s' `.
    let format = component.text("env_var_format").unwrap_or_else(|| "%s='%s' ".into());
    let vars: String = variables
        .iter()
        .map(|(key, value)| format.replacen("%s", key, 1).replacen("%s", &value.replace('\'', "'\"'\"'"), 1))
        .collect();
    let folder = component.text("remote_folder").unwrap_or_else(|| "/tmp".into());
    for (at, text) in scripts(component, place)?.into_iter().enumerate() {
        let file = component.text("remote_file").unwrap_or_else(|| format!("script_{at:04}.sh"));
        let path = component.text("remote_path").unwrap_or_else(|| format!("{folder}/{file}"));
        let vars_file = format!("{folder}/varfile_{at:04}.sh");
        let uses_file = component.flag("use_env_var_file", false);
        let usual = if uses_file {
            "chmod +x {{.Path}}; . {{.EnvVarFile}} && {{.Path}}"
        } else {
            "chmod +x {{.Path}}; {{.Vars}} {{.Path}}"
        };
        let execute = component.text("execute_command").unwrap_or_else(|| usual.into());
        let (build, kind) = (place.builder.name.as_str(), place.builder.kind.as_str());
        let fields = [
            ("Path", path.as_str()),
            ("Vars", &vars),
            ("EnvVarFile", &vars_file),
            ("build_name", build),
            ("build_type", kind),
        ];
        let execute = fill_in(&execute, &fields);
        let mut prepare = format!("umask 077; cat > {}", quoted(&path));
        if uses_file {
            let exports: String =
                variables.iter().map(|(key, value)| format!("export {key}={}\n", quoted(value))).collect();
            prepare.push_str(&format!(" && printf %s {} > {}", quoted(&exports), quoted(&vars_file)));
        }
        let sent = machine.shell(&prepare)?.input(text).output()?;
        if !sent.success() {
            return Err(Error::new(format!("the script could not be sent: {}", sent.error_text().trim())));
        }
        let output = machine.terminal(&format!("{{ {execute}\n}} 2>&1"))?.output()?;
        judge(component, place, &output)?;
        if !component.flag("skip_clean", false) && output.code != 255 {
            machine.shell(&format!("rm -f {} {}", quoted(&path), quoted(&vars_file)))?.output()?;
        }
    }
    super::pause(component, "pause_after")
}

/// Runs scripts on this machine. `more` are variables that only the caller knows.
pub(crate) fn shell_local(component: &Component, place: &Place<'_>, more: &[(&str, &str)]) -> Result<()> {
    let here = |system: &str| system == std::env::consts::OS;
    let only_on = component.list("only_on");
    if !only_on.is_empty() && !only_on.iter().any(|system| here(system)) {
        return Ok(());
    }
    let mut texts = scripts(component, place)?;
    texts.extend(component.text("command").map(|c| format!("#!/bin/sh -e\n{c}\n")));
    let words = |value: Option<Value>| -> Vec<String> {
        value.and_then(|v| v.as_items()).unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    for text in texts {
        let script = tempfile::NamedTempFile::new().map_err(|e| Error::new(e.to_string()))?;
        fs::write_atomic_mode(script.path(), text, 0o700)?;
        let path = script.path().display().to_string();
        let mut variables = environment(component, place);
        variables.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let vars: String = variables.iter().map(|(k, v)| format!("{k}={} ", quoted(v))).collect();
        let mut command = words(component.config.get("execute_command"));
        if command.is_empty() {
            command = ["/bin/sh", "-c", "{{.Vars}} {{.Script}}"].map(str::to_owned).to_vec();
        }
        let command: Vec<String> = command
            .iter()
            .map(|word| fill_in(word, &[("Vars", &vars), ("Script", &path), ("Path", &path)]))
            .collect();
        let Some((program, args)) = command.split_first() else { continue };
        let mut cmd = Cmd::new(program).args(args).current_dir(&place.template.folder);
        for (key, value) in variables {
            cmd = cmd.env(key, value);
        }
        judge(component, place, &cmd.output()?)?;
    }
    Ok(())
}
