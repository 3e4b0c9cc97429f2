//! `fetch`: brings a file of the target to the controller (`ansible/plugins/action/fetch.py`).

use std::path::{Component, Path, PathBuf};

use bakery_host::fs;
use bakery_jinja::Scope as _;
use bakery_lang::{Map, Value};
use base64::Engine as _;

use super::files::{flag, text};
use super::{Modules, Outcome, Trouble, fail, module, ok};
use crate::Templar;

pub(super) fn fetch(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    if modules.check() {
        let result = ok();
        result.remove("changed");
        result.set("skipped", true);
        result.set("msg", "check mode not (yet) supported for this module");
        return Ok(result);
    }
    for name in ["src", "dest"] {
        if args.get(name).is_some_and(|value| !value.is_none() && value.as_str().is_none()) {
            let wrong = if name == "src" { "source" } else { "dest" };
            return Err(fail(format!("Invalid type supplied for {wrong} option, it must be a string")));
        }
    }
    let (Some(src), Some(dest)) = (text(args, "src"), text(args, "dest")) else {
        return Err(fail("src and dest are required"));
    };
    let is_needed =
        args.get("fail_on_missing").is_none_or(|v| bakery_modules::args::boolean(&v).unwrap_or(true));
    let ask = Map::from_iter([
        ("path", Value::from(src.as_str())),
        ("follow", true.into()),
        ("get_mime", false.into()),
        ("get_attributes", false.into()),
    ]);
    let stat = module(modules, "stat", &ask)?.get("stat").unwrap_or_default();
    let of_stat = |name: &str| stat.get(name).filter(Value::is_true).map(|value| value.to_string());
    // The folder that `~` means is the target's; all else is named by the play, whatever the target says.
    let src = if src.starts_with('~') { of_stat("path").unwrap_or(src) } else { src };
    if of_stat("isdir").is_some() {
        let message = "remote file is a directory, fetch cannot work on directories";
        if is_needed {
            return Err(fail(message));
        }
        return Ok(Map::from_iter([("msg", format!("{message}, not transferring, ignored").into())]));
    }
    let target = target(args, &src, &dest, templar, modules)?;
    let digests = |file: &Path| {
        let digests = bakery_modules::digests::of_file(file, ["sha1", "md5"]);
        digests.map_err(|e| fail(e.to_string())).map(|digests| digests.map(Option::unwrap_or_default))
    };
    let remote = of_stat("checksum");
    let result = ok();
    result.set("dest", target.display().to_string());
    if target.is_file() {
        let [sha1, md5] = digests(&target)?;
        if remote.as_deref() == Some(&sha1) {
            result.set("file", src);
            result.set("checksum", remote);
            result.set("md5sum", md5);
            return Ok(result);
        }
    }
    let done = |is_other: bool| {
        let [sha1, md5] = digests(&target)?;
        result.set("changed", is_other);
        result.set("md5sum", md5);
        result.set("remote_md5sum", Value::None);
        result.set("remote_checksum", remote.clone().unwrap_or_else(|| sha1.clone()));
        result.set("checksum", sha1);
        Ok(result.copied())
    };
    let make_folder = || {
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| fail(e.to_string()))
    };
    // A file that we see ourselves, as the same user, is copied piece by piece.
    let is_near = modules.shares_files() && modules.becomes().is_none();
    let near = Path::new(&src);
    if is_near
        && near.is_absolute()
        && near.is_file()
        && let Ok(mut file) = fs::open(near)
    {
        make_folder()?;
        let is_other = fs::write_changed(&target, &mut file, fs::Keep::All);
        return done(is_other.map_err(|e| fail(e.to_string()))?);
    }
    let call = Map::from_iter([("src", Value::from(src.as_str()))]);
    let slurped = module(modules, "slurp", &call)?;
    if slurped.get("failed").is_some_and(|failed| failed.is_true()) {
        let message = slurped.get("msg").unwrap_or_default().to_string();
        if message.contains("not found") {
            slurped.set("msg", "the remote file does not exist, not transferring, ignored");
        }
        if is_needed {
            return Err(Trouble::Failed(slurped, None));
        }
        let ignored = ok();
        ignored.set("file", src);
        ignored.set("msg", slurped.get("msg").unwrap_or_default());
        return Ok(ignored);
    }
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(slurped.get("content").unwrap_or_default().to_string())
        .map_err(|e| fail(e.to_string()))?;
    make_folder()?;
    let is_other = fs::write_changed(&target, &mut bytes.as_slice(), fs::Keep::All);
    done(is_other.map_err(|e| fail(e.to_string()))?)
}

/// The file on the controller: `dest/HOST/path/of/the/file`, or with `flat`, `dest` itself.
fn target(
    args: &Map,
    src: &str,
    dest: &str,
    templar: &Templar,
    modules: &mut dyn Modules,
) -> Result<PathBuf, Trouble> {
    let base = modules.loader().playbook_dir.join(dest);
    if flag(args, "flat") {
        if base.is_dir() && !dest.ends_with('/') {
            return Err(fail(
                "dest is an existing directory, use a trailing slash if you want to fetch src into that directory",
            ));
        }
        if !dest.ends_with('/') {
            return Ok(normal(&base));
        }
        let file = base.join(src.rsplit('/').next().unwrap_or(src));
        if file.is_dir() {
            return Err(fail(format!(
                "calculated dest '{}' is an existing directory, use another path that does not point to an existing directory",
                file.display()
            )));
        }
        return Ok(normal(&file));
    }
    let host =
        templar.variable("inventory_hostname").map_or_else(|| "localhost".into(), |name| name.to_string());
    let file = normal(&base.join(host).join(src.trim_start_matches('/')));
    // The target names the file: it must not lead out of where files shall go.
    if !file.starts_with(normal(&base)) {
        return Err(fail(format!(
            "Detected directory traversal, expected to be contained in '{dest}' but got '{}'",
            file.display()
        )));
    }
    Ok(file)
}

/// A path without `.` and `..`, as Python's `os.path.normpath`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
