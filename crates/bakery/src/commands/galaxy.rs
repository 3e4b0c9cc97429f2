//! `galaxy`: roles and collections of requirements files.

use bakery_galaxy::command::{GalaxyArgs, Surroundings, run};
use bakery_store::Store;

use super::Outcome;
use crate::terminal::Terminal;

pub(crate) fn galaxy(args: &GalaxyArgs, terminal: &Terminal) -> Outcome {
    let settings = bakery_ansible::Settings::load();
    let paths = |name: &str| {
        let paths = settings.named(name).and_then(|paths| paths.as_items()).unwrap_or_default();
        paths.iter().map(|path| path.to_string().into()).collect()
    };
    let around = Surroundings {
        lookup: &|variable, section, key| settings.text(variable, section, key),
        roles: paths("DEFAULT_ROLES_PATH"),
        collections: paths("COLLECTIONS_PATHS"),
        cache: Store::open()?.root().join("galaxy"),
        reporter: terminal,
        json: terminal.is_json(),
    };
    let mut text = Vec::new();
    let code = run(args, &around, &mut text);
    terminal.settle();
    if !text.is_empty() {
        crate::terminal::data(String::from_utf8_lossy(&text).trim_end());
    }
    Ok(code?)
}
