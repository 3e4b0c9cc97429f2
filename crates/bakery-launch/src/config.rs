//! `*.tf` files into desired resources: instances, volumes, attachments, and what they refer to.
//!
//! What is not carried out on a local machine is named in `notes`; what is not known is an error with its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bakery_host::fs;
use bakery_lang::hcl::hcl_edit::Span as _;
use bakery_lang::hcl::hcl_edit::structure::{Block, Body};
use bakery_lang::hcl::{self, Scope};
use bakery_lang::{Diagnostic, Map, Origin, Source, Value, suggest};

use crate::{Error, Result};

/// What the files ask for.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The folder of the files.
    pub folder: PathBuf,
    /// Instances by address.
    pub instances: Vec<DesiredInstance>,
    /// Volumes by address.
    pub volumes: Vec<DesiredVolume>,
    /// Attachments by address.
    pub attachments: Vec<DesiredAttachment>,
    /// Names and values of outputs.
    pub outputs: Vec<(String, Value)>,
    /// What is not carried out on a local machine.
    pub notes: Vec<String>,
}

/// An `aws_instance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredInstance {
    /// Such as `aws_instance.box`.
    pub address: String,
    /// The image as written.
    pub ami: String,
    /// The type, which gives processors and memory.
    pub instance_type: String,
    /// The user-data, rendered.
    pub user_data: String,
    /// The size of the root disk in GiB.
    pub root_size: Option<u64>,
    /// Ports that may be reached from outside.
    pub ports: Vec<u16>,
}

/// An `aws_ebs_volume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredVolume {
    /// Such as `aws_ebs_volume.data`.
    pub address: String,
    /// The size in GiB.
    pub size: u64,
    /// The snapshot to start from; empty for none.
    pub snapshot: String,
}

/// An `aws_volume_attachment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredAttachment {
    /// Such as `aws_volume_attachment.a`.
    pub address: String,
    /// The device name, such as `/dev/xvdb`.
    pub device: String,
    /// The volume's address.
    pub volume: String,
    /// The instance's address.
    pub instance: String,
}

/// Stands for an attribute that is only known once its resource is there.
const REFERENCE: &str = "\u{1}ref:";

/// Resource types, and whether they are carried out or only understood.
const RESOURCES: &[(&str, bool)] = &[
    ("aws_instance", true),
    ("aws_ebs_volume", true),
    ("aws_volume_attachment", true),
    ("aws_security_group", true),
    ("aws_security_group_rule", false),
    ("aws_key_pair", false),
    ("aws_eip", false),
    ("aws_eip_association", false),
    ("aws_vpc", false),
    ("aws_subnet", false),
    ("aws_internet_gateway", false),
    ("aws_route_table", false),
    ("aws_route_table_association", false),
    ("aws_iam_role", false),
    ("aws_iam_instance_profile", false),
    ("aws_iam_role_policy", false),
    ("aws_route53_record", false),
    ("aws_cloudwatch_metric_alarm", false),
];

const BLOCKS: &[&str] =
    &["data", "locals", "module", "output", "provider", "resource", "terraform", "variable"];

struct Names {
    map: Map,
    folder: PathBuf,
}

impl Scope for Names {
    fn variable(&self, name: &str) -> Option<Value> {
        self.map.get(name)
    }

    fn names(&self) -> Vec<String> {
        self.map.keys().iter().map(ToString::to_string).collect()
    }

    fn function(&self, name: &str, args: &[Value]) -> Option<std::result::Result<Value, String>> {
        let text = |at: usize| args.get(at).map(std::string::ToString::to_string).unwrap_or_default();
        match name {
            "file" => Some(
                fs::read_to_string(self.folder.join(text(0))).map(Value::from).map_err(|e| e.to_string()),
            ),
            "templatefile" => {
                let vars = args.get(1).and_then(|v| v.as_map().cloned()).unwrap_or_default();
                Some(template(&self.folder.join(text(0)), vars, &self.folder).map(Value::from))
            }
            "timestamp" => Some(Ok(bakery_store::now().into())),
            "base64gzip" => Some(Err("`base64gzip` is not carried out; give the text itself".into())),
            _ => None,
        }
    }
}

