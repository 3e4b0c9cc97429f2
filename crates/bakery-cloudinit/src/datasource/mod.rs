//! Where an instance learns who it is: one folder or file per datasource, tried in order.

mod ec2;
mod nocloud;

use std::collections::BTreeMap;

/// Who the instance is, and what it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Instance {
    /// The datasource's name.
    pub(crate) datasource: &'static str,
    /// The instance's id; a new one means a first boot.
    pub(crate) id: String,
    /// The name that the platform gives it.
    pub(crate) hostname: Option<String>,
    /// Whether bakery has started the machine, on somebody's own host.
    pub(crate) is_local: bool,
    /// Keys that may log in.
    pub(crate) public_keys: Vec<String>,
    /// Device names of attached volumes, with their volume ids where the platform says them.
    pub(crate) volumes: BTreeMap<String, Option<String>>,
    /// The user-data, as it came.
    pub(crate) user_data: Vec<u8>,
}

/// The instance, from the first datasource that is there.
pub(crate) fn detect() -> crate::Result<Option<Instance>> {
    if let Some(instance) = nocloud::seed(std::path::Path::new("/var/lib/cloud/seed"))? {
        return Ok(Some(instance));
    }
    if let Some(instance) = nocloud::disk()? {
        return Ok(Some(instance));
    }
    if ec2::is_here() {
        return ec2::fetch("http://169.254.169.254", std::time::Duration::from_mins(2)).map(Some);
    }
    Ok(None)
}
