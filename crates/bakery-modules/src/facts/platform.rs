//! Names, the kernel, users, time, environment (`facts/system/{platform,user,date_time,env,cmdline,loadavg}.py`).

use bakery_host::{fs, users};
use bakery_lang::{Map, Value};

use super::{Scene, content, names_in};

pub(super) fn platform(scene: &Scene<'_>) -> Map {
    let facts = Map::new();
    let uname = rustix::system::uname();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    facts.set("system", text(uname.sysname()));
    // While baking, the kernel is the image's, not the one that happens to run.
    let own_kernel = scene.is_baking().then(|| names_in("/lib/modules").pop()).flatten();
    facts.set("kernel", own_kernel.unwrap_or_else(|| text(uname.release())));
    facts.set("kernel_version", text(uname.version()));
    let machine = text(uname.machine());
    let node = if scene.is_baking() {
        content("/etc/hostname").unwrap_or_else(|| "localhost".into())
    } else {
        text(uname.nodename())
    };
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let fqdn = fully_qualified(&node, &hosts);
    if let Some((version, _)) = scene.python() {
        facts.set("python_version", version.as_str());
    }
    facts.set("machine", machine.as_str());
    facts.set("nodename", node.as_str());
    facts.set("hostname", node.split('.').next().unwrap_or_default());
    facts.set("domain", fqdn.split_once('.').map_or("", |(_, domain)| domain));
    facts.set("fqdn", fqdn);
    facts.set("userspace_bits", "64");
    let is_old_intel = matches!(machine.as_bytes(), [b'i', b'3'..=b'6', b'8', b'6']);
    facts.set("architecture", if is_old_intel { "i386" } else { &machine });
    if machine == "x86_64" {
        facts.set("userspace_architecture", "x86_64");
    }
    let id = content("/var/lib/dbus/machine-id").or_else(|| content("/etc/machine-id"));
    if let Some(id) = id.as_deref().and_then(|id| id.lines().next()) {
        facts.set("machine_id", id);
    }
    facts
}

/// What Python's `socket.getfqdn` gives where `/etc/hosts` knows the name: the first name with a dot of those that its
/// address has, else the first one.
fn fully_qualified(node: &str, hosts: &str) -> String {
    let lines: Vec<Vec<&str>> =
        hosts.lines().map(|line| line.split('#').next().unwrap_or("").split_whitespace().collect()).collect();
    let address = lines.iter().find(|words| words.iter().skip(1).any(|w| *w == node)).map(|words| words[0]);
    let names = address.and_then(|address| lines.iter().find(|words| words.first() == Some(&address)));
    let names = names.map(|words| &words[1..]).unwrap_or_default();
    let found = names.iter().find(|name| name.contains('.')).or_else(|| names.first());
    (*found.unwrap_or(&node)).to_owned()
}

pub(super) fn user(_: &Scene<'_>) -> Map {
    let facts = Map::new();
    let uid = rustix::process::geteuid().as_raw();
    if let Some(user) = users::find_user(&uid.to_string()) {
        facts.set("user_id", user.name);
        facts.set("user_uid", user.uid);
        facts.set("user_gid", user.gid);
        facts.set("user_gecos", user.gecos);
        facts.set("user_dir", user.home);
        facts.set("user_shell", user.shell);
    }
    facts.set("real_user_id", rustix::process::getuid().as_raw());
    facts.set("effective_user_id", uid);
    facts.set("real_group_id", rustix::process::getgid().as_raw());
    facts.set("effective_group_id", rustix::process::getegid().as_raw());
    facts
}

pub(super) fn environment(scene: &Scene<'_>) -> Map {
    let env: Map = std::env::vars().map(|(k, v)| (k, Value::from(v))).collect();
    for (name, value) in &scene.host.environment {
        env.set(name, value.as_str());
    }
    Map::from_iter([("env", Value::from(env))])
}

