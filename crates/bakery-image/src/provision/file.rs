//! The provisioner `file`.

use bakery_host::{Cmd, fs};
use bakery_packer::Component;

use super::Place;
use crate::rootfs::Rootfs;
use crate::{Error, Result};

/// Files go in as a tar stream that a program inside unpacks, so no link of the image is followed from outside.
pub(crate) fn file(component: &Component, place: &Place<'_>, rootfs: &Rootfs) -> Result<()> {
    if component.text("direction").as_deref() == Some("download") {
        return Err(Error::new(
            "the file provisioner cannot download from an image that is baked here; use a task or read the image",
        ));
    }
    let destination = component
        .text("destination")
        .ok_or_else(|| Error::new("the file provisioner needs a `destination`"))?;
    let send = |line: String, input: Vec<u8>| -> Result<()> {
        let sandbox = rootfs.sandbox(place.agent)?;
        let output = sandbox.command("/bin/sh", &["-c".into(), line])?.input(input).output()?;
        if output.success() {
            return Ok(());
        }
        Err(Error::new(format!(
            "the file provisioner could not write {destination}: {}",
            output.error_text().trim()
        )))
    };
    let quoted = format!("'{}'", destination.replace('\'', "'\\''"));
    if let Some(content) = component.text("content") {
        return send(format!("cat > {quoted}"), content.into_bytes());
    }
    let sources: Vec<String> =
        component.text("source").into_iter().chain(component.list("sources")).collect();
    for source in sources {
        let path = place.template.folder.join(source.trim_end_matches('/'));
        if path.is_dir() {
            // As rsync: with a slash at the end, what is in the folder; without, the folder itself.
            let (from, name) = if source.ends_with('/') {
                (path.clone(), ".".to_owned())
            } else {
                (
                    path.parent().unwrap_or(&path).to_path_buf(),
                    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
                )
            };
            let tar = Cmd::new("tar")
                .args(["--owner=0", "--group=0", "-C"])
                .arg(from)
                .arg("-cf")
                .arg("-")
                .arg(name)
                .run()?;
            send(format!("mkdir -p {quoted} && tar -C {quoted} -xf -"), tar.stdout)?;
        } else {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let line = format!(
                "d={quoted}; case \"$d\" in */) d=\"$d{name}\";; esac; [ -d \"$d\" ] && d=\"$d/{name}\"; cat > \"$d\""
            );
            send(line, fs::read(&path)?)?;
        }
    }
    Ok(())
}
