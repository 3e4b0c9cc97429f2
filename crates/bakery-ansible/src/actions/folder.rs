//! `copy` of a folder: what is in it, file by file, links as `local_follow` says (`ansible/plugins/action/copy.py`).

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::Map;

use super::files::{carry, flag, text};
use super::{Modules, Outcome, Trouble, fail, module, ok};

/// What a folder holds, by the path below the destination.
#[derive(Default)]
struct Tree {
    files: Vec<(PathBuf, PathBuf)>,
    folders: Vec<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// What tells a folder from all others.
type Identity = (u64, u64);

fn identity(path: &Path) -> std::io::Result<Identity> {
    std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Tree {
    /// Adds what is in a folder. A link to a folder that is being copied stays a link in any case; `around` are those.
    fn add(
        &mut self,
        folder: &Path,
        below: &Path,
        around: &HashSet<Identity>,
        follow: bool,
    ) -> std::io::Result<()> {
        let mut paths = fs::read_dir(folder).map_err(std::io::Error::other)?;
        // Files before folders.
        paths.sort_by_key(|path| path.is_dir());
        for path in paths {
            let to = below.join(path.file_name().unwrap_or_default());
            let is_link = path.is_symlink();
            if !is_link && path.is_dir() {
                self.folders.push(to.clone());
                let mut around = around.clone();
                around.insert(identity(&path)?);
                self.add(&path, &to, &around, follow)?;
            } else if !is_link {
                self.files.push((path, to));
            } else if follow && path.is_file() {
                self.files.push((std::fs::canonicalize(&path)?, to));
            } else if follow && path.is_dir() && !around.contains(&identity(&path)?) {
                let real = std::fs::canonicalize(&path)?;
                self.folders.push(to.clone());
                let mut around = around.clone();
                around.insert(identity(&real)?);
                self.add(&real, &to, &around, follow)?;
            } else {
                self.links.push((std::fs::read_link(&path)?, to));
            }
        }
        Ok(())
    }
}

/// A folder: its files one by one; `src: dir/` means what is in it.
pub(super) fn copy(src: &str, path: &Path, call: &Map, modules: &mut dyn Modules) -> Outcome {
    let dest = PathBuf::from(text(call, "dest").unwrap_or_default());
    let follow = !call.contains("local_follow") || flag(call, "local_follow");
    let name = if src.ends_with('/') { PathBuf::new() } else { path.file_name().unwrap_or_default().into() };
    let mut tree = Tree::default();
    let walked = if path.is_symlink() && !follow {
        std::fs::read_link(path).map(|target| tree.links.push((target, name.clone())))
    } else {
        tree.folders.push(name.clone());
        identity(path).and_then(|own| tree.add(path, &name, &HashSet::from([own]), follow))
    };
    walked.map_err(|e| fail(format!("cannot read {}: {e}", path.display())))?;
    let mut changed = false;
    let mut last = None;
    let mut run = |modules: &mut dyn Modules, name: &str, args: &Map| -> Result<(), Trouble> {
        let one = module(modules, name, args)?;
        if one.get("failed").is_some_and(|f| f.is_true()) {
            return Err(Trouble::Failed(one, None));
        }
        changed |= one.get("changed").is_some_and(|c| c.is_true());
        last = Some(one);
        Ok(())
    };
    let shared = |mode: &str| {
        let args = Map::new();
        for key in ["owner", "group", "seuser", "serole", "setype", "selevel", "attributes", "unsafe_writes"]
        {
            if let Some(value) = call.get(key) {
                args.set(key, value);
            }
        }
        if let Some(mode) = call.get(mode).filter(|mode| mode.as_str() != Some("preserve")) {
            args.set("mode", mode);
        }
        args
    };
    for folder in &tree.folders {
        let args = shared("directory_mode");
        args.set("path", dest.join(folder).display().to_string());
        args.set("state", "directory");
        run(modules, "file", &args)?;
    }
    for (from, to) in &tree.files {
        let args = call.copied();
        args.set("dest", dest.join(to).display().to_string());
        carry(&args, from, call, modules)?;
        args.set("_source_mode", fs::metadata(from).map_or(0o644, |m| m.mode() & 0o7777));
        // Links on the target are followed where one file is copied alone.
        if !tree.folders.is_empty() {
            args.remove("follow");
        }
        run(modules, "copy", &args)?;
    }
    for (target, to) in &tree.links {
        let args = shared("mode");
        args.set("path", dest.join(to).display().to_string());
        args.set("src", target.display().to_string());
        args.set("state", "link");
        args.set("force", true);
        args.set("follow", false);
        run(modules, "file", &args)?;
    }
    let result = match last {
        Some(last) if tree.files.len() == 1 => last,
        _ => ok(),
    };
    result.set("changed", changed);
    result.set("dest", dest.join(&name).display().to_string());
    result.set("src", src);
    Ok(result)
}
