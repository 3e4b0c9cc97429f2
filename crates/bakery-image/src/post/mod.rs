//! Post-processors: what is done with what was built. Each sequence begins with the builder's artifact; what one makes is
//! what the next one gets.

mod containers;
mod vagrant;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bakery_events::Step;
use bakery_host::{fs, lock::Lock};
use bakery_lang::json as lang_json;
use bakery_packer::{Build, Component, fill_in};
use bakery_store::Key;
use serde_json::{Value as Json, json};

use crate::build::{Artifact, artifact};
use crate::provision::{self, Place};
use crate::{Error, Result, digest};

/// Runs the sequences; the artifacts that are left.
pub(crate) fn process(
    build: &Build,
    place: &Place<'_>,
    run: &str,
    made: Vec<Artifact>,
) -> Result<Vec<Artifact>> {
    let Some(first) = made.first().cloned() else { return Ok(made) };
    let mut all = made;
    let mut keep_first = build.post_processors.is_empty();
    for sequence in &build.post_processors {
        let mut current = first.clone();
        for (at, component) in sequence.iter().enumerate() {
            provision::interrupted()?;
            let step = Step::start(place.reporter, "post-process", &component.kind);
            let (next, keeps) = one(component, build, place, run, &current).map_err(|e| Error {
                message: format!("the post-processor `{}` failed: {e}", component.kind),
                ..e
            })?;
            let keeps = component
                .config
                .get("keep_input_artifact")
                .map_or(keeps, |_| component.flag("keep_input_artifact", true));
            if at == 0 {
                keep_first |= keeps;
            } else if !keeps && current.is_disposable {
                remove(&current, place);
                all.retain(|other| other.files != current.files);
            }
            all.push(next.clone());
            current = next;
            step.finish("done");
        }
    }
    if !keep_first && first.is_disposable {
        remove(&first, place);
        all.remove(0);
    }
    Ok(all)
}

fn remove(artifact: &Artifact, place: &Place<'_>) {
    for file in &artifact.files {
        // Gone is gone, whoever removed it.
        let _ = fs::remove_file(place.template.folder.join(file));
    }
}

/// Runs one; what it made, and whether what it was given stays if nobody says otherwise.
fn one(
    component: &Component,
    build: &Build,
    place: &Place<'_>,
    run: &str,
    given: &Artifact,
) -> Result<(Artifact, bool)> {
    let folder = &place.template.folder;
    match component.kind.as_str() {
        "manifest" => manifest(component, build, place, run, given).map(|()| (given.clone(), true)),
        "checksum" => checksum(component, build, place, given).map(|made| (made, true)),
        "compress" => compress(component, build, place, given).map(|made| (made, false)),
        "docker-tag" => containers::tag(component, given, folder).map(|made| (made, true)),
        "docker-push" => containers::push(component, given, folder).map(|made| (made, true)),
        "docker-save" => containers::save(component, given, folder).map(|made| (made, true)),
        "docker-import" => containers::import(component, place, given).map(|made| (made, false)),
        "vagrant" => vagrant::vagrant(component, build, place, given).map(|made| (made, false)),
        "artifice" => artifice(component, place).map(|made| (made, false)),
        "shell-local" => provision::shell_local(component, place, &[("PACKER_RUN_UUID", run)])
            .map(|()| (given.clone(), true)),
        other => Err(Error::new(format!("`{other}` does not run here"))
            .hint("`bakery init` lists what does; the image's formats are options of its builder")),
    }
}

fn output(component: &Component, build: &Build, usual: &str, more: &[(&str, &str)]) -> String {
    let text = component.text("output").unwrap_or_else(|| usual.to_owned());
    let kind = build.builder.kind.as_str();
    let mut fields = more.to_vec();
    fields.extend([("BuildName", build.builder.name.as_str()), ("BuilderType", kind), ("Provider", kind)]);
    fill_in(&text, &fields)
}

/// Adds the build to the file that lists builds, as Packer's does.
fn manifest(
    component: &Component,
    build: &Build,
    place: &Place<'_>,
    run: &str,
    given: &Artifact,
) -> Result<()> {
    let folder = &place.template.folder;
    let path = folder.join(output(component, build, "packer-manifest.json", &[]));
    // Builds of one template run side by side.
    let name = Key::new("manifest").with("path", path.as_os_str().as_encoded_bytes());
    let _lock = Lock::wait(place.store.lock(name.as_str()))?;
    let mut document: Json = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| Error::new(format!("{} is there and is no manifest: {e}", path.display())))?,
        Err(_) => json!({ "builds": [] }),
    };
    let files = given.files.iter().map(|file| {
        let size = fs::metadata(folder.join(file)).map_or(0, |m| m.len());
        let shown = if component.flag("strip_path", false) {
            file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
        } else {
            file.display().to_string()
        };
        json!({ "name": shown, "size": size })
    });
    let files: Vec<Json> = files.collect();
    let custom = component.config.get("custom_data").map_or(Json::Null, |data| lang_json::to_json(&data));
    let time = if component.flag("strip_time", false) {
        0
    } else {
        bakery_store::seconds(&bakery_store::now()).unwrap_or(0)
    };
    let entry = json!({
        "name": build.builder.name,
        "builder_type": build.builder.kind,
        "build_time": time,
        "files": if files.is_empty() { Json::Null } else { files.into() },
        "artifact_id": given.id,
        "packer_run_uuid": run,
        "custom_data": custom,
    });
    match document["builds"].as_array_mut() {
        Some(builds) => builds.push(entry),
        None => document["builds"] = json!([entry]),
    }
    document["last_run_uuid"] = json!(run);
    Ok(fs::write_atomic(path, serde_json::to_string_pretty(&document).unwrap_or_default())?)
}

