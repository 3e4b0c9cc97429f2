//! The state of a tree: what led to it, as a key, and what it is, as layers.

use bakery_store::record::Record;
use bakery_store::{Key, Store};

use crate::Result;

/// A state that a bake came to.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// A key over everything that led here.
    pub(crate) key: Key,
    /// The layers, the lowest first.
    pub(crate) layers: Vec<Key>,
}

impl State {
    /// The state that a key came to, if all of it is still there.
    pub(crate) fn known(store: &Store, key: &Key) -> Option<Self> {
        store.state(key).map(|(key, layers)| Self { key, layers })
    }

    /// Keeps it as what a key came to.
    pub(crate) fn keep(&self, store: &Store, key: &Key) -> Result<()> {
        let state = (*key != self.key).then(|| self.key.clone());
        let record = Record { layers: Some(self.layers.clone()), state, ..Record::default() };
        Ok(store.keep_record(key, &record)?)
    }
}
