//! The `galaxy` command, which `ansible-galaxy` is, too (`ansible/cli/galaxy.py`).

mod args;
mod look;

use std::io::Write;
use std::path::{Path, PathBuf};

use bakery_events::{Event, Reporter, exit};
use bakery_host::fs;
use bakery_lang::{Value, yaml};

pub use args::{
    DownloadArgs, FileArgs, GalaxyArgs, InstallArgs, Kinded, ListArgs, Paths, ServerArgs, SignatureArgs,
    Verb, VerifyArgs,
};

use crate::config::{self, Lookup, Overrides};
use crate::fetch::Fetcher;
use crate::install::{self, Done, Options, Outcome, Places, Upgrade};
use crate::project::{self, Preferences};
use crate::requirements::{self, Kind, Requirement, Source};
use crate::signature::Keyring;
use crate::tree::Tree;
use crate::version::Version;
use crate::{Error, Result, collection, lock, skeleton};

/// What surrounds the command.
pub struct Surroundings<'a> {
    /// Settings.
    pub lookup: Lookup<'a>,
    /// Where roles are looked for, the first first.
    pub roles: Vec<PathBuf>,
    /// Where collections are looked for, the first first.
    pub collections: Vec<PathBuf>,
    /// Where what was fetched is kept.
    pub cache: PathBuf,
    /// Receives progress and warnings.
    pub reporter: &'a dyn Reporter,
    /// Whether results are wanted as events.
    pub json: bool,
}

impl Surroundings<'_> {
    fn fetcher(&self, args: &ServerArgs) -> Fetcher {
        let overrides = Overrides {
            server: args.server.clone(),
            token: args.token.clone(),
            ignore_certificates: args.ignore_certs,
            timeout: args.timeout,
        };
        let mut fetcher = config::fetcher(self.cache.clone(), self.lookup, &overrides);
        fetcher.offline = args.offline;
        fetcher
    }

    fn result(&self, verb: &str, data: serde_json::Value) {
        self.reporter.event(&Event::Result { verb: format!("galaxy {verb}"), data });
    }

    /// Where roles and collections go and are.
    fn places(&self, paths: &Paths, kinds: &[Kind]) -> Places {
        let first = |all: &[PathBuf]| all.first().cloned().unwrap_or_else(|| PathBuf::from("."));
        let only_collections = kinds == [Kind::Collection];
        Places {
            roles: paths
                .roles_path
                .clone()
                .filter(|_| !only_collections)
                .unwrap_or_else(|| first(&self.roles)),
            collections: paths
                .collections_path
                .clone()
                .or_else(|| paths.roles_path.clone().filter(|_| only_collections))
                .unwrap_or_else(|| first(&self.collections)),
        }
    }
}

fn put(out: &mut dyn Write, line: &str) {
    // A reader that went away is no error.
    let _ = writeln!(out, "{line}");
}

/// Does what was typed; the exit code.
///
/// # Errors
/// What could not be done, and why.
pub fn run(args: &GalaxyArgs, around: &Surroundings<'_>, out: &mut dyn Write) -> Result<i32> {
    let (kinds, verb): (&[Kind], &Kinded) = match &args.verb {
        Verb::Role(verb) => (&[Kind::Role], verb),
        Verb::Collection(verb) => (&[Kind::Collection], verb),
        Verb::Both(verb) => (&[Kind::Role, Kind::Collection], verb),
    };
    match verb {
        Kinded::Install(args) => install_verb(args, kinds, around, out),
        Kinded::List(args) => look::list(args, kinds, around, out),
        Kinded::Remove { names, paths } => remove(names, paths, kinds, around, out),
        Kinded::Info { names, paths, server } => look::info(names, paths, server, kinds, around, out),
        Kinded::Init { name, init_path, force, .. } => {
            let place = match kinds {
                [Kind::Collection] => skeleton::collection(init_path, name, *force)?,
                _ => skeleton::role(init_path, name, *force)?,
            };
            let what = if kinds == [Kind::Collection] { "Collection" } else { "Role" };
            put(out, &format!("- {what} {name} was created successfully in {}", place.display()));
            Ok(exit::OK)
        }
        Kinded::Download(args) => download(args, kinds, around, out),
        Kinded::Build { folders, output_path, force } => {
            for folder in folders {
                let path = build(folder, output_path, *force)?;
                put(out, &format!("Created collection at {}", path.display()));
            }
            Ok(exit::OK)
        }
        Kinded::Verify(args) => look::verify(args, kinds, around, out),
        Kinded::Outdated { file, server } => look::outdated(file, server, around, out),
    }
}

/// The requirements that are meant: those of a file, or words.
fn wanted(names: &[String], file: Option<&Path>, kinds: &[Kind]) -> Result<Vec<Requirement>> {
    let Some(file) = file else {
        let here = Path::new(".");
        return names
            .iter()
            .map(|word| match kinds {
                [Kind::Collection] => requirements::collection_word(word),
                _ => requirements::role_line(word, here),
            })
            .collect();
    };
    let all = requirements::read(file)?.all.into_iter().filter(|r| kinds.contains(&r.kind));
    Ok(all.filter(|r| names.is_empty() || names.contains(&r.name)).collect())
}

