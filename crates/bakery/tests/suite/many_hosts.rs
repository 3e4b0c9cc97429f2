//! Several hosts: at the same time, each at its own pace, over ssh to a real server, and without telling secrets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{bakery, fails, ok, write};

/// An ssh server on loopback for this machine's root, with a home folder of its own; it ends with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start(at: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        for key in ["host-key", "key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at.join(key))
                .status();
            assert!(made.expect("ssh-keygen runs").success());
        }
        std::fs::create_dir_all("/run/sshd").expect("made");
        std::fs::create_dir_all(at.join("home")).expect("made");
        let place = at.display();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host-key\nAuthorizedKeysFile {place}/key.pub\n\
             StrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\nSetEnv HOME={place}/home\nMaxStartups 100\n"
        );
        write(at, "sshd_config", &text);
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(at.join("sshd_config")).stderr(Stdio::null());
        let child = command.spawn().expect("sshd runs");
        let server = Self { child, port };
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("sshd does not answer");
    }
}

/// `bakery play` with a home folder of its own, so that sessions that are shared end soon and by themselves.
fn play(at: &Path, args: &[&str]) -> Command {
    let mut command = bakery(at, &[&["play", "-i", "hosts"], args].concat());
    command.env("HOME", at).env("ANSIBLE_SSH_ARGS", "-o ControlMaster=auto -o ControlPersist=1s");
    command
}

fn inventory(at: &Path, server: &Server, hosts: &[&str]) {
    let text = format!(
        "[all:vars]\nansible_host=127.0.0.1\nansible_port={}\nansible_user=root\n\
         ansible_ssh_private_key_file={}/key\nansible_host_key_checking=false\n[web]\n{}\n",
        server.port,
        at.display(),
        hosts.join("\n")
    );
    write(at, "hosts", &text);
}

#[test]
fn hosts_are_reached_by_ssh() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let server = Server::start(at);
    inventory(at, &server, &["one", "two", "three", "off ansible_port=1"]);
    write(at, "t.j2", "{{ inventory_hostname }} of {{ ansible_play_hosts | length }}\n");
    write(
        at,
        "p.yml",
        &format!(
            "- hosts: all\n  vars: {{ out: {}/out }}\n  tasks:\n\
             \x20 - file: {{ path: '{{{{ out }}}}', state: directory, mode: '0755' }}\n\
             \x20 - template: {{ src: t.j2, dest: '{{{{ out }}}}/{{{{ inventory_hostname }}}}' }}\n\
             \x20 - command: id -un\n    become: true\n    become_user: nobody\n    register: me\n    changed_when: false\n\
             \x20 - assert: {{ that: [me.stdout == 'nobody', ansible_facts.os_family is defined] }}\n\
             \x20 - fetch: {{ src: '{{{{ out }}}}/{{{{ inventory_hostname }}}}', dest: fetched/, flat: true }}\n\
             \x20 - set_fact: {{ mine: 'of {{{{ inventory_hostname }}}}' }}\n    delegate_to: one\n\
             \x20 - assert: {{ that: \"hostvars['two'].mine == 'of two'\" }}\n\
             \x20 - meta: reset_connection\n\
             \x20 - wait_for_connection:\n",
            at.display()
        ),
    );
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o755)).expect("opened");
    let (code, text) = fails(play(at, &["p.yml"]));
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("fatal: [off]: UNREACHABLE!") && text.contains("Connection refused"), "{text}");
    assert!(text.contains("three                      : ok=9 "), "{text}");
    for host in ["one", "two", "three"] {
        let made = std::fs::read_to_string(at.join("out").join(host)).expect("made");
        assert_eq!(made, format!("{host} of 3\n"));
        assert!(at.join("fetched").join(host).is_file());
    }
    let agents = std::fs::read_dir(at.join("home/.bakery")).expect("copied").count();
    assert_eq!(agents, 1, "the agent is copied once");
    let text = ok(play(at, &["p.yml", "-l", "web:!off"]));
    assert!(text.contains("two                        : ok=9    changed=0 "), "{text}");
    write(
        at,
        "wait.yml",
        "- hosts: 'off'\n  gather_facts: false\n  tasks:\n  - wait_for_connection: {timeout: 1, sleep: 0.2}\n",
    );
    let (code, text) = fails(play(at, &["wait.yml"]));
    assert!(code == 2 && text.contains("timed out waiting for ping module test"), "{text}");
    let (code, text) = fails(play(at, &["p.yml", "-l", "nobody-knows"]));
    assert!(code == 5 && text.contains("no hosts to target"), "{text}");
}

