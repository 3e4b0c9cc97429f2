//! `iptables`: one rule, one chain or one policy of the kernel's packet filter (`ansible/modules/iptables.py`).

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::args::string_list;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Phase, Run};

/// Keeps a rule, a chain or a policy of the kernel's packet filter.
#[derive(ModuleArgs)]
#[args(exclusive = "set_dscp_mark,set_dscp_mark_class", exclusive = "flush,policy")]
struct Args {
    /// The table.
    #[arg(default = "filter", choices = "filter,nat,mangle,raw,security")]
    table: String,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Where a new rule goes.
    #[arg(default = "append", choices = "append,insert")]
    action: String,
    /// The protocol's version.
    #[arg(default = "ipv4", choices = "ipv4,ipv6,both")]
    ip_version: String,
    /// The chain.
    chain: Option<String>,
    /// The number that an inserted rule gets.
    rule_num: Option<String>,
    /// The protocol.
    protocol: Option<String>,
    /// Seconds to wait for the lock.
    wait: Option<String>,
    /// Where packets come from; `!` before it for all others.
    source: Option<String>,
    /// What SNAT writes.
    to_source: Option<String>,
    /// Where packets go to.
    destination: Option<String>,
    /// What DNAT writes.
    to_destination: Option<String>,
    /// Extensions to use.
    #[arg(name = "match")]
    matches: Vec<String>,
    /// Flags of TCP: `flags` that are looked at and `flags_set` of them that must be set.
    tcp_flags: Option<Map>,
    /// What happens to the packet.
    jump: Option<String>,
    /// Where TEE sends a copy.
    gateway: Option<String>,
    /// What LOG starts its lines with.
    log_prefix: Option<String>,
    /// The level of LOG.
    #[arg(choices = "0,1,2,3,4,5,6,7,emerg,alert,crit,error,warning,notice,info,debug")]
    log_level: Option<String>,
    /// The chain to go on in.
    goto: Option<String>,
    /// The interface that packets come in by.
    in_interface: Option<String>,
    /// The interface that packets leave by.
    out_interface: Option<String>,
    /// Second and further fragments.
    fragment: Option<String>,
    /// Counters to start with.
    set_counters: Option<String>,
    /// The port that packets come from, or a range.
    source_port: Option<String>,
    /// The port that packets go to, or a range.
    destination_port: Option<String>,
    /// Several ports that packets go to.
    destination_ports: Vec<String>,
    /// What REDIRECT writes.
    to_ports: Option<String>,
    /// The mark that DSCP sets.
    set_dscp_mark: Option<String>,
    /// The class that DSCP sets.
    set_dscp_mark_class: Option<String>,
    /// A comment.
    comment: Option<String>,
    /// States of the connection.
    ctstate: Vec<String>,
    /// A range that packets come from.
    src_range: Option<String>,
    /// A range that packets go to.
    dst_range: Option<String>,
    /// A set of ipset(8).
    match_set: Option<String>,
    /// What of a packet is looked up in the set: `src`, `dst`, or two of them with a comma.
    match_set_flags: Option<String>,
    /// The most packets in a time.
    limit: Option<String>,
    /// The most packets before the limit counts.
    limit_burst: Option<String>,
    /// The user whose packets are meant.
    uid_owner: Option<String>,
    /// The group whose packets are meant.
    gid_owner: Option<String>,
    /// What REJECT answers.
    reject_with: Option<String>,
    /// The type of ICMP.
    icmp_type: Option<String>,
    /// Whether the packet must open a connection.
    #[arg(default = "ignore", choices = "ignore,match,negate")]
    syn: String,
    /// Whether the chain, or the table, is emptied.
    flush: bool,
    /// What happens to packets that no rule of the chain decided on.
    #[arg(choices = "ACCEPT,DROP,QUEUE,RETURN")]
    policy: Option<String>,
    /// Whether the chain itself is made and removed.
    chain_management: bool,
    /// Whether names are not looked up.
    numeric: bool,
}

/// The words of a rule, in the order in which Ansible puts them: iptables finds a rule by them.
struct Words(Vec<String>);

impl Words {
    /// An option; `!` before the value comes before the option.
    fn param(&mut self, flag: &str, value: Option<&String>) {
        let Some(value) = value else { return };
        if let Some(rest) = value.strip_prefix('!') {
            self.0.extend(["!".to_owned(), flag.to_owned(), rest.to_owned()]);
        } else {
            self.0.extend([flag.to_owned(), value.clone()]);
        }
    }

