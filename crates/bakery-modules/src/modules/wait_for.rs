//! `wait_for`: until a port answers, is closed or has no connections, a file is there or gone, or some time has passed
//! (`ansible/modules/wait_for.py`).

use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bakery_host::{fs, signal};
use bakery_lang::regex::{Flags, compile};
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use fancy_regex::Regex;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Waits until a port answers, is closed or has no connections, a file is there or gone, or some time has passed.
#[derive(ModuleArgs)]
struct Args {
    /// The host of the port, a number or a name.
    #[arg(default = "127.0.0.1")]
    host: String,
    /// The port.
    port: Option<i64>,
    /// The file.
    path: Option<String>,
    /// What to wait for.
    #[arg(default = "started", choices = "absent,drained,present,started,stopped")]
    state: String,
    /// The most seconds to wait.
    #[arg(default = "300")]
    timeout: i64,
    /// Seconds before the first look.
    #[arg(default = "0")]
    delay: i64,
    /// Seconds between looks.
    #[arg(default = "1")]
    sleep: i64,
    /// Seconds before one attempt is given up.
    #[arg(default = "5")]
    connect_timeout: i64,
    /// A pattern that the file, or what the port says, must have; its lines are lines of their own.
    search_regex: Option<String>,
    /// What to say when time is up.
    msg: Option<String>,
    /// Hosts whose connections do not count for `drained`.
    exclude_hosts: Option<Vec<String>>,
    /// Connection states that count for `drained`.
    #[arg(default = "ESTABLISHED,FIN_WAIT1,FIN_WAIT2,SYN_RECV,SYN_SENT,TIME_WAIT")]
    active_connection_states: Vec<String>,
}

/// The states of a connection with their numbers in `/proc/net/tcp`.
const STATES: [(&str, u8); 6] = [
    ("ESTABLISHED", 1),
    ("SYN_SENT", 2),
    ("SYN_RECV", 3),
    ("FIN_WAIT1", 4),
    ("FIN_WAIT2", 5),
    ("TIME_WAIT", 6),
];

/// What is waited for.
enum Wanted<'a> {
    Port(u16),
    Drained(Drained),
    File(&'a str),
}

/// What a pattern found: its groups, and those with a name.
type Found = (Vec<Value>, Map);

fn run(args: Args, host: &mut Host) -> Run {
    let port = args.port.filter(|port| *port != 0);
    let path = args.path.as_deref().filter(|path| !path.is_empty());
    let wrong = match (port, path, args.state.as_str()) {
        (Some(_), Some(_), _) => {
            Some("port and path parameter can not both be passed to wait_for".to_owned())
        }
        (_, Some(_), state @ ("stopped" | "drained")) => {
            Some(format!("state={state} should only be used for checking a port in the wait_for module"))
        }
        (None, None, "drained") => Some("state=drained wants a port".to_owned()),
        (_, _, state) if state != "drained" && args.exclude_hosts.is_some() => {
            Some("exclude_hosts should only be with state=drained".to_owned())
        }
        _ => {
            let unknown = |state: &&String| STATES.iter().all(|(name, _)| name != state);
            let unknown = args.active_connection_states.iter().find(unknown);
            unknown.map(|state| format!("unknown active_connection_state ({state}) defined"))
        }
    };
    if let Some(wrong) = wrong {
        return Err(Failure::new(wrong).with("elapsed", 0));
    }
    let regex = args.search_regex.as_deref().map(|pattern| {
        compile(pattern, Flags { multiline: true, ..Flags::default() })
            .map_err(|error| Failure::new(format!("Invalid regular expression: {error}")))
    });
    let regex = regex.transpose()?;
    if host.check {
        return Ok(Outcome::no_check_mode("wait_for"));
    }
    let wanted = match (port, path) {
        (Some(port), _) => {
            let port =
                u16::try_from(port).map_err(|_| format!("the port {port} is not one of 1 to 65535"))?;
            match args.state.as_str() {
                "drained" => Wanted::Drained(Drained::new(host, &args, port)?),
                _ => Wanted::Port(port),
            }
        }
        (None, Some(path)) => Wanted::File(path),
        // Time alone is waited for.
        (None, None) => return Ok(slept(&args)),
    };

    let started = Instant::now();
    signal::sleep(seconds(args.delay));
    // Like Ansible's, this runs from before the delay.
    let end = started + seconds(args.timeout);
    let elapsed = || started.elapsed().as_secs();
    let failed = |default: String| {
        Failure::new(args.msg.clone().unwrap_or(default)).with("elapsed", started.elapsed().as_secs())
    };
    let mut found = Found::default();
    let is_gone_wanted = matches!(args.state.as_str(), "absent" | "stopped");
    loop {
        if Instant::now() >= end {
            return Err(failed(out_of_time(&args, &wanted, is_gone_wanted)));
        }
        let there = match &wanted {
            Wanted::Drained(drained) => drained.connections() == 0,
            Wanted::Port(port) if is_gone_wanted => connection(host, &args, *port, end).is_none(),
            Wanted::Port(port) => match (connection(host, &args, *port, end), &regex) {
                (None, _) => false,
                (Some(stream), None) => is_alive(&stream),
                (Some(stream), Some(regex)) => listen(stream, regex, end).map(|says| found = says).is_some(),
            },
            Wanted::File(path) => match (fs::metadata(host.path(path)), &regex) {
                (looked, _) if is_gone_wanted => looked.is_err(),
                (Err(error), _) if error.is_not_found() => false,
                (Err(error), _) => {
                    return Err(failed(format!("Failed to stat {path}, {}", error.reason())));
                }
                (Ok(_), None) => true,
                (Ok(_), Some(regex)) => {
                    let bytes = fs::read(host.path(path)).unwrap_or_default();
                    search(regex, &bytes).map(|says| found = says).is_some()
                }
            },
        };
        if there {
            break;
        }
        if !signal::sleep(seconds(args.sleep).max(Duration::from_millis(20))) {
            return Err(failed("interrupted".into()));
        }
    }
    Ok(told(&args, elapsed(), found))
}

