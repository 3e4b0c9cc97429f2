//! Facts that the machine's owner wrote, and those of other programs (`facts/system/local.py`,
//! `facts/other/{facter,ohai}.py`).

use std::os::unix::fs::PermissionsExt as _;

use bakery_host::{command::find_program, fs};
use bakery_lang::{Map, Value, ini, json};

use super::Scene;

/// Facts from `*.fact` files: JSON or INI text, or what a program prints. What cannot be read is a warning, and its
/// text the fact.
pub(super) fn local(scene: &Scene<'_>) -> Map {
    let facts = Map::new();
    let mut paths = fs::read_dir(scene.host.path(scene.fact_path)).unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "fact"));
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|n| n.to_string_lossy().replace(".fact", "")).unwrap_or_default();
        let fact = read(scene, &path).unwrap_or_else(|why| {
            scene.warn(why.as_str());
            why.into()
        });
        facts.set(&name, fact);
    }
    Map::from_iter([("local", Value::from(facts))])
}

fn read(scene: &Scene<'_>, path: &std::path::Path) -> Result<Value, String> {
    let shown = path.display();
    let meta = fs::metadata(path).map_err(|error| format!("Could not stat fact ({shown}): {error}"))?;
    let bytes = if meta.permissions().mode() & 0o100 == 0 {
        fs::read(path).unwrap_or_default()
    } else {
        let output = scene.host.cmd(&shown.to_string()).output();
        let output = output.map_err(|error| format!("Could not execute fact script ({shown}): {error}"))?;
        if !output.success() {
            return Err(format!(
                "Failure executing fact script ({shown}), rc: {}, err: {}",
                output.code,
                output.error_text()
            ));
        }
        output.stdout
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("error loading fact - output of running \"{shown}\" was not utf-8"))?;
    if let Ok(value) = json::parse(&text) {
        return Ok(value);
    }
    let file = ini::parse(&text, ini::Rules::default())
        .map_err(|_| format!("error loading facts as JSON or ini - please check content: {shown}"))?;
    let sections = Map::new();
    for section in file.sections() {
        let options = Map::new();
        for (option, value) in file.options(section) {
            let value = file.interpolated(section, value.unwrap_or_default()).map_err(|error| {
                format!("error loading facts as ini - please check content: {shown} ({error})")
            })?;
            options.set(option, value);
        }
        sections.set(section, options);
    }
    Ok(sections.into())
}

/// What Puppet's facter knows, where it is installed.
pub(super) fn facter(scene: &Scene<'_>) -> Map {
    let places = ["cfacter", "/opt/puppetlabs/bin/cfacter", "facter", "/opt/puppetlabs/bin/facter"];
    let Some(program) = places.into_iter().find(|place| find_program(place).is_some()) else {
        return Map::new();
    };
    // Some releases refuse `--puppet` without Puppet.
    let said = scene.output(program, &["--puppet", "--json"]).or_else(|| scene.output(program, &["--json"]));
    said.map(|text| parsed(scene, &text, "Failed to parse facter facts")).unwrap_or_default()
}

/// What Chef's ohai knows, where it is installed.
pub(super) fn ohai(scene: &Scene<'_>) -> Map {
    let said = scene.output("ohai", &[]);
    said.map(|text| parsed(scene, &text, "Failed to gather ohai facts")).unwrap_or_default()
}

fn parsed(scene: &Scene<'_>, text: &str, trouble: &str) -> Map {
    let facts = json::parse(text).ok().and_then(|value| value.as_map().cloned());
    facts.unwrap_or_else(|| {
        scene.warn(trouble);
        Map::new()
    })
}
