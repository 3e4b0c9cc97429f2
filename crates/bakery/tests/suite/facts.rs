//! Facts beside ansible-core's own: every key, every type, and every value that does not change while one looks.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::program;

/// What `setup` says, asked through the program for single tasks.
fn facts(mut command: Command, args: &str) -> Value {
    command.args([
        "localhost",
        "-m",
        "setup",
        "-a",
        args,
        "-e",
        "ansible_python_interpreter=/usr/bin/python3",
    ]);
    // Interpreters in front of the system's would be found by one of the two only.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("NO_COLOR", "1").env("ANSIBLE_NOCOLOR", "1");
    let output = command.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = text.split_once("=> ").map(|(_, rest)| rest).unwrap_or_default();
    let said: Value = serde_json::from_str(json)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    said.get("ansible_facts").or_else(|| said.get("msg")).cloned().unwrap_or_default()
}

fn both(args: &str) -> (Value, Value) {
    let reference = std::env::var("BAKERY_REFERENCE").expect("scripts/test sets it");
    let theirs = Command::new(Path::new(&reference).join("ansible"));
    let mut ours = Command::new(program("bakery"));
    ours.arg("adhoc");
    (facts(theirs, args), facts(ours, args))
}

/// A network of its own: names for addresses, addresses beside others, with other ends, bridges, and ways out.
const NETWORK: &str = "mount -t sysfs sysfs /sys && ip link set lo up && ip addr add 127.0.0.5/8 dev lo
ip link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02
ip link add br0 address 02:00:00:00:00:03 type bridge && ip link set v1 master br0
ip addr add 10.1.2.3/20 brd + dev v0 label v0:main && ip addr add 10.1.2.4/20 brd + dev v0 label v0:second
ip addr add 192.0.2.1/32 dev v0 && ip addr add 198.51.100.1 peer 198.51.100.2/30 dev v0
ip addr add 10.9.0.1/16 dev br0 && ip addr add 2001:db8::5/64 dev v0 nodad
ip addr add 2001:db8::9 peer 2001:db8::a/126 dev v0 nodad
ip link set v0 up && ip link set v1 up && ip link set br0 up
ip route add default via 10.1.0.1 && ip -6 route add default via 2001:db8::1
ip route add local 203.0.113.0/24 dev lo && ip -6 route add local 2001:db8:5::/48 dev lo
until ip addr show | grep -c fe80 | grep -q 3; do sleep 0.1; done
while ip addr show | grep -q tentative; do sleep 0.1; done
exec \"$0\" \"$@\"";

/// What changes from one look to the next, or comes from the program that looks.
fn changes(path: &str) -> bool {
    const NAMES: &[&str] = &[
        "ansible_date_time.",
        "ansible_env.",
        "ansible_loadavg.",
        "ansible_memfree_mb",
        "ansible_memory_mb.",
        "ansible_swapfree_mb",
        "ansible_uptime_seconds",
    ];
    const ENDS: &[&str] = &["_available", "_used"];
    NAMES.iter().any(|name| path.starts_with(name)) || ENDS.iter().any(|end| path.ends_with(end))
}

fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                // Variables differ by the two programs' names, and disks of other tests come and go.
                if path == "ansible_env._" || path.starts_with("ansible_devices.loop") {
                    continue;
                }
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&path, a, b, found),
                    (Some(a), None) => found.push(format!("{path}: {a} is missing")),
                    (_, b) => found.push(format!("{path}: {b:?} is too much")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            // The system lists folders in any order.
            let sorted = |list: &[Value]| {
                let mut list = list.to_vec();
                list.sort_by_key(|item| item.get("mount").unwrap_or(item).to_string());
                list
            };
            for (at, (a, b)) in sorted(a).iter().zip(&sorted(b)).enumerate() {
                differences(&format!("{path}.{at}"), a, b, found);
            }
        }
        _ if changes(path) && std::mem::discriminant(theirs) == std::mem::discriminant(ours) => {}
        _ if theirs == ours => {}
        _ => found.push(format!("{path}: {theirs} and {ours}")),
    }
}

#[test]
fn facts_are_ansible_cores() {
    for args in
        ["", "gather_subset=!all", "gather_subset=!all,!min,network", "filter=*ipv4*,pkg_mgr,ansible_mem*"]
    {
        // Mounts and interfaces of other tests may come or go between the two; a true difference stays.
        let mut found = Vec::new();
        let mut theirs = Value::Null;
        for _ in 0..3 {
            let (reference, ours) = both(args);
            found.clear();
            differences("", &reference, &ours, &mut found);
            theirs = reference;
            if found.is_empty() {
                break;
            }
        }
        assert!(found.is_empty(), "with {args:?}:\n{}", found.join("\n"));
        assert!(
            theirs.as_object().is_some_and(|facts| !facts.is_empty()),
            "with {args:?} nothing was gathered"
        );
    }
}

#[test]
fn subsets_that_there_are_not_are_named_with_those_that_there_are() {
    let (theirs, ours) = both("gather_subset=nonsense");
    assert_eq!(theirs, ours);
    assert!(ours.as_str().is_some_and(|text| text.contains("nonsense")), "{ours}");
}

/// In a network with everything in it that addresses can have.
#[test]
fn network_facts_are_those_of_ansible_core() {
    let reference = std::env::var("BAKERY_REFERENCE").expect("scripts/test sets it");
    let inside = |words: &[&Path]| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", NETWORK]).args(words);
        facts(command, "gather_subset=!all,!min,network")
    };
    let theirs = inside(&[&Path::new(&reference).join("ansible")]);
    let ours = inside(&[&program("bakery"), Path::new("adhoc")]);
    let mut found = Vec::new();
    differences("", &theirs, &ours, &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(ours["ansible_default_ipv4"]["alias"], "v0:main");
    assert_eq!(ours["ansible_v0"]["ipv4_secondaries"][0]["address"], "198.51.100.1", "{ours}");
}
