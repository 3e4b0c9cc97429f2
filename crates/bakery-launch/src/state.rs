//! What there is: resources by address, in `.bakery/state.json` beside the configuration.

use std::path::{Path, PathBuf};

use bakery_host::{fs, lock::Lock};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The resources of a configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Counts changes.
    pub serial: u64,
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
    /// When it is there and cannot be understood.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = path(folder);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| {
                crate::Error::new(format!("the state {} cannot be understood: {e}", path.display()))
            }),
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads it for changing; a second bakery at the same state is an error.
    ///
    /// # Errors
    /// When it is locked or cannot be understood.
    pub fn lock(folder: &Path, purpose: &str) -> Result<Locked> {
        let lock = Lock::take(folder.join(".bakery/lock"), purpose)?;
        Ok(Locked { state: Self::read(folder)?, path: path(folder), _lock: lock })
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
