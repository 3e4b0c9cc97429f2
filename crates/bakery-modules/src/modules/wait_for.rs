//! `wait_for`: until a port answers, a file is there, or some time has passed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bakery_host::fs;
use bakery_lang::regex::{Flags, compile};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Waits until a port answers, a file is there (with some content), or some time has passed.
#[derive(ModuleArgs)]
#[args(exclusive = "port,path")]
struct Args {
    /// The host of the port; a number, `localhost`, or a name of /etc/hosts.
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
    /// A pattern that the file or the port's greeting must have.
    search_regex: Option<String>,
    /// What to say when time is up.
    msg: Option<String>,
    /// Hosts whose connections do not count for `drained`.
    exclude_hosts: Option<Vec<String>>,
    /// Connection states that count for `drained`.
    active_connection_states: Option<Vec<String>>,
}

fn address(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    if let Ok(ip) = host.parse::<std::net::IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    if host == "localhost" {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    hosts
        .lines()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let ip = words.next()?.parse().ok()?;
            words.any(|w| w == host).then(|| SocketAddr::new(ip, port))
        })
        .ok_or_else(|| Failure::new(format!("the host `{host}` is neither a number nor in /etc/hosts")))
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("wait_for"));
    }
    let started = Instant::now();
    std::thread::sleep(Duration::from_secs(args.delay.max(0) as u64));
    let limit = Duration::from_secs(args.timeout.max(0) as u64);
    let regex = args
        .search_regex
        .as_deref()
        .map(|r| compile(r, Flags { multiline: true, ..Flags::default() }))
        .transpose()?;
    let gone = matches!(args.state.as_str(), "absent" | "stopped" | "drained");
    let done = |outcome: Outcome, groups: Vec<bakery_lang::Value>, named: bakery_lang::Map| {
        Ok(outcome
            .with("elapsed", started.elapsed().as_secs())
            .with("state", args.state.as_str())
            .with("path", args.path.clone())
            .with("port", args.port)
            .with("search_regex", args.search_regex.clone())
            .with("match_groups", groups)
            .with("match_groupdict", named))
    };
    if args.port.is_none() && args.path.is_none() {
        std::thread::sleep(limit.saturating_sub(started.elapsed()));
        return done(Outcome::unchanged(), vec![], bakery_lang::Map::new());
    }
    let target = match args.port {
        Some(port) => Some(address(&args.host, port as u16)?),
        None => None,
    };
    let mut found: (Vec<bakery_lang::Value>, bakery_lang::Map) = Default::default();
    let mut fits = |text: &str| {
        let Some(regex) = &regex else { return true };
        let Ok(Some(captures)) = regex.captures(text) else { return false };
        let value =
            |m: Option<fancy_regex::Match<'_>>| m.map_or(bakery_lang::Value::None, |m| m.as_str().into());
        let named = bakery_lang::Map::new();
        for name in regex.capture_names().flatten() {
            named.set(name, value(captures.name(name)));
        }
        found = ((1..captures.len()).map(|at| value(captures.get(at))).collect(), named);
        true
    };
    loop {
        let there = match (&target, &args.path) {
            (Some(target), _) => match TcpStream::connect_timeout(
                target,
                Duration::from_secs(args.connect_timeout.max(1) as u64),
            ) {
                Ok(mut stream) if regex.is_some() => {
                    let _ = stream
                        .set_read_timeout(Some(Duration::from_secs(args.connect_timeout.max(1) as u64)));
                    let _ = stream.write_all(b"");
                    let mut buffer = [0; 1024];
                    let read = stream.read(&mut buffer).unwrap_or(0);
                    fits(&String::from_utf8_lossy(&buffer[..read]))
                }
                Ok(_) => true,
                Err(_) => false,
            },
            (None, Some(path)) => {
                let path = host.path(path);
                path.exists() && (regex.is_none() || fits(&fs::read_to_string(&path).unwrap_or_default()))
            }
            (None, None) => true,
        };
        if there != gone {
            let (groups, named) = found;
            return done(Outcome::unchanged(), groups, named);
        }
        if started.elapsed() >= limit {
            let what = match (&args.path, args.port) {
                (Some(path), _) => format!("file {path}"),
                (None, Some(port)) => format!("{}:{port}", args.host),
                _ => String::new(),
            };
            let default = format!("Timeout when waiting for {what}{}", if gone { " to stop" } else { "" });
            return Err(Failure::new(args.msg.clone().unwrap_or(default))
                .with("elapsed", started.elapsed().as_secs()));
        }
        std::thread::sleep(
            Duration::from_secs(args.sleep.max(0) as u64)
                .min(limit.saturating_sub(started.elapsed()))
                .max(Duration::from_millis(20)),
        );
    }
}

module!("wait_for", "ansible.builtin", Args, run);
