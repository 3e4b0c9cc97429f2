//! `lvg`: volume groups of LVM. A device that holds something else is never made a physical volume: pvcreate asks, and is
//! answered by nobody.

use bakery_host::fs;
use bakery_macros::ModuleArgs;

use crate::lvm::{change, field, is_active, report};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes, extends, reduces, activates and removes volume groups of LVM.
#[derive(ModuleArgs)]
struct Args {
    /// The volume group.
    #[arg(required)]
    vg: String,
    /// The devices that it shall consist of.
    pvs: Option<Vec<String>>,
    /// The size of an extent, as vgcreate reads it.
    #[arg(default = "4")]
    pesize: String,
    /// Options for pvcreate.
    #[arg(default = "")]
    pv_options: String,
    /// Whether physical volumes grow to the size of their devices.
    pvresize: bool,
    /// Options for vgcreate.
    #[arg(default = "")]
    vg_options: String,
    /// What shall be: `active` and `inactive` are about its logical volumes.
    #[arg(default = "present", choices = "absent,present,active,inactive")]
    state: String,
    /// Whether a group with volumes is removed.
    force: bool,
    /// Whether it gets a new UUID.
    reset_vg_uuid: bool,
    /// Whether its physical volumes get new UUIDs.
    reset_pv_uuid: bool,
    /// Whether devices that are not named leave the group.
    #[arg(default = "true")]
    remove_extra_pvs: bool,
}

const AUTOACTIVATION: &str = "--setautoactivation";

fn run(args: Args, host: &mut Host) -> Run {
    if args.reset_pv_uuid && args.pvs.is_none() {
        return Err("reset_pv_uuid is True but all of the following are missing: pvs".into());
    }
    let groups = report(host, "vgs", "vg_name,pv_count,lv_count", &[])?.rows().unwrap_or_default();
    let found = groups.iter().find(|row| field(row, 0) == args.vg);
    if args.state == "absent" {
        return match found {
            None => Ok(Outcome::unchanged()),
            Some(row) => remove(&args, host, field(row, 2) == "0"),
        };
    }
    let named = args.pvs.as_deref().unwrap_or_default();
    if named.is_empty() && found.is_none() {
        return Err("No physical volumes given.".into());
    }
    // LVM goes by the devices themselves, not by links to them.
    let mut devices = Vec::new();
    for device in named {
        let Ok(real) = fs::canonicalize(device) else {
            return Err(Failure::new(format!("Device {device} not found.")));
        };
        devices.push(real.display().to_string());
    }
    let members = members(&args, host, &devices)?;
    if found.is_none() {
        create(&args, host, &devices)?;
        return Ok(Outcome::changed(true));
    }
    let mut changed = match args.state.as_str() {
        "active" => activate(&args.vg, host, true)?,
        "inactive" => activate(&args.vg, host, false)?,
        _ => false,
    };
    if args.reset_vg_uuid {
        changed = true;
        if !host.check {
            host.run(&["vgchange", "-u", &args.vg])?;
        }
    }
    if !devices.is_empty() {
        for device in &members {
            changed |= args.pvresize && resize(device, host)?;
            changed |= args.reset_pv_uuid && new_uuid(device, host)?;
        }
        changed |= set_members(&args, host, &devices, &members)?;
    }
    Ok(Outcome::changed(changed))
}

fn remove(args: &Args, host: &Host, is_empty: bool) -> Run {
    if host.check {
        return Ok(Outcome::changed(true));
    }
    if !is_empty && !args.force {
        let vg = &args.vg;
        return Err(Failure::new(format!("Refuse to remove non-empty volume group {vg} without force=true")));
    }
    let argv = ["vgremove", "--force", &args.vg].map(str::to_owned);
    change(host, &argv, || format!("Failed to remove volume group {}", args.vg))?;
    Ok(Outcome::changed(true))
}

/// The devices that the group consists of.
fn members(args: &Args, host: &Host, devices: &[String]) -> Result<Vec<String>, Failure> {
    let report = report(host, "pvs", "pv_name,vg_name", &[])?;
    let rows = report.rows().ok_or_else(|| report.failure("Failed executing pvs command."))?;
    let mut members = Vec::new();
    for row in rows {
        let (name, group) = (field(&row, 0), field(&row, 1));
        let real = fs::canonicalize(name).map_or_else(|_| name.to_owned(), |path| path.display().to_string());
        if group == args.vg {
            members.push(real);
        } else if !group.is_empty() && devices.contains(&real) {
            return Err(Failure::new(format!("Device {name} is already in {group} volume group.")));
        }
    }
    Ok(members)
}

fn make_physical(args: &Args, host: &Host, devices: &[String]) -> Result<(), Failure> {
    for device in devices {
        let options = args.pv_options.split_whitespace().map(str::to_owned);
        let mut argv = vec!["pvcreate".to_owned()];
        argv.extend(options.chain(["-f".to_owned(), device.clone()]));
        change(host, &argv, || format!("Creating physical volume '{device}' failed"))?;
    }
    Ok(())
}