fn template(path: &Path, vars: Map, folder: &Path) -> std::result::Result<String, String> {
    let source =
        Source::new(path.display().to_string(), fs::read_to_string(path).map_err(|e| e.to_string())?);
    hcl::render_template(&source, &Names { map: vars, folder: folder.to_path_buf() })
        .map_err(|d| d.to_string())
}

struct File {
    source: Arc<Source>,
    body: Body,
}

fn at(file: &File, block: &Block) -> Origin {
    file.source.at_offset(block.span().map_or(0, |s| s.start))
}

fn label(block: &Block, index: usize) -> String {
    block.labels.get(index).map(|l| l.as_str().to_owned()).unwrap_or_default()
}

/// Reads a file, or all `*.tf` files of a folder, with `-var` values.
///
/// # Errors
/// What is not valid, not known or without a value, with its place.
pub fn load(path: &Path, variables: &[(String, String)]) -> Result<Config> {
    let paths: Vec<PathBuf> = if path.is_dir() {
        fs::read_dir(path)?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "tf")).collect()
    } else {
        vec![path.to_path_buf()]
    };
    if paths.is_empty() {
        return Err(Error::new(format!("there is no .tf file in {}", path.display())));
    }
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    };
    let folder = fs::canonicalize(folder)?;
    let mut files = Vec::new();
    for path in &paths {
        let source = Source::new(path.display().to_string(), fs::read_to_string(path)?);
        let body = hcl::parse(&source)?;
        files.push(File { source, body });
    }
    let mut config = Config { folder: folder.clone(), ..Config::default() };
    let names = Names { map: Map::new(), folder };
    for name in ["var", "local", "data"] {
        names.map.set(name, Map::new());
    }
    names.map.set(
        "path",
        Value::map(["module", "root", "cwd"].map(|k| (k, Value::from(config.folder.display().to_string())))),
    );
    names.map.set("terraform", Value::map([("workspace", Value::from("default"))]));
    check_blocks(&files)?;
    read_variables(&files, &names, variables)?;
    declare(&files, &names)?;
    locals_and_data(&files, &names, &mut config)?;
    for file in &files {
        for block in file.body.blocks() {
            match block.ident.as_str() {
                "resource" => resource(file, block, &names, &mut config)?,
                "output" => {
                    if let Some(value) = block.body.get_attribute("value") {
                        config
                            .outputs
                            .push((label(block, 0), hcl::evaluate(&value.value, &names, &file.source)?));
                    }
                }
                _ => {}
            }
        }
    }
    ports(&mut config, &files, &names)?;
    Ok(config)
}

fn check_blocks(files: &[File]) -> Result<()> {
    for file in files {
        for block in file.body.blocks() {
            let kind = block.ident.as_str();
            if !BLOCKS.contains(&kind) {
                return Err(Diagnostic::at(&at(file, block), format!("unsupported block type `{kind}`"))
                    .maybe_hint(suggest(kind, BLOCKS.iter().copied()))
                    .into());
            }
            if kind == "module" {
                return Err(Diagnostic::at(
                    &at(file, block),
                    "modules are not carried out on a local machine",
                )
                .hint("name the module's own folder")
                .into());
            }
            if kind == "resource" {
                let kind = label(block, 0);
                if !RESOURCES.iter().any(|(k, _)| *k == kind) {
                    let hint = suggest(&kind, RESOURCES.iter().map(|(k, _)| *k)).unwrap_or_else(|| {
                        format!("known: {}", RESOURCES.iter().map(|(k, _)| *k).collect::<Vec<_>>().join(", "))
                    });
                    return Err(Diagnostic::at(&at(file, block), format!("unknown resource type `{kind}`"))
                        .hint(hint)
                        .into());
                }
                for meta in ["count", "for_each"] {
                    if let Some(attribute) = block.body.get_attribute(meta) {
                        let origin = file.source.at_offset(attribute.span().map_or(0, |s| s.start));
                        return Err(Diagnostic::at(
                            &origin,
                            format!("`{meta}` is not carried out on a local machine"),
                        )
                        .hint("write the resources one by one")
                        .into());
                    }
                }
            }
            if kind == "data" && label(block, 0) != "template_file" && !label(block, 0).starts_with("aws_") {
                return Err(Diagnostic::at(
                    &at(file, block),
                    format!("unknown data source `{}`", label(block, 0)),
                )
                .hint("known: template_file")
                .into());
            }
        }
    }
    Ok(())
}

