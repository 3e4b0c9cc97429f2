//! Brings roles into a folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_events::{Reporter, Step};
use bakery_host::{Cmd, fs, lock::Lock};
use serde::{Deserialize, Serialize};

use crate::requirements::{Requirement, read};
use crate::{Error, Result};

/// What an installed role came from, kept in it as ansible-galaxy does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Installed {
    /// The role.
    pub name: String,
    /// What was asked for.
    pub version: Option<String>,
    /// Where it came from.
    pub src: String,
    /// The commit, for git.
    pub commit: Option<String>,
}

const NOTE: &str = "meta/.galaxy_install_info";
const RECORD: &str = "meta/.bakery_install.json";

/// Installs the roles of a file of requirements, those that they depend on not included: they name their own.
///
/// # Errors
/// Which role, and why; roles before it stay installed.
pub fn install(
    requirements: &Path,
    roles: &Path,
    force: bool,
    reporter: &dyn Reporter,
) -> Result<Vec<Installed>> {
    let wanted = read(requirements)?;
    fs::create_dir_all(roles)?;
    let _lock = Lock::take(roles.join(".bakery-lock"), "install roles")?;
    let mut done = Vec::new();
    for requirement in &wanted {
        let step = Step::start(reporter, "role", &requirement.name);
        let place = roles.join(&requirement.name);
        let here = record(&place);
        let same =
            here.as_ref().is_some_and(|r| r.version == requirement.version && r.src == requirement.src);
        if place.is_dir() && !force && (same || here.is_none()) {
            if here.is_none() {
                reporter.warn(&format!("{} is there already and was not installed by bakery; it is left alone (--force replaces it)", requirement.name));
            }
            done.extend(here);
            step.finish("unchanged");
            continue;
        }
        let staged = roles.join(format!(".bakery-{}-{}", std::process::id(), requirement.name));
        fs::remove_all(&staged)?;
        let fetched = fetch(requirement, &staged, requirements);
        let installed = match fetched {
            Ok(installed) => installed,
            Err(error) => {
                fs::remove_all(&staged)?;
                return Err(Error(format!(
                    "the role {} could not be installed from {}: {error}",
                    requirement.name, requirement.src
                )));
            }
        };
        if !["tasks", "meta", "defaults", "handlers", "vars", "templates", "files"]
            .iter()
            .any(|d| staged.join(d).is_dir())
        {
            fs::remove_all(&staged)?;
            return Err(Error(format!(
                "{} does not look like a role: it has neither tasks nor meta nor anything else of one",
                requirement.src
            )));
        }
        fs::create_dir_all(staged.join("meta"))?;
        let version = installed.version.clone().unwrap_or_default();
        fs::write_atomic(staged.join(NOTE), format!("install_date: ''\nversion: {version}\n"))?;
        fs::write_atomic(staged.join(RECORD), serde_json::to_string_pretty(&installed).unwrap_or_default())?;
        // The old one steps aside first, so that a kill in between is mended by running again.
        let aside = roles.join(format!(".bakery-old-{}", requirement.name));
        fs::remove_all(&aside)?;
        if place.exists() {
            fs::rename(&place, &aside)?;
        }
        fs::rename(&staged, &place)?;
        fs::remove_all(&aside)?;
        done.push(installed);
        step.finish("done");
    }
    fs::remove_all(roles.join(".bakery-lock"))?;
    Ok(done)
}

fn record(place: &Path) -> Option<Installed> {
    serde_json::from_str(&fs::read_to_string(place.join(RECORD)).ok()?).ok()
}

fn fetch(requirement: &Requirement, staged: &Path, requirements: &Path) -> Result<Installed> {
    let mut installed = Installed {
        name: requirement.name.clone(),
        version: requirement.version.clone(),
        src: requirement.src.clone(),
        commit: None,
    };
    if requirement.scm.as_deref() == Some("git") {
        installed.commit = Some(git(requirement, staged)?);
    } else if requirement.src.starts_with("http://") || requirement.src.starts_with("https://") {
        let archive = download(&requirement.src)?;
        unpack(&archive, staged)?;
    } else {
        let base = requirements.parent().unwrap_or(Path::new("."));
        let path = base.join(requirement.src.trim_start_matches("file://"));
        if path.is_dir() {
            Cmd::new("cp").args(["-a", "--"]).arg(&path).arg(staged).run()?;
        } else if path.is_file() {
            unpack(&fs::read(&path)?, staged)?;
        } else {
            return Err(Error("it is neither an address nor a path that is there; roles of Galaxy are named by their repository's address here".into()));
        }
    }
    Ok(installed)
}

