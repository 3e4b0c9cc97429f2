//! Provisioners, run in a root file system.

use std::path::{Path, PathBuf};

use bakery_ansible::connection::{Connections, Target};
use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::Loader;
use bakery_ansible::{Callback, Options, vars};
use bakery_events::{Reporter, exit};
use bakery_galaxy::install::Places;
use bakery_galaxy::requirements::Kind;
use bakery_host::namespace::Overlay;
use bakery_host::sandbox::Sandbox;
use bakery_host::{Cmd, fs};
use bakery_lang::Map;
use bakery_packer::{Component, Template};
use bakery_store::{Store, Work};

use crate::rootfs::{AGENT_INSIDE, Rootfs};
use crate::{Error, Result};

/// Where a provisioner runs.
pub(crate) struct Place<'a> {
    pub(crate) template: &'a Template,
    pub(crate) builder: &'a Component,
    pub(crate) rootfs: &'a Rootfs,
    pub(crate) store: &'a Store,
    pub(crate) agent: &'a Path,
    pub(crate) reporter: &'a dyn Reporter,
}

/// Runs a provisioner.
pub(crate) fn run(component: &Component, place: &Place<'_>, callback: &mut dyn Callback) -> Result<()> {
    if let Some(pause) = component.text("pause_before") {
        std::thread::sleep(duration(&pause)?);
    }
    let tries = component.text("max_retries").and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let mut attempt = 0;
    loop {
        let result = match component.kind.as_str() {
            "ansible" | "ansible-local" => ansible(component, place, callback),
            "shell" => shell(component, place),
            "shell-local" => shell_local(component, place),
            "file" => file(component, place),
            "sleep" => {
                std::thread::sleep(duration(&component.text("duration").unwrap_or_else(|| "0s".into()))?);
                Ok(())
            }
            "breakpoint" => {
                place.reporter.note(&format!("breakpoint: {}", component.text("note").unwrap_or_default()));
                Ok(())
            }
            other => Err(Error::new(format!("the provisioner `{other}` does not run here"))),
        };
        match result {
            Err(error) if attempt < tries => {
                attempt += 1;
                place.reporter.warn(&format!(
                    "{} failed and is tried again ({attempt} of {tries}): {error}",
                    component.kind
                ));
            }
            other => return other,
        }
    }
}

fn duration(text: &str) -> Result<std::time::Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split]
        .parse()
        .map_err(|_| Error::new(format!("`{text}` is no duration (expected something like 10s)")))?;
    let factor = match &text[split..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(Error::new(format!("unknown unit `{other}` in the duration `{text}`"))),
    };
    Ok(std::time::Duration::from_secs_f64(number * factor))
}

/// Installs the roles that provisioners ask for. Before anything is planned: roles are inputs of the build.
///
/// # Errors
/// Which role could not be installed, and why.
pub fn install_roles(template: &Template, store: &Store, reporter: &dyn Reporter) -> Result<()> {
    for component in &template.provisioners {
        if let Some(requirements) = component.text("galaxy_file") {
            let roles = component
                .text("roles_path")
                .or_else(|| component.text("galaxy_roles_path"))
                .unwrap_or_else(|| "roles".into());
            let file = template.folder.join(requirements);
            let places = Places {
                roles: template.folder.join(roles),
                collections: template
                    .folder
                    .join(component.text("collections_path").unwrap_or_else(|| "collections".into())),
            };
            let options = bakery_galaxy::install::Options {
                kinds: vec![Kind::Role, Kind::Collection],
                lock: Some(bakery_galaxy::lock::path_of(&file)),
                force: component.flag("galaxy_force_install", false),
                force_with_deps: component.flag("galaxy_force_with_deps", false),
                ..Default::default()
            };
            let settings = bakery_ansible::Settings::load();
            let lookup = |variable: &str, section: &str, key: &str| settings.text(variable, section, key);
            let fetcher =
                bakery_galaxy::config::fetcher(store.root().join("galaxy"), &lookup, &Default::default());
            bakery_galaxy::requirements::read(&file)
                .and_then(|wanted| {
                    bakery_galaxy::install::install(&wanted.all, &places, &options, &fetcher, reporter)
                })
                .map_err(|e| Error::new(e.to_string()))?;
        }
    }
    Ok(())
}

