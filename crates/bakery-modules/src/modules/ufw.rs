//! `ufw`: the firewall by its own program (community.general `ufw.py`).

use bakery_lang::Value;
use bakery_lang::quote::shell_word;
use bakery_macros::ModuleArgs;

use crate::host::Phase;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// The files that hold rules, where ufw keeps them.
const RULES: &[&str] = &[
    "/lib/ufw/user.rules",
    "/lib/ufw/user6.rules",
    "/etc/ufw/user.rules",
    "/etc/ufw/user6.rules",
    "/var/lib/ufw/user.rules",
    "/var/lib/ufw/user6.rules",
];

/// Switches the firewall ufw, and adds and removes its rules and defaults.
#[derive(ModuleArgs)]
#[args(exclusive = "name,proto,logging", exclusive = "direction,interface_in")]
#[args(exclusive = "direction,interface_out", one_of = "state,default,rule,logging")]
struct Args {
    /// What shall be of the firewall as a whole. While an image is made, it is only switched for the boot.
    #[arg(choices = "enabled,disabled,reloaded,reset")]
    state: Option<String>,
    /// What happens to traffic that no rule speaks of.
    #[arg(alias = "policy", choices = "allow,deny,reject")]
    default: Option<String>,
    /// How much is logged.
    #[arg(choices = "full,high,low,medium,off,on")]
    logging: Option<String>,
    /// The traffic's direction: `in` and `out` for rules, the others for `default`.
    #[arg(choices = "in,incoming,out,outgoing,routed")]
    direction: Option<String>,
    /// Whether the rule is removed.
    delete: bool,
    /// Whether the rule is for traffic that is passed on.
    route: bool,
    /// The number that the rule shall have.
    insert: Option<i64>,
    /// What the number counts from.
    #[arg(default = "zero", choices = "zero,first-ipv4,last-ipv4,first-ipv6,last-ipv6")]
    insert_relative_to: String,
    /// What a rule does.
    #[arg(choices = "allow,deny,limit,reject")]
    rule: Option<String>,
    /// The interface, with `direction`.
    #[arg(alias = "if")]
    interface: Option<String>,
    /// The interface that traffic comes in by.
    #[arg(alias = "if_in")]
    interface_in: Option<String>,
    /// The interface that traffic goes out by.
    #[arg(alias = "if_out")]
    interface_out: Option<String>,
    /// Whether new connections of this rule are logged.
    log: bool,
    /// Where traffic comes from.
    #[arg(default = "any", alias = "from,src")]
    from_ip: String,
    /// The port it comes from.
    from_port: Option<String>,
    /// Where traffic goes to.
    #[arg(default = "any", alias = "dest,to")]
    to_ip: String,
    /// The port it goes to.
    #[arg(alias = "port")]
    to_port: Option<String>,
    /// The protocol.
    #[arg(alias = "protocol", choices = "ah,any,esp,ipv6,tcp,udp,gre,igmp,vrrp")]
    proto: Option<String>,
    /// The profile of an application in `/etc/ufw/applications.d`.
    #[arg(alias = "app")]
    name: Option<String>,
    /// A comment on the rule.
    comment: Option<String>,
}

/// The program, and the command lines it was called with, as they are returned.
struct Ufw<'a> {
    host: &'a Host,
    program: String,
    commands: Vec<String>,
}

