//! Facts that outlast a run: `fact_caching = jsonfile` (`ansible/plugins/cache/jsonfile.py`). One file a host, which
//! ansible-core reads, too.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bakery_host::fs;
use bakery_lang::{Map, Value, json};

use crate::Settings;

/// Where facts of hosts are kept.
#[derive(Debug, Clone)]
pub struct FactCache {
    folder: PathBuf,
    /// What file names begin with.
    prefix: String,
    /// How long facts are good for; for ever if there is none.
    lasts: Option<Duration>,
}

impl FactCache {
    /// The cache that is configured; `None` for facts that are kept in memory.
    ///
    /// # Errors
    /// Says what is missing, or that the configured kind is not one that bakery has.
    pub fn configured(settings: &Settings) -> Result<Option<Self>, String> {
        let kind = settings.text("ANSIBLE_CACHE_PLUGIN", "defaults", "fact_caching");
        let kind = kind.unwrap_or_else(|| "memory".into());
        match bakery_modules::canonical_name(&kind) {
            "" | "memory" => return Ok(None),
            "jsonfile" => {}
            other => {
                return Err(format!(
                    "facts are not cached: bakery has the caches memory and jsonfile, not '{other}'"
                ));
            }
        }
        let folder = settings.path("ANSIBLE_CACHE_PLUGIN_CONNECTION", "defaults", "fact_caching_connection");
        let folder = folder.ok_or(
            "facts are not cached: 'jsonfile' needs a folder, fact_caching_connection or ANSIBLE_CACHE_PLUGIN_CONNECTION",
        )?;
        let prefix = settings.text("ANSIBLE_CACHE_PLUGIN_PREFIX", "defaults", "fact_caching_prefix");
        let seconds =
            settings.number("ANSIBLE_CACHE_PLUGIN_TIMEOUT", "defaults", "fact_caching_timeout", 86400);
        Ok(Some(Self {
            folder,
            prefix: prefix.unwrap_or_default(),
            lasts: (seconds > 0).then(|| Duration::from_secs(seconds)),
        }))
    }

    fn file(&self, host: &str) -> PathBuf {
        // A host's name is a name of a file, not a path.
        self.folder.join(format!("{}{}", self.prefix, host.replace('/', "_")))
    }

    /// The facts of a host that are still good.
    pub(crate) fn read(&self, host: &str) -> Map {
        let file = self.file(host);
        let age = fs::metadata(&file).ok().and_then(|meta| meta.modified().ok());
        let age = age.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        let is_good = age.is_some_and(|age| self.lasts.is_none_or(|lasts| age <= lasts));
        let read = || json::parse(&fs::read_to_string(&file).ok()?).ok()?.as_map().cloned();
        if is_good { read().unwrap_or_default() } else { Map::new() }
    }

    /// Keeps the facts of a host.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn write(&self, host: &str, facts: &Map) -> Result<(), String> {
        let failed = |error: fs::Error| format!("the facts of {host} cannot be cached: {error}");
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let text = json::dumps(&Value::from(facts.copied()), 4, true);
        fs::write_atomic_mode(self.file(host), text, 0o644).map_err(failed)
    }

    /// Forgets the facts of a host.
    pub fn forget(&self, host: &str) {
        // What is not there is forgotten.
        let _ = fs::remove_file(self.file(host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_last_as_long_as_they_shall() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = |lasts| FactCache { folder: folder.path().join("new"), prefix: "p_".into(), lasts };
        let facts = Map::from_iter([("ansible_x", Value::from(1))]);
        cache(None).write("a/b", &facts).expect("written");
        assert!(folder.path().join("new/p_a_b").is_file());
        assert_eq!(cache(Some(Duration::from_secs(60))).read("a/b").get("ansible_x"), Some(Value::from(1)));
        std::thread::sleep(Duration::from_millis(20));
        assert!(cache(Some(Duration::from_millis(1))).read("a/b").is_empty());
        cache(None).forget("a/b");
        assert!(cache(None).read("a/b").is_empty());
    }
}
