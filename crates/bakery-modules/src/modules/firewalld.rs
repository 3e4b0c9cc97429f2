//! `firewalld`: rules of firewalld's zones (ansible.posix `firewalld.py`), by its own programs: `firewall-cmd` where the
//! daemon runs, `firewall-offline-cmd` where it does not.

use bakery_lang::Map;
use bakery_macros::ModuleArgs;

use crate::host::Phase;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Opens and closes services, ports and the like in firewalld's zones, and makes zones.
#[derive(ModuleArgs)]
#[args(
    exclusive = "icmp_block,icmp_block_inversion,service,protocol,port,port_forward,rich_rule,interface,forward,masquerade,source,target"
)]
struct Args {
    /// A kind of ICMP that is blocked.
    icmp_block: Option<String>,
    /// Whether only the named kinds of ICMP pass.
    icmp_block_inversion: Option<bool>,
    /// A service, by firewalld's name.
    service: Option<String>,
    /// A protocol.
    protocol: Option<String>,
    /// A port or a range of them, such as `80/tcp`.
    port: Option<String>,
    /// A port that is passed on: `port`, `proto`, `toport` and `toaddr`.
    port_forward: Option<Vec<Map>>,
    /// A rule in firewalld's own words.
    rich_rule: Option<String>,
    /// The zone; the usual one if not given.
    zone: Option<String>,
    /// Whether it holds from now on.
    immediate: bool,
    /// Addresses whose traffic belongs to the zone.
    source: Option<String>,
    /// Whether it holds after a restart.
    permanent: bool,
    /// What shall be: `present` and `absent` are for zones and targets.
    #[arg(required, choices = "absent,disabled,enabled,present")]
    state: String,
    /// Seconds for which an immediate rule holds; 0 for good.
    #[arg(default = "0")]
    timeout: i64,
    /// An interface whose traffic belongs to the zone.
    interface: Option<String>,
    /// Whether traffic passes within the zone.
    forward: Option<bool>,
    /// Whether addresses are hidden behind the machine's own.
    masquerade: Option<bool>,
    /// Whether it is enough to write it down where the daemon does not run.
    offline: bool,
    /// What happens to traffic that no rule speaks of.
    #[arg(choices = "default,ACCEPT,DROP,%%REJECT%%")]
    target: Option<String>,
}

/// What is asked for: firewalld's word, its value, how the result calls it, and what is said when it is switched.
struct Subject {
    word: &'static str,
    value: Option<String>,
    title: Option<String>,
    said: Option<(String, String)>,
}

fn subject(args: &Args, zone: &str) -> Result<Option<Subject>, Failure> {
    let titled = |word: &'static str, value: &str, title: &str| Subject {
        word,
        value: Some(value.to_owned()),
        title: Some(format!("{title} {value}")),
        said: None,
    };
    let switch = |word: &'static str| Subject {
        word,
        value: None,
        title: None,
        said: Some((format!("Added {word} to zone {zone}"), format!("Removed {word} from zone {zone}"))),
    };
    let member = |word: &'static str, value: &str, verb: &str| Subject {
        word,
        value: Some(value.to_owned()),
        title: None,
        said: Some((format!("{verb} {value} to zone {zone}"), format!("Removed {value} from zone {zone}"))),
    };
    if let Some(kind) = &args.icmp_block {
        return Ok(Some(titled("icmp-block", kind, "icmp-block")));
    }
    if let Some(on) = args.icmp_block_inversion {
        let shown = if on { "True" } else { "False" };
        let title = Some(format!("icmp-block-inversion {shown}"));
        return Ok(Some(Subject { word: "icmp-block-inversion", value: None, title, said: None }));
    }
    if let Some(service) = &args.service {
        return Ok(Some(titled("service", service, "service")));
    }
    if let Some(protocol) = &args.protocol {
        return Ok(Some(titled("protocol", protocol, "protocol")));
    }
    if let Some(source) = &args.source {
        return Ok(Some(member("source", source, "Added")));
    }
    if let Some(port) = &args.port {
        return match port.trim().split_once('/') {
            Some((_, protocol)) if !protocol.is_empty() => Ok(Some(titled("port", port.trim(), "port"))),
            _ => Err("improper port format (missing protocol?)".into()),
        };
    }
    if let Some(forwards) = &args.port_forward {
        let [forward] = &forwards[..] else { return Err("Only one port forward supported at a time".into()) };
        let read = |name: &str| forward.get(name).filter(|v| !v.is_none()).map(|v| v.to_string());
        let need = |name: &str, what: &str| {
            read(name).ok_or_else(|| Failure::new(format!("{what} must be specified for port forward")))
        };
        let (port, proto) = (need("port", "port")?, need("proto", "proto udp/tcp")?);
        let to = need("toport", "toport")?;
        let address = read("toaddr").unwrap_or_default();
        let shown = format!("port={port}:proto={proto}:toport={to}:toaddr={address}");
        let value =
            if address.is_empty() { shown.trim_end_matches(":toaddr=").to_owned() } else { shown.clone() };
        let title = Some(format!("port_forward {shown}"));
        return Ok(Some(Subject { word: "forward-port", value: Some(value), title, said: None }));
    }
    if let Some(rule) = &args.rich_rule {
        return Ok(Some(titled("rich-rule", rule, "rich_rule")));
    }
    if let Some(interface) = &args.interface {
        return Ok(Some(member("interface", interface, "Changed")));
    }
    Ok(match (args.forward, args.masquerade) {
        (Some(_), _) => Some(switch("forward")),
        (None, Some(_)) => Some(switch("masquerade")),
        (None, None) => None,
    })
}

