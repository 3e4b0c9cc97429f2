//! Makes the resources as the files say, in the order that loses nothing.
//!
//! A replacement is: make the new instance's disk, stop the old instance, detach its volumes, attach them to the new
//! one, start it, and only when its boot is finished throw the old one away. A volume is never attached to two.

use std::time::Duration;

use bakery_events::{Reporter, Step};
use bakery_host::{Cmd, fs};
use bakery_qemu::{Accelerator, choose};
use bakery_store::{Image, Store};

use crate::config::{Config, DesiredInstance};
use crate::instance::{Attached, Instance, key};
use crate::plan::{Action, digest, plan};
use crate::state::{AttachmentRecord, InstanceRecord, Locked, State, VolumeRecord};
use crate::volume::Volume;
use crate::{Error, Plan, Result, new_id, qemu};

/// How to apply.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// The image to use whatever the files say.
    pub image: Option<String>,
    /// More ports to forward.
    pub forward: Vec<u16>,
    /// How long to wait for boots; not at all if not given.
    pub wait: Option<Duration>,
}

/// The image that an `ami` means on this host: one of its id or name, else the newest, which is said.
pub(crate) fn image(store: &Store, ami: &str, wanted: Option<&str>) -> Result<(Image, Option<String>)> {
    let images = store.images();
    if let Some(wanted) = wanted {
        return Ok((
            images.find(wanted)?,
            (!ami.is_empty() && ami != wanted)
                .then(|| format!("ami {ami} is replaced by the image {wanted}")),
        ));
    }
    if let Ok(found) = images.find(ami) {
        return Ok((found, None));
    }
    let newest = images.list()?.pop().ok_or_else(|| {
        Error::new(format!("there is no image for `{ami}`")).hint("bake one with `bakery bake`")
    })?;
    let note = format!(
        "ami `{ami}` is none of this host's; the newest image, {} ({}), takes its place (--image chooses another)",
        newest.name, newest.id
    );
    Ok((newest, Some(note)))
}

/// Plans with the images and volumes of this host; also what was substituted.
///
/// # Errors
/// When no image can be found.
pub fn local_plan(
    store: &Store,
    config: &Config,
    state: &State,
    wanted: Option<&str>,
) -> Result<(Plan, Vec<String>)> {
    let mut notes = config.notes.clone();
    for instance in &config.instances {
        // Without any image a plan can still be shown.
        if let Ok((_, Some(note))) = image(store, &instance.ami, wanted) {
            notes.push(note);
        }
    }
    let image_of = |ami: &str| {
        Ok(image(store, ami, wanted)
            .map_or_else(|_| format!("{ami} (no image is baked yet)"), |(found, _)| found.id))
    };
    let size_of = |id: &str| Volume::read(store, id).ok().map(|v| v.size >> 30);
    Ok((plan(config, state, &image_of, &size_of)?, notes))
}