/// Waits for a time that begins after the delay.
fn slept(args: &Args) -> Outcome {
    let started = Instant::now();
    signal::sleep(seconds(args.delay) + seconds(args.timeout));
    told(args, started.elapsed().as_secs(), Found::default())
}

fn told(args: &Args, elapsed: u64, (groups, named): Found) -> Outcome {
    Outcome::unchanged()
        .with("elapsed", elapsed)
        .with("state", args.state.as_str())
        .with("path", args.path.clone())
        .with("port", args.port)
        .with("search_regex", args.search_regex.clone())
        .with("match_groups", groups)
        .with("match_groupdict", named)
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or_default())
}

fn out_of_time(args: &Args, wanted: &Wanted<'_>, is_gone_wanted: bool) -> String {
    let what = match wanted {
        Wanted::File(path) => (*path).to_owned(),
        _ => format!("{}:{}", args.host, args.port.unwrap_or_default()),
    };
    let waiting = "Timeout when waiting for";
    match (wanted, &args.search_regex) {
        (Wanted::Drained(_), _) => format!("{waiting} {what} to drain"),
        (Wanted::File(_), _) if is_gone_wanted => format!("{waiting} {what} to be absent."),
        _ if is_gone_wanted => format!("{waiting} {what} to stop."),
        (_, Some(pattern)) => format!("{waiting} search string {pattern} in {what}"),
        (Wanted::File(_), None) => format!("{waiting} file {what}"),
        (_, None) => format!("{waiting} {what}"),
    }
}

/// The addresses of a host: a number, or what `/etc/hosts` or else the system's name service says, which a static program
/// has to ask by getent(1).
fn addresses(machine: &Host, host: &str, port: u16) -> Vec<SocketAddr> {
    if let Ok(number) = host.parse::<IpAddr>() {
        return vec![SocketAddr::new(number, port)];
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let said = hosts.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then(|| SocketAddr::new(address, port))
    });
    let said: Vec<SocketAddr> = said.collect();
    if !said.is_empty() {
        return said;
    }
    let found = machine.try_run(&["getent", "ahosts", host]).map(|output| output.text()).unwrap_or_default();
    let found = found.lines().filter(|line| line.contains("STREAM"));
    found
        .filter_map(|line| Some(SocketAddr::new(line.split_whitespace().next()?.parse().ok()?, port)))
        .collect()
}