#[test]
fn modules_in_python_run_on_other_machines_with_what_they_need() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let server = Server::start(at);
    inventory(at, &server, &["one ansible_python_interpreter=/usr/bin/python3"]);
    write(at, "module_utils/words.py", "def greeting(name):\n    return 'hello ' + name\n");
    write(
        at,
        "library/greet.py",
        "from ansible.module_utils.basic import AnsibleModule\n\
         from ansible.module_utils.words import greeting\n\
         m = AnsibleModule(dict(name=dict(required=True)))\n\
         m.exit_json(changed=False, said=greeting(m.params['name']))\n",
    );
    write(
        at,
        "p.yml",
        "- hosts: one\n  gather_facts: false\n  tasks:\n  - greet: {name: '{{ item }}'}\n    loop: [a, b]\n    register: r\n\
         \x20 - assert: {that: \"r.results | map(attribute='said') | list == ['hello a', 'hello b']\"}\n",
    );
    // The interpreter of the reference programs has the module utilities; the target's has none.
    let reference = std::env::var("BAKERY_REFERENCE").expect("scripts/test sets it");
    let mut command = play(at, &["p.yml"]);
    command.env("PATH", format!("{reference}:{}", std::env::var("PATH").unwrap_or_default()));
    ok(command);
}

#[test]
fn hosts_are_at_work_at_the_same_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "hosts", "[all:vars]\nansible_connection=local\n[web]\na\nb\nc\nd\n");
    // Every host waits for all of them to have come so far, so many twentieths of a second.
    let book = |patience: u32, more: &str| {
        let meet = format!(
            "m={{{{ playbook_dir }}}}/here; mkdir -p $m; touch $m/{{{{ inventory_hostname }}}}; for i in $(seq {patience}); do [ $(ls $m | wc -l) = 4 ] && exit 0; sleep 0.05; done; exit 1"
        );
        format!("- hosts: all\n  gather_facts: false\n  tasks:\n  - shell: \"{meet}\"\n{more}")
    };
    write(at, "p.yml", &book(400, ""));
    ok(play(at, &["-f", "4", "p.yml"]));
    for (name, more, forks) in [("one.yml", "", "1"), ("throttled.yml", "    throttle: 3\n", "4")] {
        std::fs::remove_dir_all(at.join("here")).expect("there");
        write(at, name, &book(10, more));
        let (code, text) = fails(play(at, &["-f", forks, name]));
        assert_eq!(code, 2, "{text}");
    }
    // `a` waits for what `b` does in a later task, which it never would in lockstep.
    write(
        at,
        "free.yml",
        "- hosts: a,b\n  gather_facts: false\n  strategy: free\n  vars: { mark: '{{ playbook_dir }}/late' }\n  tasks:\n\
         \x20 - wait_for: { path: '{{ mark }}', timeout: 20 }\n    when: inventory_hostname == 'a'\n\
         \x20 - file: { path: '{{ mark }}', state: touch }\n    when: inventory_hostname == 'b'\n",
    );
    let text = ok(play(at, &["free.yml"]));
    assert!(text.contains("b                          : ok=1    changed=1 "), "{text}");
}

