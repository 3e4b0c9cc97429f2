//! What a collection says of itself, and the manifests that are made for one that was not built
//! (`galaxy/collection/__init__.py`, `concrete_artifact_manager.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bakery_lang::{Value, yaml};
use serde_json::{Map, Value as Json, json};

use crate::tree::{Entry, Tree, sha256};
use crate::{Error, Result};

/// The files that say what a collection is.
pub const MANIFEST: &str = "MANIFEST.json";
const FILES: &str = "FILES.json";
const GALAXY: &str = "galaxy.yml";

/// Keys of `galaxy.yml`, and whether they must be there (`ansible/galaxy/data/collections_galaxy_meta.yml`).
const KEYS: &[(&str, bool)] = &[
    ("namespace", true),
    ("name", true),
    ("version", true),
    ("readme", true),
    ("authors", true),
    ("description", false),
    ("license", false),
    ("license_file", false),
    ("tags", false),
    ("dependencies", false),
    ("repository", false),
    ("documentation", false),
    ("homepage", false),
    ("issues", false),
    ("build_ignore", false),
    ("manifest", false),
];

/// What a collection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// `namespace.name`.
    pub name: String,
    /// Its version; `*` if it has none.
    pub version: String,
    /// Names and version conditions of what it needs.
    pub dependencies: BTreeMap<String, String>,
}

fn about_of(info: &Json) -> Result<About> {
    let text = |key: &str| info.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let name = format!("{}.{}", text("namespace"), text("name"));
    if !crate::requirements::is_collection_name(&name) {
        return Err(Error::new(format!("`{name}` is no collection's name")));
    }
    let version = match text("version") {
        version if version.is_empty() => "*".to_owned(),
        version => version,
    };
    let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let dependencies = info.get("dependencies").and_then(Json::as_object);
    let dependencies = dependencies.map(|d| d.iter().map(|(k, v)| (k.clone(), plain(v))).collect());
    Ok(About { name, version, dependencies: dependencies.unwrap_or_default() })
}

fn parsed(tree: &Tree, name: &str) -> Result<Json> {
    let bytes = tree.bytes(name).ok_or_else(|| Error::new(format!("it has no {name}")))?;
    serde_json::from_slice(bytes).map_err(|e| Error::new(format!("its {name} is no valid JSON: {e}")))
}

/// What the collection in a tree is, built or not.
///
/// # Errors
/// Neither `MANIFEST.json` nor `galaxy.yml`, or one that says too little.
pub fn about(tree: &Tree) -> Result<About> {
    if tree.bytes(MANIFEST).is_some() {
        let manifest = parsed(tree, MANIFEST)?;
        let info = manifest.get("collection_info").cloned().unwrap_or_default();
        return about_of(&info);
    }
    about_of(&galaxy_yml(tree)?)
}

/// The folders of a tree that hold collections: itself, or those in it.
pub fn folders(tree: &Tree) -> Vec<String> {
    let is = |folder: &str| {
        let file = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        tree.bytes(&file(MANIFEST)).is_some() || tree.bytes(&file(GALAXY)).is_some()
    };
    if is("") {
        return vec![String::new()];
    }
    tree.top().into_iter().filter(|name| is(name)).map(str::to_owned).collect()
}

fn galaxy_yml(tree: &Tree) -> Result<Json> {
    let bytes = tree
        .bytes(GALAXY)
        .ok_or_else(|| Error::new("it has neither MANIFEST.json nor galaxy.yml, so it is no collection"))?;
    let value = yaml::parse_data(GALAXY, &String::from_utf8_lossy(bytes))?;
    let map = value.as_map().ok_or_else(|| Error::new("its galaxy.yml is no dictionary"))?.clone();
    let missing: Vec<&str> =
        KEYS.iter().filter(|(key, must)| *must && !map.contains(key)).map(|(key, _)| *key).collect();
    if !missing.is_empty() {
        return Err(Error::new(format!("its galaxy.yml lacks {}", missing.join(", "))));
    }
    let mut info: Map<String, Json> =
        bakery_lang::json::to_json(&Value::Map(map)).as_object().cloned().unwrap_or_default();
    for key in ["authors", "license", "tags", "build_ignore"] {
        let list = match info.remove(key) {
            None | Some(Json::Null) => json!([]),
            Some(Json::Array(list)) => Json::Array(list),
            Some(one) => json!([one]),
        };
        info.insert(key.to_owned(), list);
    }
    if !info.get("dependencies").is_some_and(Json::is_object) {
        info.insert("dependencies".into(), json!({}));
    }
    Ok(Json::Object(info))
}

