//! `seport`: types of ports in the SELinux policy (community.general `seport.py`), by `semanage`.

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Gives ports a type in the SELinux policy, or takes it away.
#[derive(ModuleArgs)]
struct Args {
    /// Ports and ranges of ports, such as `8080` or `10000-10100`.
    #[arg(required)]
    ports: Vec<String>,
    /// The protocol.
    #[arg(required, choices = "tcp,udp,dccp,sctp")]
    proto: String,
    /// The type.
    #[arg(required)]
    setype: String,
    /// Whether the ports shall have the type.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether the policy is loaded anew.
    #[arg(default = "true")]
    reload: bool,
    /// Whether it is set where SELinux is off, too.
    ignore_selinux_state: bool,
    /// Whether only what was set on this system counts, not what the policy comes with.
    local: bool,
}

/// A line of `semanage port --list`: a type, a protocol, and its ports.
fn records(listing: &str) -> Vec<(String, String, Vec<String>)> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (setype, proto) = (words.next()?.to_owned(), words.next()?.to_owned());
        let ports = words.map(|word| word.trim_end_matches(',').to_owned()).collect();
        Some((setype, proto, ports))
    };
    listing.lines().filter_map(parse).collect()
}

/// The first and the last port of `80` or `8008-8010`.
fn range(ports: &str) -> Option<(u32, u32)> {
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
}

/// Whether ports have the type already, alone or among others.
fn is_covered(port: &str, known: &[String]) -> bool {
    let Some((low, high)) = range(port) else { return known.iter().any(|other| other == port) };
    known.iter().filter_map(|other| range(other)).any(|(from, to)| from <= low && high <= to)
}

fn run(args: Args, host: &mut Host) -> Run {
    let enabled = super::selinux::is_enabled();
    if !enabled && !args.ignore_selinux_state {
        return Err("SELinux is disabled on this host.".into());
    }
    let semanage = host.program("semanage")?;
    let list = |local: bool| -> Result<_, Failure> {
        let mut argv = vec![semanage.as_str(), "port", "--list", "--noheading"];
        if local {
            argv.push("--locallist");
        }
        Ok(records(&host.run(&argv)?.text()))
    };
    let of_type = |records: &[(String, String, Vec<String>)]| -> Vec<String> {
        let matching = records.iter().filter(|(t, p, _)| *t == args.setype && *p == args.proto);
        matching.flat_map(|(_, _, ports)| ports.clone()).collect()
    };
    let known = of_type(&list(args.local)?);
    let present = args.state == "present";
    let is_known = |port: &String| if present { is_covered(port, &known) } else { known.contains(port) };
    let todo: Vec<&String> = args.ports.iter().filter(|port| is_known(port) != present).collect();
    if !host.check && !todo.is_empty() {
        let all = list(false)?;
        for port in &todo {
            let is_typed = all.iter().any(|(_, proto, ports)| *proto == args.proto && ports.contains(port));
            let verb = match (present, is_typed) {
                (false, _) => "--delete",
                (true, true) => "--modify",
                (true, false) => "--add",
            };
            let mut argv = vec![semanage.as_str(), "port", verb];
            if !args.reload || !enabled {
                argv.push("--noreload");
            }
            argv.extend(["--type", &args.setype, "--proto", &args.proto, port]);
            host.run(&argv).map_err(|failure| Failure::new(failure.msg))?;
        }
    }
    Ok(Outcome::changed(!todo.is_empty())
        .with("ports", Value::strings(&args.ports))
        .with("proto", args.proto.as_str())
        .with("setype", args.setype.as_str())
        .with("state", args.state.as_str()))
}

module!("seport", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_semanage() {
        let listing =
            "http_port_t                    tcp      80, 81, 443, 8008-8010\nntp_port_t   udp      123\n";
        let read = records(listing);
        assert_eq!(read[0].2, ["80", "81", "443", "8008-8010"]);
        assert!(is_covered("8009", &read[0].2) && is_covered("8008-8009", &read[0].2));
        assert!(!is_covered("8009-8011", &read[0].2) && !is_covered("79", &read[0].2));
        assert_eq!((read[1].0.as_str(), read[1].1.as_str()), ("ntp_port_t", "udp"));
    }
}
