//! The whole loop: the example is baked, checked by the reference programs, booted, asked for
//! samples, replaced by a newer image, and asked for the old samples.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{bakery_lasting as bakery, copy_tree, fails, ok, result, said, write};

fn json(command: Command) -> serde_json::Value {
    result(&ok(command))
}

/// What a verb that waits for a boot gives; when it fails, the machine's console is a part of what is said.
fn json_of_boot(at: &Path, args: &[&str]) -> serde_json::Value {
    let output = bakery(at, args).output().expect("bakery runs");
    if !output.status.success() {
        let console = bakery(at, &["logs", "aws_instance.prometheus"]).output().expect("bakery runs");
        panic!("{args:?}\n{}\n{}", said(&output), said(&console));
    }
    result(&String::from_utf8_lossy(&output.stdout))
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("runs");
    assert!(output.status.success(), "{program} {args:?}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Throws away what the test made, whatever happens.
struct CleanUp(PathBuf);

impl Drop for CleanUp {
    fn drop(&mut self) {
        for name in ["main.tf", "broken/main.tf"] {
            if self.0.join(name).exists() {
                let _ = bakery(&self.0, &["destroy", name, "--local", "--volumes"]).output();
            }
        }
    }
}

fn get(url: &str) -> Option<String> {
    let output = Command::new("curl").args(["-fsS", "--max-time", "10", url]).output().expect("curl runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(started.elapsed() < limit, "{what} did not come within {limit:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// How many samples of `up` there are at a time.
fn samples_at(port: u64, time: u64) -> usize {
    let text = get(&format!("http://127.0.0.1:{port}/api/v1/query?query=up&time={time}")).unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    answer["data"]["result"].as_array().map_or(0, Vec::len)
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn port_of(instance: &serde_json::Value, guest: u64) -> u64 {
    let ports = instance["ports"].as_array().expect("ports");
    ports.iter().find(|p| p[0].as_u64() == Some(guest)).and_then(|p| p[1].as_u64()).expect("a port")
}

#[test]
fn bake_boot_replace_and_the_data_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/prometheus/."), at);
    std::fs::remove_dir_all(at.join(".bakery")).ok();
    let _clean_up = CleanUp(at.to_path_buf());

    let template = std::fs::read_to_string(at.join("packer.json")).expect("read");
    let size = "\"size\": \"3G\"";
    assert!(template.contains(size));
    write(at, "packer.json", &template.replace(size, &format!("{size}, \"formats\": [\"qcow2\", \"raw\"]")));
    let first = json(bakery(at, &["bake", "packer.json", "--json"]));
    let again = json(bakery(at, &["bake", "packer.json", "--json"]));
    assert_eq!(again["cached"], true, "a bake with nothing changed did something");
    assert_eq!(first["id"], again["id"]);
    check_image(&first);

    let instances = json_of_boot(at, &["apply", "main.tf", "--local", "--wait", "--json"]);
    let old = instances[0].clone();
    let port = port_of(&old, 9090);
    wait_for("a sample", Duration::from_mins(2), || (samples_at(port, now()) > 0).then_some(()));
    let written = now();

    // A newer image: one line of a role changed.
    let role = at.join("shared-roles/monitoring/defaults/main.yml");
    let text = std::fs::read_to_string(&role).expect("there").replace("30d", "40d");
    std::fs::write(&role, text).expect("written");
    std::fs::remove_dir_all(at.join("roles")).expect("removed");
    let second = json(bakery(at, &["bake", "packer.json", "--json"]));
    assert_eq!(second["cached"], false);
    assert_ne!(first["id"], second["id"]);

    looked_into(at, &first, &second);

    let new = json_of_boot(at, &["replace", "--json"]);
    assert_ne!(old["id"], new["id"], "the instance is the same");
    assert_eq!(new["image"], second["id"], "the instance is not of the newer image");
    assert_eq!(old["volumes"], new["volumes"], "the volume is another one");
    let port = port_of(&new, 9090);
    wait_for("Prometheus after the replacement", Duration::from_mins(2), || {
        get(&format!("http://127.0.0.1:{port}/-/ready"))
    });
    assert!(samples_at(port, written) > 0, "the old samples are gone");
    wait_for("a new sample", Duration::from_mins(2), || (samples_at(port, now()) > 0).then_some(()));
    let inside = ok(bakery(
        at,
        &[
            "exec",
            "-i",
            new["id"].as_str().expect("an id"),
            "--",
            "systemctl is-active prometheus prometheus-alertmanager || journalctl -b --no-pager -n 60 -u prometheus -u prometheus-alertmanager; df --output=source /var/lib/prometheus; hostname -f",
        ],
    ));
    assert_eq!(
        inside.lines().collect::<Vec<_>>(),
        ["active", "active", "Filesystem", "/dev/vdb1", "prom01.example.internal"]
    );
    ok(bakery(at, &["destroy", "main.tf", "--local"]));
    let left = json(bakery(at, &["ls", "--json"]));
    let volume = old["volumes"][0]["volume"].as_str().expect("a volume");
    assert!(
        left["volumes"].as_array().expect("volumes").iter().any(|v| v["id"] == volume),
        "destroy removed the data"
    );

    a_playbook_that_fails_at_boot_is_seen(at);
}

/// The reference checkers are clean, and nothing is in the image that must not be.
fn check_image(image: &serde_json::Value) {
    let file = |format: &str| image["files"][format].as_str().expect("a path").to_owned();
    run("qemu-img", &["check", &file("qcow2")]);
    let raw = file("raw");
    run("sfdisk", &["--verify", &raw]);
    run("sgdisk", &["--verify", &raw]);
    let root = format!("{raw}?offset={}", 68 << 20);
    run("e2fsck", &["-fn", &root]);
    let esp = tempfile::NamedTempFile::new().expect("a file");
    let path = esp.path().display().to_string();
    run("dd", &[&format!("if={raw}"), &format!("of={path}"), "bs=1M", "skip=4", "count=64", "status=none"]);
    run("fsck.fat", &["-n", &path]);
    let ask = |request: &str| {
        let output = Command::new("debugfs").args(["-R", request, &root]).output().expect("debugfs runs");
        said(&output)
    };
    let names = |folder: &str| -> Vec<String> {
        ask(&format!("ls -p {folder}"))
            .lines()
            .filter_map(|l| l.split('/').nth(5).map(str::to_owned))
            .filter(|n| !n.is_empty() && n != "." && n != "..")
            .collect()
    };
    for folder in ["/usr/bin", "/usr/local/bin", "/bin"] {
        let python: Vec<String> = names(folder).into_iter().filter(|n| n.starts_with("python")).collect();
        assert!(python.is_empty(), "{folder} has {python:?}");
    }
    assert_eq!(names("/var/lib/apt/lists"), ["partial"], "apt lists");
    assert!(names("/etc/ssh").iter().all(|n| !n.starts_with("ssh_host")), "host keys");
    assert!(
        names("/var/log")
            .iter()
            .all(|n| n != "dpkg.log" && n != "bootstrap.log" && !n.starts_with("cloud-init")),
        "build logs"
    );
    assert!(ask("stat /etc/machine-id").contains("Size: 0"), "a machine-id");
    assert!(ask("stat /usr/sbin/policy-rc.d").contains("not found"), "the build's policy against daemons");
    assert!(ask("stat /usr/bin/ansible-playbook").contains("symlink"), "the agent's other name");
}

/// What is said of the images: nothing is wrong with them, the reference validators take their bills of materials, the
/// signature of where they come from is good, and they differ in the line that was changed.
fn looked_into(at: &Path, first: &serde_json::Value, second: &serde_json::Value) {
    let id = |image: &serde_json::Value| image["id"].as_str().expect("an id").to_owned();
    let (first, second) = (id(first), id(second));
    assert!(ok(bakery(at, &["lint", &second, "--fail-on", "warning"])).contains("0 errors, 0 warnings"));
    ok(bakery(at, &["sbom", &second, "-o", "spdx.spdx.json"]));
    ok(bakery(at, &["sbom", &second, "--format", "cyclonedx", "-o", "cyclonedx.json"]));
    let check = "
import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
document = parse_file('spdx.spdx.json')
assert validate_full_spdx_document(document) == []
assert 'prometheus' in [package.name for package in document.packages]
assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(open('cyclonedx.json').read()) is None
";
    let reference = std::env::var_os("BAKERY_REFERENCE").expect("scripts/test says where the validators are");
    let output =
        Command::new(Path::new(&reference).join("python")).args(["-c", check]).current_dir(at).output();
    let output = output.expect("python runs");
    assert!(output.status.success(), "{}", said(&output));

    run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", &at.join("key.pem").display().to_string()]);
    ok(bakery(at, &["provenance", &second, "--key", "key.pem", "-o", "provenance.json"]));
    let check = "
import base64, hashlib, json, subprocess
envelope = json.load(open('provenance.json'))
payload = base64.b64decode(envelope['payload'])
kind = envelope['payloadType'].encode()
open('signed', 'wb').write(b'DSSEv1 %d %s %d %s' % (len(kind), kind, len(payload), payload))
open('signature', 'wb').write(base64.b64decode(envelope['signatures'][0]['sig']))
subprocess.run('openssl pkey -in key.pem -pubout -out public.pem && openssl pkeyutl -verify -rawin -pubin -inkey public.pem -in signed -sigfile signature', shell=True, check=True)
statement = json.loads(payload)
assert statement['predicateType'] == 'https://slsa.dev/provenance/v1'
assert len(statement['predicate']['buildDefinition']['resolvedDependencies']) > 100
";
    let output = Command::new("python3").args(["-c", check]).current_dir(at).output().expect("python runs");
    assert!(output.status.success(), "{}", said(&output));

    let differences = json(bakery(at, &["diff", &first, &second, "--json"]));
    let named: Vec<String> = differences
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| {
            format!("{} {}", d["kind"].as_str().unwrap_or_default(), d["name"].as_str().unwrap_or_default())
        })
        .collect();
    // A changed line moves few of the disk's blocks, which somebody who uploads it would send.
    let blocks = differences.as_array().and_then(|all| all.iter().find(|d| d["kind"] == "blocks").cloned());
    let blocks = blocks.expect("blocks are compared")["after"].as_str().expect("a text").to_owned();
    let numbers: Vec<u32> =
        blocks.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert!(numbers[0] > 500 && (1..60).contains(&numbers[1]), "{blocks}");
    let named: Vec<String> = named.into_iter().filter(|n| !n.starts_with("blocks ")).collect();
    assert!(named.iter().all(|n| n.starts_with("file ")), "{named:?}");
    assert!(named.iter().any(|n| n.ends_with("/roles/monitoring/defaults/main.yml")), "{named:?}");
    assert!(named.len() < 8, "{named:?}");
}

fn a_playbook_that_fails_at_boot_is_seen(at: &Path) {
    write(
        at,
        "broken/main.tf",
        r#"
resource "aws_instance" "broken" {
  ami           = "prometheus"
  instance_type = "t3.medium"
  user_data     = <<-END
    #cloud-config
    hostname: broken
    write_files:
      - path: /root/p.yml
        content: |
          - hosts: all
            gather_facts: false
            tasks:
              - name: the task that fails
                fail: msg=on-purpose
    runcmd:
      - ansible-playbook -i 'localhost,' -c local /root/p.yml
      - echo afterwards
  END
}
"#,
    );
    let (_, text) = fails(bakery(at, &["apply", "broken", "--local", "--wait"]));
    assert!(
        text.contains("the boot of aws_instance.broken failed") && text.contains("exit code 2"),
        "{text}"
    );
    let listed = ok(bakery(at, &["ls"]));
    assert!(listed.contains("failed: runcmd: command 1"), "{listed}");
    let log = ok(bakery(at, &["logs", "broken"]));
    assert!(
        log.contains("the task that fails") && log.contains("on-purpose") && log.contains("afterwards"),
        "{log}"
    );
    let status = bakery(at, &["exec", "-i", "broken", "--", "bakery-agent status"]).output().expect("runs");
    assert_eq!(status.status.code(), Some(1), "{}", said(&status));
    ok(bakery(at, &["destroy", "broken", "--local", "--volumes"]));
}