impl Ufw<'_> {
    fn run(&mut self, words: &[String]) -> Result<String, Failure> {
        let mut line = self.program.clone();
        let mut before = "";
        for word in words {
            // As the community's module writes its command lines: names and comments always stand in quotes.
            let is_name = matches!(before, "app" | "comment") && !word.contains('\'');
            line.push_str(&if is_name { format!(" '{word}'") } else { format!(" {}", shell_word(word)) });
            before = word;
        }
        self.commands.push(line);
        let output = self.host.cmd(&self.program).env("LANG", "C").args(words).output()?;
        if !output.success() {
            let said = if output.stderr.is_empty() { output.text() } else { output.error_text() };
            return Err(Failure::new(said).with("commands", Value::strings(&self.commands)));
        }
        Ok(output.text())
    }

    fn said(&mut self, words: &[&str]) -> Result<String, Failure> {
        self.run(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    /// The rules as their files hold them.
    fn rules(&mut self) -> String {
        let words = ["/usr/bin/grep", "-h", "'^### tuple'"];
        self.commands.push(words.iter().chain(RULES).copied().collect::<Vec<_>>().join(" "));
        let files = RULES.iter().filter_map(|path| bakery_host::fs::read_to_string(path).ok());
        files.map(|text| lines(&text, |line| line.starts_with("### tuple"))).collect()
    }

    /// Major and minor number of the program's version.
    fn version(&mut self) -> Result<(u32, u32), Failure> {
        let text = self.said(&["--version"])?;
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let number = first.strip_prefix("ufw").map(str::trim_start).unwrap_or_default();
        let mut parts = number.split('.').map(|part| part.trim().parse::<u32>());
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
            _ => Err(Failure::new("Failed to get ufw version.").with("rc", 0).with("out", text)),
        }
    }

    /// What the number of a new rule is, counted from where it was asked to be; nothing for the end.
    fn place(&self, number: i64, relative_to: &str) -> Result<Option<i64>, Failure> {
        if relative_to == "zero" {
            return Ok(Some(number));
        }
        let numbered = self.host.try_run(&[self.program.as_str(), "status", "numbered"])?.text();
        let rules: Vec<(i64, bool)> = numbered
            .lines()
            .filter_map(|line| {
                let (inside, _) = line.strip_prefix('[')?.split_once("] ")?;
                Some((inside.trim().parse().ok()?, line.contains("(v6)") || has_v6(line)))
            })
            .collect();
        let last = rules.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let last_v4 = rules.iter().filter(|(_, v6)| !v6).map(|(number, _)| *number).max();
        let of_v6 = || rules.iter().filter(|(_, v6)| *v6).map(|(number, _)| *number);
        let from = match relative_to {
            "last-ipv4" => last_v4.unwrap_or(1),
            "first-ipv6" => of_v6().min().unwrap_or_else(|| last_v4.map_or(1, |number| number + 1)),
            "last-ipv6" => of_v6().max().unwrap_or(last + 1),
            _ => 1,
        };
        // ufw refuses a number above that of the last rule.
        Ok(Some(number + from).filter(|number| *number <= last))
    }
}

fn lines(text: &str, keep: impl Fn(&str) -> bool) -> String {
    text.split_inclusive('\n').filter(|line| keep(line)).collect()
}

/// Whether something in a line looks like an address of version 4.
fn has_v4(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_digit() && c != '.')
        .any(|word| word.parse::<std::net::Ipv4Addr>().is_ok())
}