/// firewalld's program, for the daemon or for what is written down.
struct Firewall<'a> {
    host: &'a Host,
    program: String,
    is_offline: bool,
    zone: String,
}

impl Firewall<'_> {
    fn run(&self, permanent: bool, words: &[&str]) -> Result<bakery_host::Output, Failure> {
        let mut argv = vec![self.program.as_str()];
        argv.extend((permanent && !self.is_offline).then_some("--permanent"));
        argv.extend(words);
        self.host.try_run(&argv)
    }

    fn must(&self, permanent: bool, words: &[&str]) -> Result<String, Failure> {
        let output = self.run(permanent, words)?;
        if output.success() {
            return Ok(output.text().trim().to_owned());
        }
        let said = if output.stderr.is_empty() { output.text() } else { output.error_text() };
        let said = said.trim().trim_start_matches("Error: ").to_owned();
        let hint = if said.contains("INVALID_SERVICE") {
            " Services are defined by port/tcp relationship and named as they are in /etc/services (on most systems)"
        } else {
            ""
        };
        Err(Failure::new(format!("ERROR: Exception caught: {said}{hint}")))
    }

    fn holds(&self, permanent: bool, subject: &Subject) -> Result<bool, Failure> {
        let zone = format!("--zone={}", self.zone);
        let question = option("query", subject.word, subject.value.as_deref());
        let output = self.run(permanent, &[&zone, &question])?;
        match output.code {
            0 => Ok(true),
            // It does not hold; all else is trouble.
            1 => Ok(false),
            _ => self.must(permanent, &[&zone, &question]).map(|_| true),
        }
    }

    fn set(&self, permanent: bool, subject: &Subject, on: bool, timeout: i64) -> Result<(), Failure> {
        let zone = format!("--zone={}", self.zone);
        let verb = match (on, subject.word) {
            // An interface is in one zone only.
            (true, "interface") => "change",
            (true, _) => "add",
            (false, _) => "remove",
        };
        let word = match (subject.word, on, self.is_offline) {
            ("service", false, true) => "service-from-zone",
            (word, ..) => word,
        };
        let mut words = vec![zone, option(verb, word, subject.value.as_deref())];
        if on && timeout > 0 && !permanent {
            words.push(format!("--timeout={timeout}"));
        }
        self.must(permanent, &words.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
    }
}