fn install_verb(
    args: &InstallArgs,
    kinds: &[Kind],
    around: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<i32> {
    let mut names = args.names.clone();
    let mut upgrade = args.upgrade.clone();
    let mut file = args.file.requirements.clone();
    if let Some(moved) = upgrade.as_mut()
        && names.is_empty()
        && file.is_none()
        && kinds == [Kind::Collection]
    {
        // `collection install -U NAME`: as ansible-galaxy reads it, the name is what is installed.
        names = std::mem::take(moved);
    }
    if names.is_empty() && file.is_none() {
        file = Some(PathBuf::from("requirements.yml")).filter(|p| p.is_file());
        if file.is_none() {
            return Err(Error::new(
                "nothing is named, and there is no requirements.yml here; name roles or collections, or a file with -r",
            ));
        }
    }
    let mut kinds = kinds.to_vec();
    let mut all = wanted(&names, file.as_deref(), &kinds)?;
    // `ansible-galaxy install -r FILE -p FOLDER` installs roles only.
    if kinds.len() == 2 && args.paths.roles_path.is_some() && args.paths.collections_path.is_none() {
        if all.iter().any(|r| r.kind == Kind::Collection) {
            around.reporter.warn(&format!(
                "the collections of {} are left out, for -p says where roles go; --collections-path says where they go",
                file.as_deref().unwrap_or(Path::new("the requirements")).display()
            ));
        }
        kinds = vec![Kind::Role];
        all.retain(|r| r.kind == Kind::Role);
    }
    if all.is_empty() {
        put(out, "Skipping install, no requirements found");
        return Ok(exit::OK);
    }
    if let [only] = all.as_mut_slice() {
        only.signatures.extend(args.signatures.signatures.clone());
    }
    let mut fetcher = around.fetcher(&args.server);
    fetcher.pre_releases = args.pre;
    fetcher.scm.keep_meta = args.keep_scm_meta;
    for requirement in &all {
        if let Source::Galaxy(_, Some(server)) = &requirement.source {
            fetcher.add_server(server, crate::api::Login::None);
        }
    }
    // Only part of a file is no state of the whole of it.
    let lock = file.as_deref().filter(|_| !args.no_lock && names.is_empty()).map(lock::path_of);
    let options = Options {
        kinds: kinds.clone(),
        locked: args.locked,
        lock,
        upgrade: match upgrade {
            None => Upgrade::None,
            Some(names) if names.is_empty() => Upgrade::All,
            Some(names) => Upgrade::Named(names),
        },
        accept_changed: args.accept_changed,
        force: args.force,
        force_with_deps: args.force_with_deps,
        no_deps: args.no_deps,
        ignore_errors: args.ignore_errors,
        keyring: keyring(&args.signatures, around)?,
    };
    let places = around.places(&args.paths, &kinds);
    let outcomes = install::install(&all, &places, &options, &fetcher, around.reporter)?;
    report(&outcomes, &kinds, around, out);
    Ok(exit::OK)
}

fn report(outcomes: &[Outcome], kinds: &[Kind], around: &Surroundings<'_>, out: &mut dyn Write) {
    if around.json {
        let rows: Vec<serde_json::Value> = outcomes
            .iter()
            .map(|o| {
                serde_json::json!({ "kind": o.pin.kind, "name": o.pin.name, "version": o.pin.version,
                "commit": o.pin.commit, "digest": o.pin.digest, "outcome": o.done, "place": o.place })
            })
            .collect();
        around.result("install", rows.into());
        return;
    }
    for kind in kinds {
        let mine: Vec<&Outcome> = outcomes.iter().filter(|o| o.pin.kind == *kind).collect();
        if !mine.is_empty() {
            put(out, &format!("Starting galaxy {kind} install process"));
        }
        for outcome in mine {
            let pin = &outcome.pin;
            let shown = match (kind, pin.version.as_str()) {
                (Kind::Role, "") => pin.name.clone(),
                (Kind::Role, version) => format!("{} ({version})", pin.name),
                (Kind::Collection, version) => format!("{}:{version}", pin.name),
            };
            let dash = if *kind == Kind::Role { "- " } else { "" };
            match outcome.done {
                Done::Installed => put(out, &format!("{dash}{shown} was installed successfully")),
                Done::Unchanged => put(out, &format!("{dash}{shown} is already installed, skipping.")),
                Done::LeftAlone => {}
            }
        }
    }
}

fn keyring(args: &SignatureArgs, around: &Surroundings<'_>) -> Result<Option<Keyring>> {
    let setting =
        |variable: &str, key: &str| (around.lookup)(variable, "galaxy", key).filter(|t| !t.is_empty());
    let off = setting("ANSIBLE_GALAXY_DISABLE_GPG_VERIFY", "disable_gpg_verify");
    if args.disable_gpg_verify
        || off.is_some_and(|t| matches!(t.to_lowercase().as_str(), "1" | "true" | "yes" | "on"))
    {
        return Ok(None);
    }
    let path = args
        .keyring
        .clone()
        .or_else(|| setting("ANSIBLE_GALAXY_GPG_KEYRING", "gpg_keyring").map(PathBuf::from));
    let Some(path) = path else {
        if !args.signatures.is_empty() {
            return Err(Error::new("--signature wants --keyring: a signature is good by a key"));
        }
        return Ok(None);
    };
    let count = args.required_valid_signature_count.clone();
    let count = count.or_else(|| {
        setting("ANSIBLE_GALAXY_REQUIRED_VALID_SIGNATURE_COUNT", "required_valid_signature_count")
    });
    let mut ignored = args.ignored_codes.clone();
    if let Some(list) =
        setting("ANSIBLE_GALAXY_IGNORE_SIGNATURE_STATUS_CODES", "ignore_signature_status_codes")
    {
        ignored.extend(list.split(',').map(|c| c.trim().to_owned()));
    }
    Ok(Some(Keyring { path, required: count.unwrap_or_else(|| "1".into()), ignored }))
}

fn remove(
    names: &[String],
    paths: &Paths,
    kinds: &[Kind],
    around: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<i32> {
    let places = around.places(paths, kinds);
    for name in names {
        let removed = match kinds {
            [Kind::Collection] => crate::installed::remove_collection(&places, name)?,
            _ => crate::installed::remove_role(&places.roles, name)?,
        };
        put(
            out,
            &if removed {
                format!("- successfully removed {name}")
            } else {
                format!("- {name} is not installed, skipping.")
            },
        );
    }
    Ok(exit::OK)
}

fn download(
    args: &DownloadArgs,
    kinds: &[Kind],
    around: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<i32> {
    if args.names.is_empty() == args.file.requirements.is_none() {
        return Err(Error::new("name what to download, or a requirements file with -r, and not both"));
    }
    let all = wanted(&args.names, args.file.requirements.as_deref(), kinds)?;
    let mut fetcher = around.fetcher(&args.server);
    fetcher.pre_releases = args.pre;
    let preferences = Preferences { no_deps: args.no_deps, ..Preferences::default() };
    let resolved = project::resolve(&all, &fetcher, &preferences, around.reporter)?;
    fs::create_dir_all(&args.download_path)?;
    let (mut roles, mut collections) = (Vec::new(), Vec::new());
    for one in resolved {
        let pin = &one.pin;
        let version = Version::new(&pin.version);
        let archive = match pin.kind {
            Kind::Role => None,
            Kind::Collection => fetcher.archive(&pin.source, &version)?,
        };
        let (name, bytes) = if let Some(archive) = archive {
            archive
        } else {
            let tree =
                one.fetched.map(|f| f.tree).or_else(|| fetcher.cache.tree(&pin.digest).map(Into::into));
            let tree = tree.ok_or_else(|| Error::new(format!("{} was not fetched", pin.name)))?;
            let name = match pin.kind {
                Kind::Role => format!("{}-{version}.tar.gz", pin.name.replace('/', "-")),
                Kind::Collection => archive_name(&tree)?,
            };
            (name, packed(&tree)?)
        };
        fs::write_atomic(args.download_path.join(&name), bytes)?;
        let place = Value::from(format!("./{name}"));
        match pin.kind {
            Kind::Role => {
                put(out, &format!("Role '{} ({version})' was downloaded successfully", pin.name));
                roles.push(Value::map([("src", place), ("name", pin.name.as_str().into())]));
            }
            Kind::Collection => {
                put(out, &format!("Collection '{}:{version}' was downloaded successfully", pin.name));
                collections.push(Value::map([("name", place), ("version", pin.version.as_str().into())]));
            }
        }
    }
    let parts =
        [("roles", roles), ("collections", collections)].into_iter().filter(|(_, rows)| !rows.is_empty());
    let list = Value::map(parts.map(|(name, rows)| (name, Value::list(rows))));
    let path = args.download_path.join("requirements.yml");
    fs::write_atomic(&path, yaml::emit(&list, yaml::Style::default()))?;
    put(out, &format!("Writing requirements.yml file of what was downloaded to '{}'", path.display()));
    Ok(exit::OK)
}

fn archive_name(tree: &Tree) -> Result<String> {
    let about = collection::about(tree)?;
    Ok(format!("{}-{}.tar.gz", about.name.replacen('.', "-", 1), about.version))
}

fn packed(tree: &Tree) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let done = encoder.write_all(&tree.to_archive()).and_then(|()| encoder.finish());
    done.map_err(|e| Error::new(format!("the archive could not be made: {e}")))
}

fn build(folder: &Path, to: &Path, force: bool) -> Result<PathBuf> {
    let tree = Tree::from_folder(folder)?;
    if tree.bytes("galaxy.yml").is_none() {
        return Err(Error::new(format!("there is no galaxy.yml in {}", folder.display())));
    }
    let tree = collection::built(tree).map_err(|e| e.about(folder.display()))?;
    let path = to.join(archive_name(&tree)?);
    if path.exists() && !force {
        return Err(Error::new(format!("{} is there already; --force makes it again", path.display())));
    }
    fs::create_dir_all(to)?;
    fs::write_atomic(&path, packed(&tree)?)?;
    Ok(path)
}
