//! The provisioners `shell` and `shell-local`.

use bakery_events::Event;
use bakery_host::{Cmd, fs};
use bakery_packer::Component;

use super::Place;
use crate::rootfs::Rootfs;
use crate::{Error, Result};

fn environment(component: &Component, place: &Place<'_>) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("PACKER_BUILD_NAME".to_owned(), place.builder.name.clone()),
        ("PACKER_BUILDER_TYPE".to_owned(), place.builder.kind.clone()),
    ];
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

/// The scripts of a shell provisioner as texts.
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

pub(crate) fn shell(component: &Component, place: &Place<'_>, rootfs: &Rootfs) -> Result<()> {
    let valid = valid_codes(component);
    let vars = environment(component, place);
    let quoted: String = vars.iter().map(|(k, v)| format!("{k}='{}' ", v.replace('\'', "'\\''"))).collect();
    for text in scripts(component, place)? {
        // The script travels on stdin: nothing of the host needs to be seen inside.
        let path = "/tmp/packer-shell";
        let execute = component
            .text("execute_command")
            .unwrap_or_else(|| "chmod +x {{.Path}}; {{.Vars}} {{.Path}}".into())
            .replace("{{ .Path }}", path)
            .replace("{{.Path}}", path)
            .replace("{{ .Vars }}", &quoted)
            .replace("{{.Vars}}", &quoted);
        let line = format!("cat > {path} && {{ {execute}; }} 2>&1");
        let sandbox = rootfs.sandbox(place.agent)?;
        let output = sandbox.command("/bin/sh", &["-c".into(), line])?.input(text).output()?;
        for said in output.text().lines() {
            place.reporter.event(&Event::StepProgress { step: "shell".into(), line: said.to_owned() });
        }
        if !valid.contains(&output.code) {
            return Err(Error::new(format!(
                "a script of the shell provisioner ended with exit code {}\n{}",
                output.code,
                tail(&output.text())
            )));
        }
    }
    Ok(())
}

pub(crate) fn shell_local(component: &Component, place: &Place<'_>) -> Result<()> {
    let valid = valid_codes(component);
    let mut texts = scripts(component, place)?;
    texts.extend(component.text("command").map(|c| format!("#!/bin/sh -e\n{c}\n")));
    for text in texts {
        let mut cmd = Cmd::new("/bin/sh").arg("-e").arg("-s").input(text).current_dir(&place.template.folder);
        for (key, value) in environment(component, place) {
            cmd = cmd.env(key, value);
        }
        let output = cmd.output()?;
        if !valid.contains(&output.code) {
            return Err(Error::new(format!(
                "a script of the shell-local provisioner ended with exit code {}\n{}",
                output.code,
                tail(&(output.text() + &output.error_text()))
            )));
        }
    }
    Ok(())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