/// Only the files that a collection's own list names, each as the list says.
///
/// # Errors
/// A file that is missing or other than the list says.
pub fn from_artifact(tree: Tree) -> Result<Tree> {
    let manifest = parsed(&tree, MANIFEST)?;
    let check = |name: &str, sum: &Json| -> Result<()> {
        let Some(bytes) = tree.bytes(name) else {
            return match tree.get(name) {
                Some(_) => Ok(()),
                None => Err(Error::new(format!("its list names {name}, which is not in it"))),
            };
        };
        match sum.as_str() {
            Some(sum) if sum != sha256(bytes) => Err(Error::new(format!(
                "the checksum of {name} in it is {}, and its list says {sum}",
                sha256(bytes)
            ))),
            _ => Ok(()),
        }
    };
    let files_sum = manifest.pointer("/file_manifest_file/chksum_sha256").cloned().unwrap_or_default();
    check(FILES, &files_sum)?;
    let files = parsed(&tree, FILES)?;
    let mut kept: BTreeSet<String> = [MANIFEST.to_owned(), FILES.to_owned()].into();
    for file in files.get("files").and_then(Json::as_array).into_iter().flatten() {
        let name = file.get("name").and_then(Json::as_str).unwrap_or_default();
        if name == "." {
            continue;
        }
        if file.get("ftype").and_then(Json::as_str) == Some("file") {
            check(name, file.get("chksum_sha256").unwrap_or(&Json::Null))?;
        }
        kept.insert(name.to_owned());
    }
    let tree = tree.filtered(|path| kept.contains(path));
    tree.check_links()?;
    Ok(tree)
}

/// Whether a name matches a pattern as Python's `fnmatch` takes it: `*` goes over `/`, too.
fn matches(name: &str, pattern: &str) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|p| p.matches(name))
}

/// The collection of a folder that was not built, with the manifests that a build would make.
///
/// # Errors
/// A `galaxy.yml` that says too little, and links that lead outside.
pub fn built(tree: Tree) -> Result<Tree> {
    if tree.bytes(MANIFEST).is_some() && tree.bytes(GALAXY).is_none() {
        // It was built already; whatever else lies there does not belong to it.
        return rebuilt(tree);
    }
    let info = galaxy_yml(&tree)?;
    if info.get("manifest").is_some_and(|m| !m.is_null()) {
        return Err(Error::new(
            "its galaxy.yml chooses files by `manifest` directives, which are not known here; `build_ignore` is",
        ));
    }
    let text = |key: &str| info.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut ignored: Vec<String> = [
        "MANIFEST.json",
        "FILES.json",
        "galaxy.yml",
        "galaxy.yaml",
        ".git",
        "*.pyc",
        "*.retry",
        "tests/output",
    ]
    .map(str::to_owned)
    .into();
    ignored.push(format!("{}-{}-*.tar.gz", text("namespace"), text("name")));
    let more = info.get("build_ignore").and_then(Json::as_array).into_iter().flatten();
    ignored.extend(more.filter_map(Json::as_str).map(str::to_owned));
    let never = ["CVS", ".bzr", ".hg", ".git", ".svn", "__pycache__", ".tox"];
    let keep = |path: &str| {
        let mut prefix = String::new();
        path.split('/').all(|part| {
            if !prefix.is_empty() {
                prefix.push('/');
            }
            prefix.push_str(part);
            let folder = prefix.len() < path.len() || tree.bytes(path).is_none();
            !ignored.iter().any(|p| matches(&prefix, p)) && !(folder && never.contains(&part))
        })
    };
    let kept = tree.clone().filtered(keep);
    let mut info = info;
    if let Some(map) = info.as_object_mut() {
        map.remove("build_ignore");
        map.remove("manifest");
    }
    with_manifests(kept, &info)
}

fn rebuilt(tree: Tree) -> Result<Tree> {
    let manifest = parsed(&tree, MANIFEST)?;
    let info = manifest.get("collection_info").cloned().unwrap_or_default();
    with_manifests(tree.filtered(|path| path != MANIFEST && path != FILES), &info)
}

