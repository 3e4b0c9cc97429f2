//! Options that older Packers had, mended as `packer fix` does (`fix/fixer*.go` of Packer). Templates of any age are
//! mended when they are read; the verb writes the result.

use bakery_lang::{Map, Value};

/// A change that was made, in words.
pub type Notes = Vec<String>;

/// A template as `packer fix` writes it: options mended, keys sorted.
///
/// # Errors
/// A template that is not JSON.
pub fn fixed(path: &std::path::Path) -> crate::Result<(String, Notes)> {
    let text = bakery_host::fs::read_to_string(path)?;
    let raw = crate::json::read(&bakery_lang::Source::new(path.display().to_string(), text))?;
    let text = bakery_lang::json::dumps_readable(&raw.map.clone().into(), 2);
    // `<` and `>` are left as they are written, `&` is not.
    Ok((text.replace('&', "\\u0026"), raw.notes))
}

/// Mends a JSON template.
pub(crate) fn fix(root: &Map) -> Notes {
    let mut notes = Notes::new();
    for builder in maps(root.get("builders")) {
        fix_builder(&builder, &mut notes);
    }
    for provisioner in maps(root.get("provisioners")) {
        if kind(&provisioner).starts_with("ansible") {
            rename(&provisioner, "galaxycommand", "galaxy_command", &mut notes);
        }
    }
    for entry in items(root.get("post-processors")) {
        let sequence = entry.as_items().unwrap_or_else(|| vec![entry.clone()]);
        for one in maps(Some(sequence.into())) {
            fix_post_processor(&one, &mut notes);
        }
    }
    notes
}

fn items(value: Option<Value>) -> Vec<Value> {
    value.and_then(|v| v.as_items()).unwrap_or_default()
}

fn maps(value: Option<Value>) -> Vec<Map> {
    items(value).iter().filter_map(|v| v.as_map().cloned()).collect()
}

fn kind(map: &Map) -> String {
    map.get("type").map(|v| v.to_string()).unwrap_or_default()
}

fn rename(map: &Map, old: &str, new: &str, notes: &mut Notes) {
    if let Some(value) = map.remove(old) {
        notes.push(format!("`{old}` of {} is called `{new}` now", kind(map)));
        if !map.contains(new) {
            map.set(new, value);
        }
    }
}

fn drop_option(map: &Map, old: &str, notes: &mut Notes) {
    if map.remove(old).is_some() {
        notes.push(format!("`{old}` of {} has no meaning any more", kind(map)));
    }
}

fn fix_builder(builder: &Map, notes: &mut Notes) {
    for (old, new) in [("virtualbox", "virtualbox-iso"), ("vmware", "vmware-iso")] {
        if kind(builder) == old {
            notes.push(format!("the builder `{old}` is called `{new}` now"));
            builder.set("type", new);
        }
    }
    for (old, new) in [
        ("ssh_wait_timeout", "ssh_timeout"),
        ("ssh_key_path", "ssh_private_key_file"),
        ("ssh_disable_agent", "ssh_disable_agent_forwarding"),
    ] {
        rename(builder, old, new, notes);
    }
    texts(builder, &|text| {
        text.replace("clean_ami_name", "clean_resource_name")
            .replace("clean_image_name", "clean_resource_name")
            .replace("{{.CreateTime}}", "{{timestamp}}")
            .replace("{{ .CreateTime }}", "{{timestamp}}")
    });
    let kind = kind(builder);
    if kind.starts_with("amazon-") {
        rename(builder, "shutdown_behaviour", "shutdown_behavior", notes);
        rename(builder, "enhanced_networking", "ena_support", notes);
        drop_option(builder, "spot_price_auto_product", notes);
        if let Some(private) = builder.remove("ssh_private_ip") {
            let private = matches!(private.to_string().to_lowercase().as_str(), "true" | "1");
            builder.set("ssh_interface", if private { "private_ip" } else { "public_ip" });
            notes.push("`ssh_private_ip` is called `ssh_interface` now".into());
        }
        if let Some(one) = builder.remove("temporary_security_group_source_cidr") {
            builder.set("temporary_security_group_source_cidrs", vec![one]);
            notes.push("`temporary_security_group_source_cidr` is a list now".into());
        }
    }
    if kind == "docker" {
        drop_option(builder, "login_email", notes);
    }
    if matches!(kind.as_str(), "qemu" | "virtualbox-iso" | "virtualbox-ovf") {
        for end in ["min", "max"] {
            rename(builder, &format!("ssh_host_port_{end}"), &format!("host_port_{end}"), notes);
        }
    }
    if kind == "qemu"
        && let Some(Value::Int(size)) = builder.get("disk_size")
    {
        builder.set("disk_size", format!("{size}M"));
        notes.push("`disk_size` of qemu is text with a unit now".into());
    }
    checksum(builder, notes);
}

/// Kind, sum and URL of an ISO's checksum are one option now.
fn checksum(builder: &Map, notes: &mut Notes) {
    let text = |key: &str| builder.remove(key).map(|v| v.to_string());
    if let Some(sum) = text("iso_md5") {
        builder.set("iso_checksum", format!("md5:{sum}"));
        notes.push("`iso_md5` is a part of `iso_checksum` now".into());
    }
    let (kind, url) = (text("iso_checksum_type"), text("iso_checksum_url"));
    if kind.is_none() && url.is_none() {
        return;
    }
    let sum = builder.get("iso_checksum").map(|v| v.to_string()).filter(|s| !s.is_empty());
    let mended = match (url, sum, kind) {
        (Some(url), None, _) if !url.is_empty() => format!("file:{url}"),
        (_, Some(sum), Some(kind)) => format!("{kind}:{sum}"),
        (_, Some(sum), None) => sum,
        (_, None, Some(kind)) => kind,
        (_, None, None) => return,
    };
    builder.set("iso_checksum", mended);
    notes.push("`iso_checksum_type` and `iso_checksum_url` are parts of `iso_checksum` now".into());
}

fn fix_post_processor(one: &Map, notes: &mut Notes) {
    match kind(one).as_str() {
        "manifest" => rename(one, "filename", "output", notes),
        "docker-tag" => rename(one, "tag", "tags", notes),
        "docker-login" | "docker-push" => drop_option(one, "login_email", notes),
        "vagrant" => {
            let overrides = one.get("override").and_then(|v| v.as_map().cloned()).unwrap_or_default();
            for provider in ["aws", "digitalocean", "virtualbox", "vmware"] {
                if let Some(options) = one.remove(provider) {
                    overrides.set(provider, options);
                    one.set("override", overrides.clone());
                    notes.push(format!("`{provider}` of vagrant is a part of `override` now"));
                }
            }
        }
        _ => {}
    }
}

/// Changes every text of a mapping in place.
fn texts(map: &Map, change: &dyn Fn(&str) -> String) {
    for (key, value) in map.pairs() {
        map.insert(key, changed(&value, change));
    }
}

fn changed(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Str(text) => change(text.as_str()).into(),
        Value::List(list) => list.items().iter().map(|v| changed(v, change)).collect::<Vec<_>>().into(),
        Value::Map(map) => {
            texts(map, change);
            value.clone()
        }
        other => other.clone(),
    }
}
