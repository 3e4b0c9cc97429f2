//! What expressions of a template can name, and the functions that need more than their arguments.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::hcl::{self, Scope};
use bakery_lang::{Map, Source, Value};
use base64::Engine as _;

/// Names in expressions.
pub(crate) struct Names {
    map: Map,
    folder: PathBuf,
    /// Whether `env` can be asked: in the defaults of variables.
    env: bool,
}

impl Names {
    /// The names that every template has.
    pub(crate) fn new(folder: &Path, env: bool) -> Self {
        let cwd = std::env::current_dir().map(|p| p.display().to_string()).unwrap_or_default();
        let map = Map::new();
        let root = folder.display().to_string();
        map.set("path", Value::map([("root", Value::from(root)), ("cwd", cwd.into())]));
        let version = Value::from(crate::VERSION);
        map.set("packer", Value::map([("version", version), ("iterationID", Value::from(""))]));
        Self { map, folder: folder.to_path_buf(), env }
    }

    pub(crate) fn set(&self, name: &str, value: Value) {
        self.map.set(name, value);
    }
}

impl Scope for Names {
    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "build" => Some(Value::undefined("`build` is only known while a build runs")),
            _ => self.map.get(name),
        }
    }

    fn names(&self) -> Vec<String> {
        self.map.keys().iter().map(ToString::to_string).collect()
    }

    fn function(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let text = |at: usize| args.get(at).map(ToString::to_string).unwrap_or_default();
        let path = || self.folder.join(home(&text(0)));
        let absolute = || std::path::absolute(path()).unwrap_or_else(|_| path());
        Some(match name {
            "file" => fs::read_to_string(path()).map(Value::from).map_err(|e| e.to_string()),
            "filebase64" => fs::read(path())
                .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes).into())
                .map_err(|e| e.to_string()),
            "fileexists" => Ok(path().is_file().into()),
            "fileset" => fileset(&path(), &text(1)),
            "abspath" => Ok(absolute().display().to_string().into()),
            "pathexpand" => Ok(home(&text(0)).into()),
            "env" if self.env => Ok(std::env::var(text(0)).unwrap_or_default().into()),
            "env" => Err("`env` can only be used in the default of a variable".into()),
            "bcrypt" => {
                let cost = args.get(1).and_then(bakery_lang::Value::as_int).map_or(10, |c| c as u32);
                bcrypt::hash(text(0), cost).map(Value::from).map_err(|e| e.to_string())
            }
            "templatefile" => {
                let vars = args.get(1).and_then(|v| v.as_map().cloned()).unwrap_or_default();
                self.render(&path(), vars)
            }
            _ => return None,
        })
    }
}

impl Names {
    fn render(&self, path: &Path, vars: Map) -> Result<Value, String> {
        let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
        let source = Source::new(path.display().to_string(), text);
        let names = Self { map: vars, folder: self.folder.clone(), env: false };
        hcl::render_template(&source, &names).map(Value::from).map_err(|d| d.to_string())
    }
}

fn home(path: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            std::env::var("HOME").unwrap_or_default() + rest
        }
        _ => path.to_owned(),
    }
}

/// The files below a folder that a pattern fits, as paths from there.
fn fileset(folder: &Path, pattern: &str) -> Result<Value, String> {
    let pattern = glob::Pattern::new(pattern).map_err(|e| format!("`{pattern}` is no pattern: {e}"))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    let files = fs::walk(folder).map_err(|e| e.to_string())?;
    let names = files.iter().filter(|p| p.is_file()).filter_map(|p| p.strip_prefix(folder).ok());
    let found = names.filter(|p| pattern.matches_path_with(p, options));
    Ok(Value::strings(found.map(|p| p.display().to_string())))
}