fn checksum(component: &Component, build: &Build, place: &Place<'_>, given: &Artifact) -> Result<Artifact> {
    let mut kinds = component.list("checksum_types");
    if kinds.is_empty() {
        kinds = vec!["md5".into()];
    }
    let mut files = given.files.clone();
    for kind in &kinds {
        let usual = "packer_{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}.checksum";
        let name = output(component, build, usual, &[("ChecksumType", kind)]);
        let mut lines = String::new();
        for file in &given.files {
            let sum = digest::named(kind, &place.template.folder.join(file))?;
            let shown = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            lines.push_str(&format!("{sum}\t{shown}\n"));
        }
        fs::write_atomic(place.template.folder.join(&name), lines)?;
        files.push(PathBuf::from(name));
    }
    Ok(of_files("packer.post-processor.checksum", files))
}

fn of_files(id: &str, files: Vec<PathBuf>) -> Artifact {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    artifact(id, "", &format!("Created artifact from files: {}", names.join(", ")), files)
}

fn compress(component: &Component, build: &Build, place: &Place<'_>, given: &Artifact) -> Result<Artifact> {
    let folder = &place.template.folder;
    let format = component.text("format").unwrap_or_else(|| "tar.gz".into());
    let usual = format!("packer_{{{{.BuildName}}}}_{{{{.BuilderType}}}}.{format}");
    let name = output(component, build, &usual, &[]);
    let path = folder.join(&name);
    let level = component.text("compression_level").and_then(|l| l.parse().ok());
    let full: Vec<PathBuf> = given.files.iter().map(|file| folder.join(file)).collect();
    let base = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let names: Vec<String> = full.iter().map(|path| base(path)).collect();
    let entries: Vec<Entry<'_>> =
        names.iter().zip(&full).map(|(name, path)| Entry::File(name, path)).collect();
    packed(&entries, &path, level)?;
    let text = format!("compressed artifacts in: {name}");
    Ok(artifact("packer.post-processor.compress", "", &text, vec![PathBuf::from(name)]))
}

/// Something in an archive.
enum Entry<'a> {
    /// A text under a name.
    Text(&'a str, String),
    /// A file under a name.
    File(&'a str, &'a Path),
}

/// Writes an archive of the kind that its name says: `.gz` alone holds one file, all else is a tar archive. The file is
/// whole or not there.
fn packed(entries: &[Entry<'_>], path: &Path, level: Option<u32>) -> Result<()> {
    let failed = |e: std::io::Error| Error::new(format!("cannot write `{}`: {e}", path.display()));
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let write_tar = |to: &mut dyn std::io::Write| -> Result<()> {
        let mut archive = tar::Builder::new(to);
        for entry in entries {
            match entry {
                Entry::File(name, source) => archive.append_path_with_name(source, name).map_err(failed)?,
                Entry::Text(name, text) => {
                    let mut header = tar::Header::new_gnu();
                    header.set_mode(0o644);
                    header.set_size(text.len() as u64);
                    archive.append_data(&mut header, name, text.as_bytes()).map_err(failed)?;
                }
            }
        }
        archive.finish().map_err(failed)
    };
    let mut file = std::io::BufWriter::new(part.as_file());
    if [".tar.gz", ".tgz", ".box"].iter().any(|ending| name.ends_with(ending)) {
        let mut encoder = flate2::write::GzEncoder::new(&mut file, level);
        write_tar(&mut encoder)?;
        encoder.finish().map_err(failed)?;
    } else if name.ends_with(".tar") {
        write_tar(&mut file)?;
    } else if name.ends_with(".gz") {
        let [Entry::File(_, one)] = entries else {
            return Err(Error::new("`gz` holds one file, and the artifact has several; use `tar.gz`"));
        };
        let mut encoder = flate2::write::GzEncoder::new(&mut file, level);
        std::io::copy(&mut fs::open(one)?, &mut encoder).map_err(failed)?;
        encoder.finish().map_err(failed)?;
    } else {
        return Err(
            Error::new(format!("`{name}` is no archive that is known")).hint("known: tar, tar.gz, gz")
        );
    }
    file.flush().map_err(failed)?;
    drop(file);
    fs::chmod(part.path(), 0o644)?;
    part.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// Other files in place of what was built.
fn artifice(component: &Component, place: &Place<'_>) -> Result<Artifact> {
    let folder = &place.template.folder;
    let mut files = Vec::new();
    for pattern in component.list("files") {
        let full = folder.join(&pattern).display().to_string();
        let found = glob::glob(&full).map_err(|e| Error::new(format!("`{pattern}` is no pattern: {e}")))?;
        files.extend(
            found.flatten().map(|path| path.strip_prefix(folder).map_or(path.clone(), Path::to_path_buf)),
        );
    }
    if files.is_empty() {
        return Err(Error::new("no file is there that `files` name"));
    }
    Ok(of_files("packer.post-processor.artifice", files))
}