/// The controller while baking: the host's files can be read, what is written is thrown away, and nothing outside is
/// reached. So a task with `delegate_to: localhost` cannot harm the machine that bakes.
struct Controller {
    target: Target,
    root: PathBuf,
    _work: Work,
}

impl Drop for Controller {
    fn drop(&mut self) {
        // Before its folder is removed: nothing may be removed through the mount.
        let _ = bakery_host::namespace::detach(&self.root);
    }
}

fn controller(place: &Place<'_>) -> Result<Controller> {
    let work = place.store.work()?;
    let root = work.path().join("controller");
    let overlay = Overlay {
        lower: vec![PathBuf::from("/")],
        upper: Some(work.path().join("upper")),
        work: work.path().join("scratch"),
    };
    overlay.mount(&root)?;
    let sandbox = Sandbox {
        root: root.clone(),
        binds: vec![place.template.folder.clone()],
        files: vec![(place.agent.to_path_buf(), PathBuf::from(AGENT_INSIDE))],
        cwd: place.template.folder.clone(),
        hostname: "localhost".into(),
    };
    Ok(Controller { target: Target::Rootfs(sandbox, AGENT_INSIDE.into()), root, _work: work })
}

fn ansible(component: &Component, place: &Place<'_>, callback: &mut dyn Callback) -> Result<()> {
    let folder = &place.template.folder;
    let mut playbooks: Vec<String> = component.text("playbook_file").into_iter().collect();
    playbooks.extend(component.list("playbook_files"));
    for playbook in playbooks {
        let path = folder.join(&playbook);
        let mut loader = Loader::new(&path, Map::new());
        for key in ["roles_path", "galaxy_roles_path"] {
            loader.roles_paths.extend(component.text(key).map(|p| folder.join(p)));
        }
        loader.roles_paths.extend(component.list("role_paths").iter().map(|p| folder.join(p)));
        let options = options(component, place, &mut loader)?;
        let loaded = loader.playbook(&path)?;
        let alias = component.text("host_alias").unwrap_or_else(|| "default".into());
        let mut inventory =
            match component.text("inventory_file").or_else(|| component.text("inventory_directory")) {
                Some(source) => Inventory::load(&[folder.join(source).display().to_string()], &loader)?.0,
                None => Inventory::default(),
            };
        if inventory.hosts.is_empty() {
            inventory.add_host(&alias, "ungrouped");
            for group in component.list("groups").into_iter().chain(component.list("inventory_groups")) {
                inventory.add_host(&alias, &group);
            }
        }
        let controller = controller(place)?;
        let target = Target::Rootfs(place.rootfs.sandbox(place.agent)?, AGENT_INSIDE.into());
        let connections = Connections::bake(target, controller.target.clone());
        let outcome = bakery_ansible::run(&loaded, inventory, &loader, &options, &connections, callback)?;
        if outcome.code != exit::OK {
            return Err(Error::new(format!(
                "the playbook {playbook} failed while baking (exit code {})",
                outcome.code
            )));
        }
    }
    Ok(())
}

