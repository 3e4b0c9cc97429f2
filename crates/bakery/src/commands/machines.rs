//! `plan`, `apply`, `destroy`, `replace`, `ls`, `logs`, `exec`, `ssh`, `console`.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bakery_events::{Event, Reporter as _, exit};
use bakery_host::{fs, signal};
use bakery_launch::{Action, ApplyOptions, BootState, Config, Instance, Plan, State, Volume};
use bakery_store::Store;

use super::{Failure, Outcome, pairs};
use crate::cli::{ReplaceArgs, TfArgs};
use crate::terminal::{self, Terminal};

fn config(args: &TfArgs) -> Result<Config, Failure> {
    if !args.local {
        return Err(Failure {
            hint: Some("add --local: machines are made on this host; for AWS, use Terraform itself".into()),
            ..Failure::new("where the machines shall be is not said")
        });
    }
    Ok(bakery_launch::load(&args.path, &pairs(&args.vars)?)?)
}

fn options(args: &TfArgs) -> ApplyOptions {
    ApplyOptions {
        image: args.image.clone(),
        forward: args.forward.clone(),
        wait: args.wait.then(|| Duration::from_secs(args.timeout)),
    }
}

fn show_plan(plan: &Plan) {
    for change in &plan.changes {
        let sign = match change.action {
            Action::Create => "+",
            Action::Update => "~",
            Action::Replace => "-/+",
            Action::Delete => "-",
            Action::Forget => ".",
            Action::Keep => " ",
        };
        terminal::say(&format!("{sign:>3} {}  {}", change.address, change.detail));
    }
    let (add, update, delete) = plan.counts();
    terminal::say(&format!("\nPlan: {add} to add, {update} to change, {delete} to destroy."));
}

pub(crate) fn plan(args: &TfArgs, terminal: &Terminal) -> Outcome {
    let config = config(args)?;
    let store = Store::open()?;
    let state = State::read(&config.folder, &store)?;
    let (plan, notes) = bakery_launch::local_plan(&store, &config, &state, args.image.as_deref())?;
    for note in &notes {
        terminal.note(note);
    }
    if terminal.is_json() {
        let data = plan.changes.iter().map(|c| serde_json::json!({"address": c.address, "action": format!("{:?}", c.action).to_lowercase(), "detail": c.detail})).collect();
        terminal.event(&Event::Result { verb: "plan".into(), data });
    } else {
        show_plan(&plan);
    }
    Ok(if args.detailed_exitcode && plan.has_changes() { exit::PLAN_HAS_CHANGES } else { exit::OK })
}

fn show_instance(store: &Store, instance: &Instance) {
    terminal::say(&format!(
        "{} {} from {} ({}): {}",
        instance.address,
        instance.id,
        instance.image_name,
        instance.image,
        instance.state(store).word()
    ));
    for (guest, host) in &instance.ports {
        let shown = if *guest == 22 {
            format!("ssh: bakery ssh {}", instance.id)
        } else {
            format!("http://127.0.0.1:{host}")
        };
        terminal::say(&format!("  port {guest}: 127.0.0.1:{host}  {shown}"));
    }
    for attached in &instance.volumes {
        terminal::say(&format!("  volume {} as {}", attached.volume, attached.device));
    }
}

pub(crate) fn apply(args: &TfArgs, terminal: &Terminal) -> Outcome {
    let config = config(args)?;
    let store = Store::open()?;
    let instances = bakery_launch::apply(&store, &config, &options(args), terminal)?;
    if args.wait {
        for instance in &instances {
            instance.wait(&store, Duration::from_secs(args.timeout))?;
        }
    }
    terminal.settle();
    if terminal.is_json() {
        terminal.event(&Event::Result {
            verb: "apply".into(),
            data: serde_json::to_value(&instances).unwrap_or_default(),
        });
    } else {
        for instance in &instances {
            show_instance(&store, instance);
        }
    }
    Ok(exit::OK)
}

pub(crate) fn destroy(args: &TfArgs, terminal: &Terminal) -> Outcome {
    let config = config(args)?;
    bakery_launch::destroy(&Store::open()?, &config, args.volumes, terminal)?;
    Ok(exit::OK)
}

/// The instance that is named, or the only one, of the configurations here before all others.
fn meant(store: &Store, instance: Option<&str>) -> Result<Instance, Failure> {
    let here =
        std::env::current_dir().and_then(|d| d.canonicalize()).map_err(|e| Failure::new(e.to_string()))?;
    Ok(Instance::find(store, instance, &here)?)
}

