//! The provisioner `file`.

use bakery_host::{Cmd, fs};
use bakery_packer::Component;

use super::Place;
use crate::machine::Machine;
use crate::{Error, Result};

/// Files travel as streams that a program on the other side writes, so no link there is followed from here.
pub(crate) fn file(component: &Component, place: &Place<'_>, machine: &dyn Machine) -> Result<()> {
    let destination = component
        .text("destination")
        .ok_or_else(|| Error::new("the file provisioner needs a `destination`"))?;
    let sources: Vec<String> =
        component.text("source").into_iter().chain(component.list("sources")).collect();
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    if component.text("direction").as_deref() == Some("download") {
        return sources.iter().try_for_each(|source| {
            let output = machine.shell(&format!("cat {}", quoted(source)))?.output()?;
            if !output.success() {
                let why = output.error_text();
                return Err(Error::new(format!(
                    "the file provisioner could not read {source}: {}",
                    why.trim()
                )));
            }
            let mut to = place.template.folder.join(&destination);
            if destination.ends_with('/') || to.is_dir() {
                to = to.join(source.rsplit('/').next().unwrap_or_default());
            }
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            Ok(fs::write_atomic(to, output.stdout)?)
        });
    }
    let send = |line: String, input: Vec<u8>| -> Result<()> {
        let output = machine.shell(&line)?.input(input).output()?;
        if output.success() {
            return Ok(());
        }
        let why = output.error_text();
        Err(Error::new(format!("the file provisioner could not write {destination}: {}", why.trim())))
    };
    let to = quoted(&destination);
    if let Some(content) = component.text("content") {
        return send(format!("cat > {to}"), content.into_bytes());
    }
    for source in sources {
        let path = place.template.folder.join(source.trim_end_matches('/'));
        if path.is_dir() {
            // As rsync: with a slash at the end, what is in the folder; without, the folder itself.
            let (from, name) = if source.ends_with('/') {
                (path.clone(), ".".to_owned())
            } else {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                (path.parent().unwrap_or(&path).to_path_buf(), name)
            };
            let tar = Cmd::new("tar")
                .args(["--owner=0", "--group=0", "--sort=name", "-C"])
                .arg(from)
                .arg("-cf")
                .arg("-")
                .arg(name)
                .run()?;
            send(format!("mkdir -p {to} && tar -C {to} -xf -"), tar.stdout)?;
        } else {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let line = format!(
                "d={to}; n={}; case \"$d\" in */) d=\"$d$n\";; esac; [ -d \"$d\" ] && d=\"$d/$n\"; cat > \"$d\"",
                quoted(&name)
            );
            send(line, fs::read(&path)?)?;
        }
    }
    Ok(())
}