/// Whether something in a line looks like an address of version 6.
fn has_v6(line: &str) -> bool {
    let of_address = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    line.split(|c| !of_address(c))
        .any(|word| word.contains("::") || word.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Whether a rule that was only tried would change the rules that are there.
fn would_change(args: &Args, before: &str, tried: &str) -> bool {
    let skipped = tried.lines().filter(|line| line.contains("Skipping")).count();
    if skipped > 0 && skipped == tried.lines().count() {
        return false;
    }
    let tried = lines(tried, |line| line.starts_with("### tuple"));
    let either = |holds: fn(&str) -> bool| holds(&args.from_ip) || holds(&args.to_ip);
    // ufw does not show all rules then, so only those of the same version are compared.
    if either(has_v4) {
        lines(before, has_v4) != lines(&tried, has_v4)
    } else if either(has_v6) {
        lines(before, has_v6) != lines(&tried, has_v6)
    } else {
        before != tried
    }
}

/// The words of a rule.
fn rule(args: &Args, verb: &str, ufw: &mut Ufw<'_>) -> Result<Vec<String>, Failure> {
    if !matches!(args.direction.as_deref(), None | Some("in" | "out")) {
        return Err(
            "For rules, direction must be one of \"in\" and \"out\", or direction must not be specified."
                .into(),
        );
    }
    if !args.route && args.interface_in.is_some() && args.interface_out.is_some() {
        return Err("Only route rules can combine interface_in and interface_out".into());
    }
    let mut words: Vec<String> = Vec::new();
    let mut add = |given: &[&str]| words.extend(given.iter().map(|w| (*w).to_owned()));
    if args.route {
        add(&["route"]);
    }
    if args.delete {
        add(&["delete"]);
    }
    if let (Some(number), false) = (args.insert, args.delete)
        && let Some(number) = ufw.place(number, &args.insert_relative_to)?
    {
        add(&["insert", &number.to_string()]);
    }
    add(&[verb]);
    if let Some(direction) = &args.direction {
        add(&[direction]);
    }
    if let Some(interface) = &args.interface {
        add(&["on", interface]);
    }
    for (direction, interface) in [("in", &args.interface_in), ("out", &args.interface_out)] {
        if let Some(interface) = interface {
            add(&[direction, "on", interface]);
        }
    }
    if args.log {
        add(&["log"]);
    }
    let (from, to) = (Some(args.from_ip.clone()), Some(args.to_ip.clone()));
    let pairs = [
        ("from", &from),
        ("port", &args.from_port),
        ("to", &to),
        ("port", &args.to_port),
        ("proto", &args.proto),
        ("app", &args.name),
    ];
    for (word, value) in pairs {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            add(&[word, value]);
        }
    }
    let version = ufw.version()?;
    if let Some(comment) = args.comment.as_ref().filter(|c| !c.is_empty() && version >= (0, 35)) {
        add(&["comment", comment]);
    }
    Ok(words)
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.interface.is_some() && args.direction.is_none() {
        return Err("missing parameter(s) required by 'interface': direction".into());
    }
    if host.phase == Phase::Bake {
        host.program("ufw")?;
        return while_baking(&args, host);
    }
    let check = host.check;
    let mut ufw = Ufw { host, program: host.program("ufw")?, commands: vec![] };
    let state_before = ufw.said(&["status", "verbose"])?;
    let rules_before = ufw.rules();
    let mut changed = false;
    let dry: &[&str] = if check { &["--dry-run"] } else { &[] };
    if let Some(state) = &args.state {
        changed |= matches!(state.as_str(), "reloaded" | "reset");
        let enabled = state_before.contains(" active");
        if check {
            changed |= matches!((state.as_str(), enabled), ("disabled", true) | ("enabled", false));
        } else {
            ufw.said(&["-f", verb(state)])?;
        }
    }
    if let Some(policy) = &args.default {
        if !matches!(args.direction.as_deref(), None | Some("outgoing" | "incoming" | "routed")) {
            return Err("For default, direction must be one of \"outgoing\", \"incoming\" and \"routed\", or direction must not be specified.".into());
        }
        let direction = args.direction.as_deref().unwrap_or("incoming");
        let line = state_before.lines().find_map(|line| line.strip_prefix("Default: "));
        let now = line.and_then(|line| {
            let mut parts = line.split(", ");
            parts.find_map(|part| part.trim().strip_suffix(&format!(" ({direction})")))
        });
        let is_set = now.is_some_and(|now| now == policy || now == "disabled");
        if check {
            changed |= !is_set;
        } else if !is_set {
            let direction: &[&str] =
                args.direction.as_deref().map_or(&[], |_| std::slice::from_ref(&direction));
            ufw.said(&[&["default", policy.as_str()], direction].concat())?;
        }
    }
    if let Some(name) = &args.rule {
        let mut words: Vec<String> = dry.iter().map(|w| (*w).to_owned()).collect();
        words.extend(rule(&args, name, &mut ufw)?);
        let said = ufw.run(&words)?;
        changed |= check && would_change(&args, &rules_before, &said);
    }
    if let Some(level) = &args.logging {
        changed |= logging_changes(&state_before, level);
        if !check {
            ufw.said(&["logging", level])?;
        }
    }
    if check {
        return Ok(Outcome::changed(changed).with("commands", Value::strings(ufw.commands)));
    }
    let state_after = ufw.said(&["status", "verbose"])?;
    if !changed {
        changed = state_before != state_after || rules_before != ufw.rules();
    }
    Ok(Outcome::changed(changed).with("commands", Value::strings(ufw.commands)).msg(state_after.trim_end()))
}

fn verb(state: &str) -> &'static str {
    match state {
        "enabled" => "enable",
        "disabled" => "disable",
        "reloaded" => "reload",
        _ => "reset",
    }
}