/// The user's own git, so that keys, agents, proxies and private servers work as they know them.
fn git(requirement: &Requirement, staged: &Path) -> Result<String> {
    let run = |args: &[&str]| {
        // Never a question that nobody can answer.
        Cmd::new("git").args(args).env("GIT_TERMINAL_PROMPT", "0").timeout(Duration::from_mins(15)).run()
    };
    let place = staged.display().to_string();
    run(&["clone", "--quiet", "--no-checkout", "--", &requirement.src, &place])?;
    if let Some(version) = &requirement.version {
        if version.starts_with('-') {
            return Err(Error(format!("`{version}` is no version")));
        }
        run(&["-C", &place, "checkout", "--quiet", version])
            .or_else(|_| run(&["-C", &place, "checkout", "--quiet", &format!("origin/{version}")]))
            .map_err(|e| Error(format!("there is no tag, branch or commit `{version}`: {e}")))?;
    } else {
        run(&["-C", &place, "checkout", "--quiet"])?;
    }
    let commit = run(&["-C", &place, "rev-parse", "HEAD"])?.text().trim().to_owned();
    fs::remove_all(staged.join(".git"))?;
    Ok(commit)
}

fn download(url: &str) -> Result<Vec<u8>> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_mins(1)));
    let agent: ureq::Agent = config.build().into();
    let mut last = String::new();
    for attempt in 0..4u32 {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(300 << attempt));
        }
        match agent.get(url).call() {
            Ok(mut response) => {
                match response.body_mut().with_config().limit(256 * 1024 * 1024).read_to_vec() {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => last = format!("the download was cut off: {error}"),
                }
            }
            Err(ureq::Error::StatusCode(code)) if code < 500 => {
                return Err(Error(format!("the server answered {code}")));
            }
            Err(error) => last = error.to_string(),
        }
    }
    Err(Error(last))
}

/// A gzipped tarball whose single top folder is the role; nothing is written outside of the place.
fn unpack(bytes: &[u8], staged: &Path) -> Result<()> {
    let bad = |e: std::io::Error| Error(format!("the archive cannot be read: {e}"));
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes));
    fs::create_dir_all(staged)?;
    let mut total = 0u64;
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        total += entry.size();
        if total > 1 << 30 {
            return Err(Error("the archive unpacks to more than 1 GiB".into()));
        }
        let path = entry.path().map_err(bad)?.into_owned();
        let inner: PathBuf = path.components().skip(1).collect();
        let safe = path
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
        let kind = entry.header().entry_type();
        if !safe || !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_pax_global_extensions())
        {
            return Err(Error(format!(
                "the archive has an entry that leads outside of it or is no file: {}",
                path.display()
            )));
        }
        if kind.is_symlink() {
            let target = entry.link_name().map_err(bad)?.unwrap_or_default().into_owned();
            if target.is_absolute() || target.components().any(|c| c == std::path::Component::ParentDir) {
                return Err(Error(format!(
                    "the archive has a link that leads outside of it: {}",
                    path.display()
                )));
            }
        }
        if inner.as_os_str().is_empty() || kind.is_pax_global_extensions() {
            continue;
        }
        let place = staged.join(&inner);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        entry.unpack(&place).map_err(bad)?;
    }
    Ok(())
}

/// The roles of a folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(roles: &Path) -> Result<Vec<Installed>> {
    let mut out = Vec::new();
    for path in fs::read_dir(roles)? {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') {
            out.push(record(&path).unwrap_or(Installed {
                name,
                version: None,
                src: String::new(),
                commit: None,
            }));
        }
    }
    Ok(out)
}

/// Removes a role.
///
/// # Errors
/// When it is not there.
pub fn remove(roles: &Path, name: &str) -> Result<()> {
    let place = roles.join(name);
    if name.contains('/') || name.starts_with('.') || !place.is_dir() {
        return Err(Error(format!("there is no role `{name}` in {}", roles.display())));
    }
    Ok(fs::remove_all(place)?)
}

#[cfg(test)]
mod tests {
    use bakery_events::Silent;

    use super::*;

    #[test]
    fn a_role_comes_from_git_at_its_version_and_archives_stay_inside() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = folder.path().join("role.git");
        let script = format!(
            "git init -q {0} && cd {0} && git config user.email a@b && git config user.name n && mkdir tasks && echo '- ping:' > tasks/main.yml && git add . && git commit -qm 1 && git tag v1 && echo '- debug:' > tasks/main.yml && git commit -qam 2",
            repository.display()
        );
        Cmd::new("/bin/sh").args(["-ec", &script]).run().expect("a repository");
        let requirements = folder.path().join("requirements.yml");
        fs::write_atomic(
            &requirements,
            format!("- src: file://{}\n  scm: git\n  version: v1\n  name: r\n", repository.display()),
        )
        .expect("written");
        let roles = folder.path().join("roles");
        install(&requirements, &roles, false, &Silent).expect("installs");
        assert_eq!(fs::read_to_string(roles.join("r/tasks/main.yml")).expect("is there"), "- ping:\n");
        assert!(list(&roles).expect("lists")[0].commit.is_some());
        fs::write_atomic(
            &requirements,
            format!("- src: file://{}\n  scm: git\n  version: v9\n  name: r\n", repository.display()),
        )
        .expect("written");
        let error = install(&requirements, &roles, false, &Silent).expect_err("no such tag");
        assert!(error.0.contains("v9"), "{error}");
        assert!(roles.join("r/tasks/main.yml").is_file(), "the old role stays");

        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, "top/evil", "/etc").expect("appended");
        let bytes = builder.into_inner().and_then(flate2::write::GzEncoder::finish).expect("an archive");
        assert!(unpack(&bytes, &folder.path().join("out")).is_err());
    }
}
