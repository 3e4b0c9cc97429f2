//! Provisioners: what each step of a build does to a tree.
//!
//! `ansible` remembers single calls (`journal`); of the others, a step is remembered as a whole, by its options and the
//! files that it reads.

mod ansible;
mod file;
mod shell;

pub(crate) use shell::shell_local;

use std::path::{Path, PathBuf};

use bakery_ansible::Callback;
use bakery_events::{Reporter, Step};
use bakery_galaxy::install::Places;
use bakery_galaxy::requirements::Kind;
use bakery_host::cgroup::Limits;
use bakery_host::{command, signal, terminal};
use bakery_packer::{Build, Component, Template};
use bakery_store::record::Asked;
use bakery_store::{Key, Store};

use crate::machine::{Machine, Ssh, Tree};
use crate::rootfs::Rootfs;
use crate::state::State;
use crate::{Error, Result};

/// Where a provisioner runs.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) template: &'a Template,
    pub(crate) builder: &'a Component,
    pub(crate) store: &'a Store,
    pub(crate) agent: &'a Path,
    /// The digest of the agent.
    pub(crate) engine: &'a str,
    /// Whether what is remembered may be used.
    pub(crate) recall: bool,
    /// Whether nothing is done but to find out what would be: the first that is not remembered ends it.
    pub(crate) probe: bool,
    /// Whether the disk may be made out of that of an image before.
    pub(crate) in_place: bool,
    /// How much a provisioner may take.
    pub(crate) limits: Limits,
    /// Where the machine fetches what the builder serves: an address as it sees it, and a port.
    pub(crate) http: Option<(&'static str, u16)>,
    pub(crate) reporter: &'a dyn Reporter,
}

/// The key of the state that a provisioner leads to, by all that it may read, and what it is made of in words. None of
/// playbooks, whose calls have keys of their own, and of those that act outside of the image.
pub(crate) fn key(component: &Component, place: &Place<'_>, state: &State) -> Result<Option<(Key, Asked)>> {
    let fetches = component.text("direction").as_deref() == Some("download");
    if !matches!(component.kind.as_str(), "shell" | "file") || fetches {
        return Ok(None);
    }
    let folder = &place.template.folder;
    let mut asked = Asked { module: component.kind.clone(), ..Asked::default() };
    let mut key = Key::new("step")
        .with("engine", place.engine)
        .with("parent", state.key.as_str())
        .with("kind", &component.kind)
        .with("build", format!("{} {}", place.builder.name, place.builder.kind));
    for (name, value) in component.config.clone().pairs() {
        let digest = Key::new("part").with(&name.to_string(), bakery_lang::json::dumps(&value, 0, true));
        key = key.with("option", digest.as_str());
        asked.parts.insert(format!("the option `{name}`"), digest.as_str()[..16].to_owned());
    }
    for file in read_by(component) {
        let path = folder.join(&file);
        let content = Key::new("content");
        let content = if path.is_dir() {
            content.with_tree("folder", &path, &|_| false)?
        } else {
            content.with_file("file", &path)?
        };
        key = key.with("file", content.as_str());
        asked.parts.insert(format!("the file `{file}`"), content.as_str()[..16].to_owned());
    }
    Ok(Some((key, asked)))
}

/// A key with a project's files, but for those that are no input of a build.
pub(crate) fn with_project(key: Key, folder: &Path, store: &Store) -> Result<Key> {
    let skipped = |relative: &Path| {
        let name = relative.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        matches!(name.as_str(), ".git" | ".bakery" | ".terraform" | "target" | ".svn" | ".hg")
            || name.ends_with(".retry")
            || name.ends_with(".tfstate")
            || name.ends_with(".tfstate.backup")
            || name == "packer-manifest.json"
            || folder.join(relative) == store.root()
    };
    Ok(key.with_tree("project", folder, &skipped)?)
}

/// Whether a provisioner runs playbooks.
pub(crate) fn is_playbook(component: &Component) -> bool {
    component.kind.starts_with("ansible")
}

