//! What there is: resources by address, in `.bakery/state.json` beside the configuration.

use std::path::{Path, PathBuf};

use bakery_host::{fs, lock::Lock};
use bakery_store::Store;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The resources of a configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Counts changes.
    pub serial: u64,
    /// The store that holds them.
    #[serde(default)]
    pub store: Option<PathBuf>,
    /// Instances by address.
    pub instances: Vec<InstanceRecord>,
    /// Volumes by address.
    pub volumes: Vec<VolumeRecord>,
    /// Attachments by address.
    pub attachments: Vec<AttachmentRecord>,
}

/// An instance that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Its address.
    pub address: String,
    /// Its id.
    pub id: String,
    /// The image's id.
    pub image: String,
    /// Its type.
    pub instance_type: String,
    /// A digest of its user-data.
    pub user_data: String,
}

/// A volume that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its address.
    pub address: String,
    /// Its id.
    pub id: String,
}

/// An attachment that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// Its address.
    pub address: String,
    /// The device name.
    pub device: String,
    /// The volume's id.
    pub volume: String,
    /// The instance's id.
    pub instance: String,
}

/// A state under its lock.
#[derive(Debug)]
pub struct Locked {
    /// The resources.
    pub state: State,
    path: PathBuf,
    _lock: Lock,
}

fn path(folder: &Path) -> PathBuf {
    folder.join(".bakery/state.json")
}

impl State {
    /// Reads the state of a configuration's folder; empty when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be understood, or when what it names is in another store: there it would seem gone,
    /// be forgotten, and go on.
    pub fn read(folder: &Path, store: &Store) -> Result<Self> {
        let path = path(folder);
        let mut state: Self = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| {
                crate::Error::new(format!("the state {} cannot be understood: {e}", path.display()))
            })?,
            Err(error) if error.is_not_found() => Self::default(),
            Err(error) => return Err(error.into()),
        };
        let is_empty = state.instances.is_empty() && state.volumes.is_empty();
        if let Some(own) = state.store.as_ref().filter(|own| !is_empty && *own != store.root()) {
            let message = format!(
                "the machines and volumes of {} are in the store {}, not in {}",
                folder.display(),
                own.display(),
                store.root().display()
            );
            return Err(crate::Error::new(message).hint(format!(
                "set BAKERY_HOME={}; if the store was moved, say so by `store` in {}",
                own.display(),
                path.display()
            )));
        }
        state.store = Some(store.root().to_owned());
        Ok(state)
    }

    /// Reads it for changing; a second bakery at the same state is an error.
    ///
    /// # Errors
    /// When it is locked, and as [`State::read`].
    pub fn lock(folder: &Path, store: &Store, purpose: &str) -> Result<Locked> {
        let lock = Lock::take(folder.join(".bakery/lock"), purpose)?;
        Ok(Locked { state: Self::read(folder, store)?, path: path(folder), _lock: lock })
    }

    /// The instance of an address.
    pub fn instance(&self, address: &str) -> Option<&InstanceRecord> {
        self.instances.iter().find(|i| i.address == address)
    }

    /// The volume of an address.
    pub fn volume(&self, address: &str) -> Option<&VolumeRecord> {
        self.volumes.iter().find(|v| v.address == address)
    }
}

impl Locked {
    /// Writes it, the old one kept as a backup.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<()> {
        self.state.serial += 1;
        if self.path.exists() {
            fs::copy(&self.path, self.path.with_extension("json.backup"))?;
        }
        let text = serde_json::to_string_pretty(&self.state).unwrap_or_default();
        Ok(fs::write_atomic(&self.path, text + "\n")?)
    }
}
