//! What is different between two images. They mostly share their lower layers; only what is in the others is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;

use bakery_host::fs;
use bakery_store::{Image, Store};
use serde::Serialize;

use super::{Package, Tree, packages};
use crate::Result;
use crate::disk::blocks::Blocks;
use crate::tree::layers;

/// Something that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of what kind: `package`, `file`, `user`, `group`, `unit`, `blocks`.
    pub kind: &'static str,
    /// Its name or path.
    pub name: String,
    /// What it was; nothing if it is new.
    pub before: Option<String>,
    /// What it is; nothing if it is gone.
    pub after: Option<String>,
}

/// What is different in the second image.
///
/// # Errors
/// When an image's layers are gone or cannot be mounted.
pub fn diff(store: &Store, one: &Image, other: &Image) -> Result<Vec<Difference>> {
    let (before, after) = (Tree::of(store, one)?, Tree::of(store, other)?);
    let mut out = Vec::new();
    let versions = |tree: &Tree| -> BTreeMap<String, String> {
        let name =
            |p: &Package| if p.kind == "deb" { p.name.clone() } else { format!("{} ({})", p.name, p.kind) };
        packages(tree).iter().map(|p| (name(p), p.version.clone())).collect()
    };
    compare("package", &versions(&before), &versions(&after), &mut out);
    for (kind, file) in [("user", "etc/passwd"), ("group", "etc/group")] {
        let lines = |tree: &Tree| -> BTreeMap<String, String> {
            let text = tree.files.text(file).unwrap_or_default();
            text.lines()
                .filter_map(|l| l.split_once(':'))
                .map(|(n, rest)| (n.to_owned(), rest.to_owned()))
                .collect()
        };
        compare(kind, &lines(&before), &lines(&after), &mut out);
    }
    let blocks = |image: &Image| Blocks::kept(&store.images().folder(&image.id));
    if let (Some(before), Some(after)) = (blocks(one), blocks(other)) {
        let changed = after.different_from(&before);
        if changed > 0 {
            out.push(Difference {
                kind: "blocks",
                name: "of 512 KiB".into(),
                before: Some(before.sha256.len().to_string()),
                after: Some(format!("{}, {changed} of them to write", after.sha256.len())),
            });
        }
    }
    let units = |tree: &Tree| -> BTreeMap<String, String> {
        let folder = "etc/systemd/system";
        let wanted = tree
            .files
            .names(folder)
            .into_iter()
            .filter(|n| n.ends_with(".wants") || n.ends_with(".requires"));
        wanted
            .flat_map(|target| {
                let names = tree.files.names(&format!("{folder}/{target}"));
                names.into_iter().map(move |unit| (unit, target.clone()))
            })
            .collect()
    };
    compare("unit", &units(&before), &units(&after), &mut out);
    let paths = touched(store, one, other, &before, &after)?;
    let entries = |tree: &Tree| -> BTreeMap<String, String> {
        paths.iter().filter_map(|path| Some((format!("/{path}"), entry(tree, path)?))).collect()
    };
    compare("file", &entries(&before), &entries(&after), &mut out);
    Ok(out)
}

fn compare(
    kind: &'static str,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    out: &mut Vec<Difference>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (before, after) = (before.get(name).cloned(), after.get(name).cloned());
        if before != after {
            out.push(Difference { kind, name: name.clone(), before, after });
        }
    }
}

/// The paths in layers that the two do not share, and all below folders that come or go.
fn touched(
    store: &Store,
    one: &Image,
    other: &Image,
    before: &Tree,
    after: &Tree,
) -> Result<BTreeSet<String>> {
    let (old, new) = (layers(store, one)?, layers(store, other)?);
    let shared = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let mut paths = BTreeSet::new();
    for key in old[shared..].iter().chain(&new[shared..]) {
        let Some(delta) = store.layer(key) else { continue };
        for path in fs::walk(&delta)? {
            let relative = path.strip_prefix(&delta).unwrap_or(&path);
            for (tree, others) in [(before, after), (after, before)] {
                let is_dir = |t: &Tree| fs::symlink_metadata(t.root.join(relative)).is_ok_and(|m| m.is_dir());
                if is_dir(tree) && !is_dir(others) {
                    let below = tree.files.walk(&relative.display().to_string())?;
                    paths.extend(below.into_iter().map(|(p, _)| p.trim_start_matches('/').to_owned()));
                }
            }
            paths.insert(relative.display().to_string());
        }
    }
    Ok(paths)
}

/// A path in a line: kind, mode, owner, size, and what its content comes to. Not its time.
fn entry(tree: &Tree, path: &str) -> Option<String> {
    let full = tree.root.join(path);
    let meta = fs::symlink_metadata(&full).ok()?;
    let content = if meta.is_symlink() {
        format!("-> {}", fs::read_link(&full).ok()?.display())
    } else if meta.is_file() {
        let digest = crate::digest::of_file::<sha2::Sha256>(&full).ok()?;
        format!("{} bytes sha256:{}", meta.len(), &digest[..16])
    } else {
        String::new()
    };
    let text = format!("{:o} {}:{} {content}", meta.mode() & 0o17_7777, meta.uid(), meta.gid());
    Some(text.trim_end().to_owned())
}
