//! What must change for the resources to be as the files say. Pure: nothing is looked at but the two.

use crate::Result;
use crate::config::Config;
use crate::state::State;

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed where it is.
    Update,
    /// A new one takes its place.
    Replace,
    /// It goes.
    Delete,
    /// It is no longer managed, and stays.
    Forget,
    /// It stays as it is.
    Keep,
}

/// A change of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its address.
    pub address: String,
    /// What happens.
    pub action: Action,
    /// Why, or what it will be.
    pub detail: String,
}

/// All changes.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In the order of the files.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Whether anything changes.
    pub fn has_changes(&self) -> bool {
        self.changes.iter().any(|c| c.action != Action::Keep)
    }

    /// How many resources are made, changed, and go.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |actions: &[Action]| self.changes.iter().filter(|c| actions.contains(&c.action)).count();
        (
            count(&[Action::Create, Action::Replace]),
            count(&[Action::Update]),
            count(&[Action::Delete, Action::Replace]),
        )
    }

    /// What happens to an address.
    pub fn action(&self, address: &str) -> Action {
        self.changes.iter().find(|c| c.address == address).map_or(Action::Keep, |c| c.action)
    }
}

/// A digest of user-data, for the state: the text itself may hold secrets.
pub(crate) fn digest(text: &str) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Compares. `image_of` gives the id of the image that an instance's `ami` means; `size_of` a volume's size in GiB.
///
/// # Errors
/// An image that is not there.
pub fn plan(
    config: &Config,
    state: &State,
    image_of: &dyn Fn(&str) -> Result<String>,
    size_of: &dyn Fn(&str) -> Option<u64>,
) -> Result<Plan> {
    let mut changes = Vec::new();
    let mut push = |address: &str, action: Action, detail: String| {
        changes.push(Change { address: address.to_owned(), action, detail });
    };
    for volume in &config.volumes {
        match state.volume(&volume.address) {
            None => push(&volume.address, Action::Create, format!("{} GiB", volume.size)),
            Some(record) => match size_of(&record.id) {
                Some(now) if volume.size > now => {
                    push(&volume.address, Action::Update, format!("grows from {now} to {} GiB", volume.size));
                }
                Some(_) => push(&volume.address, Action::Keep, record.id.clone()),
                None => push(
                    &volume.address,
                    Action::Create,
                    format!("{} GiB; {} is gone", volume.size, record.id),
                ),
            },
        }
    }
    for instance in &config.instances {
        let image = image_of(&instance.ami)?;
        match state.instance(&instance.address) {
            None => {
                push(&instance.address, Action::Create, format!("{} from {image}", instance.instance_type));
            }
            Some(record) if record.image != image => {
                push(&instance.address, Action::Replace, format!("image {} becomes {image}", record.image));
            }
            Some(record) if record.user_data != digest(&instance.user_data) => push(
                &instance.address,
                Action::Replace,
                "the user-data changed, and it runs at first boot only".into(),
            ),
            Some(record) if record.instance_type != instance.instance_type => push(
                &instance.address,
                Action::Update,
                format!("type {} becomes {}", record.instance_type, instance.instance_type),
            ),
            Some(record) => push(&instance.address, Action::Keep, record.id.clone()),
        }
    }
    for attachment in &config.attachments {
        let same = state.attachments.iter().any(|a| {
            a.address == attachment.address
                && a.device == attachment.device
                && state.volume(&attachment.volume).is_some_and(|v| v.id == a.volume)
                && state.instance(&attachment.instance).is_some_and(|i| i.id == a.instance)
        });
        let shown = format!("{} on {} as {}", attachment.volume, attachment.instance, attachment.device);
        push(&attachment.address, if same { Action::Keep } else { Action::Create }, shown);
    }
    for record in &state.instances {
        if !config.instances.iter().any(|i| i.address == record.address) {
            push(&record.address, Action::Delete, format!("{} is no longer in the files", record.id));
        }
    }
    for record in &state.volumes {
        if !config.volumes.iter().any(|v| v.address == record.address) {
            // Data is never lost by leaving a line out.
            push(
                &record.address,
                Action::Forget,
                format!("{} is no longer in the files; the volume and its data stay", record.id),
            );
        }
    }
    Ok(Plan { changes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DesiredInstance, DesiredVolume};
    use crate::state::{InstanceRecord, VolumeRecord};

    #[test]
    fn a_new_image_replaces_the_instance_and_keeps_the_volume() {
        let config = Config {
            instances: vec![DesiredInstance {
                address: "aws_instance.a".into(),
                ami: "x".into(),
                instance_type: "t2.micro".into(),
                user_data: "u".into(),
                root_size: None,
                ports: vec![],
            }],
            volumes: vec![DesiredVolume {
                address: "aws_ebs_volume.v".into(),
                size: 10,
                snapshot: String::new(),
            }],
            ..Config::default()
        };
        let fresh = plan(&config, &State::default(), &|_| Ok("ami-1".into()), &|_| None).expect("plans");
        assert_eq!(fresh.counts(), (2, 0, 0));
        let state = State {
            instances: vec![InstanceRecord {
                address: "aws_instance.a".into(),
                id: "i-1".into(),
                image: "ami-1".into(),
                instance_type: "t2.micro".into(),
                user_data: digest("u"),
            }],
            volumes: vec![
                VolumeRecord { address: "aws_ebs_volume.v".into(), id: "vol-1".into() },
                VolumeRecord { address: "aws_ebs_volume.old".into(), id: "vol-2".into() },
            ],
            ..State::default()
        };
        let next = plan(&config, &state, &|_| Ok("ami-2".into()), &|_| Some(10)).expect("plans");
        assert_eq!(next.action("aws_instance.a"), Action::Replace);
        assert_eq!(next.action("aws_ebs_volume.v"), Action::Keep);
        assert_eq!(next.action("aws_ebs_volume.old"), Action::Forget);
    }
}