fn read_variables(files: &[File], names: &Names, given: &[(String, String)]) -> Result<()> {
    let var = names.map.get("var").and_then(|v| v.as_map().cloned()).unwrap_or_default();
    let mut known = Vec::new();
    let mut missing = None;
    for file in files {
        for block in file.body.blocks().filter(|b| b.ident.as_str() == "variable") {
            let name = label(block, 0);
            known.push(name.clone());
            if let Some(default) = block.body.get_attribute("default") {
                var.set(&name, hcl::evaluate(&default.value, names, &file.source)?);
            }
            if let Ok(value) = std::env::var(format!("TF_VAR_{name}")) {
                var.set(&name, value);
            }
            if !var.contains(&name) && !given.iter().any(|(n, _)| *n == name) {
                missing.get_or_insert((name, at(file, block)));
            }
        }
    }
    let tfvars = names.folder.join("terraform.tfvars");
    if tfvars.is_file() {
        let source = Source::new(tfvars.display().to_string(), fs::read_to_string(&tfvars)?);
        var.extend(&hcl::body(&hcl::parse(&source)?, names, &source)?);
    }
    for (name, value) in given {
        if !known.contains(name) {
            return Err(Diagnostic::new(format!("there is no variable `{name}`"))
                .maybe_hint(suggest(name, known.iter().map(String::as_str)))
                .into());
        }
        var.set(name, value.as_str());
    }
    if let Some((name, origin)) = missing.filter(|(n, _)| !var.contains(n)) {
        return Err(Diagnostic::at(&origin, format!("the variable `{name}` has no value"))
            .hint(format!("give it with `-var {name}=…`, in terraform.tfvars, or as TF_VAR_{name}"))
            .into());
    }
    Ok(())
}

/// Every resource's attributes that others may refer to, as references.
fn declare(files: &[File], names: &Names) -> Result<()> {
    for file in files {
        for block in file.body.blocks().filter(|b| b.ident.as_str() == "resource") {
            let (kind, name) = (label(block, 0), label(block, 1));
            let all = names.map.get(&kind).and_then(|v| v.as_map().cloned()).unwrap_or_default();
            names.map.set(&kind, all.clone());
            if all.contains(&name) {
                return Err(Diagnostic::at(
                    &at(file, block),
                    format!("the resource {kind}.{name} is there twice"),
                )
                .into());
            }
            let attributes = Map::new();
            for attribute in [
                "id",
                "arn",
                "name",
                "public_ip",
                "private_ip",
                "public_dns",
                "private_dns",
                "availability_zone",
                "key_name",
            ] {
                attributes.set(attribute, format!("{REFERENCE}{kind}.{name}"));
            }
            all.set(&name, attributes);
        }
    }
    Ok(())
}

/// Locals and data sources may refer to each other in any order.
fn locals_and_data(files: &[File], names: &Names, config: &mut Config) -> Result<()> {
    let data = names.map.get("data").and_then(|v| v.as_map().cloned()).unwrap_or_default();
    let local = names.map.get("local").and_then(|v| v.as_map().cloned()).unwrap_or_default();
    let mut notes: Vec<String> = Vec::new();
    let mut last = None;
    for _ in 0..20 {
        last = None;
        for file in files {
            for block in file.body.blocks() {
                match block.ident.as_str() {
                    "locals" => {
                        for attribute in block.body.attributes() {
                            match hcl::evaluate(&attribute.value, names, &file.source) {
                                Ok(value) => local.set(attribute.key.as_str(), value),
                                Err(error) => last = Some(error),
                            }
                        }
                    }
                    "data" => {
                        let (kind, name) = (label(block, 0), label(block, 1));
                        let all = data.get(&kind).and_then(|v| v.as_map().cloned()).unwrap_or_default();
                        data.set(&kind, all.clone());
                        if kind == "template_file" {
                            match template_file(file, block, names, &mut notes) {
                                Ok(text) => all.set(&name, Value::map([("rendered", Value::from(text))])),
                                Err(error) => last = Some(error),
                            }
                        } else {
                            let id = Value::from(format!("{REFERENCE}data.{kind}.{name}"));
                            all.set(
                                &name,
                                Value::map([("id", id.clone()), ("image_id", id.clone()), ("value", id)]),
                            );
                        }
                    }
                    _ => {}
                }
            }
        }
        if last.is_none() {
            break;
        }
    }
    notes.sort();
    notes.dedup();
    config.notes.extend(notes);
    last.map_or(Ok(()), |error| Err(error.into()))
}