pub(crate) fn replace(args: &ReplaceArgs, terminal: &Terminal) -> Outcome {
    let store = Store::open()?;
    let old = meant(&store, args.instance.as_deref())?;
    let config = bakery_launch::load(&old.configuration, &pairs(&args.vars)?)?;
    let image = args.image.clone().unwrap_or_else(|| old.image_name.clone());
    let options = ApplyOptions {
        image: Some(image),
        // Ports that were forwarded besides those of the files stay so.
        forward: old.ports.iter().map(|(guest, _)| *guest).collect(),
        wait: (!args.no_wait).then(|| Duration::from_secs(args.timeout)),
    };
    let instance = bakery_launch::replace(&store, &config, &old.address, &options, terminal)?;
    terminal.settle();
    if terminal.is_json() {
        terminal.event(&Event::Result {
            verb: "replace".into(),
            data: serde_json::to_value(&instance).unwrap_or_default(),
        });
    } else {
        show_instance(&store, &instance);
    }
    Ok(exit::OK)
}

pub(crate) fn list(terminal: &Terminal) -> Outcome {
    let store = Store::open()?;
    let instances = Instance::list(&store)?;
    let volumes = Volume::list(&store)?;
    if terminal.is_json() {
        let instances: Vec<_> = instances
            .iter()
            .map(|i| {
                let mut value = serde_json::to_value(i).unwrap_or_default();
                if let Some(map) = value.as_object_mut() {
                    map.remove("imds_token");
                    map.insert("state".into(), i.state(&store).word().into());
                }
                value
            })
            .collect();
        terminal.event(&Event::Result {
            verb: "ls".into(),
            data: serde_json::json!({ "instances": instances, "volumes": volumes }),
        });
        return Ok(exit::OK);
    }
    let mut rows = vec![["INSTANCE", "ADDRESS", "STATE", "IMAGE", "PORTS"].map(str::to_owned).to_vec()];
    for i in &instances {
        let state = i.state(&store);
        let ports = i.ports.iter().map(|(g, h)| format!("{g}→{h}")).collect::<Vec<_>>().join(" ");
        let shown = match &state {
            BootState::Failed(why) => format!("failed: {why}"),
            other => other.word().to_owned(),
        };
        rows.push(vec![i.id.clone(), i.address.clone(), shown, i.image_name.clone(), ports]);
    }
    terminal::table(&rows);
    let mut rows = vec![["\nVOLUME", "SIZE", "ATTACHED TO", "CREATED"].map(str::to_owned).to_vec()];
    rows.extend(volumes.iter().map(|v| {
        vec![
            v.id.clone(),
            format!("{} GiB", v.size >> 30),
            v.attached_to.clone().unwrap_or_default(),
            v.created.clone(),
        ]
    }));
    terminal::table(&rows);
    Ok(exit::OK)
}

pub(crate) fn logs(instance: Option<&str>, follow: bool) -> Outcome {
    let store = Store::open()?;
    let instance = meant(&store, instance)?;
    let path = instance.console(&store);
    let mut at = 0;
    let mut out = std::io::stdout();
    loop {
        if let Ok(mut file) = fs::open(&path) {
            let mut bytes = Vec::new();
            let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_to_end(&mut bytes));
            at += read.map_err(|e| Failure::new(e.to_string()))? as u64;
            out.write_all(&bytes).and_then(|()| out.flush()).map_err(|e| Failure::new(e.to_string()))?;
        }
        if !follow || signal::caught().is_some() {
            return Ok(exit::OK);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub(crate) fn exec(instance: Option<&str>, command: &[String]) -> Outcome {
    let store = Store::open()?;
    let instance = meant(&store, instance)?;
    if instance.pid(&store).is_none() {
        return Err(Failure::new(format!("{} does not run", instance.id)));
    }
    Ok(bakery_launch::ssh_command(&store, &instance)?.args(command).status()?)
}

pub(crate) fn console(instance: Option<&str>) -> Outcome {
    let store = Store::open()?;
    let instance = meant(&store, instance)?;
    let path = Instance::folder(&store, &instance.id).join("console.sock");
    let gone = |e: std::io::Error| Failure::new(format!("{} does not run: {e}", instance.id));
    let mut stream = UnixStream::connect(&path).map_err(gone)?;
    let mut copy = stream.try_clone().map_err(gone)?;
    let raw = bakery_host::terminal::RawMode::enter();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = copy.read(&mut buffer) {
            if count == 0
                || std::io::stdout()
                    .write_all(&buffer[..count])
                    .and_then(|()| std::io::stdout().flush())
                    .is_err()
            {
                break;
            }
        }
    });
    let mut buffer = [0; 256];
    while let Ok(count) = std::io::stdin().read(&mut buffer) {
        // Ctrl-] leaves, as in telnet.
        if count == 0 || buffer[..count].contains(&0x1d) || stream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(raw);
    Ok(exit::OK)
}
