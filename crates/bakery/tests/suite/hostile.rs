//! What runs while baking cannot touch the host, and a bake that fails or is killed leaves nothing behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{bakery_lasting as bakery, fails, lasting_store, write};

fn nothing_is_left(of: u32) {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("readable");
    let store = lasting_store().display().to_string();
    assert!(!mounts.lines().any(|l| l.contains(&store)), "mounts are left:\n{mounts}");
    let own = format!("{of}-");
    let work: Vec<_> = std::fs::read_dir(Path::new(&store).join("work"))
        .expect("readable")
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&own))
        .collect();
    assert!(work.is_empty(), "work is left: {work:?}");
}

const HOSTILE: &str = r#"
- hosts: all
  gather_facts: false
  vars:
    mark: "{{ lookup('env', 'MARK') }}"
  tasks:
    - name: leave by a link
      shell: "ln -s /../../../../../../tmp /evil; mkdir -p {{ mark | dirname }}; echo x > /evil/x; echo x > /proc/1/root{{ mark }}-proc || true"
    - name: leave by dots
      copy: { content: x, dest: "/../../../../../..{{ mark }}-dots" }
    - name: mount
      command: mount -t tmpfs none /mnt
      register: mounted
      failed_when: mounted.rc == 0
    - name: make a device
      command: mknod /root/disk b 254 0
      register: device
      failed_when: device.rc == 0
    - name: reach the kernel
      shell: "echo 1 > /proc/sys/kernel/panic"
      register: kernel
      failed_when: kernel.rc == 0
    - name: rename the host
      shell: "hostname evil; cat /proc/sys/kernel/hostname"
      ignore_errors: true
    - name: write on the controller
      local_action: copy content=x dest={{ mark }}-local
    - name: read it back there
      local_action: command cat {{ mark }}-local
    - name: kill everything
      shell: "kill -9 -1"
"#;

#[test]
fn a_hostile_role_cannot_touch_the_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    // A folder of the host that programs inside would have to reach.
    let outside =
        tempfile::Builder::new().prefix("bakery-outside-").tempdir_in("/var/tmp").expect("a folder");
    let mark = outside.path().join("mark");
    write(
        at,
        "packer.json",
        "{\"builders\": [{\"type\": \"disk\"}], \"provisioners\": [{\"type\": \"ansible\", \"playbook_file\": \"p.yml\"}]}",
    );
    write(at, "p.yml", HOSTILE);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("readable");
    let mut command = bakery(at, &["bake", "packer.json"]);
    command.env("MARK", &mark).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("runs");
    let pid = child.id();
    let output = child.wait_with_output().expect("ends");
    let text = super::said(&output);
    assert!(!output.status.success(), "the hostile bake succeeded\n{text}");
    // Everything up to the last task ran, and that one only ended its own session.
    assert!(text.contains("read it back there") && text.contains("kill everything"), "{text}");
    assert!(!text.contains("TASK [mount] ****\nfatal"), "{text}");
    let left: Vec<_> = std::fs::read_dir(outside.path()).expect("readable").flatten().collect();
    assert!(left.is_empty(), "the host was written to: {left:?}\n{text}");
    assert!(!Path::new("/evil").exists() && !Path::new("/tmp/x").exists());
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").expect("readable"), hostname);
    nothing_is_left(pid);
}

#[test]
fn a_bake_that_is_killed_or_fails_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(
        at,
        "packer.json",
        "{\"builders\": [{\"type\": \"disk\", \"image_name\": \"never\"}], \"provisioners\": [{\"type\": \"shell\", \"inline\": [\"touch /begun; sleep 600\"]}]}",
    );
    for signal in ["-INT", "-KILL"] {
        let mut child =
            bakery(at, &["bake", "packer.json"]).stderr(std::process::Stdio::null()).spawn().expect("runs");
        let pid = child.id();
        let begun = |pid: u32| -> bool {
            std::fs::read_dir(lasting_store().join("work")).expect("readable").flatten().any(|e| {
                e.file_name().to_string_lossy().starts_with(&format!("{pid}-"))
                    && e.path().join("upper/begun").exists()
            })
        };
        let started = Instant::now();
        while !begun(pid) {
            assert!(started.elapsed() < Duration::from_mins(5), "the script did not begin");
            std::thread::sleep(Duration::from_millis(100));
        }
        let sleepers = || {
            String::from_utf8_lossy(
                &Command::new("pgrep").args(["-f", "sleep 600"]).output().expect("runs").stdout,
            )
            .into_owned()
        };
        Command::new("kill").args([signal, &pid.to_string()]).status().expect("runs");
        if signal == "-INT" {
            // Ctrl-C reaches the whole group of a terminal; here the program alone is told and ends what it started.
            Command::new("pkill").args(["-P", &pid.to_string()]).status().expect("runs");
        }
        let status = child.wait().expect("ends");
        assert!(!status.success());
        let started = Instant::now();
        while !sleepers().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(20), "programs are left: {}", sleepers());
            std::thread::sleep(Duration::from_millis(100));
        }
        // The next start sweeps what a killed one could not.
        let images =
            String::from_utf8_lossy(&bakery(at, &["images"]).output().expect("runs").stdout).into_owned();
        assert!(!images.contains("never"), "{images}");
        nothing_is_left(pid);
    }
    write(
        at,
        "packer.json",
        "{\"builders\": [{\"type\": \"disk\", \"image_name\": \"never\"}], \"provisioners\": [{\"type\": \"shell\", \"inline\": [\"echo partly > /partly; exit 7\"]}]}",
    );
    let (_, text) = fails(bakery(at, &["bake", "packer.json"]));
    assert!(text.contains("exit code 7") && text.contains("the files that it changed are in"), "{text}");
    assert!(lasting_store().join("work/failed/partly").exists(), "the remains are not where it says");
}