    fn list(&mut self, flag: &str, values: &[String]) {
        if !values.is_empty() {
            self.0.extend([flag.to_owned(), values.join(",")]);
        }
    }

    fn extension(&mut self, wanted: bool, name: &str) {
        if wanted {
            self.0.extend(["-m".to_owned(), name.to_owned()]);
        }
    }

    fn jump(&mut self, wanted: bool, name: &str) {
        if wanted {
            self.0.extend(["-j".to_owned(), name.to_owned()]);
        }
    }
}

fn rule(a: &Args) -> Vec<String> {
    let mut w = Words(Vec::new());
    let uses = |name: &str| a.matches.iter().any(|m| m == name);
    let jumps_to = |name: &str| a.jump.as_deref().is_some_and(|j| j.eq_ignore_ascii_case(name));
    w.param("-p", a.protocol.as_ref());
    w.param("-s", a.source.as_ref());
    w.param("-d", a.destination.as_ref());
    a.matches.iter().for_each(|name| w.param("-m", Some(name)));
    if let Some(flags) = &a.tcp_flags {
        let list =
            |key: &str| flags.get(key).and_then(|v| string_list(&v).ok()).unwrap_or_default().join(",");
        if flags.contains("flags") && flags.contains("flags_set") {
            w.0.extend(["--tcp-flags".to_owned(), list("flags"), list("flags_set")]);
        }
    }
    w.param("-j", a.jump.as_ref());
    w.param("--gateway", a.gateway.as_ref().filter(|_| jumps_to("tee")));
    w.param("--log-prefix", a.log_prefix.as_ref());
    w.param("--log-level", a.log_level.as_ref());
    w.param("--to-destination", a.to_destination.as_ref());
    w.extension(!a.destination_ports.is_empty(), "multiport");
    w.list("--dports", &a.destination_ports);
    w.param("--to-source", a.to_source.as_ref());
    w.param("-g", a.goto.as_ref());
    w.param("-i", a.in_interface.as_ref());
    w.param("-o", a.out_interface.as_ref());
    w.param("-f", a.fragment.as_ref());
    w.param("-c", a.set_counters.as_ref());
    w.param("--source-port", a.source_port.as_ref());
    w.param("--destination-port", a.destination_port.as_ref());
    w.param("--to-ports", a.to_ports.as_ref());
    w.param("--set-dscp", a.set_dscp_mark.as_ref());
    w.jump(a.set_dscp_mark.is_some() && !jumps_to("dscp"), "DSCP");
    w.param("--set-dscp-class", a.set_dscp_mark_class.as_ref());
    w.jump(a.set_dscp_mark_class.is_some() && !jumps_to("dscp"), "DSCP");
    match a.syn.as_str() {
        "match" => w.0.push("--syn".to_owned()),
        "negate" => w.0.extend(["!".to_owned(), "--syn".to_owned()]),
        _ => {}
    }
    if uses("conntrack") {
        w.list("--ctstate", &a.ctstate);
    } else if uses("state") {
        w.list("--state", &a.ctstate);
    } else if !a.ctstate.is_empty() {
        w.extension(true, "conntrack");
        w.list("--ctstate", &a.ctstate);
    }
    w.extension(!uses("iprange") && (a.src_range.is_some() || a.dst_range.is_some()), "iprange");
    w.param("--src-range", a.src_range.as_ref());
    w.param("--dst-range", a.dst_range.as_ref());
    w.extension(!uses("set") && a.match_set.is_some(), "set");
    w.param("--match-set", a.match_set.as_ref());
    w.0.extend(a.match_set_flags.clone().filter(|_| a.match_set.is_some()));
    w.extension(a.limit.is_some() || a.limit_burst.is_some(), "limit");
    w.param("--limit", a.limit.as_ref());
    w.param("--limit-burst", a.limit_burst.as_ref());
    w.extension(a.uid_owner.is_some(), "owner");
    w.param("--uid-owner", a.uid_owner.as_ref());
    w.extension(a.gid_owner.is_some(), "owner");
    w.param("--gid-owner", a.gid_owner.as_ref());
    w.jump(a.jump.is_none() && a.reject_with.is_some(), "REJECT");
    w.param("--reject-with", a.reject_with.as_ref());
    let icmp = if a.ip_version == "ipv6" { "--icmpv6-type" } else { "--icmp-type" };
    w.param(icmp, a.icmp_type.as_ref());
    w.extension(a.comment.is_some(), "comment");
    w.param("--comment", a.comment.as_ref());
    w.0
}

