//! What a store holds, and what of it is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bakery_host::lock::Lock;
use bakery_host::{Result, fs};

use crate::record::Record;
use crate::{Key, Store};

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Layers.
    pub layers: u64,
    /// The bytes of their files.
    pub bytes: u64,
    /// Records of answers and states.
    pub records: u64,
    /// Disks of lineages.
    pub disks: u64,
    /// Files that were fetched by URL.
    pub downloads: u64,
}

impl Store {
    /// Held while layers are used: nobody removes any meanwhile.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn in_use(&self) -> Result<Lock> {
        Lock::share(self.lock("store"))
    }

    /// How many images have each layer.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn layers_of_images(&self) -> Result<BTreeMap<Key, usize>> {
        let mut counts = BTreeMap::new();
        for layer in self.images().list()?.iter().flat_map(|image| &image.layers) {
            *counts.entry(layer.clone()).or_insert(0) += 1;
        }
        Ok(counts)
    }

    /// Removes layers that no image has, records, disks and downloads, all of them unless they are younger than `age`.
    ///
    /// # Errors
    /// When bakes are under way, or something cannot be removed.
    pub fn prune(&self, age: Duration) -> Result<Pruned> {
        let _alone = Lock::take(self.lock("store"), "prune")?;
        let old = |path: &Path| {
            let changed = fs::symlink_metadata(path)
                .and_then(|m| m.modified().map_err(|e| bakery_host::Error::new("read the time of", path, e)));
            changed.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|passed| passed >= age))
        };
        let mut pruned = Pruned::default();
        let mut kept: BTreeSet<Key> = self.layers_of_images()?.into_keys().collect();
        let layers = self.layers()?;
        let parents: BTreeMap<&Key, Option<&Key>> =
            layers.iter().map(|l| (&l.id, l.parent.as_ref())).collect();
        // A layer is nothing without those below it.
        let young = layers.iter().filter(|l| !old(&self.layer_folder(&l.id).join("layer.json")));
        let mut pending: Vec<Key> = young.map(|l| l.id.clone()).chain(kept.clone()).collect();
        while let Some(id) = pending.pop() {
            if let Some(Some(parent)) = parents.get(&id) {
                pending.push((*parent).clone());
            }
            kept.insert(id);
        }
        for layer in layers.iter().filter(|l| !kept.contains(&l.id)) {
            self.drop_layer(&layer.id)?;
            pruned.layers += 1;
            pruned.bytes += layer.bytes;
        }
        for path in fs::read_dir(self.root().join("records"))? {
            let record: Option<Record> = fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok());
            let gone = |record: &Record| {
                record.layers.as_ref().is_some_and(|layers| layers.iter().any(|id| self.layer(id).is_none()))
            };
            if record.is_none_or(|record| gone(&record)) || old(&path) {
                fs::remove_file(&path)?;
                pruned.records += 1;
            }
        }
        for path in fs::read_dir(self.disks()).unwrap_or_default() {
            if old(&path.join("disk.raw")) {
                fs::remove_all(&path)?;
                pruned.disks += 1;
            }
        }
        for path in fs::read_dir(self.downloads()).unwrap_or_default() {
            if old(&path) {
                fs::remove_file(&path)?;
                pruned.downloads += 1;
            }
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_images_need_stays_and_a_mirror_gives_it_back() {
        use crate::mirror::{Copied, Folder};

        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::at(folder.path().join("one")).expect("opens");
        let delta = |text: &str| {
            let work = store.work().expect("work").keep();
            fs::create_dir_all(work.join("d")).expect("made");
            fs::write_atomic(work.join("d/f"), text).expect("written");
            work.join("d")
        };
        let base = store.publish_layer(&delta("base"), None, "test").expect("published");
        let top = store.publish_layer(&delta("top"), Some(&base), "test").expect("published");
        let record = Record { layers: Some(vec![base.clone(), top.clone()]), ..Record::default() };
        let key = Key::new("state");
        store.keep_record(&key, &record).expect("kept");
        let place = folder.path().join("mirror");
        let mirror = Folder::new(&place);
        assert_eq!(store.push(&mirror).expect("pushed"), Copied { layers: 2, records: 1 });
        assert_eq!(store.push(&mirror).expect("pushed"), Copied::default());
        assert_eq!(store.prune(Duration::from_hours(1)).expect("pruned"), Pruned::default());
        let pruned = store.prune(Duration::ZERO).expect("pruned");
        assert_eq!((pruned.layers, pruned.records), (2, 1));
        assert!(store.layer(&base).is_none() && store.state(&key).is_none());

        assert_eq!(store.pull(&mirror).expect("pulled"), Copied { layers: 2, records: 1 });
        assert_eq!(store.state(&key).expect("is there").1, [base, top]);
        let other = Store::at(folder.path().join("two")).expect("opens");
        let archive = fs::read_dir(place.join("layers")).expect("listed").remove(0);
        let mut bytes = fs::read(&archive).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write_atomic(&archive, bytes).expect("written");
        other.pull(&mirror).expect_err("a damaged archive");
    }
}
