//! `docker-tag`, `docker-push`, `docker-save` and `docker-import` without a daemon: names of OCI images, and what the
//! system's `skopeo` does with them. Logins, mirrors and certificates are skopeo's.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_packer::Component;

use crate::archive::Merged;
use crate::build::{Artifact, artifact};
use crate::provision::Place;
use crate::{Error, Result, epoch, oci};

/// The archive of an artifact's OCI image.
fn archive(given: &Artifact, folder: &Path) -> Result<PathBuf> {
    let mut files = given.files.iter().map(|file| folder.join(file));
    files.find(|path| oci::is_image(path)).ok_or_else(|| {
        Error::new("what was built is no OCI image")
            .hint("the builder `docker` with `commit`, or `formats` with oci, makes one")
    })
}

/// What `skopeo` calls an archive.
fn source(archive: &Path) -> String {
    format!("oci-archive:{}:latest", archive.display())
}

/// Where a file is made before it takes its place; what a build that was killed has left there is gone.
fn part_of(to: &Path) -> Result<PathBuf> {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    fs::remove_all(&part)?;
    Ok(part)
}

/// Gives an image names.
pub(super) fn tag(component: &Component, given: &Artifact, folder: &Path) -> Result<Artifact> {
    let archive = archive(given, folder)?;
    let repository =
        component.text("repository").ok_or_else(|| Error::new("`repository` must be specified"))?;
    let mut tags: Vec<String> = component.list("tag");
    tags.extend(component.list("tags"));
    let mut names: Vec<String> = tags.iter().map(|tag| format!("{repository}:{tag}")).collect();
    if names.is_empty() {
        names.push(repository);
    }
    let text = format!("Named the image: {}", names.join(", "));
    let made = artifact(
        "packer.post-processor.docker-tag",
        names.first().map_or("", String::as_str),
        &text,
        vec![archive],
    );
    // The image stays where it is.
    Ok(Artifact { names, is_disposable: false, ..made })
}

/// Sends an image to the registries that its names name.
pub(super) fn push(component: &Component, given: &Artifact, folder: &Path) -> Result<Artifact> {
    let archive = archive(given, folder)?;
    if component.flag("ecr_login", false) {
        return Err(Error::new("`ecr_login` does not run here").hint(
            "log in before (`skopeo login`), or name a credential helper in your registries' configuration",
        ));
    }
    if given.names.is_empty() {
        return Err(
            Error::new("the image has no name to push it to").hint("`docker-tag` before it gives it one")
        );
    }
    for name in &given.names {
        let mut cmd = oci::skopeo()?.args(["copy", "--quiet"]);
        let credentials;
        if let (Some(user), Some(password)) =
            (component.text("login_username"), component.text("login_password"))
        {
            credentials = auth_file(name, &user, &password)?;
            cmd = cmd.arg("--dest-authfile").arg(credentials.path());
        }
        cmd.arg(source(&archive)).arg(format!("docker://{name}")).run().map_err(|e| {
            Error::new(format!("{name} could not be pushed: {e}"))
                .hint("are you logged in there (`skopeo login`)?")
        })?;
    }
    let text = format!("Pushed the image: {}", given.names.join(", "));
    Ok(Artifact { text, builder_id: "packer.post-processor.docker-push".into(), ..given.clone() })
}

/// A login in a file of its own: a command line is for everybody to see.
fn auth_file(name: &str, user: &str, password: &str) -> Result<tempfile::NamedTempFile> {
    use base64::Engine as _;
    // As Docker reads names: what has a dot, a port or is localhost is a host.
    let first = name.split('/').next().unwrap_or_default();
    let is_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let host = if is_host { first } else { "docker.io" };
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let file = tempfile::NamedTempFile::new().map_err(|e| Error::new(e.to_string()))?;
    let content = serde_json::json!({ "auths": { host: { "auth": auth } } });
    fs::write_atomic_mode(file.path(), content.to_string(), 0o600)?;
    Ok(file)
}

/// Writes an image as `docker load` takes it.
pub(super) fn save(component: &Component, given: &Artifact, folder: &Path) -> Result<Artifact> {
    let archive = archive(given, folder)?;
    let path = component.text("path").ok_or_else(|| Error::new("`path` must be specified"))?;
    let to = folder.join(&path);
    let part = part_of(&to)?;
    let mut target = format!("docker-archive:{}", part.display());
    for name in given.names.iter().take(1) {
        let tag = if name.rsplit('/').next().unwrap_or_default().contains(':') { "" } else { ":latest" };
        target.push_str(&format!(":{name}{tag}"));
    }
    let saved = oci::skopeo()?.args(["copy", "--quiet"]).arg(source(&archive)).arg(target).run();
    saved.map_err(|e| Error::new(format!("the image could not be saved: {e}")))?;
    fs::rename(&part, &to)?;
    let text = format!("Saved the image: {path}");
    Ok(artifact("packer.post-processor.docker-save", "", &text, vec![PathBuf::from(path)]))
}

/// Makes an image out of a tree's archive, and gives it a name.
pub(super) fn import(component: &Component, place: &Place<'_>, given: &Artifact) -> Result<Artifact> {
    let folder = &place.template.folder;
    let repository =
        component.text("repository").ok_or_else(|| Error::new("`repository` must be specified"))?;
    let name = match component.text("tag") {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.clone(),
    };
    let [tree] = given.files.as_slice() else {
        return Err(Error::new("what was built is no archive of a tree")
            .hint("the builder `docker` with `export_path` makes one"));
    };
    let work = place.store.work()?;
    let unpacked = work.path().join("tree");
    fs::create_dir_all(&unpacked)?;
    oci::unpack(&folder.join(tree), &unpacked)?;
    let file = format!("{}.oci.tar", repository.replace('/', "_"));
    let to = folder.join(&file);
    let created = epoch::given().or_else(|| bakery_store::seconds(&bakery_store::now())).unwrap_or(0);
    let layer = |out: &mut dyn std::io::Write| Merged::of(std::slice::from_ref(&unpacked))?.write(out, true);
    let part = part_of(&to)?;
    oci::write_layers(
        place.store,
        &[("docker-import", &layer)],
        &oci::settings(None, component)?,
        &name,
        created,
        &part,
    )?;
    fs::rename(&part, &to)?;
    let text = format!("Imported the image: {name}");
    let files = vec![PathBuf::from(file)];
    Ok(Artifact {
        names: vec![name.clone()],
        ..artifact("packer.post-processor.docker-import", &name, &text, files)
    })
}