/// A table as one of the programs sees it.
struct Filter<'a> {
    host: &'a Host,
    args: &'a Args,
    program: &'static str,
    rule: &'a [String],
}

impl Filter<'_> {
    fn argv(&self, action: &str) -> Vec<String> {
        let mut argv = vec![self.program.to_owned(), "-t".into(), self.args.table.clone(), action.to_owned()];
        argv.extend(self.args.chain.clone());
        argv.extend(self.args.rule_num.clone().filter(|_| action == "-I"));
        if let Some(wait) = &self.args.wait {
            argv.extend(["-w".to_owned(), wait.clone()]);
        }
        argv
    }

    fn with_rule(&self, action: &str) -> Vec<String> {
        let mut argv = self.argv(action);
        argv.extend(self.rule.iter().cloned());
        argv
    }

    fn listed(&self) -> Result<bakery_host::Output, Failure> {
        let mut argv = self.argv("-L");
        argv.extend(self.args.numeric.then(|| "--numeric".to_owned()));
        self.host.try_run(&argv)
    }

    fn change(&self, argv: &[String]) -> Result<(), Failure> {
        if !self.host.check {
            self.host.run(argv)?;
        }
        Ok(())
    }

    fn policy(&self, wanted: &str) -> Result<bool, Failure> {
        let text = self.listed()?.text();
        let now = text.split_once("(policy ").and_then(|(_, rest)| rest.split([' ', ')']).next());
        let now = now.ok_or("Can't detect current policy")?;
        if now != wanted {
            let mut argv = self.argv("-P");
            argv.push(wanted.to_owned());
            self.change(&argv)?;
        }
        Ok(now != wanted)
    }

    fn apply(&self) -> Result<bool, Failure> {
        let present = self.args.state == "present";
        if self.args.flush {
            self.change(&self.argv("-F"))?;
            return Ok(true);
        }
        if let Some(policy) = &self.args.policy {
            return self.policy(policy);
        }
        if self.rule.is_empty() {
            let there = self.listed()?.success();
            if there != present && self.args.chain_management {
                self.change(&self.argv(if present { "-N" } else { "-X" }))?;
            }
            return Ok(there != present);
        }
        let there = self.host.try_run(&self.with_rule("-C"))?.success();
        if there != present {
            let action = match (present, self.args.action.as_str()) {
                (false, _) => "-D",
                (true, "insert") => "-I",
                (true, _) => "-A",
            };
            self.change(&self.with_rule(action))?;
        }
        Ok(there != present)
    }
}

fn run(mut args: Args, host: &mut Host) -> Run {
    if !args.flush && args.chain.is_none() {
        return Err("flush is False but all of the following are missing: chain".into());
    }
    if args.jump.as_deref().is_some_and(|j| j.eq_ignore_ascii_case("tee")) && args.gateway.is_none() {
        return Err("jump is TEE but all of the following are missing: gateway".into());
    }
    let shown = rule(&args).join(" ");
    if args.log_prefix.is_some() || args.log_level.is_some() {
        match args.jump.as_deref() {
            None => args.jump = Some("LOG".into()),
            Some("LOG") => {}
            Some(_) => return Err("Logging options can only be used with the LOG jump target.".into()),
        }
    }
    let words = rule(&args);
    let programs: &[&'static str] = match args.ip_version.as_str() {
        "ipv4" => &["iptables"],
        "ipv6" => &["ip6tables"],
        _ => &["iptables", "ip6tables"],
    };
    let mut changed = false;
    for program in programs {
        if host.phase == Phase::Bake {
            // The kernel that will run the image is not here, and that of the host is nobody's business.
            host.leave_to_boot(format!("{program}: the rules of the kernel are set at boot"));
            continue;
        }
        host.program(program)?;
        changed |= Filter { host, args: &args, program, rule: &words }.apply()?;
    }
    Ok(Outcome::changed(changed)
        .with("ip_version", args.ip_version)
        .with("table", args.table)
        .with("chain", args.chain.map_or(Value::None, Value::from))
        .with("flush", args.flush)
        .with("rule", shown)
        .with("state", args.state)
        .with("chain_management", args.chain_management)
        .with("wait", args.wait.map_or(Value::None, Value::from)))
}

module!("iptables", "ansible.builtin", Args, run);
