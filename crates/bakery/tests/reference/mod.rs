//! What tests beside reference programs share: where those are, and what comes from PyPI with them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

/// The release of the package `ansible`, which brings the community's collections.
pub(crate) const COLLECTIONS: &str = "14.5.0";

/// The release of DebOps, whose 201 roles set up servers on Debian.
const DEBOPS: &str = "3.3.2";

/// The folder of ansible-core's programs.
pub(crate) fn programs_of_reference() -> Result<PathBuf, Failed> {
    let named = std::env::var_os("BAKERY_REFERENCE").map(PathBuf::from);
    named.ok_or_else(|| {
        "BAKERY_REFERENCE names no folder with ansible-core's programs; scripts/test sets it".into()
    })
}

/// The folder of bakery: the release program where the test script built it, else the one beside the tests.
pub(crate) fn programs_of_bakery() -> PathBuf {
    match std::env::var_os("BAKERY_BIN") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_BIN_EXE_bakery")).with_file_name(""),
    }
}

/// The release of ansible-core whose sources tests read, and whose targets they run.
const CORE: &str = "2.19.14";

/// The unpacked source distribution of ansible-core.
pub(crate) fn sources_of_core(reference: &Path) -> Result<PathBuf, Failed> {
    sources(reference, "ansible-core", CORE)
}

/// The unpacked source distribution of a release of a package, fetched on first use.
pub(crate) fn sources(reference: &Path, package: &str, release: &str) -> Result<PathBuf, Failed> {
    let script = "import sys, tarfile, glob\n\
        tarfile.open(glob.glob(sys.argv[1] + '/*.tar.gz')[0]).extractall(sys.argv[1])";
    let download = ["--no-binary", ":all:", &format!("{package}=={release}")];
    unpacked(
        reference,
        &format!("{}-{release}", package.replace('-', "_")),
        &pip(reference, &download),
        script,
        &[],
    )
}

/// The command that downloads from PyPI; the folder to put it into comes last.
fn pip(reference: &Path, words: &[&str]) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![reference.join("pip").into()];
    command.extend(["download", "-q", "--no-deps"].iter().chain(words).map(OsString::from));
    command.push("--dest".into());
    command
}

/// A folder that is made of a package of a registry on first use: by a command that downloads into the folder that is its
/// last word, then a script in Python that is told the folder of the download, the folder to make, which is `name` in it,
/// and further words.
fn unpacked(
    reference: &Path,
    name: &str,
    download: &[OsString],
    script: &str,
    words: &[&str],
) -> Result<PathBuf, Failed> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = reference.join("../..");
    let unpacked = folder.join(name);
    if unpacked.is_dir() {
        return Ok(unpacked.canonicalize()?);
    }
    let scratch = tempfile::tempdir_in(&folder)?;
    let run = |command: &mut Command| -> Result<(), Failed> {
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    };
    let (program, rest) = download.split_first().ok_or("a command that downloads")?;
    run(Command::new(program).args(rest).arg(scratch.path()))?;
    run(Command::new(reference.join("python"))
        .args(["-c", script])
        .args([scratch.path(), &scratch.path().join(name)])
        .args(words))?;
    // Whole or not at all: a test that is killed leaves no half of it.
    std::fs::rename(scratch.path().join(name), &unpacked)?;
    Ok(unpacked.canonicalize()?)
}

/// The collections that cases use, of the hundred of the package `ansible`; the rest would only take room.
const WANTED: [&str; 10] = [
    "ansible/mariadb",
    "ansible/mysql",
    "ansible/posix",
    "ansible/windows",
    "ansible/utils",
    "community/general",
    "community/crypto",
    "community/mysql",
    "community/postgresql",
    "community/rabbitmq",
];

/// Packages of PyPI with roles, besides DebOps: those of the community's collections, of OpenStack's projects, and of people
/// who keep their machines with them.
const ROLES: [(&str, &str); 11] = [
    ("ansible", "12.3.0"),
    ("kolla-ansible", "22.2.0"),
    ("kayobe", "18.6.0"),
    ("tripleo-ansible", "6.0.0"),
    ("ansible-role-chrony", "1.3.0"),
    ("ansible-role-collect-logs", "1.5.0"),
    ("ansible-role-container-registry", "1.4.0"),
    ("ansible-role-redhat-subscription", "1.3.0"),
    ("ansible-droplet", "0.5.0"),
    ("groot-ansible", "0.4.3"),
    ("ragleap-ansible", "0.1.1"),
];

/// Packages of npm with roles: one that carries well-known roles of Ansible Galaxy, as they were in 2016.
const ROLES_OF_NPM: [(&str, &str); 1] = [("ansible-roles", "2.1.5")];

/// Folders with the public roles that registries bring, fetched on first use: `roles-PACKAGE-RELEASE`, and that of DebOps.
pub(crate) fn public_roles(reference: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut folders = vec![debops(reference)?];
    let of_pypi = ROLES.map(|(package, release)| {
        (format!("{package}-{release}"), pip(reference, &[&format!("{package}=={release}")]))
    });
    let of_npm = ROLES_OF_NPM.map(|(package, release)| {
        let words = ["npm", "pack", "--silent", &format!("{package}@{release}"), "--pack-destination"];
        (format!("{package}-{release}"), words.map(OsString::from).to_vec())
    });
    for (name, download) in of_pypi.into_iter().chain(of_npm) {
        let name = format!("roles-{name}");
        folders.push(unpacked(reference, &name, &download, include_str!("unpack-roles.py"), &[])?);
    }
    Ok(folders)
}

fn debops(reference: &Path) -> Result<PathBuf, Failed> {
    let (name, package) = (format!("debops-{DEBOPS}"), format!("debops=={DEBOPS}"));
    unpacked(reference, &name, &pip(reference, &[&package]), include_str!("unpack.py"), &["debops/debops"])
}

/// The folders of collections, fetched on first use: the community's, and DebOps with its roles.
pub(crate) fn collections(reference: &Path) -> Result<String, Failed> {
    let name = format!("collections-{COLLECTIONS}-{}", WANTED.len());
    let package = format!("ansible=={COLLECTIONS}");
    // The package as a whole wants a newer Python than its collections do.
    let download = pip(reference, &[&package, "--ignore-requires-python"]);
    let community = unpacked(reference, &name, &download, include_str!("unpack.py"), &WANTED)?;
    Ok(format!("{}:{}", community.display(), debops(reference)?.display()))
}