/// `data "template_file"`: the template's text, or the file that an old configuration names, with its `vars`.
fn template_file(
    file: &File,
    block: &Block,
    names: &Names,
    notes: &mut Vec<String>,
) -> std::result::Result<String, Diagnostic> {
    let body = hcl::body(&block.body, names, &file.source)?;
    let vars = match body.get("vars") {
        // The old syntax, `vars { … }`, is a block; today's is a map.
        Some(Value::List(blocks)) => blocks.get(0).and_then(|b| b.as_map().cloned()).unwrap_or_default(),
        Some(Value::Map(map)) => map,
        _ => Map::new(),
    };
    let template = body.get("template").or_else(|| body.get("filename")).unwrap_or_default().to_string();
    let path = names.folder.join(&template);
    let one_line = !template.contains('\n') && template.len() < 256 && !template.is_empty();
    let source = if one_line && path.is_file() {
        let text = fs::read_to_string(&path).map_err(|e| Diagnostic::at(&at(file, block), e.to_string()))?;
        Source::new(path.display().to_string(), text)
    } else {
        if one_line && !template.contains(' ') && Path::new(&template).extension().is_some() {
            notes.push(format!("data.template_file.{}: `{template}` looks like a file's name and is not there; its text is the template, as in Terraform", label(block, 1)));
        }
        Source::new(format!("{} (template of {})", file.source.name, label(block, 1)), template)
    };
    hcl::render_template(&source, &Names { map: vars, folder: names.folder.clone() })
}

fn reference(value: Option<Value>, kind: &str) -> Option<String> {
    let text = value?.to_string();
    text.strip_prefix(REFERENCE).filter(|address| address.starts_with(&format!("{kind}."))).map(str::to_owned)
}

