//! New roles and collections: the folders that Ansible knows, with the least that each needs.

use std::path::{Path, PathBuf};

use bakery_host::fs;

use crate::{Error, Result, requirements};

const ROLE: &[(&str, &str)] = &[
    ("README.md", "# NAME\n\nWhat the role does, the variables that it takes, and a play that uses it.\n"),
    ("defaults/main.yml", "---\n# Variables that users of NAME may set.\n"),
    ("handlers/main.yml", "---\n# What NAME does when something has changed.\n"),
    (
        "meta/main.yml",
        "---\ngalaxy_info:\n  author: your name\n  description: what NAME does\n  license: license (GPL-2.0-or-later, MIT, etc)\n  min_ansible_version: \"2.12\"\n  galaxy_tags: []\n\ndependencies: []\n",
    ),
    ("tasks/main.yml", "---\n# What NAME does.\n"),
    ("tests/inventory", "localhost\n"),
    ("tests/test.yml", "---\n- hosts: localhost\n  remote_user: root\n  roles:\n    - NAME\n"),
    ("vars/main.yml", "---\n# Variables of NAME itself.\n"),
];
const ROLE_FOLDERS: &[&str] = &["files", "templates"];

const COLLECTION: &[(&str, &str)] = &[
    ("README.md", "# NAMESPACE.NAME\n\nWhat the collection holds.\n"),
    (
        "galaxy.yml",
        "---\nnamespace: NAMESPACE\nname: NAME\nversion: 1.0.0\nreadme: README.md\nauthors:\n  - your name <example@domain.com>\n\ndescription: your collection description\nlicense:\n  - GPL-2.0-or-later\nlicense_file: ''\ntags: []\ndependencies: {}\nrepository: http://example.com/repository\ndocumentation: http://docs.example.com\nhomepage: http://example.com\nissues: http://example.com/issue/tracker\nbuild_ignore: []\n",
    ),
    ("meta/runtime.yml", "---\n# requires_ansible: '>=2.12'\n"),
];
const COLLECTION_FOLDERS: &[&str] = &["docs", "plugins", "roles"];

fn made(
    place: &Path,
    files: &[(&str, &str)],
    folders: &[&str],
    fill: impl Fn(&str) -> String,
    force: bool,
) -> Result<()> {
    let empty = fs::read_dir(place).map_or(true, |entries| entries.is_empty());
    if place.exists() && !force && !empty {
        return Err(Error::new(format!(
            "{} is there already; --force writes into it, and replaces files of the same names",
            place.display()
        )));
    }
    for folder in folders {
        fs::create_dir_all(place.join(folder))?;
    }
    for (name, text) in files {
        let path = place.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write_atomic(path, fill(text))?;
    }
    Ok(())
}

/// A new role in a folder.
///
/// # Errors
/// A name that is none, and a folder that is not empty.
pub fn role(below: &Path, name: &str, force: bool) -> Result<PathBuf> {
    let inside = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if name.is_empty() || !inside || name.starts_with(['.', '-']) {
        return Err(Error::new(format!("`{name}` is no name for a role")));
    }
    let place = below.join(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    made(&place, ROLE, ROLE_FOLDERS, |text| text.replace("NAME", last), force)?;
    Ok(place)
}

/// A new collection in a folder.
///
/// # Errors
/// A name that is none, and a folder that is not empty.
pub fn collection(below: &Path, name: &str, force: bool) -> Result<PathBuf> {
    let parts = name.split_once('.').filter(|_| requirements::is_collection_name(name));
    let (namespace, short) = parts.ok_or_else(|| {
        Error::new(format!(
            "`{name}` is no collection's name: they are `namespace.name`, of letters, digits and _"
        ))
    })?;
    let place = below.join(namespace).join(short);
    let fill = |text: &str| text.replace("NAMESPACE", namespace).replace("NAME", short);
    made(&place, COLLECTION, COLLECTION_FOLDERS, fill, force)?;
    Ok(place)
}