/// Whether a command of this release knows of activation by events.
fn knows_autoactivation(command: &str, host: &Host) -> Result<bool, Failure> {
    Ok(host.run(&[command, "--help"])?.text().contains(AUTOACTIVATION))
}

fn create(args: &Args, host: &Host, devices: &[String]) -> Result<(), Failure> {
    let mut argv = vec!["vgcreate".to_owned()];
    argv.extend(args.vg_options.split_whitespace().map(str::to_owned));
    if args.state != "present"
        && !argv.iter().any(|word| word == AUTOACTIVATION)
        && knows_autoactivation("vgcreate", host)?
    {
        let flag = if args.state == "active" { "y" } else { "n" };
        argv.extend([AUTOACTIVATION.to_owned(), flag.to_owned()]);
    }
    argv.extend(["-s".to_owned(), args.pesize.clone(), args.vg.clone()]);
    argv.extend(devices.iter().cloned());
    if host.check {
        return Ok(());
    }
    make_physical(args, host, devices)?;
    change(host, &argv, || format!("Creating volume group '{}' failed", args.vg))
}

/// Activates or deactivates the group's volumes, now and when its devices appear.
fn activate(vg: &str, host: &Host, active: bool) -> Result<bool, Failure> {
    let by_events = knows_autoactivation("vgchange", host)?;
    let fields = if by_events { "lv_attr,autoactivation" } else { "lv_attr" };
    let rows = report(host, "vgs", fields, &[vg])?.rows().unwrap_or_default();
    let flag = if active { "y" } else { "n" };
    let is_enabled = rows.iter().any(|row| field(row, 1) == "enabled");
    let mut todo: Vec<[&str; 4]> = Vec::new();
    // vgchange takes it for an error to say again what holds already.
    if by_events && is_enabled != active {
        todo.push(["vgchange", AUTOACTIVATION, flag, vg]);
    }
    if rows.iter().any(|row| is_active(field(row, 0)) != active) {
        todo.push(["vgchange", "--activate", flag, vg]);
    }
    for argv in todo.iter().filter(|_| !host.check) {
        host.run(argv)?;
    }
    Ok(!todo.is_empty())
}

/// Sizes of a physical volume in bytes: of its device, its own, where its extents start, and of an extent.
fn sizes(device: &str, host: &Host) -> Result<[u64; 4], Failure> {
    let words = ["--units", "b", "--nosuffix", device];
    let rows =
        report(host, "pvs", "dev_size,pv_size,pe_start,vg_extent_size", &words)?.rows().unwrap_or_default();
    let row = rows.first().cloned().unwrap_or_default();
    Ok([0, 1, 2, 3].map(|at| field(&row, at).parse().unwrap_or_default()))
}

fn resize(device: &str, host: &Host) -> Result<bool, Failure> {
    let [of_device, before, start, extent] = sizes(device, host)?;
    if of_device.saturating_sub(start + before) <= extent {
        return Ok(false);
    }
    if host.check {
        return Ok(true);
    }
    // Where another volume of the group is missing it says that it failed, and did not.
    let output = host.try_run(&["pvresize", device])?;
    if sizes(device, host)?[1] == before {
        return Err(Failure::new("Failed executing pvresize command.").with_output(&output));
    }
    Ok(true)
}

fn new_uuid(device: &str, host: &Host) -> Result<bool, Failure> {
    if host.check {
        return Ok(true);
    }
    let uuid = || report(host, "pvs", "uuid", &[device]).map(|report| report.rows());
    let before = uuid()?;
    let output = host.try_run(&["pvchange", "-u", device])?;
    if uuid()? == before {
        return Err(Failure::new(format!("PV ({device}) UUID change failed")).with_output(&output));
    }
    Ok(true)
}

/// Adds the devices that the group lacks, and takes away those that it shall not have any more.
fn set_members(args: &Args, host: &Host, devices: &[String], members: &[String]) -> Result<bool, Failure> {
    let without = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|device| !others.contains(device)).cloned().collect()
    };
    let new = without(devices, members);
    let old = if args.remove_extra_pvs { without(members, devices) } else { Vec::new() };
    if host.check || new.is_empty() && old.is_empty() {
        return Ok(!new.is_empty() || !old.is_empty());
    }
    let vg = &args.vg;
    if !new.is_empty() {
        make_physical(args, host, &new)?;
        let argv = [vec!["vgextend".to_owned(), vg.clone()], new.clone()].concat();
        change(host, &argv, || format!("Unable to extend {vg} by {}.", new.join(" ")))?;
    }
    if !old.is_empty() {
        let argv = [vec!["vgreduce".to_owned(), "--force".to_owned(), vg.clone()], old.clone()].concat();
        change(host, &argv, || format!("Unable to reduce {vg} by {}.", old.join(" ")))?;
    }
    Ok(true)
}

module!("lvg", "community.general", Args, run);