/// Applies.
///
/// # Errors
/// What failed; what was done until then is in the state.
pub fn apply(
    store: &Store,
    config: &Config,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Vec<Instance>> {
    let mut locked = State::lock(&config.folder, store, "apply")?;
    let (plan, notes) = local_plan(store, config, &locked.state, options.image.as_deref())?;
    for note in &notes {
        reporter.note(note);
    }
    for instance in &config.instances {
        image(store, &instance.ami, options.image.as_deref())?;
    }
    let accelerator = choose(store)?;
    reporter.note(&format!("machines run by {}: {}", accelerator.name, accelerator.reason));
    for desired in &config.volumes {
        let known = locked
            .state
            .volume(&desired.address)
            .map(|v| v.id.clone())
            .and_then(|id| Volume::read(store, &id).ok());
        match known {
            Some(mut volume) => volume.grow(store, desired.size)?,
            None => {
                if !desired.snapshot.is_empty() {
                    return Err(Error::new(format!(
                        "{}: the snapshot {} is not on this host",
                        desired.address, desired.snapshot
                    )));
                }
                let volume = Volume::create(store, desired.size)?;
                locked.state.volumes.retain(|v| v.address != desired.address);
                locked.state.volumes.push(VolumeRecord { address: desired.address.clone(), id: volume.id });
                locked.save()?;
            }
        }
    }
    for record in locked.state.instances.clone() {
        if plan.action(&record.address) == Action::Delete {
            throw_away(store, &mut locked, &record, reporter)?;
        }
    }
    for change in plan.changes.iter().filter(|c| c.action == Action::Forget) {
        locked.state.volumes.retain(|v| v.address != change.address);
        locked.save()?;
    }
    let mut out = Vec::new();
    for desired in &config.instances {
        let old = locked.state.instance(&desired.address).cloned();
        let action = plan.action(&desired.address);
        let instance = match (&old, action) {
            (Some(record), Action::Keep | Action::Update) => {
                keep_or_start(store, config, &mut locked, desired, record, &accelerator, reporter)?
            }
            _ => launch(store, config, &mut locked, desired, options, &accelerator, reporter)?,
        };
        out.push(instance);
    }
    Ok(out)
}

/// Replaces one instance by a new one from an image, its volumes kept.
///
/// # Errors
/// What failed. When the new instance does not come up, the old one's disk is still there.
pub fn replace(
    store: &Store,
    config: &Config,
    address: &str,
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Result<Instance> {
    let mut locked = State::lock(&config.folder, store, "replace")?;
    let desired = config
        .instances
        .iter()
        .find(|i| i.address == address)
        .ok_or_else(|| Error::new(format!("there is no {address} in the files")))?;
    let accelerator = choose(store)?;
    reporter.note(&format!("machines run by {}: {}", accelerator.name, accelerator.reason));
    launch(store, config, &mut locked, desired, options, &accelerator, reporter)
}

fn attachments(config: &Config, state: &State, address: &str) -> Result<Vec<(String, Attached)>> {
    config
        .attachments
        .iter()
        .filter(|a| a.instance == address)
        .map(|a| {
            let volume = state
                .volume(&a.volume)
                .ok_or_else(|| Error::new(format!("{}: there is no {}", a.address, a.volume)))?;
            Ok((a.address.clone(), Attached { volume: volume.id.clone(), device: a.device.clone() }))
        })
        .collect()
}

fn keep_or_start(
    store: &Store,
    config: &Config,
    locked: &mut Locked,
    desired: &DesiredInstance,
    record: &InstanceRecord,
    accelerator: &Accelerator,
    reporter: &dyn Reporter,
) -> Result<Instance> {
    let mut instance = Instance::of_id(store, &record.id)?;
    let wanted: Vec<Attached> =
        attachments(config, &locked.state, &desired.address)?.into_iter().map(|(_, a)| a).collect();
    let changed = instance.volumes != wanted || instance.instance_type != desired.instance_type;
    if changed {
        let step = Step::start(reporter, "restart", &desired.address);
        qemu::stop(store, &instance, Duration::from_mins(2))?;
        detach(store, locked, &mut instance)?;
        instance.instance_type.clone_from(&desired.instance_type);
        attach(store, config, locked, &mut instance)?;
        for known in &mut locked.state.instances {
            if known.address == desired.address {
                known.instance_type.clone_from(&desired.instance_type);
            }
        }
        locked.save()?;
        step.finish("done");
    }
    if instance.pid(store).is_none() {
        let step = Step::start(reporter, "start", &desired.address);
        qemu::start(store, &instance, accelerator)?;
        step.finish("done");
    }
    Ok(instance)
}

fn detach(store: &Store, locked: &mut Locked, instance: &mut Instance) -> Result<()> {
    for attached in std::mem::take(&mut instance.volumes) {
        if let Ok(mut volume) = Volume::read(store, &attached.volume)
            && volume.attached_to.as_deref() == Some(&instance.id)
        {
            volume.attached_to = None;
            volume.save(store)?;
        }
        locked.state.attachments.retain(|a| a.volume != attached.volume);
    }
    instance.save(store)?;
    locked.save()
}

fn attach(store: &Store, config: &Config, locked: &mut Locked, instance: &mut Instance) -> Result<()> {
    for (address, attached) in attachments(config, &locked.state, &instance.address)? {
        let mut volume = Volume::read(store, &attached.volume)?;
        if let Some(other) = volume.attached_to.clone().filter(|other| *other != instance.id) {
            let holder = Instance::of_id(store, &other).ok();
            if holder.as_ref().is_some_and(|h| h.pid(store).is_some()) {
                return Err(Error::new(format!("the volume {} is in use by {other}, which runs", volume.id))
                    .hint("stop or destroy that instance first"));
            }
            if let Some(mut holder) = holder {
                holder.volumes.retain(|v| v.volume != volume.id);
                holder.save(store)?;
            }
        }
        volume.attached_to = Some(instance.id.clone());
        volume.save(store)?;
        locked.state.attachments.retain(|a| a.address != address);
        locked.state.attachments.push(AttachmentRecord {
            address,
            device: attached.device.clone(),
            volume: attached.volume.clone(),
            instance: instance.id.clone(),
        });
        instance.volumes.push(attached);
    }
    instance.save(store)?;
    locked.save()
}

fn create(
    store: &Store,
    config: &Config,
    desired: &DesiredInstance,
    options: &ApplyOptions,
) -> Result<Instance> {
    let (found, _) = image(store, &desired.ami, options.image.as_deref())?;
    let id = new_id("i");
    let work = store.work()?;
    let backing = store.images().file(&found, "qcow2").or_else(|_| store.images().file(&found, "raw"))?;
    let format = backing.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
    let size = desired.root_size.map_or(found.disk_size, |gib| (gib << 30).max(found.disk_size));
    Cmd::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", &format, "-b"])
        .arg(&backing)
        .arg(work.path().join("root.qcow2"))
        .arg(size.to_string())
        .run()?;
    fs::write_atomic_mode(work.path().join("user-data"), &desired.user_data, 0o600)?;
    let mut ports = Vec::new();
    let mut wanted: Vec<u16> = desired.ports.iter().chain(&options.forward).copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    for guest in wanted {
        ports.push((guest, bakery_qemu::free_port(guest)?));
    }
    let public_key = fs::read_to_string(key(store)?.with_extension("pub"))?.trim().to_owned();
    // EC2's firmware shows an id that starts with `ec2`.
    let uuid = format!("ec2{}", &uuid::Uuid::new_v4().to_string()[3..]);
    let instance = Instance {
        address: desired.address.clone(),
        configuration: config.folder.clone(),
        image: found.id,
        image_name: found.name,
        instance_type: desired.instance_type.clone(),
        created: bakery_store::now(),
        public_key,
        imds_token: uuid::Uuid::new_v4().simple().to_string(),
        volumes: vec![],
        ports,
        uuid,
        id,
    };
    fs::write_atomic_mode(
        work.path().join("instance.json"),
        serde_json::to_string_pretty(&instance).unwrap_or_default(),
        0o600,
    )?;
    let folder = Instance::folder(store, &instance.id);
    fs::rename(work.keep(), &folder)?;
    fs::chmod(&folder, 0o700)?;
    Ok(instance)
}

fn launch(
    store: &Store,
    config: &Config,
    locked: &mut Locked,
    desired: &DesiredInstance,
    options: &ApplyOptions,
    accelerator: &Accelerator,
    reporter: &dyn Reporter,
) -> Result<Instance> {
    let old = locked.state.instance(&desired.address).cloned();
    let verb = if old.is_some() { "replace" } else { "launch" };
    let step = Step::start(reporter, verb, &desired.address);
    let old_instance = old.as_ref().and_then(|record| Instance::of_id(store, &record.id).ok());
    if let Some(mut previous) = old_instance.clone() {
        step.progress(&format!("stop {}", previous.id));
        if !qemu::stop(store, &previous, Duration::from_mins(3))? {
            reporter.warn(&format!("{} did not hear its power button and was stopped by force", previous.id));
        }
        step.progress("detach its volumes");
        detach(store, locked, &mut previous)?;
    }
    let mut instance = create(store, config, desired, options)?;
    step.progress(&format!("attach the volumes to {}", instance.id));
    attach(store, config, locked, &mut instance)?;
    locked.state.instances.retain(|i| i.address != desired.address);
    locked.state.instances.push(InstanceRecord {
        address: desired.address.clone(),
        id: instance.id.clone(),
        image: instance.image.clone(),
        instance_type: desired.instance_type.clone(),
        user_data: digest(&desired.user_data),
    });
    locked.save()?;
    step.progress(&format!("start {}", instance.id));
    qemu::start(store, &instance, accelerator)?;
    step.finish("done");
    if let Some(limit) = options.wait {
        let step = Step::start(reporter, "boot", &instance.id);
        instance.wait(store, limit)?;
        step.finish("done");
    }
    if let Some(previous) = old_instance {
        // Its data lives on; its root disk does not.
        fs::remove_all(Instance::folder(store, &previous.id))?;
    }
    Ok(instance)
}

fn throw_away(
    store: &Store,
    locked: &mut Locked,
    record: &InstanceRecord,
    reporter: &dyn Reporter,
) -> Result<()> {
    let step = Step::start(reporter, "destroy", &record.address);
    if let Ok(mut instance) = Instance::of_id(store, &record.id) {
        qemu::stop(store, &instance, Duration::from_mins(1))?;
        detach(store, locked, &mut instance)?;
        fs::remove_all(Instance::folder(store, &instance.id))?;
    }
    locked.state.instances.retain(|i| i.id != record.id);
    locked.state.attachments.retain(|a| a.instance != record.id);
    locked.save()?;
    step.finish("done");
    Ok(())
}

/// Throws the instances away; the volumes too only when that is asked for.
///
/// # Errors
/// What failed; what was done until then is in the state.
pub fn destroy(store: &Store, config: &Config, volumes: bool, reporter: &dyn Reporter) -> Result<()> {
    let mut locked = State::lock(&config.folder, store, "destroy")?;
    for record in locked.state.instances.clone() {
        throw_away(store, &mut locked, &record, reporter)?;
    }
    for record in locked.state.volumes.clone() {
        if volumes {
            if let Ok(volume) = Volume::read(store, &record.id) {
                volume.remove(store)?;
            }
            locked.state.volumes.retain(|v| v.id != record.id);
            locked.save()?;
        } else {
            reporter.note(&format!(
                "{} ({}) and its data are kept; `bakery destroy --volumes` removes them",
                record.address, record.id
            ));
        }
    }
    Ok(())
}