pub(super) fn date_time(_: &Scene<'_>) -> Map {
    let now = jiff::Zoned::now();
    let utc = now.with_time_zone(jiff::tz::TimeZone::UTC);
    let time = Map::new();
    for (name, format) in [
        ("year", "%Y"),
        ("month", "%m"),
        ("weekday", "%A"),
        ("weekday_number", "%w"),
        ("weeknumber", "%W"),
        ("day", "%d"),
        ("hour", "%H"),
        ("minute", "%M"),
        ("second", "%S"),
        ("date", "%Y-%m-%d"),
        ("time", "%H:%M:%S"),
        ("tz", "%Z"),
        ("tz_offset", "%z"),
        ("iso8601_basic", "%Y%m%dT%H%M%S%6f"),
        ("iso8601_basic_short", "%Y%m%dT%H%M%S"),
    ] {
        time.set(name, now.strftime(format).to_string());
    }
    // The name that the zone has in summer, where it has one.
    let zone = now.time_zone();
    let names: Vec<(bool, String)> = [1, 7]
        .iter()
        .filter_map(|month| jiff::civil::date(now.year(), *month, 1).to_zoned(zone.clone()).ok())
        .map(|day| {
            let info = zone.to_offset_info(day.timestamp());
            (info.dst().is_dst(), info.abbreviation().to_owned())
        })
        .collect();
    let summer = names.iter().find(|(is_dst, _)| *is_dst).or_else(|| names.first());
    time.set("tz_dst", summer.map(|(_, name)| name.as_str()).unwrap_or_default());
    time.set("epoch", now.timestamp().as_second().to_string());
    time.set("epoch_int", now.timestamp().as_second().to_string());
    time.set("iso8601", utc.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    time.set("iso8601_micro", utc.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    Map::from_iter([("date_time", Value::from(time))])
}

/// `cmdline`, where the last of several wins, and `proc_cmdline`, where several are a list.
pub(super) fn kernel_command_line(scene: &Scene<'_>) -> Map {
    if scene.is_baking() {
        return Map::new();
    }
    let text = content("/proc/cmdline").unwrap_or_default();
    let (last, all) = (Map::new(), Map::new());
    for word in quoted_words(&text) {
        let Some((name, value)) = word.split_once('=') else {
            last.set(&word, true);
            all.set(&word, true);
            continue;
        };
        last.set(name, value);
        match all.get(name) {
            Some(Value::List(list)) => list.update(|items| items.push(value.into())),
            Some(earlier) => all.set(name, vec![earlier, value.into()]),
            None => all.set(name, value),
        }
    }
    Map::from_iter([("cmdline", Value::from(last)), ("proc_cmdline", all.into())])
}

/// Words as `shlex.split(posix=False)` gives them: quotes hold white space together, and stay.
fn quoted_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        if quote.is_none() && c.is_whitespace() {
            words.push(String::new());
            continue;
        }
        match quote {
            Some(open) if open == c => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The load of the last 1, 5 and 15 minutes.
pub(super) fn load(_: &Scene<'_>) -> Map {
    let loads = rustix::system::sysinfo().loads;
    let [one, five, fifteen] = loads.map(|load| load as f64 / 65536.0);
    let average = Value::map([("1m", Value::from(one)), ("5m", five.into()), ("15m", fifteen.into())]);
    Map::from_iter([("loadavg", average)])
}

#[cfg(test)]
mod tests {
    use super::{fully_qualified, quoted_words};

    #[test]
    fn names_come_from_the_hosts_file() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 web.example.org web # here\n10.0.0.1 db\n";
        assert_eq!(fully_qualified("web", hosts), "web.example.org");
        assert_eq!(fully_qualified("db", hosts), "db");
        assert_eq!(fully_qualified("other", hosts), "other");
        assert_eq!(fully_qualified("vm", "127.0.0.1 localhost\n127.0.0.1 vm\n"), "localhost");
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(quoted_words("a=1  b=\"x y\" c"), ["a=1", "b=\"x y\"", "c"]);
    }
}
