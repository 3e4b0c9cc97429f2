//! The provisioners `ansible` and `ansible-local`: the engine runs the playbook, each call passes through a journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_ansible::connection::{Connections, Target};
use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::{Loader, Playbook};
use bakery_ansible::{Callback, Options, vars};
use bakery_events::exit;
use bakery_host::namespace::{self, Overlay};
use bakery_host::sandbox::Sandbox;
use bakery_host::{Cmd, fs};
use bakery_lang::Map;
use bakery_lang::quote::shell_word;
use bakery_packer::Component;
use bakery_store::{Key, Work};

use super::Place;
use crate::journal::{Finished, Journal};
use crate::machine::Ssh;
use crate::rootfs::{AGENT_INSIDE, Rootfs};
use crate::state::State;
use crate::{Error, Result};

/// Changes when what a remembered call means does.
const VERSION: &str = "1";

/// The controller while baking: the host's files can be read, what is written is thrown away, and nothing outside is
/// reached. So a task with `delegate_to: localhost` cannot harm the machine that bakes.
struct Controller {
    target: Target,
    mounts: Vec<PathBuf>,
    _work: Work,
}

impl Drop for Controller {
    fn drop(&mut self) {
        for mount in &self.mounts {
            // Before its folder is removed: nothing may be removed through the mount.
            let _ = namespace::detach(mount);
        }
    }
}

/// Shows the host at a folder; the mounts that this took. What is written there goes into a folder of the work.
fn host(root: &Path, work: &Path) -> Result<Vec<PathBuf>> {
    let overlay = |lower: &Path, target: &Path| -> Result<PathBuf> {
        let name = lower.file_name().unwrap_or_default();
        let (upper, work) = (work.join("upper").join(name), work.join("scratch").join(name));
        Overlay { lower: vec![lower.to_path_buf()], upper: Some(upper), work }.mount(target)?;
        Ok(target.to_path_buf())
    };
    if !namespace::is_own_root() {
        return Ok(vec![overlay(Path::new("/"), root)?]);
    }
    // Who is root of a user namespace only may not look below mounts: each folder for itself, but for those that are full of
    // them. One that has a mount in it is left out; of settings there is a copy then.
    let mut mounts = Vec::new();
    for path in fs::read_dir("/")? {
        let name = path.file_name().unwrap_or_default();
        let target = root.join(name);
        if path.is_symlink() {
            fs::create_dir_all(root)?;
            fs::symlink(fs::read_link(&path)?, &target)?;
        } else if path.is_dir() && !["dev", "proc", "run", "sys", "tmp"].iter().any(|own| name == *own) {
            match overlay(&path, &target) {
                Ok(mount) => mounts.push(mount),
                Err(_) if name == "etc" => {
                    // What only the system's root may read is not there.
                    Cmd::new("cp")
                        .args(["-a", "--no-preserve=ownership", "-T"])
                        .arg(&path)
                        .arg(&target)
                        .output()?;
                }
                Err(_) => {}
            }
        }
    }
    Ok(mounts)
}

fn controller(place: &Place<'_>) -> Result<Controller> {
    let work = place.store.work()?;
    let root = work.path().join("controller");
    let mounts = host(&root, work.path())?;
    let sandbox = Sandbox {
        root: root.clone(),
        binds: vec![place.template.folder.clone()],
        files: vec![(place.agent.to_path_buf(), PathBuf::from(AGENT_INSIDE))],
        cwd: place.template.folder.clone(),
        hostname: "localhost".into(),
        limits: place.limits,
    };
    Ok(Controller { target: Target::Rootfs(sandbox, AGENT_INSIDE.into()), mounts, _work: work })
}

/// Runs the playbooks of a provisioner on a state, one after the other; gives where they led, and whether any call was
/// made.
pub(crate) fn run(
    component: &Component,
    place: &Place<'_>,
    state: &State,
    callback: &mut dyn Callback,
) -> Result<(State, bool)> {
    let mut anew = false;
    let mut state = state.clone();
    for playbook in playbooks(component) {
        let start = Key::new("calls")
            .with("version", VERSION)
            .with("engine", place.engine)
            .with("parent", state.key.as_str());
        // A run is compared with the last one of the same playbook of the same build.
        let build = Key::new("run")
            .with("folder", place.template.folder.as_os_str().as_encoded_bytes())
            .with("build", &place.builder.name)
            .with("playbook", &playbook);
        let mut attempts = 0;
        let finished = loop {
            let mut rootfs = Rootfs::mount(place.store, &state.layers)?;
            rootfs.limits = place.limits;
            let journal = Arc::new(Journal::new(
                place.store,
                rootfs,
                start.clone(),
                &build,
                place.recall && !anew,
                place.probe,
            ));
            match play(component, place, &playbook, &journal, &build, callback) {
                Ok(finished) => break finished,
                Err(_) if journal.is_stale() && attempts == 0 => {
                    attempts += 1;
                    place
                        .reporter
                        .note("what is remembered of this playbook does not hold any more; it is run again");
                }
                Err(error) if place.probe => return Err(journal.missed().map_or(error, Error::new)),
                Err(error) => {
                    return Err(match journal.keep_failed() {
                        Some(path) => error.hint(format!(
                            "the files that were changed last are in {}; what went well before is kept, so the next bake goes on there",
                            path.display()
                        )),
                        None => error,
                    });
                }
            }
        };
        if let Some(why) = finished.missed.filter(|_| finished.recalled > 0) {
            place.reporter.note(&format!(
                "{} of {} calls are remembered; the first that was not: {why}",
                finished.recalled, finished.calls
            ));
        }
        anew |= finished.anew;
        state = finished.state;
    }
    Ok((state, anew))
}

