//! `vagrant`: a disk as a box for the provider libvirt, as Packer's post-processor writes it
//! (`post-processor/vagrant/libvirt.go`).

use std::path::{Path, PathBuf};

use bakery_host::{Cmd, fs};
use bakery_packer::{Build, Component};
use serde_json::{Value as Json, json};

use super::{Entry, output, packed};
use crate::build::{Artifact, artifact};
use crate::provision::Place;
use crate::{Error, Result};

const PROVIDER: &str = "libvirt";

/// What `qemu-img` says of a disk; nothing if it is none.
fn disk(path: &Path) -> Option<Json> {
    let named = path.extension().is_some_and(|end| end == "fd" || end == "tar");
    let said = Cmd::new("qemu-img").args(["info", "--output=json"]).arg(path).output().ok()?;
    let info: Json = serde_json::from_slice(&said.stdout).ok()?;
    (said.success() && !named).then_some(info)
}

/// Makes a box.
pub(super) fn vagrant(
    component: &Component,
    build: &Build,
    place: &Place<'_>,
    given: &Artifact,
) -> Result<Artifact> {
    let folder = &place.template.folder;
    let disks: Vec<(PathBuf, Json)> = given
        .files
        .iter()
        .map(|file| folder.join(file))
        .filter_map(|path| disk(&path).map(|info| (path, info)))
        .collect();
    let Some((_, first)) = disks.first() else {
        return Err(Error::new("what was built has no disk")
            .hint("boxes are made of what the builders qemu and disk make"));
    };
    let config = overridden(component);
    let gigabytes = first["virtual-size"].as_u64().unwrap_or(0).div_ceil(1 << 30);
    let format = first["format"].as_str().unwrap_or("qcow2");
    let mut metadata = json!({ "provider": PROVIDER, "format": format, "virtual_size": gigabytes });
    let names: Vec<String> = match disks.len() {
        1 => vec!["box.img".into()],
        more => (0..more).map(|at| format!("box_{at}.img")).collect(),
    };
    if names.len() > 1 {
        metadata["disks"] = names.iter().map(|name| json!({ "path": name })).collect();
    }
    let custom = match config.text("vagrantfile_template") {
        Some(path) => fs::read_to_string(folder.join(path))?,
        None => String::new(),
    };
    let driver = match build.builder.text("accelerator").as_deref() {
        None | Some("kvm") => "kvm",
        Some(_) => "qemu",
    };
    let vagrantfile = format!(
        "# What bakery knows of the box.\nVagrant.configure(\"2\") do |config|\n  config.vm.provider :libvirt do |libvirt|\n    libvirt.driver = \"{driver}\"\n  end\nend\n\n# What the template adds.\n{custom}"
    );
    let mut entries =
        vec![Entry::Text("metadata.json", metadata.to_string()), Entry::Text("Vagrantfile", vagrantfile)];
    let included: Vec<PathBuf> = config.list("include").iter().map(|path| folder.join(path)).collect();
    for path in &included {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        entries.push(Entry::File(name, path));
    }
    entries.extend(names.iter().zip(&disks).map(|(name, (path, _))| Entry::File(name, path)));
    let name = output(&config, build, "packer_{{.BuildName}}_{{.Provider}}.box", &[("Provider", PROVIDER)]);
    let level = config.text("compression_level").and_then(|level| level.parse().ok());
    packed(&entries, &folder.join(&name), level)?;
    let text = format!("'{PROVIDER}' provider box: {name}");
    Ok(artifact("mitchellh.post-processor.vagrant", PROVIDER, &text, vec![PathBuf::from(name)]))
}

/// The options with those that `override` has for the provider.
fn overridden(component: &Component) -> Component {
    let own = Component { config: component.config.copied(), ..component.clone() };
    let overrides = component.config.get("override");
    let block =
        overrides.as_ref().and_then(bakery_lang::Value::as_items).and_then(|items| items.first().cloned());
    let of_provider = block.or(overrides).and_then(|all| all.get(PROVIDER));
    if let Some(more) = of_provider.and_then(|more| more.as_map().cloned()) {
        own.config.extend(&more);
    }
    own
}