/// Extra arguments as Packer hands them to ansible-playbook, and its two magic variables.
fn options(component: &Component, place: &Place<'_>, loader: &mut Loader) -> Result<Options> {
    let mut options = Options::default();
    let mut extra = vec![
        format!("packer_build_name={}", place.builder.name),
        format!("packer_builder_type={}", place.builder.kind),
    ];
    let mut args = component.list("extra_arguments").into_iter().peekable();
    let mut ignored = Vec::new();
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (arg.clone(), None),
        };
        let mut value = || inline.clone().or_else(|| args.next()).unwrap_or_default();
        match name.as_str() {
            "-e" | "--extra-vars" => {
                let text = value();
                let text = text.trim_matches(['"', '\'']);
                extra.push(match text.strip_prefix('@') {
                    Some(file) => format!("@{}", place.template.folder.join(file).display()),
                    None => text.to_owned(),
                });
            }
            "-t" | "--tags" => options.tags.extend(value().split(',').map(str::to_owned)),
            "--skip-tags" => options.skip_tags.extend(value().split(',').map(str::to_owned)),
            "-b" | "--become" | "--sudo" => options.r#become = true,
            "--become-user" => options.become_user = Some(value()),
            "-C" | "--check" => options.check = true,
            "-D" | "--diff" => options.diff = true,
            "--force-handlers" => options.force_handlers = true,
            "-v" | "-vv" | "-vvv" | "-vvvv" => {}
            "-l" | "--limit" => options.limit = Some(value()),
            "--scp-extra-args" | "--ssh-extra-args" | "--ssh-common-args" | "-u" | "--user" | "-c"
            | "--connection" | "-f" | "--forks" | "--become-method" => {
                value();
            }
            other => ignored.push(other.to_owned()),
        }
    }
    if !ignored.is_empty() {
        place.reporter.warn(&format!("extra_arguments without effect here: {}", ignored.join(" ")));
    }
    options.extra_vars = vars::extra_vars(&extra, loader)?;
    loader.extra_vars = options.extra_vars.clone();
    Ok(options)
}

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

fn shell(component: &Component, place: &Place<'_>) -> Result<()> {
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
        let sandbox = place.rootfs.sandbox(place.agent)?;
        let output = sandbox.command("/bin/sh", &["-c".into(), line])?.input(text).output()?;
        for said in output.text().lines() {
            place
                .reporter
                .event(&bakery_events::Event::StepProgress { step: "shell".into(), line: said.to_owned() });
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

fn shell_local(component: &Component, place: &Place<'_>) -> Result<()> {
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

/// Files go in as a tar stream that a program inside unpacks, so no link of the image is followed from outside.
fn file(component: &Component, place: &Place<'_>) -> Result<()> {
    if component.text("direction").as_deref() == Some("download") {
        return Err(Error::new(
            "the file provisioner cannot download from an image that is baked here; use a task or read the image",
        ));
    }
    let destination = component
        .text("destination")
        .ok_or_else(|| Error::new("the file provisioner needs a `destination`"))?;
    let send = |line: String, input: Vec<u8>| -> Result<()> {
        let sandbox = place.rootfs.sandbox(place.agent)?;
        let output = sandbox.command("/bin/sh", &["-c".into(), line])?.input(input).output()?;
        if output.success() {
            return Ok(());
        }
        Err(Error::new(format!(
            "the file provisioner could not write {destination}: {}",
            output.error_text().trim()
        )))
    };
    let quoted = format!("'{}'", destination.replace('\'', "'\\''"));
    if let Some(content) = component.text("content") {
        return send(format!("cat > {quoted}"), content.into_bytes());
    }
    let sources: Vec<String> =
        component.text("source").into_iter().chain(component.list("sources")).collect();
    for source in sources {
        let path = place.template.folder.join(source.trim_end_matches('/'));
        if path.is_dir() {
            // As rsync: with a slash at the end, what is in the folder; without, the folder itself.
            let (from, name) = if source.ends_with('/') {
                (path.clone(), ".".to_owned())
            } else {
                (
                    path.parent().unwrap_or(&path).to_path_buf(),
                    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
                )
            };
            let tar = Cmd::new("tar")
                .args(["--owner=0", "--group=0", "-C"])
                .arg(from)
                .arg("-cf")
                .arg("-")
                .arg(name)
                .run()?;
            send(format!("mkdir -p {quoted} && tar -C {quoted} -xf -"), tar.stdout)?;
        } else {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let line = format!(
                "d={quoted}; case \"$d\" in */) d=\"$d{name}\";; esac; [ -d \"$d\" ] && d=\"$d/{name}\"; cat > \"$d\""
            );
            send(line, fs::read(&path)?)?;
        }
    }
    Ok(())
}
