//! CDs and floppies with files for a machine: answers of an installer, seeds of cloud-init.

use std::path::{Path, PathBuf};

use bakery_host::command::find_program;
use bakery_host::{Cmd, fs};

use super::options::Medium;
use crate::{Error, Result};

/// What a floppy holds, in KiB.
const FLOPPY: u64 = 1440;

/// The files of a medium in a folder of their own.
fn gathered(medium: &Medium, folder: &Path, place: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(place)?;
    for pattern in &medium.files {
        let full = folder.join(pattern).display().to_string();
        let found: Vec<PathBuf> = glob::glob(&full)
            .map_err(|e| Error::new(format!("`{pattern}` is no pattern: {e}")))?
            .flatten()
            .collect();
        if found.is_empty() {
            return Err(Error::new(format!("there is no file `{pattern}` for the medium")));
        }
        for path in found {
            Cmd::new("cp").args(["-rL", "--"]).arg(&path).arg(place).run()?;
        }
    }
    for (name, text) in &medium.content {
        let safe = Path::new(name.trim_start_matches('/'))
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !safe {
            return Err(Error::new(format!("`{name}` is no name of a file on a medium")));
        }
        let path = place.join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap_or(place))?;
        fs::write_atomic(path, text)?;
    }
    Ok(fs::read_dir(place)?)
}

/// Makes a CD image; nothing if there is nothing on it.
pub(super) fn cd(medium: &Medium, folder: &Path, work: &Path) -> Result<Option<PathBuf>> {
    if medium.is_empty() {
        return Ok(None);
    }
    let place = work.join("cd");
    gathered(medium, folder, &place)?;
    let iso = work.join("cd.iso");
    let cmd = match ["xorriso", "genisoimage", "mkisofs"].iter().find(|name| find_program(name).is_some()) {
        Some(&"xorriso") => Cmd::new("xorriso").args(["-as", "genisoimage"]),
        Some(other) => Cmd::new(other),
        None => {
            return Err(Error::new("no program is installed that makes CD images")
                .hint("install the package xorriso (or genisoimage)"));
        }
    };
    cmd.args(["-quiet", "-rock", "-joliet", "-volid", &medium.label, "-output"])
        .arg(&iso)
        .arg(&place)
        .run()
        .map_err(|e| Error::new(format!("the CD could not be made: {e}")))?;
    Ok(Some(iso))
}

/// Makes a floppy image; nothing if there is nothing on it.
pub(super) fn floppy(medium: &Medium, folder: &Path, work: &Path) -> Result<Option<PathBuf>> {
    if medium.is_empty() {
        return Ok(None);
    }
    let files = gathered(medium, folder, &work.join("floppy"))?;
    let image = work.join("floppy.img");
    let label: Vec<&str> = if medium.label.is_empty() { vec![] } else { vec!["-v", &medium.label] };
    Cmd::new("mformat")
        .args(["-C", "-f", &FLOPPY.to_string()])
        .args(label)
        .arg("-i")
        .arg(&image)
        .arg("::")
        .run()?;
    Cmd::new("mcopy")
        .args(["-s", "-i"])
        .arg(&image)
        .args(files)
        .arg("::")
        .run()
        .map_err(|e| Error::new(format!("the floppy could not be made: {e}")))?;
    Ok(Some(image))
}
