//! Settings of `ansible.cfg` and of `ANSIBLE_` variables that change behaviour here (`ansible/config/base.yml`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::Value;

/// What the environment and the configuration file say; the environment comes first.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    values: HashMap<(String, String), String>,
    /// Variables that stand before those of the environment.
    environment: HashMap<String, String>,
}

/// Every setting of ansible-core: name, type, environment variable, section, key, default (`scripts/record-settings`).
const NAMED: &str = include_str!("settings.tsv");

impl Settings {
    /// Reads `ANSIBLE_CONFIG`, or the first of `ansible.cfg` here, `~/.ansible.cfg` and `/etc/ansible/ansible.cfg`.
    pub fn load() -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let named = std::env::var_os("ANSIBLE_CONFIG").map(PathBuf::from);
        let named = named.map(|path| if path.is_dir() { path.join("ansible.cfg") } else { path });
        let candidates = [
            named.unwrap_or_default(),
            std::env::current_dir().unwrap_or_default().join("ansible.cfg"),
            home.join(".ansible.cfg"),
            PathBuf::from("/etc/ansible/ansible.cfg"),
        ];
        for path in candidates {
            if let Ok(text) = fs::read_to_string(&path) {
                return Self { values: parse(&text), file: Some(path), ..Self::default() };
            }
        }
        Self::default()
    }

    /// Puts variables before those of the environment.
    pub fn set_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        self.environment.extend(variables);
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned().or_else(|| std::env::var(name).ok())
    }

    /// The text of a setting; the environment's name comes first.
    pub fn text(&self, variable: &str, section: &str, key: &str) -> Option<String> {
        self.variable(variable).or_else(|| self.values.get(&(section.to_owned(), key.to_owned())).cloned())
    }

    /// A truth value.
    pub fn flag(&self, variable: &str, section: &str, key: &str, default: bool) -> bool {
        self.text(variable, section, key).map_or(default, |text| {
            matches!(text.trim().to_lowercase().as_str(), "1" | "true" | "yes" | "on" | "y" | "t")
        })
    }

    /// Whether text of JSON with half a surrogate pair is an error.
    pub(crate) fn refuses_surrogates(&self) -> bool {
        self.flag("ANSIBLE_MODULE_STRICT_UTF8_RESPONSE", "defaults", "module_strict_utf8_response", true)
    }

    /// A number.
    pub fn number(&self, variable: &str, section: &str, key: &str, default: u64) -> u64 {
        self.text(variable, section, key).and_then(|text| text.trim().parse().ok()).unwrap_or(default)
    }

    /// Words between commas.
    pub fn list(&self, variable: &str, section: &str, key: &str) -> Vec<String> {
        let text = self.text(variable, section, key).unwrap_or_default();
        text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    }

    /// A path; one of the configuration file is relative to it.
    pub fn path(&self, variable: &str, section: &str, key: &str) -> Option<PathBuf> {
        let text = self.text(variable, section, key).filter(|text| !text.is_empty())?;
        Some(self.located(&text, variable))
    }

    /// Paths between colons.
    pub fn paths(&self, variable: &str, section: &str, key: &str) -> Vec<PathBuf> {
        let text = self.text(variable, section, key).unwrap_or_default();
        text.split(':').filter(|p| !p.is_empty()).map(|p| self.located(p.trim(), variable)).collect()
    }

    fn located(&self, text: &str, variable: &str) -> PathBuf {
        let path = expanded(text);
        if path.is_absolute() {
            return path;
        }
        let folder = match &self.file {
            Some(file) if std::env::var_os(variable).is_none() => file.parent().map(Path::to_path_buf),
            _ => std::env::current_dir().ok(),
        };
        folder.unwrap_or_default().join(path)
    }

    /// A setting by the name that documentation gives it, of its type, with its default; `None` if there is none.
    pub fn named(&self, name: &str) -> Option<Value> {
        if name == "ALLOW_BROKEN_CONDITIONALS" {
            return Some((!self.strict_conditions()).into());
        }
        let row = NAMED.lines().find(|line| line.split('\t').next() == Some(name))?;
        let mut cells = row.split('\t').skip(1);
        let mut next = || cells.next().unwrap_or_default();
        let (kind, variable, section, key, default) = (next(), next(), next(), next(), next());
        let default = || bakery_lang::json::parse(default).unwrap_or_default();
        let value = match (self.text(variable, section, key), kind) {
            (None, "bool" | "boolean" | "int" | "integer" | "float" | "list") => default(),
            (None, "path" | "tmppath") => match default().as_str() {
                Some(path) => expanded(path).display().to_string().into(),
                None => Value::None,
            },
            (None, "pathspec" | "pathlist") => {
                let paths = default().to_string();
                let paths = paths.split(':').filter(|p| !p.is_empty() && *p != "None");
                Value::strings(paths.map(|p| expanded(p).display().to_string()))
            }
            (None, _) => default(),
            (Some(_), "bool" | "boolean") => self.flag(variable, section, key, default().is_true()).into(),
            (Some(text), "int" | "integer") => text.trim().parse::<i64>().map_or(Value::None, Value::from),
            (Some(text), "float") => text.trim().parse::<f64>().map_or(Value::None, Value::from),
            (Some(_), "list") => Value::strings(self.list(variable, section, key)),
            (Some(_), "path" | "tmppath") => {
                self.path(variable, section, key).map(|p| p.display().to_string()).into()
            }
            (Some(_), "pathspec" | "pathlist") => {
                Value::strings(self.paths(variable, section, key).iter().map(|p| p.display().to_string()))
            }
            (Some(text), _) => text.into(),
        };
        Some(value)
    }

    /// Where the value of a setting comes from, in the words of ansible-core: `env: NAME`, the path of a file, or `default`.
    pub fn origin_of(&self, name: &str) -> String {
        let row = NAMED.lines().find(|line| line.split('\t').next() == Some(name)).unwrap_or_default();
        let cells: Vec<&str> = row.split('\t').collect();
        let [_, _, variable, section, key, ..] = cells.as_slice() else { return "default".into() };
        if self.variable(variable).is_some() {
            return format!("env: {variable}");
        }
        let is_in_file = self.values.contains_key(&((*section).to_owned(), (*key).to_owned()));
        let file = self.file.as_ref().filter(|_| is_in_file);
        file.map_or_else(|| "default".into(), |file| file.display().to_string())
    }

    /// Whether a condition must be true or false, and text that looks like a list is nothing but text, as ansible-core 2.19
    /// has it; otherwise both are read as people mean them.
    pub fn strict_conditions(&self) -> bool {
        let allowed = self.text("ANSIBLE_ALLOW_BROKEN_CONDITIONALS", "defaults", "allow_broken_conditionals");
        match allowed {
            Some(_) => !self.flag(
                "ANSIBLE_ALLOW_BROKEN_CONDITIONALS",
                "defaults",
                "allow_broken_conditionals",
                false,
            ),
            None => self.text("BAKERY_CONDITIONALS", "bakery", "conditionals").is_some_and(|t| t == "strict"),
        }
    }

    /// Whether mappings of the same name are merged instead of replaced.
    pub fn merges_hashes(&self) -> bool {
        self.text("ANSIBLE_HASH_BEHAVIOUR", "defaults", "hash_behaviour").is_some_and(|text| text == "merge")
    }
}