/// Files that the options of a provisioner without playbooks name.
fn read_by(component: &Component) -> Vec<String> {
    let single = ["script", "source"].into_iter().filter_map(|key| component.text(key));
    single.chain(["scripts", "sources"].into_iter().flat_map(|key| component.list(key))).collect()
}

/// Files that a provisioner's options name outside of the project.
pub(crate) fn outside(component: &Component, project: &Path) -> Vec<PathBuf> {
    let named = read_by(component).into_iter().map(|name| project.join(name));
    named.filter(|path| path.is_file() && !path.starts_with(project)).collect()
}

/// Runs a provisioner on a state, and gives the state that it leads to and whether anything was done anew in the tree;
/// `key` is that of [`key()`].
pub(crate) fn run(
    component: &Component,
    place: &Place<'_>,
    state: &State,
    key: Option<&Key>,
    callback: &mut dyn Callback,
) -> Result<(State, bool)> {
    again(component, place, &mut || once(component, place, state, key, callback))
}

/// Does what a provisioner does, after its pause, as often and as long as its options allow.
pub(crate) fn again<T>(
    component: &Component,
    place: &Place<'_>,
    act: &mut dyn FnMut() -> Result<T>,
) -> Result<T> {
    pause(component, "pause_before")?;
    let limit = component.text("timeout").map(|limit| duration(&limit)).transpose()?;
    let tries = component.text("max_retries").and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let mut attempt = 0;
    loop {
        let watch = limit.map(command::Watch::start);
        let result = act();
        let result = match watch {
            Some(watch) if watch.has_fired() => {
                let limit = component.text("timeout").unwrap_or_default();
                Err(Error::new(format!("it took longer than its `timeout` of {limit}")))
            }
            _ => result,
        };
        match result {
            Err(error) if attempt < tries && signal::caught().is_none() => {
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

fn once(
    component: &Component,
    place: &Place<'_>,
    state: &State,
    key: Option<&Key>,
    callback: &mut dyn Callback,
) -> Result<(State, bool)> {
    let in_tree =
        |act: &dyn Fn(&Component, &Place<'_>, &dyn Machine) -> Result<()>| -> Result<(State, bool)> {
            let mut rootfs = Rootfs::mount(place.store, &state.layers)?;
            rootfs.limits = place.limits;
            let tree = Tree { rootfs: &rootfs, agent: place.agent };
            if let Err(error) = act(component, place, &tree).and_then(|()| interrupted()) {
                return Err(match rootfs.keep_failed() {
                Ok(path) => error.hint(format!("the files that it changed are in {}; the layers below are kept, so the next bake starts there", path.display())),
                Err(_) => error,
            });
            }
            let layers = rootfs.commit(&component.kind)?;
            Ok((State { key: key.unwrap_or(&state.key).clone(), layers }, true))
        };
    match component.kind.as_str() {
        "ansible" | "ansible-local" => ansible::run(component, place, state, callback),
        "shell" => in_tree(&shell::shell),
        // What is fetched out of the tree leaves it as it is.
        "file" => in_tree(&file::file).map(|(state, anew)| (state, anew && key.is_some())),
        "shell-local" => shell::shell_local(component, place, &[]).map(|()| (state.clone(), false)),
        _ => aside(component, place).map(|()| (state.clone(), false)),
    }
}

/// What a failure of a provisioner says.
pub(crate) fn failed(component: &Component, error: Error) -> Error {
    Error { message: format!("the provisioner `{}` failed: {error}", component.kind), hint: error.hint }
}

/// Runs a build's provisioners on a machine that is there, if there is one; its `error-cleanup-provisioner` if one fails.
pub(crate) fn all_on_machine(
    build: &Build,
    place: &Place<'_>,
    machine: Option<&Ssh>,
    callback: &mut dyn Callback,
) -> Result<()> {
    each_on_machine(build, place, machine, callback)
        .inspect_err(|_| clean_up(build, place, machine, callback))
}

/// Runs a build's `error-cleanup-provisioner`, if it has one.
pub(crate) fn clean_up(build: &Build, place: &Place<'_>, machine: Option<&Ssh>, callback: &mut dyn Callback) {
    if let Some(cleanup) = &build.error_cleanup
        && let Err(error) = on_machine(cleanup, place, machine, callback)
    {
        place.reporter.warn(&format!("the error-cleanup-provisioner failed: {error}"));
    }
}

fn each_on_machine(
    build: &Build,
    place: &Place<'_>,
    machine: Option<&Ssh>,
    callback: &mut dyn Callback,
) -> Result<()> {
    for component in &build.provisioners {
        interrupted()?;
        let about = component.text("playbook_file").unwrap_or_default();
        let step = Step::start(place.reporter, &component.kind, &about);
        again(component, place, &mut || on_machine(component, place, machine, callback))
            .map_err(|error| failed(component, error))?;
        step.finish("done");
    }
    Ok(())
}

/// Runs a provisioner on a machine that is there.
pub(crate) fn on_machine(
    component: &Component,
    place: &Place<'_>,
    machine: Option<&Ssh>,
    callback: &mut dyn Callback,
) -> Result<()> {
    let needs = || {
        Error::new(format!(
            "the provisioner `{}` needs a machine, and the builder has no communicator",
            component.kind
        ))
    };
    match component.kind.as_str() {
        kind if kind.starts_with("ansible") => {
            ansible::by_ssh(component, place, machine.ok_or_else(needs)?, callback)
        }
        "shell" => shell::shell(component, place, machine.ok_or_else(needs)?),
        "file" => file::file(component, place, machine.ok_or_else(needs)?),
        "shell-local" => shell::shell_local(component, place, &[]),
        _ => aside(component, place),
    }
}

/// What acts on nothing.
fn aside(component: &Component, place: &Place<'_>) -> Result<()> {
    match component.kind.as_str() {
        "sleep" => pause(component, "duration"),
        "breakpoint" if component.flag("disable", false) => Ok(()),
        "breakpoint" => {
            let note = component.text("note").unwrap_or_default();
            place.reporter.note(&format!("breakpoint: {note}"));
            // Where nobody can answer, nobody is waited for.
            terminal::ask_person("Press enter to go on: ", true);
            interrupted()
        }
        other => Err(Error::new(format!("the provisioner `{other}` does not run here"))),
    }
}

/// Does nothing for as long as an option says.
fn pause(component: &Component, option: &str) -> Result<()> {
    if let Some(time) = component.text(option) {
        signal::sleep(duration(&time)?);
    }
    interrupted()
}

/// An error if somebody has asked us to end.
pub(crate) fn interrupted() -> Result<()> {
    match signal::caught() {
        Some(_) => Err(Error::new("interrupted; nothing was published")),
        None => Ok(()),
    }
}

/// A time of an option, as Go writes it; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration> {
    let text =
        if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
    let time = bakery_lang::hcl::go_duration(&text).map_err(Error::new)?;
    time.try_into().map_err(|_| Error::new(format!("`{text}` is less than no time")))
}

/// Installs the roles that provisioners ask for. Before anything is planned: roles are inputs of the build.
///
/// # Errors
/// Which role could not be installed, and why.
pub fn install_roles(
    template: &Template,
    builds: &[&Build],
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<()> {
    let mut done = Vec::new();
    for component in builds.iter().flat_map(|build| &build.provisioners) {
        // Builds of one template mostly share their provisioners.
        let config = bakery_lang::Value::from(component.config.clone());
        if done.contains(&config) {
            continue;
        }
        done.push(config);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn times_are_those_of_templates() {
        for (text, seconds) in [("1h30m", 5400.0), ("10", 10.0), ("1.5s", 1.5), ("100ms", 0.1), ("0", 0.0)] {
            assert_eq!(duration(text).expect("a time"), Duration::from_secs_f64(seconds), "{text}");
        }
        for bad in ["", "abc", "1d", "-1s", "m"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