#[test]
fn secrets_are_told_nowhere() {
    const SECRETS: [&str; 4] = ["hunter2", "vaulted-word", "become-word", "login-word"];
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let server = Server::start(at);
    inventory(at, &server, &["one ansible_password=login-word"]);
    write(at, "pass", "vault-password\n");
    let mut vault = bakery(
        at,
        &["vault", "encrypt_string", "--vault-password-file", "pass", "vaulted-word", "--name", "secret"],
    );
    vault.env("HOME", at);
    write(at, "vars.yml", &ok(vault));
    write(
        at,
        "p.yml",
        "- hosts: all\n  gather_facts: false\n  vars_files: [vars.yml]\n  tasks:\n\
         \x20 - command: echo hunter2 {{ secret }}\n    no_log: true\n    register: said\n\
         \x20 - assert: { that: \"said.stdout == 'hunter2 vaulted-word'\", quiet: true }\n    no_log: true\n\
         \x20 - command: echo {{ item }}\n    no_log: true\n    loop: [hunter2, '{{ secret }}']\n\
         \x20 - copy: { content: '{{ secret }}', dest: /dev/null }\n    no_log: true\n    ignore_errors: true\n\
         \x20 - shell: exit 3; echo {{ secret }}\n    no_log: true\n    ignore_errors: true\n\
         \x20 - command: ps -eo args\n    become: true\n    become_user: nobody\n    vars: { ansible_become_password: become-word }\n    register: seen\n    changed_when: false\n\
         \x20 - user: { name: nobody, password: hunter2, update_password: on_create }\n    check_mode: true\n\
         \x20 - debug: { msg: \"{{ seen.stdout_lines | length > 3 }}\" }\n",
    );
    for how in [&["-vvvv", "--diff"][..], &["--output", "json"], &["--output", "minimal"]] {
        let mut command = play(at, &[&["--vault-password-file", "pass", "p.yml"], how].concat());
        let output = command.output().expect("runs");
        let text = super::said(&output);
        assert!(output.status.success(), "{text}");
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is in the output of {how:?}:\n{text}");
        }
    }
}

#[test]
fn a_run_that_is_stopped_begins_nothing_new() {
    let hour = 3600;
    for (what, tasks) in [
        ("other hosts", "- shell: 'touch {{ mark }}; sleep 2'".to_owned()),
        ("tries", format!("- shell: 'touch {{{{ mark }}}}; exit 1'\n  retries: 3\n  delay: {hour}")),
        (
            "items",
            format!("- shell: 'touch {{{{ mark }}}}'\n  loop: [1, 2]\n  loop_control: {{pause: {hour}}}"),
        ),
        (
            "waits",
            format!(
                "- shell: 'touch {{{{ mark }}}}'\n  when: inventory_hostname == 'first'\n\
                 - wait_for: {{path: '{{{{ mark }}}}/none', timeout: {hour}}}"
            ),
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        let tasks = tasks.replace('\n', "\n    ");
        let head = "- hosts: all\n  connection: local\n  gather_facts: false\n  vars: {mark: \"{{ inventory_hostname }}\"}";
        write(
            at,
            "play.yml",
            &format!("{head}\n  tasks:\n    {tasks}\n    - file: {{path: after, state: touch}}\n"),
        );
        let mut command = bakery(at, &["play", "play.yml", "-i", "first,second", "--forks", "1"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        let soon = |what: &str, is_so: &mut dyn FnMut() -> bool| {
            let began = Instant::now();
            while !is_so() {
                assert!(began.elapsed() < Duration::from_mins(2), "{what}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        soon(&format!("{what}: nothing began"), &mut || at.join("first").exists());
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("runs");
        let mut code = None;
        soon(&format!("{what}: it goes on"), &mut || {
            code = child.try_wait().expect("known").map(|status| status.code());
            code.is_some()
        });
        assert_eq!(code, Some(Some(130)), "{what}");
        for name in ["second", "after"] {
            assert!(!at.join(name).exists(), "{what}: {name} was made");
        }
    }
}