/// A path whose `~` is this user's home.
pub(crate) fn expanded(text: &str) -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    text.strip_prefix("~/").map_or_else(|| PathBuf::from(text), |rest| Path::new(&home).join(rest))
}

/// `[section]`, `key = value`, and comments of `#` and `;`.
fn parse(text: &str) -> HashMap<(String, String), String> {
    let mut values: HashMap<(String, String), String> = HashMap::new();
    let mut section = String::new();
    let mut last: Option<(String, String)> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            name.clone_into(&mut section);
            last = None;
        } else if line.starts_with(char::is_whitespace)
            && let Some(value) = last.as_ref().and_then(|key| values.get_mut(key))
        {
            value.push('\n');
            value.push_str(trimmed);
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
            let value = value.split(" ;").next().unwrap_or(value).trim();
            let key = (section.clone(), key.trim().to_lowercase());
            values.insert(key.clone(), value.to_owned());
            last = Some(key);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sections_comments_and_continued_lines() {
        let values = parse(
            "# c\n[defaults]\nroles_path = a:b ; why\nlist=x,\n  y\n[inventory]\nenable_plugins: ini\n",
        );
        let get = |s: &str, k: &str| values.get(&(s.to_owned(), k.to_owned())).map(String::as_str);
        assert_eq!(get("defaults", "roles_path"), Some("a:b"));
        assert_eq!(get("defaults", "list"), Some("x,\ny"));
        assert_eq!(get("inventory", "enable_plugins"), Some("ini"));
    }
}