/// A playbook with all that its provisioner says of it.
struct Prepared {
    loader: Loader,
    playbook: Playbook,
    inventory: Inventory,
    options: Options,
}

impl Prepared {
    fn run(self, name: &str, connections: &Connections, callback: &mut dyn Callback) -> Result<()> {
        let outcome = bakery_ansible::run(
            &self.playbook,
            self.inventory,
            &self.loader,
            &self.options,
            connections,
            callback,
        )?;
        match outcome.code {
            exit::OK => Ok(()),
            code => Err(Error::new(format!("the playbook {name} failed while baking (exit code {code})"))),
        }
    }
}

fn prepare(component: &Component, place: &Place<'_>, playbook: &str, host: &Map) -> Result<Prepared> {
    let folder = &place.template.folder;
    let path = folder.join(playbook);
    let mut loader = Loader::new(&path, Map::new());
    for key in ["roles_path", "galaxy_roles_path"] {
        loader.roles_paths.extend(component.text(key).map(|p| folder.join(p)));
    }
    loader.roles_paths.extend(component.list("role_paths").iter().map(|p| folder.join(p)));
    let environment = component.list("ansible_env_vars");
    let environment = environment.iter().filter_map(|text| text.split_once('='));
    let environment: Vec<(String, String)> = environment
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect();
    if let Some((_, paths)) = environment.iter().find(|(name, _)| name == "ANSIBLE_ROLES_PATH") {
        loader.roles_paths.extend(paths.split(':').map(|path| folder.join(path)));
    }
    Arc::make_mut(&mut loader.settings).set_environment(environment);
    let options = options(component, place, &mut loader)?;
    let playbook = loader.playbook(&path)?;
    let alias = component.text("host_alias").unwrap_or_else(|| "default".into());
    let source = component.text("inventory_file").or_else(|| component.text("inventory_directory"));
    let mut inventory = match source {
        Some(source) => Inventory::load(&[folder.join(source).display().to_string()], &loader)?.0,
        None => Inventory::default(),
    };
    if inventory.hosts.is_empty() {
        inventory.add_host(&alias, "ungrouped");
        for group in component.list("groups").into_iter().chain(component.list("inventory_groups")) {
            inventory.add_host(&alias, &group);
        }
    }
    for group in component.list("empty_groups") {
        inventory.add_group(&group);
    }
    if let Some(known) = inventory.hosts.get(&alias) {
        known.extend(host);
    }
    Ok(Prepared { loader, playbook, inventory, options })
}

/// Runs a playbook on a machine behind ssh, as the provisioner's program would be called: its host has the alias
/// `default`, the user and the key of the communicator.
pub(crate) fn by_ssh(
    component: &Component,
    place: &Place<'_>,
    machine: &Ssh,
    callback: &mut dyn Callback,
) -> Result<()> {
    let host = Map::new();
    host.set("ansible_host", machine.host.as_str());
    host.set("ansible_port", i64::from(machine.port));
    host.set("ansible_user", component.text("user").unwrap_or_else(|| machine.user.clone()));
    host.set("ansible_host_key_checking", false);
    let common: Vec<String> = machine.options.iter().map(|word| shell_word(word)).collect();
    host.set("ansible_ssh_common_args", common.join(" "));
    if let Some(password) = &machine.password {
        host.set("ansible_password", password.text()?);
    }
    if let Some(key) = &machine.key {
        host.set("ansible_ssh_private_key_file", key.as_str());
    }
    let connections = Connections::local(Some(place.template.folder.clone()));
    playbooks(component).iter().try_for_each(|playbook| {
        prepare(component, place, playbook, &host)?.run(playbook, &connections, callback)
    })
}

/// The playbooks of a provisioner.
fn playbooks(component: &Component) -> Vec<String> {
    component.text("playbook_file").into_iter().chain(component.list("playbook_files")).collect()
}

fn play(
    component: &Component,
    place: &Place<'_>,
    playbook: &str,
    journal: &Arc<Journal>,
    build: &Key,
    callback: &mut dyn Callback,
) -> Result<Finished> {
    let ready = prepare(component, place, playbook, &Map::new())?;
    let controller = controller(place)?;
    let target = Target::Rootfs(journal.sandbox(place.agent)?, AGENT_INSIDE.into());
    let connections = Connections::bake(target, controller.target.clone(), journal.clone());
    ready.run(playbook, &connections, callback)?;
    super::interrupted()?;
    journal.finish(&connections.channel(), build)
}

/// Extra arguments as Packer hands them to ansible-playbook, and its two magic variables.
fn options(component: &Component, place: &Place<'_>, loader: &mut Loader) -> Result<Options> {
    let mut options = Options::default();
    let mut extra = vec![
        format!("packer_build_name={}", place.builder.name),
        format!("packer_builder_type={}", place.builder.kind),
    ];
    if let Some((address, port)) = place.http {
        extra.push(format!("packer_http_addr={address}:{port}"));
    }
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