fn resource(file: &File, block: &Block, names: &Names, config: &mut Config) -> Result<()> {
    let (kind, name) = (label(block, 0), label(block, 1));
    let address = format!("{kind}.{name}");
    let body = hcl::body(&block.body, names, &file.source)?;
    let text = |key: &str| body.get(key).filter(|v| !v.is_none() && !v.is_undefined()).map(|v| v.to_string());
    let number = |key: &str| {
        body.get(key).and_then(|v| v.as_int().or_else(|| v.to_string().trim().parse().ok())).map(|n| n as u64)
    };
    let need = |key: &str| {
        text(key)
            .filter(|t| !t.is_empty())
            .ok_or_else(|| Error::from(Diagnostic::at(&at(file, block), format!("{address} needs `{key}`"))))
    };
    match kind.as_str() {
        "aws_instance" => {
            let root =
                body.get("root_block_device").and_then(|r| r.as_items()).and_then(|i| i.first().cloned());
            let root_size = root
                .and_then(|r| r.get("volume_size"))
                .and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok()))
                .map(|n| n as u64);
            let user_data = text("user_data").unwrap_or_default();
            if user_data.contains(REFERENCE) {
                return Err(Diagnostic::at(
                    &at(file, block),
                    format!("the user_data of {address} depends on something that is only known after apply"),
                )
                .into());
            }
            if user_data.len() > 16384 {
                return Err(Diagnostic::at(
                    &at(file, block),
                    format!(
                        "the user_data of {address} is {} bytes, and EC2 takes 16384 at most",
                        user_data.len()
                    ),
                )
                .into());
            }
            let ignored: Vec<&str> = [
                "key_name",
                "subnet_id",
                "vpc_security_group_ids",
                "security_groups",
                "associate_public_ip_address",
                "iam_instance_profile",
                "availability_zone",
                "ebs_optimized",
                "monitoring",
                "private_ip",
            ]
            .into_iter()
            .filter(|k| body.contains(k))
            .collect();
            if !ignored.is_empty() {
                config.notes.push(format!(
                    "{address}: {} are EC2's and have no effect on a local machine",
                    ignored.join(", ")
                ));
            }
            let ami = need("ami")?;
            let groups: Vec<String> = ["vpc_security_group_ids", "security_groups"]
                .iter()
                .filter_map(|k| body.get(k))
                .flat_map(|v| v.as_items().unwrap_or_default())
                .filter_map(|v| reference(Some(v), "aws_security_group"))
                .collect();
            config.instances.push(DesiredInstance {
                ami: if ami.starts_with(REFERENCE) { String::new() } else { ami },
                instance_type: need("instance_type")?,
                user_data,
                root_size,
                // The groups' addresses until their ports are known.
                ports: vec![],
                address: address.clone(),
            });
            config.notes.extend(groups.iter().map(|g| format!("\u{1}{address} {g}")));
        }
        "aws_ebs_volume" => {
            let snapshot = text("snapshot_id").unwrap_or_default();
            let size = number("size").or_else(|| (!snapshot.is_empty()).then_some(0));
            let size = size.ok_or_else(|| {
                Error::from(Diagnostic::at(
                    &at(file, block),
                    format!("{address} needs `size` or `snapshot_id`"),
                ))
            })?;
            if text("availability_zone").is_some_and(|z| z.starts_with(&format!("{REFERENCE}aws_instance"))) {
                config.notes.push(format!("{address}: its zone is its instance's, so on EC2 a new image destroys this volume; name the zone itself"));
            }
            config.volumes.push(DesiredVolume { address, size, snapshot });
        }
        "aws_volume_attachment" => {
            let need_reference = |key: &str, kind: &str| {
                reference(body.get(key), kind).ok_or_else(|| {
                    Error::from(Diagnostic::at(
                        &at(file, block),
                        format!("{address}: `{key}` must refer to an {kind} of these files"),
                    ))
                })
            };
            config.attachments.push(DesiredAttachment {
                device: need("device_name")?,
                volume: need_reference("volume_id", "aws_ebs_volume")?,
                instance: need_reference("instance_id", "aws_instance")?,
                address,
            });
        }
        "aws_security_group" => {}
        _ => config.notes.push(format!("{address}: {kind} is EC2's and is not made on a local machine")),
    }
    Ok(())
}

/// Ports that security groups open are those that are forwarded to a local machine.
fn ports(config: &mut Config, files: &[File], names: &Names) -> Result<()> {
    let links: Vec<(String, String)> = config
        .notes
        .iter()
        .filter_map(|n| n.strip_prefix('\u{1}'))
        .filter_map(|n| n.split_once(' '))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect();
    config.notes.retain(|n| !n.starts_with('\u{1}'));
    for file in files {
        for block in file
            .body
            .blocks()
            .filter(|b| b.ident.as_str() == "resource" && label(b, 0) == "aws_security_group")
        {
            let address = format!("aws_security_group.{}", label(block, 1));
            let body = hcl::body(&block.body, names, &file.source)?;
            for rule in body.get("ingress").and_then(|i| i.as_items()).unwrap_or_default() {
                let port = |key: &str| {
                    rule.get(key)
                        .and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok()))
                        .and_then(|n| u16::try_from(n).ok())
                        .unwrap_or(0)
                };
                let (from, to) = (port("from_port"), port("to_port"));
                if from > 0 && to >= from && to - from < 32 {
                    for instance in config
                        .instances
                        .iter_mut()
                        .filter(|i| links.contains(&(i.address.clone(), address.clone())))
                    {
                        instance.ports.extend(from..=to);
                    }
                }
            }
        }
    }
    for instance in &mut config.instances {
        instance.ports.push(22);
        instance.ports.sort_unstable();
        instance.ports.dedup();
    }
    Ok(())
}