fn option(verb: &str, word: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("--{verb}-{word}={value}"),
        None => format!("--{verb}-{word}"),
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    for (given, name, needed, is_there) in [
        (args.interface.is_some(), "interface", "zone", args.zone.is_some()),
        (args.target.is_some(), "target", "zone", args.zone.is_some()),
    ] {
        if given && !is_there {
            return Err(Failure::new(format!("missing parameter(s) required by '{name}': {needed}")));
        }
    }
    let cmd = host.program("firewall-cmd")?;
    let baking = host.phase == Phase::Bake;
    let is_offline = baking || !host.try_run(&[cmd.as_str(), "--state"])?.success();
    if args.offline && !args.permanent {
        return Err("offline cannot be enabled unless permanent changes are allowed".into());
    }
    // What is only for now is of no use to an image; what is for good is written down.
    let permanent = args.permanent || baking;
    let wished = args.immediate && !(args.offline && is_offline) || !args.permanent;
    if wished && is_offline && !baking {
        return Err("firewall is not currently running, unable to perform immediate actions without a running firewall daemon".into());
    }
    let immediate = wished && !baking;
    let program = if is_offline { host.program("firewall-offline-cmd")? } else { cmd };
    let mut firewall = Firewall { host, program, is_offline, zone: args.zone.clone().unwrap_or_default() };
    if firewall.zone.is_empty() {
        firewall.zone = firewall.must(false, &["--get-default-zone"])?;
    }
    let subject = subject(&args, &firewall.zone)?;
    let is_zone_state = matches!(args.state.as_str(), "absent" | "present");
    let must_be_permanent = "Zone operations must be permanent. Make sure you didn't set the 'permanent' flag to 'false' or the 'immediate' flag to 'true'.";
    let mut messages = vec![
        match (immediate, permanent) {
            (true, true) => "Permanent and Non-Permanent(immediate) operation",
            (false, _) => "Permanent operation",
            (true, false) => "Non-permanent operation",
        }
        .to_owned(),
    ];
    let changed;
    if let Some(subject) = subject {
        if is_zone_state {
            return Err("absent and present state can only be used in zone level operations".into());
        }
        let switch = [args.icmp_block_inversion, args.forward, args.masquerade].into_iter().flatten().next();
        let on = (args.state == "enabled") == switch.unwrap_or(true);
        let mut todo = Vec::new();
        for (wanted, place) in [(permanent, true), (immediate, false)] {
            if wanted && firewall.holds(place, &subject)? != on {
                todo.push(place);
            }
        }
        changed = !todo.is_empty();
        if host.check && changed {
            return Ok(Outcome::changed(true));
        }
        for place in todo {
            firewall.set(place, &subject, on, args.timeout)?;
        }
        if changed {
            messages.extend(subject.said.map(|(added, removed)| if on { added } else { removed }));
            messages.extend(subject.title.map(|title| format!("Changed {title} to {}", args.state)));
        }
    } else {
        if immediate {
            return Err(must_be_permanent.into());
        }
        let zone = firewall.zone.clone();
        let on = matches!(args.state.as_str(), "present" | "enabled");
        let named = format!("--zone={zone}");
        let (holds, words, said) = match &args.target {
            Some(target) => {
                let now = firewall.must(true, &[&named, "--get-target"])?;
                let wanted = if on { target.as_str() } else { "default" };
                let said = if on {
                    format!("Set zone {zone} target to {target}")
                } else {
                    format!("Reset zone {zone} target to default")
                };
                ((now == *target) == on, vec![named, format!("--set-target={wanted}")], said)
            }
            None if is_zone_state => {
                let zones = firewall.must(true, &["--get-zones"])?;
                let there = zones.split_whitespace().any(|known| known == zone);
                let (verb, said) = if on {
                    ("new", format!("Added zone {zone}"))
                } else {
                    ("delete", format!("Removed zone {zone}"))
                };
                (there == on, vec![format!("--{verb}-zone={zone}")], said)
            }
            // Nothing was asked for.
            None => (true, vec![], String::new()),
        };
        changed = !holds;
        if host.check && changed {
            return Ok(Outcome::changed(true));
        }
        if changed {
            firewall.must(true, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
            messages.push(said);
            if args.target.is_none() {
                messages.push(format!("Changed zone {zone} to {}", args.state));
            }
        }
        if words.is_empty() {
            messages.clear();
        }
    }
    if is_offline {
        messages.push("(offline operation: only on-disk configs were altered)".into());
    }
    if baking && changed {
        host.leave_to_boot("firewalld: its rules are loaded at boot");
    }
    Ok(Outcome::changed(changed).msg(messages.join(", ")))
}

module!("firewalld", "ansible.posix", Args, run);