fn with_manifests(mut tree: Tree, info: &Json) -> Result<Tree> {
    tree.check_links()?;
    let about = about_of(info)?;
    let mut files = vec![json!({
        "name": ".", "ftype": "dir", "chksum_type": null, "chksum_sha256": null, "format": 1
    })];
    let mut folders = BTreeSet::new();
    for (path, _) in tree.entries() {
        let mut above = Path::new(path).parent();
        while let Some(folder) = above.filter(|f| !f.as_os_str().is_empty()) {
            folders.insert(folder.display().to_string());
            above = folder.parent();
        }
    }
    let mut named: BTreeMap<&str, Option<String>> = folders.iter().map(|f| (f.as_str(), None)).collect();
    for (path, entry) in tree.entries() {
        let sum = match entry {
            Entry::File { bytes, .. } => Some(sha256(bytes)),
            Entry::Folder => None,
            Entry::Link(target) => {
                let folder = Path::new(path).parent().unwrap_or(Path::new(""));
                tree.bytes(&normal(&folder.join(target))).map(sha256)
            }
        };
        named.insert(path, sum);
    }
    for (path, sum) in named {
        let (ftype, kind) = if sum.is_some() { ("file", json!("sha256")) } else { ("dir", Json::Null) };
        files.push(json!({
            "name": path, "ftype": ftype, "chksum_type": kind, "chksum_sha256": sum, "format": 1
        }));
    }
    let files = indented(&json!({ "files": files, "format": 1 }));
    let get = |key: &str| info.get(key).cloned().unwrap_or(Json::Null);
    let license_file = Some(get("license_file")).filter(|l| l.as_str() != Some("")).unwrap_or_default();
    let manifest = json!({
        "collection_info": {
            "namespace": get("namespace"), "name": get("name"), "version": about.version,
            "authors": get("authors"), "readme": get("readme"), "tags": get("tags"),
            "description": get("description"), "license": get("license"), "license_file": license_file,
            "dependencies": get("dependencies"), "repository": get("repository"),
            "documentation": get("documentation"), "homepage": get("homepage"), "issues": get("issues"),
        },
        "file_manifest_file": {
            "name": FILES, "ftype": "file", "chksum_type": "sha256",
            "chksum_sha256": sha256(files.as_bytes()), "format": 1,
        },
        "format": 1,
    });
    let file = |text: String| Entry::File { bytes: text.into_bytes(), executable: false, modified: 0 };
    tree.insert(FILES, file(files));
    tree.insert(MANIFEST, file(indented(&manifest)));
    Ok(tree)
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> String {
    let mut names: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                names.pop();
            }
            std::path::Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    names.join("/")
}

/// JSON with one space a level, as Python's `json.dumps(indent=True)` writes it.
fn indented(value: &Json) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("memory takes all");
    String::from_utf8(out).expect("JSON is text")
}

/// What differs between a collection's own list and its folder: paths, sorted (`verify_local_collection`).
///
/// # Errors
/// A collection without readable lists.
pub fn changed(tree: &Tree) -> Result<Vec<String>> {
    let manifest = parsed(tree, MANIFEST)?;
    let mut changed = BTreeSet::new();
    let sum = manifest.pointer("/file_manifest_file/chksum_sha256").and_then(Json::as_str);
    if tree.bytes(FILES).map(sha256).as_deref() != sum {
        changed.insert(FILES.to_owned());
    }
    let files = parsed(tree, FILES)?;
    let (mut known, mut folders) = (BTreeSet::from([MANIFEST.to_owned(), FILES.to_owned()]), BTreeSet::new());
    for file in files.get("files").and_then(Json::as_array).into_iter().flatten() {
        let name = file.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
        if file.get("ftype").and_then(Json::as_str) == Some("dir") {
            folders.insert(name);
            continue;
        }
        let expected = file.get("chksum_sha256").and_then(Json::as_str);
        let linked = matches!(tree.get(&name), Some(Entry::Link(_)));
        if !linked && tree.bytes(&name).map(sha256).as_deref() != expected {
            changed.insert(name.clone());
        }
        known.insert(name);
    }
    for (path, entry) in tree.entries() {
        let extra = match entry {
            Entry::Folder => !folders.contains(path),
            _ => !known.contains(path) && !folders.contains(path) && !path.ends_with(".pyc"),
        };
        if extra {
            changed.insert(path.clone());
        }
    }
    Ok(changed.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Tree {
        let mut tree = Tree::default();
        let mut file = |path: &str, text: &str| {
            tree.insert(path, Entry::File { bytes: text.into(), executable: false, modified: 1 });
        };
        file(
            "galaxy.yml",
            "namespace: n\nname: c\nversion: 1.0.0\nreadme: README.md\nauthors: me\ndependencies: {a.b: '>=1'}\nbuild_ignore: ['*.log', secret]\n",
        );
        file("README.md", "hello");
        file("plugins/x.py", "pass");
        file("plugins/x.pyc", "no");
        file("secret/key", "no");
        file("deep/er/a.log", "no");
        file(".git/config", "no");
        tree
    }

    #[test]
    fn a_folder_is_built_as_a_build_would() {
        let about = about(&source()).expect("about");
        assert_eq!((about.name.as_str(), about.version.as_str()), ("n.c", "1.0.0"));
        assert_eq!(about.dependencies["a.b"], ">=1");
        let tree = built(source()).expect("built");
        let paths: Vec<&str> = tree.entries().map(|(p, _)| p.as_str()).collect();
        assert_eq!(paths, ["FILES.json", "MANIFEST.json", "README.md", "plugins/x.py"]);
        let again = from_artifact(tree.clone()).expect("it is what it says");
        assert_eq!(again, tree);
        assert!(changed(&tree).expect("reads").is_empty());
        let mut edited = tree.clone();
        edited.insert("README.md", Entry::File { bytes: b"x".to_vec(), executable: false, modified: 1 });
        edited.insert("new", Entry::File { bytes: b"x".to_vec(), executable: false, modified: 1 });
        assert_eq!(changed(&edited).expect("reads"), ["README.md", "new"]);
        let error = from_artifact(edited).expect_err("the list says otherwise").to_string();
        assert!(error.contains("README.md"), "{error}");
    }
}