/// A connection to the port, if it answers in time.
fn connection(host: &Host, args: &Args, port: u16, end: Instant) -> Option<TcpStream> {
    let left = end.saturating_duration_since(Instant::now());
    let patience = seconds(args.connect_timeout).min(left).max(Duration::from_millis(20));
    let tried = addresses(host, &args.host, port);
    tried.iter().find_map(|address| TcpStream::connect_timeout(address, patience).ok())
}

/// Whether the other side has not broken the connection by itself.
fn is_alive(stream: &TcpStream) -> bool {
    match stream.shutdown(Shutdown::Both) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotConnected,
    }
}

/// What the pattern finds in what the port says until it falls silent, hangs up, or time is up.
fn listen(mut stream: TcpStream, regex: &Regex, end: Instant) -> Option<Found> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return None;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
        }
        if search(regex, &heard).is_some() {
            // What is found in a port is not told, as in Ansible.
            return Some(Found::default());
        }
    }
}

fn search(regex: &Regex, bytes: &[u8]) -> Option<Found> {
    let text = String::from_utf8_lossy(bytes);
    let captures = regex.captures(text.as_ref()).ok()??;
    let value =
        |group: Option<fancy_regex::Match<'_>>| group.map_or(Value::None, |group| group.as_str().into());
    let named = Map::new();
    for name in regex.capture_names().flatten() {
        named.set(name, value(captures.name(name)));
    }
    Some(((1..captures.len()).map(|at| value(captures.get(at))).collect(), named))
}

/// Connections of a port, of which none shall be left.
struct Drained {
    port: u16,
    /// Addresses of this machine, one of which the connection must lead to.
    here: Vec<IpAddr>,
    /// Addresses of the other side that do not count.
    excluded: Vec<IpAddr>,
    /// The states that count.
    states: Vec<u8>,
}

impl Drained {
    fn new(machine: &Host, args: &Args, port: u16) -> Result<Self, Failure> {
        let of = |host: &str| -> Result<Vec<IpAddr>, Failure> {
            let found = addresses(machine, host, port);
            if found.is_empty() {
                return Err(format!("the host {host} is not known").into());
            }
            Ok(found.iter().map(SocketAddr::ip).collect())
        };
        let mut excluded = Vec::new();
        for host in args.exclude_hosts.iter().flatten() {
            excluded.extend(of(host)?);
        }
        let counts = |name: &&str| args.active_connection_states.iter().any(|state| state == name);
        let states = STATES.iter().filter(|(name, _)| counts(name)).map(|(_, number)| *number);
        Ok(Self { port, here: of(&args.host)?, excluded, states: states.collect() })
    }

    fn connections(&self) -> usize {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let lines = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
        let is_one = |line: &str| {
            let mut cells = line.split_whitespace().skip(1);
            let (local, remote) = (cells.next().and_then(end_of)?, cells.next().and_then(end_of)?);
            let state = u8::from_str_radix(cells.next()?, 16).ok()?;
            let here = self.here.iter().any(|ip| {
                // `0.0.0.0` and `::` are every address of their kind.
                *ip == local.ip() || (ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4())
            });
            let counts = here && local.port() == self.port && self.states.contains(&state);
            Some(counts && !self.excluded.contains(&remote.ip()))
        };
        lines.iter().flat_map(|text| text.lines()).filter(|line| is_one(line).unwrap_or(false)).count()
    }
}

/// One end of a connection as `/proc/net/tcp` writes it: the address as words of this machine in hexadecimal digits, a colon,
/// the port. An IPv4 address in IPv6's form is the IPv4 address.
fn end_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::from(four),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

module!("wait_for", "ansible.builtin", Args, run);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use super::end_of;

    #[test]
    fn ends_of_connections_are_read() {
        assert_eq!(end_of("0100007F:3B9D").unwrap().to_string(), "127.0.0.1:15261");
        let mapped = "0000000000000000FFFF00000100007F:0016";
        assert_eq!(end_of(mapped).unwrap().to_string(), "127.0.0.1:22");
        assert_eq!(end_of("00000000000000000000000001000000:0050").unwrap().to_string(), "[::1]:80");
        assert_eq!(end_of("local_address"), None);
        assert_eq!(end_of("0100:0016"), None);
    }
}
