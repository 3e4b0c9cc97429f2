//! What roles ask for: which of their tasks run natively with every option known, and what is left to modules of others.
//!
//! Files are read as they are written, imports are not followed: a file that several import counts once.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::Map;

use crate::actions;
use crate::playbook::{Loader, Task};

/// What stands in the way of a task that runs natively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The module is another one's: the role's own, a collection's, or nowhere.
    Foreign,
    /// Options that the native module does not know.
    Options(Vec<String>),
}

/// A task with an obstacle.
#[derive(Debug, Clone)]
pub struct Finding {
    /// `FILE:LINE:COLUMN`.
    pub place: String,
    /// The module, as it is written.
    pub module: String,
    /// What it is.
    pub obstacle: Obstacle,
}

/// What is known of a role.
#[derive(Debug, Clone)]
pub struct RoleReport {
    /// Where it is.
    pub path: PathBuf,
    /// Why it does not load, if it does not: `main.yml` of its parts, what they import, and the roles that it depends on.
    pub trouble: Option<String>,
    /// Files of tasks that cannot be read, and why.
    pub unreadable: Vec<String>,
    /// How many tasks it has.
    pub tasks: usize,
    /// Those that do not run natively.
    pub findings: Vec<Finding>,
}

impl RoleReport {
    /// Whether nothing is left to modules of others.
    pub fn is_native(&self) -> bool {
        self.trouble.is_none() && self.unreadable.is_empty() && self.findings.is_empty()
    }
}

/// Roles in a folder: itself, or whatever below it has tasks or what a role has besides, in the order of their paths.
///
/// # Errors
/// When a folder cannot be read.
pub fn roles(folder: &Path) -> crate::Result<Vec<PathBuf>> {
    let is_role = |path: &Path| {
        path.join("tasks").is_dir()
            && ["yml", "yaml"].iter().any(|e| path.join("tasks/main").with_extension(e).is_file())
    };
    if is_role(folder) {
        return Ok(vec![folder.to_path_buf()]);
    }
    let mut found = Vec::new();
    for path in fs::read_dir(folder)?.into_iter().filter(|path| path.is_dir() && !path.is_symlink()) {
        found.extend(roles(&path)?);
    }
    found.sort();
    Ok(found)
}

/// Looks at a role.
pub fn role(path: &Path) -> RoleReport {
    let mut loader = Loader::new(&path.join("site.yml"), Map::new());
    loader.roles_paths.extend(path.parent().map(Path::to_path_buf));
    // A collection's role may name others of it.
    let collections = path.ancestors().find(|folder| folder.ends_with("ansible_collections"));
    loader.collections_paths.extend(collections.and_then(Path::parent).map(Path::to_path_buf));
    let trouble = loader.try_role(path).err().map(|error| error.diagnostic.to_string());
    let mut report =
        RoleReport { path: path.to_path_buf(), trouble, unreadable: vec![], tasks: 0, findings: vec![] };
    for part in ["tasks", "handlers"] {
        for file in task_files(&path.join(part)) {
            match loader.written_tasks(&file) {
                Ok(tasks) => {
                    report.tasks += tasks.len();
                    report.findings.extend(tasks.iter().filter_map(finding));
                }
                Err(error) => report.unreadable.push(error.diagnostic.to_string()),
            }
        }
    }
    report
}

fn task_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::walk(folder).unwrap_or_default();
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|e| e == "yml" || e == "yaml");
    files.retain(|path| is_yaml(path) && path.is_file());
    files.sort();
    files
}

fn finding(task: &Task) -> Option<Finding> {
    let short = bakery_modules::canonical_name(&task.action);
    let at =
        |obstacle| Some(Finding { place: task.origin.to_string(), module: task.action.clone(), obstacle });
    let module = bakery_modules::find(&task.action);
    let Some(module) = module else {
        // Actions of the controller have their own readers of options.
        return if actions::NAMES.contains(&short) { None } else { at(Obstacle::Foreign) };
    };
    let known = module.doc().args;
    let is_known = |name: &str| {
        name == "_raw_params" || known.iter().any(|arg| arg.name == name || arg.aliases.contains(&name))
    };
    let unknown: Vec<String> =
        task.args.keys().iter().map(ToString::to_string).filter(|name| !is_known(name)).collect();
    // These hand on whatever they are given.
    if unknown.is_empty() || matches!(short, "package" | "service") {
        None
    } else {
        at(Obstacle::Options(unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_with_obstacles() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join("web").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write_atomic(path, text).expect("written");
        };
        write(
            "tasks/main.yml",
            "- file: {path: /x, state: touch, fly: true}\n- block:\n    - telegram_of_ours: {to: me}\n    - ping:\n",
        );
        write("tasks/later.yml", "- apt: name=nginx\n- ec2_instance: {name: x}\n");
        write("handlers/main.yml", "- name: reload\n  service: name=nginx state=reloaded\n");
        let found = roles(folder.path()).expect("readable");
        assert_eq!(found, [folder.path().join("web")]);
        let report = role(&found[0]);
        assert_eq!(report.trouble, None);
        assert_eq!(report.tasks, 6);
        let told: Vec<(&str, &Obstacle)> =
            report.findings.iter().map(|f| (f.module.as_str(), &f.obstacle)).collect();
        let unknown = Obstacle::Options(vec!["fly".into()]);
        assert_eq!(
            told,
            [
                ("ec2_instance", &Obstacle::Foreign),
                ("file", &unknown),
                ("telegram_of_ours", &Obstacle::Foreign)
            ]
        );
        write("tasks/main.yml", "- tempalte: {src: a, dest: /x}\n");
        assert!(role(&found[0]).trouble.expect("a slip of the pen").contains("template"));
    }
}