/// Whether a level of logging is another one than `ufw status verbose` tells.
fn logging_changes(status: &str, level: &str) -> bool {
    let Some(now) = status.lines().find_map(|line| line.strip_prefix("Logging: ")) else { return true };
    let (on, held) = now.split_once(' ').unwrap_or((now, ""));
    let held = held.trim_matches(['(', ')']);
    match level {
        "off" => on != "off",
        "on" => on == "off",
        level => on == "off" || level != held,
    }
}

/// Rules are written by ufw itself, which touches the kernel only where it is switched on; so it is switched on last,
/// by its file, and does its work when the image boots.
fn while_baking(args: &Args, host: &mut Host) -> Run {
    let path = host.path("/etc/ufw/ufw.conf");
    let text = bakery_host::fs::read_to_string(&path)?;
    let switched = |on: bool| -> String {
        let line = |line: &str| {
            if line.starts_with("ENABLED=") {
                format!("ENABLED={}\n", if on { "yes" } else { "no" })
            } else {
                line.to_owned()
            }
        };
        text.split_inclusive('\n').map(line).collect()
    };
    let was_on = text.lines().any(|line| line == "ENABLED=yes");
    let on = match args.state.as_deref() {
        Some("enabled") => true,
        Some("disabled" | "reset") => false,
        _ => was_on,
    };
    let check = host.check;
    let before: String = {
        let mut ufw = Ufw { host, program: host.program("ufw")?, commands: vec![] };
        ufw.rules()
    };
    let mut changed = on != was_on || matches!(args.state.as_deref(), Some("reset" | "reloaded"));
    if !check {
        bakery_host::fs::write_atomic(&path, switched(false))?;
    }
    let mut commands = Vec::new();
    let done = (|| -> Result<(), Failure> {
        let mut ufw = Ufw { host, program: host.program("ufw")?, commands: vec![] };
        let dry: &[&str] = if check { &["--dry-run"] } else { &[] };
        if args.state.as_deref() == Some("reset") && !check {
            ufw.said(&["-f", "reset"])?;
        }
        if let Some(policy) = &args.default {
            let direction: Vec<&str> = args.direction.as_deref().into_iter().collect();
            let held = bakery_host::fs::read("/etc/default/ufw").unwrap_or_default();
            ufw.said(&[dry, &["default", policy.as_str()], &direction].concat())?;
            changed |= held != bakery_host::fs::read("/etc/default/ufw").unwrap_or_default();
        }
        if let Some(name) = &args.rule {
            let mut words: Vec<String> = dry.iter().map(|w| (*w).to_owned()).collect();
            words.extend(rule(args, name, &mut ufw)?);
            let said = ufw.run(&words)?;
            changed |= if check { would_change(args, &before, &said) } else { before != ufw.rules() };
        }
        if let Some(level) = &args.logging {
            let held = bakery_host::fs::read("/etc/ufw/ufw.conf").unwrap_or_default();
            if !check {
                ufw.said(&["logging", level])?;
            }
            changed |= held != bakery_host::fs::read("/etc/ufw/ufw.conf").unwrap_or_default();
        }
        commands = ufw.commands;
        Ok(())
    })();
    if !check {
        // What ufw wrote into its own file meanwhile stays, and the switch is put where it shall be.
        let now = bakery_host::fs::read_to_string(&path)?;
        let state = if done.is_ok() { on } else { was_on };
        let line = format!("ENABLED={}", if state { "yes" } else { "no" });
        bakery_host::fs::write_atomic(&path, now.replace("ENABLED=no", &line))?;
    }
    done?;
    if on {
        host.leave_to_boot("the firewall: its rules are loaded at boot");
    }
    Ok(Outcome::changed(changed).with("commands", Value::strings(commands)).msg(""))
}

module!("ufw", "community.general", Args, run);
