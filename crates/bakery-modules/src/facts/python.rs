//! The interpreter, where there is one (`facts/system/python.py`).

use bakery_lang::{Map, Value};

use super::Scene;

pub(super) fn python(scene: &Scene<'_>) -> Map {
    scene.python().iter().map(|(_, python)| ("python", python.clone())).collect()
}

/// Its version as `3.11.2`, and the fact.
pub(super) fn asked(scene: &Scene<'_>) -> Option<(String, Value)> {
    const ASK: &str = "import sys; v = sys.version_info; print(sys.executable, sys.implementation.name, *v)";
    let text = scene.output("python3", &["-I", "-S", "-c", ASK])?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [executable, kind, major, minor, micro, level, serial] = words.as_slice() else { return None };
    let number = |text: &str| Value::from(text.parse::<i64>().unwrap_or(0));
    let version = Value::map([
        ("major", number(major)),
        ("minor", number(minor)),
        ("micro", number(micro)),
        ("releaselevel", (*level).into()),
        ("serial", number(serial)),
    ]);
    let info = [number(major), number(minor), number(micro), (*level).into(), number(serial)];
    let python = Value::map([
        ("version", version),
        ("version_info", Value::list(info.to_vec())),
        ("executable", (*executable).into()),
        ("type", (*kind).into()),
        ("has_sslcontext", true.into()),
    ]);
    Some((format!("{major}.{minor}.{micro}"), python))
}
