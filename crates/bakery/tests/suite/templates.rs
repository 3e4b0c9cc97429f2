//! Packer's templates beside Packer itself (Debian's package): what is said of a template, what its expressions come to,
//! how it is rewritten, and what its builds leave behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::many_hosts::Server;
use super::{bakery, fails, ok, said, write};

fn packer(at: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("packer");
    command.args(args).current_dir(at).env("PACKER_NO_COLOR", "1").env("CHECKPOINT_DISABLE", "1");
    command.env("PACKER_CONFIG_DIR", at).output().expect("packer is installed")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `text` through the standard input of a command.
fn fed(mut command: Command, input: &str) -> Output {
    use std::io::Write as _;
    use std::process::Stdio;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("ended")
}

const NAMES: &str = r#"
variable "name" {
  type    = string
  default = "n"
}
variable "number" { default = 41 }
variable "flag" {
  type    = bool
  default = "true"
}
locals {
  both = "${var.name}${var.number}"
  list = ["b", "a", "cc"]
  map  = { a = "1", b = var.name }
}
"#;

/// Each expression has the value that Packer's console shows.
#[test]
fn expressions_have_the_values_that_packer_gives_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "names.pkr.hcl", NAMES);
    write(at, "t.tpl", "x=${x}\n%{ for i in list ~}\n- ${i}\n%{ endfor ~}\nend\n");
    let mut wrong = Vec::new();
    let expressions: Vec<&str> = include_str!("expressions.txt").lines().collect();
    assert!(expressions.len() > 110);
    for expression in expressions {
        let mut theirs = Command::new("packer");
        theirs.args(["console", "names.pkr.hcl"]).current_dir(at).env("CHECKPOINT_DISABLE", "1");
        let theirs = text(&fed(theirs, &format!("{expression}\n")));
        let ours = fed(bakery(at, &["eval", "names.pkr.hcl"]), &format!("{expression}\n"));
        if theirs != text(&ours) {
            wrong.push(format!("{expression}\n  packer {theirs:?}\n  bakery {:?}", said(&ours)));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Templates with what `validate` says of them: read by both, so that a template that one takes the other takes.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "good.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}], "provisioners": [{"type": "shell-local", "inline": ["true"]}]}"#,
    ),
    ("no-builders.json", r#"{"provisioners": []}"#),
    ("unknown-key.json", r#"{"bilders": [], "builders": [{"type": "null", "communicator": "none"}]}"#),
    ("comment.json", r#"{"_comment": "x", "builders": [{"type": "null", "communicator": "none"}]}"#),
    ("broken.json", r#"{"builders": [{"type": "null", }]}"#),
    (
        "required.json",
        r#"{"variables": {"v": null}, "builders": [{"type": "file", "target": "t", "content": "{{user `v`}}"}]}"#,
    ),
    ("undeclared.json", r#"{"builders": [{"type": "file", "target": "t", "content": "{{user `v`}}"}]}"#),
    ("function.json", r#"{"builders": [{"type": "file", "target": "t", "content": "{{nothing}}"}]}"#),
    (
        "twice.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}, {"type": "null", "communicator": "none"}]}"#,
    ),
    (
        "named.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}, {"name": "other", "type": "null", "communicator": "none"}]}"#,
    ),
    ("no-type.json", r#"{"builders": [{"communicator": "none"}]}"#),
    ("unknown-builder.json", r#"{"builders": [{"type": "nil"}]}"#),
    (
        "unknown-provisioner.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}], "provisioners": [{"type": "goss"}]}"#,
    ),
    (
        "unknown-post.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}], "post-processors": ["nothing"]}"#,
    ),
    (
        "unknown-option.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}], "provisioners": [{"type": "shell-local", "inlne": ["x"]}]}"#,
    ),
    (
        "missing-script.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}], "provisioners": [{"type": "shell", "script": "nowhere.sh"}]}"#,
    ),
    (
        "good.pkr.hcl",
        "source \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    (
        "types.pkr.hcl",
        "variable \"l\" {\n type = list(string)\n default = [\"a\"]\n}\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    (
        "wrong-default.pkr.hcl",
        "variable \"l\" {\n type = number\n default = \"x\"\n}\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    (
        "unset.pkr.hcl",
        "variable \"l\" { type = string }\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    ("unknown-source.pkr.hcl", "build { sources = [\"source.null.n\"] }\n"),
    ("unknown-block.pkr.hcl", "sauce \"null\" \"n\" {}\n"),
    (
        "unknown-variable.pkr.hcl",
        "source \"file\" \"n\" {\n target = \"t\"\n content = var.none\n}\nbuild { sources = [\"source.file.n\"] }\n",
    ),
    (
        "root-attribute.pkr.hcl",
        "a = 1\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    (
        "validation.pkr.hcl",
        "variable \"v\" {\n default = \"x\"\n validation {\n condition = length(var.v) > 3\n error_message = \"The value is too short.\"\n }\n}\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    (
        "locals.pkr.hcl",
        "locals {\n a = local.b\n b = \"x\"\n}\nsource \"file\" \"n\" {\n target = \"t\"\n content = local.a\n}\nbuild { sources = [\"source.file.n\"] }\n",
    ),
    (
        "circle.pkr.hcl",
        "locals {\n a = local.b\n b = local.a\n}\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    ("syntax.pkr.hcl", "source \"null\" \"n\" {\n"),
    (
        "two-sources.pkr.hcl",
        "source \"null\" \"n\" { communicator = \"none\" }\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild { sources = [\"source.null.n\"] }\n",
    ),
    (
        "option.pkr.hcl",
        "source \"null\" \"n\" { communicator = \"none\" }\nbuild {\n sources = [\"source.null.n\"]\n provisioner \"shell-local\" {\n  inlne = [\"x\"]\n }\n}\n",
    ),
    (
        "function.pkr.hcl",
        "source \"file\" \"n\" {\n target = \"t\"\n content = uper(\"x\")\n}\nbuild { sources = [\"source.file.n\"] }\n",
    ),
    (
        "override.pkr.hcl",
        "source \"file\" \"n\" { target = \"t\" }\nbuild {\n source \"source.file.n\" { content = \"x\" }\n}\n",
    ),
];

#[test]
fn the_same_templates_are_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for (name, template) in TEMPLATES {
        // A folder each: what is beside an HCL file is a part of the template.
        let at = folder.path().join(name.replace('.', "-"));
        write(&at, name, template);
        let theirs = packer(&at, &["validate", name]);
        let ours = bakery(&at, &["validate", name]).output().expect("runs");
        if theirs.status.success() != ours.status.success() {
            wrong.push(format!("{name}\n  packer {}\n  bakery {}", said(&theirs), said(&ours)));
        }
        if !ours.status.success() {
            let text = said(&ours);
            assert!(text.contains("error: ") && !text.contains("panicked"), "{name}: {text}");
        }
        if theirs.status.success() {
            let (theirs, ours) = (packer(&at, &["inspect", name]), ok(bakery(&at, &["inspect", name])));
            let plain = |text: &str| text.split("\nNote: ").next().unwrap_or_default().trim_end().to_owned();
            if plain(&text(&theirs)) != plain(&ours) {
                wrong.push(format!("inspect {name}\n{}\n--- bakery\n{ours}", text(&theirs)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Options of builders, good and bad ones, have the verdicts of Packer's own builders.
#[test]
fn the_same_builders_are_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let verdict = |output: &Output| output.status.success();
    let mut wrong = Vec::new();
    let builders: Vec<&str> = include_str!("builders.jsonl").lines().collect();
    assert!(builders.len() > 170);
    for (number, builder) in builders.iter().enumerate() {
        let name = format!("{number}.json");
        write(at, &name, &format!("{{\"builders\":[{builder}]}}"));
        let theirs = packer(at, &["validate", &name]);
        let ours = bakery(at, &["validate", &name]).output().expect("runs");
        if verdict(&theirs) != verdict(&ours) {
            wrong.push(format!("{builder}\n  packer {}\n  bakery {}", said(&theirs), said(&ours)));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
    // What others have written fails by its name, with what there is instead.
    let other = r#"{"builders":[{"type":"null","communicator":"none"}],"provisioners":[{"type":"goss","tests":["x"]}]}"#;
    write(at, "other.json", other);
    let (_, text) = fails(bakery(at, &["validate", "other.json"]));
    assert!(text.contains("unknown provisioner type `goss`") && text.contains("bakery taste"), "{text}");
    // What Packers after this one know.
    let newer = |metadata: &str| {
        let ami = r#""type":"amazon-ebs","region":"eu-west-1","ami_name":"name","instance_type":"t3.micro","source_ami":"ami-1","ssh_username":"admin""#;
        write(at, "newer.json", &format!("{{\"builders\":[{{{ami},\"metadata_options\":{metadata}}}]}}"));
        bakery(at, &["validate", "newer.json"])
    };
    ok(newer(r#"{"http_tokens":"required","http_put_response_hop_limit":2}"#));
    let (_, text) = fails(newer(r#"{"http_tokens":"maybe","http_put_response_hop_limit":65}"#));
    assert!(
        text.contains("`metadata_options.http_tokens` is `maybe`") && text.contains("hop_limit"),
        "{text}"
    );
}

const OLD: &str = r#"{"builders":[
 {"type":"amazon-ebs","ssh_wait_timeout":"5m","ssh_key_path":"k","enhanced_networking":true,"ssh_private_ip":true,"temporary_security_group_source_cidr":"0.0.0.0/0","shutdown_behaviour":"stop","spot_price":"auto","spot_price_auto_product":"Linux/UNIX","ami_name":"{{user `x` | clean_ami_name}} {{.CreateTime}}","ssh_disable_agent":true},
 {"name":"a","type":"qemu","iso_md5":"abc","iso_url":"u","ssh_host_port_min":1,"ssh_host_port_max":2,"disk_size":1024},
 {"name":"b","type":"qemu","iso_checksum":"abc","iso_checksum_type":"sha256"},
 {"name":"c","type":"qemu","iso_checksum_url":"http://x/y","iso_checksum_type":"md5"},
 {"type":"vmware","x":1},{"type":"virtualbox"},{"type":"docker","login_email":"x"}],
 "provisioners":[{"type":"ansible-local","galaxycommand":"g"},{"type":"shell","inline":["a<b & c > d ü"]}],
 "post-processors":[{"type":"manifest","filename":"f"},{"type":"vagrant","aws":{"output":"x"}},{"type":"docker-tag","tag":["a","b"]},[{"type":"docker-login","login_email":"q"},"compress"]],
 "variables":{"z":"1","a":null}}"#;

#[test]
fn old_templates_are_mended_and_files_written_as_packer_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "old.json", OLD);
    assert_eq!(
        text(&packer(at, &["fix", "-validate=false", "old.json"])),
        ok(bakery(at, &["fix", "old.json"]))
    );

    let untidy = "# A file\nvariable \"x\" { \n  default = \"v\" # one\n  description   =\"an ${upper(\"x\")}\" // two\n}\n\n\nlocals {\ny = [ 1,2 ,3]\n  long_name={\n a = -1\n bb=  var.x!=\"\"?1:2\n   }\n    list = [\n \"a\",\n   \"b\"\n ]\n h = <<-EOT\n   as it is\n EOT\n  f = upper( \"x\" )\n g = [for s in [\"a\"]: s if s!=\"b\"]\n  i = {a=1}\n  o = 1+2*3\n}\nsource \"null\" \"n\" { communicator = \"none\" }\nbuild {\n sources=[\"source.null.n\"]\n   provisioner \"shell-local\" {\n inline = [\"echo\"]\n environment_vars = [\"A=b\",\n \"C=d\"]\n /* a comment\n    of two lines */\n   }\n}\n";
    write(at, "theirs.pkr.hcl", untidy);
    write(at, "ours.pkr.hcl", untidy);
    assert!(packer(at, &["fmt", "theirs.pkr.hcl"]).status.success());
    let (code, _) = fails(bakery(at, &["fmt", "--check", "ours.pkr.hcl"]));
    assert_eq!(code, 3);
    ok(bakery(at, &["fmt", "ours.pkr.hcl"]));
    let read = |name: &str| std::fs::read_to_string(at.join(name)).expect("read");
    assert_eq!(read("theirs.pkr.hcl"), read("ours.pkr.hcl"));
    assert_eq!(ok(bakery(at, &["fmt", "--check", "ours.pkr.hcl"])), "");

    // What is upgraded is a template that Packer takes, formatted as Packer would.
    let json = r#"{"description":"d","variables":{"a":"1","c":"{{env `HOME`}}"},"sensitive-variables":["a"],"builders":[{"type":"null","communicator":"none"},{"type":"file","name":"ff","target":"t-{{timestamp}}","content":"{{user `a` | upper}} {{isotime `2006`}} {{build_name}} ${x} {{.Later}}"}],"provisioners":[{"type":"shell-local","inline":["echo {{user `c`}} \"q\""],"only":["ff"]}],"post-processors":["manifest",["compress",{"type":"checksum","checksum_types":["md5"]}]]}"#;
    let up = tempfile::tempdir().expect("a folder");
    write(up.path(), "t.json", json);
    ok(bakery(up.path(), &["hcl2_upgrade", "t.json", "--output-file", "t.pkr.hcl"]));
    let checked = packer(up.path(), &["validate", "-syntax-only", "t.pkr.hcl"]);
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(
        packer(up.path(), &["fmt", "-check", "t.pkr.hcl"]).status.success(),
        "{}",
        std::fs::read_to_string(up.path().join("t.pkr.hcl")).expect("read")
    );
    ok(bakery(up.path(), &["validate", "t.pkr.hcl"]));
}

/// What a folder holds, without what is another each time.
fn left(at: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(at).expect("listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !path.is_file() || name.starts_with("packer_run") || name == "checkpoint_cache" {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("read")).into_owned();
        let text = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(mut document) if name.contains("manifest") => {
                for build in document["builds"].as_array_mut().into_iter().flatten() {
                    build["build_time"] = 0.into();
                    build["packer_run_uuid"] = 0.into();
                }
                document["last_run_uuid"] = 0.into();
                if let Some(builds) = document["builds"].as_array_mut() {
                    builds.sort_by_key(|b| b["name"].to_string());
                }
                document.to_string()
            }
            // Archives have a time and another program's compression.
            _ if name.ends_with("gz") => String::new(),
            _ => text,
        };
        found.insert(name, text);
    }
    found
}

/// A breakpoint waits for whoever is at the terminal, and for nobody where there is none.
#[test]
fn breakpoints_wait_for_a_person() {
    use std::io::Write as _;
    use std::process::Stdio;
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let template = r#"{"builders": [{"type": "null", "communicator": "none"}],
        "provisioners": [{"type": "breakpoint", "note": "look at it"}, {"type": "shell-local", "inline": ["echo on > on.txt"]}]}"#;
    write(at, "t.json", template);
    let text = ok(bakery(at, &["bake", "t.json", "--json"]));
    assert!(text.contains("breakpoint: look at it") && at.join("on.txt").is_file(), "{text}");
    std::fs::remove_file(at.join("on.txt")).expect("removed");
    // A terminal of its own, whose screen is a file.
    let line = format!("{} bake t.json", super::program("bakery").display());
    let mut script = Command::new("script")
        .args(["-qfec", &line, "screen"])
        .current_dir(at)
        .env("BAKERY_HOME", at.join("store"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("script runs");
    let screen = || std::fs::read_to_string(at.join("screen")).unwrap_or_default();
    let started = std::time::Instant::now();
    while !screen().contains("Press enter to go on") {
        assert!(started.elapsed().as_secs() < 60, "{}", screen());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(!at.join("on.txt").exists());
    script.stdin.take().expect("a pipe").write_all(b"\n").expect("written");
    assert!(script.wait().expect("ended").success(), "{}", screen());
    assert!(at.join("on.txt").is_file(), "{}", screen());
}

/// The templates that come with Packer's package, which are its project's own: same verdicts, same inspection.
#[test]
fn the_templates_of_packers_own_documentation_are_read_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    super::copy_tree(Path::new("/usr/share/doc/packer/examples"), folder.path());
    let at = folder.path().join("examples/hcl/linux");
    let sums = [
        "ubuntu-16.04.7-server-amd64.iso",
        "ubuntu-18.04.4-server-amd64.iso",
        "alpine-virt-3.12.0-x86_64.iso",
    ];
    let sums: String = sums.iter().map(|name| format!("{}  {name}\n", "a".repeat(64))).collect();
    write(&at, "SUMS", &sums);
    let names = [
        "vcenter_endpoint",
        "vcenter_user",
        "vcenter_password",
        "esxi_host",
        "esxi_user",
        "esxi_password",
        "datacenter_name",
        "vm_ip",
        "gateway_ip",
    ];
    let values: String = names.iter().map(|name| format!("{name} = \"x\"\n")).collect();
    write(&at, "values.pkrvars.hcl", &format!("{values}remote_private_key_file_path = \"SUMS\"\n"));
    // Documentation is compressed; and Packer fetches lists of checksums when it validates.
    let script = "find ../.. -name '*.gz' -exec gunzip {} +; sed -i -E 's#\"http://[^\"]*(SHA256SUMS|sha256)\"#\"SUMS\"#' variables*.hcl";
    assert!(Command::new("sh").args(["-ec", script]).current_dir(&at).status().expect("runs").success());
    for args in [&["."] as &[&str], &["-var-file=values.pkrvars.hcl", "."]] {
        let theirs = packer(&at, &[&["inspect"], args].concat());
        let ours: Vec<String> = args.iter().map(|arg| arg.replacen("-var", "--var", 1)).collect();
        let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
        let ours = ok(bakery(&at, &[&["inspect"], ours.as_slice()].concat()));
        assert_eq!(text(&theirs).trim_end(), ours.trim_end());
    }
    let (_, told) = fails(bakery(&at, &["validate", "."]));
    assert!(names.iter().all(|name| told.contains(name)), "{told}");
    for only in ["ubuntu.qemu.*", "*.virtualbox-iso.*", "*.vmware-iso.*", "*.parallels-iso.*"] {
        let only = format!("-only={only}");
        let theirs = packer(&at, &["validate", &only, "-var-file=values.pkrvars.hcl", "."]);
        assert!(theirs.status.success(), "{only}: {}", said(&theirs));
        ok(bakery(&at, &["validate", &format!("-{only}"), "--var-file=values.pkrvars.hcl", "."]));
    }
}

/// A template in HCL's JSON form, with most of its blocks.
const AS_JSON: &str = r#"{"//": "a comment", "variable": {"name": {"type": "string", "default": "n$x", "description": "d"},
 "list": {"type": "list(string)", "default": ["a", "b"], "validation": {"condition": "${length(var.list) > 1}", "error_message": "The list is short."}}},
 "locals": {"up": "${upper(var.name)}-\"q\"", "n": 3, "m": {"k": "${var.list[1]}"}},
 "source": {"file": {"one": {"target": "out.txt", "content": "${local.up} ${local.m.k} ${join(\",\", var.list)} ${local.n}\n"}}, "null": {"two": {"communicator": "none"}}},
 "build": {"sources": ["source.file.one", "source.null.two"],
  "provisioner": [{"shell-local": {"inline": ["echo ${source.name} > said-${source.name}.txt"]}}, {"shell-local": {"only": ["null.two"], "inline": ["echo only > only.txt"]}}],
  "post-processor": {"manifest": {"custom_data": {"a": "${var.name}"}}}}}"#;

#[test]
fn templates_in_json_form_are_those_of_hcl() {
    let (theirs, ours) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for at in [theirs.path(), ours.path()] {
        write(at, "t.pkr.json", AS_JSON);
    }
    let built = packer(theirs.path(), &["build", "t.pkr.json"]);
    assert!(built.status.success(), "{}", said(&built));
    ok(bakery(ours.path(), &["bake", "t.pkr.json"]));
    assert_eq!(left(theirs.path()), left(ours.path()));
    let inspected = |text: &str| text.trim_end().to_owned();
    assert_eq!(
        inspected(&text(&packer(theirs.path(), &["inspect", "t.pkr.json"]))),
        inspected(&ok(bakery(ours.path(), &["inspect", "t.pkr.json"])))
    );
    write(ours.path(), "wrong.pkr.json", "{\"build\": {,}}");
    let (_, text) = fails(bakery(ours.path(), &["validate", "wrong.pkr.json"]));
    assert!(text.contains("is not valid JSON") && text.contains("wrong.pkr.json:1:12"), "{text}");
}

#[test]
fn servers_are_asked_for_data() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for stream in listener.incoming().take(2) {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
            let mut request = String::new();
            while reader.read_line(&mut request).expect("read") > 2 {}
            let (status, body) = if request.contains("/good") {
                ("200 OK", "{\"v\": \"told\"}")
            } else {
                ("404 Not Found", "")
            };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nX-Kind: data\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .expect("answered");
            asked.push(request);
        }
        asked
    });
    let template = |path: &str| {
        format!(
            "data \"http\" \"v\" {{\n  url             = \"http://127.0.0.1:{port}/{path}\"\n  method          = \"POST\"\n  request_headers = {{ X-Token = \"t\" }}\n}}\nsource \"file\" \"f\" {{\n  target  = \"out.txt\"\n  content = \"${{jsondecode(data.http.v.body).v}} ${{data.http.v.response_headers[\"x-kind\"]}}\"\n}}\nbuild {{ sources = [\"source.file.f\"] }}\n"
        )
    };
    write(at, "t.pkr.hcl", &template("good"));
    ok(bakery(at, &["bake", "t.pkr.hcl"]));
    assert_eq!(std::fs::read_to_string(at.join("out.txt")).expect("read"), "told data");
    write(at, "t.pkr.hcl", &template("bad"));
    let (_, text) = fails(bakery(at, &["bake", "t.pkr.hcl"]));
    assert!(text.contains("answered 404") && text.contains("t.pkr.hcl:1:1"), "{text}");
    let asked = server.join().expect("served");
    assert!(
        asked[0].starts_with("POST /good") && asked[0].to_lowercase().contains("x-token: t"),
        "{asked:?}"
    );
}

const BUILDS: &str = r#"
variable "word" {
  default   = "open-sesame"
  sensitive = true
}
source "file" "f" {
  target  = "out.txt"
  content = "c ${var.word}\n"
}
source "null" "n" { communicator = "none" }
build {
  name    = "all"
  sources = ["source.file.f", "source.null.n"]
  provisioner "shell-local" {
    inline           = ["echo $A ${source.name} ${source.type} $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE > said-${source.name}.txt"]
    environment_vars = ["A=x y"]
  }
  provisioner "shell-local" {
    only   = ["null.n"]
    inline = ["echo only > only-${source.name}.txt"]
  }
  provisioner "shell-local" {
    except           = ["null.n"]
    execute_command  = ["/bin/sh", "-c", "{{.Vars}} sh {{.Script}} && echo done > done-${source.name}.txt"]
    inline           = ["exit 3"]
    valid_exit_codes = [0, 3]
  }
  post-processor "manifest" {}
}
build {
  sources = ["source.file.f"]
  post-processor "checksum" {
    checksum_types      = ["md5", "sha256"]
    keep_input_artifact = true
  }
  post-processors {
    post-processor "compress" {
      output              = "{{.BuildName}}-x.tar.gz"
      keep_input_artifact = true
    }
    post-processor "checksum" {
      checksum_types = ["sha1"]
      output         = "c.{{.ChecksumType}}"
    }
    post-processor "manifest" {
      output      = "second-manifest.json"
      strip_path  = true
      custom_data = { a = "b" }
    }
  }
}
"#;

#[test]
fn builds_leave_what_packer_leaves() {
    let (theirs, ours) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for only in ["all.null.n", "all.file.f", "file.f"] {
        for at in [theirs.path(), ours.path()] {
            write(at, "t.pkr.hcl", BUILDS);
        }
        let output = packer(theirs.path(), &["build", &format!("-only={only}"), "t.pkr.hcl"]);
        // `null` with a code of 3 is fine, Packer says so, too.
        let mut command = bakery(ours.path(), &["bake", "--only", only, "t.pkr.hcl"]);
        command.env("BAKERY_HOME", ours.path().join("store"));
        let mine = command.output().expect("runs");
        assert_eq!(
            output.status.success(),
            mine.status.success(),
            "{only}\n{}\n{}",
            said(&output),
            said(&mine)
        );
        assert!(!said(&mine).contains("open-sesame"), "{}", said(&mine));
    }
    let (mut theirs, ours) = (left(theirs.path()), left(ours.path()));
    // The digest of an archive is another program's.
    let sums = |left: &BTreeMap<String, String>| left.get("c.sha1").map(|t| t[40..].to_owned());
    assert_eq!(sums(&theirs), sums(&ours));
    let size = |left: &BTreeMap<String, String>| {
        let mut document: serde_json::Value =
            serde_json::from_str(&left["second-manifest.json"]).expect("JSON");
        document["builds"][0]["files"][0]["size"] = 0.into();
        document
    };
    assert_eq!(size(&theirs)["builds"][0]["custom_data"], size(&ours)["builds"][0]["custom_data"]);
    for name in ["c.sha1", "second-manifest.json"] {
        let mine = ours[name].clone();
        theirs.insert(name.to_owned(), mine);
    }
    assert_eq!(theirs, ours);
}

/// Several builds run side by side, each under its name; one that fails fails alone.
#[test]
fn builds_of_a_template_run_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(
        at,
        "t.json",
        r#"{"builders": [{"type": "null", "name": "one", "communicator": "none"}, {"type": "null", "name": "two", "communicator": "none"}],
        "provisioners": [{"type": "shell-local", "timeout": "60s", "inline": ["touch here-one; until [ -e here-two ]; do sleep 0.05; done; echo {{build_name}} >> ended"],
            "override": {"two": {"inline": ["touch here-two; until [ -e here-one ]; do sleep 0.05; done; exit 9"]}}}],
        "error-cleanup-provisioner": {"type": "shell-local", "inline": ["echo {{build_name}} >> cleaned"]},
        "post-processors": ["manifest"]}"#,
    );
    // Each waits for the other: one after the other they would not end.
    let (code, text) = fails(bakery(at, &["bake", "t.json"]));
    assert!(code == 1 && text.contains("two: error: ") && text.contains("exit code 9"), "{text}");
    assert!(text.contains("one: one (built in") && text.contains("1 of 2 builds failed"), "{text}");
    let read = |name: &str| std::fs::read_to_string(at.join(name)).expect("read");
    assert_eq!((read("ended").trim(), read("cleaned").trim()), ("one", "two"));
    assert!(
        read("packer-manifest.json").contains("\"one\"") && !read("packer-manifest.json").contains("\"two\"")
    );
    // A limit ends a provisioner, and retries are counted.
    write(
        at,
        "slow.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}], "provisioners": [{"type": "shell-local", "inline": ["echo x >> tries; sleep 30"], "timeout": "1s", "max_retries": 1}]}"#,
    );
    let (_, text) = fails(bakery(at, &["bake", "slow.json"]));
    assert!(text.contains("`timeout` of 1s"), "{text}");
    assert_eq!(read("tries").lines().count(), 2);
}

const PLAYBOOK: &str = "- hosts: default\n  gather_facts: false\n  tasks:\n    - copy:\n        dest: '{{ to }}'\n        content: |\n          {{ packer_build_name }} {{ packer_builder_type }} {{ inventory_hostname }} {{ group_names | sort | join(',') }}\n          {{ ansible_user }} {{ extra | default('none') }} {{ groups.keys() | sort | join(' ') }}\n          {{ lookup('env', 'GIVEN') }}\n";

/// The provisioners `ansible`, `shell` and `file` of a `null` builder reach a machine by ssh as Packer's do.
#[test]
fn a_machine_behind_ssh_is_provisioned_as_packer_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let server = Server::start(at);
    let reference =
        PathBuf::from(std::env::var_os("BAKERY_REFERENCE").expect("scripts/test says where ansible-core is"));
    write(at, "playbook.yml", PLAYBOOK);
    write(at, "sent/a.txt", "a\n");
    write(at, "script.sh", "#!/bin/sh\necho script $A $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE > $1$TO\n");
    let template = |to: &str| {
        format!(
            r#"{{"builders": [{{"type": "null", "name": "machine", "ssh_host": "127.0.0.1", "ssh_port": {port}, "ssh_username": "root", "ssh_private_key_file": "{at}/key"}}],
            "provisioners": [
              {{"type": "ansible", "playbook_file": "playbook.yml", "command": "{ansible}/ansible-playbook", "use_proxy": false, "user": "root", "skip_version_check": true,
                "groups": ["web", "blue"], "empty_groups": ["none"], "ansible_env_vars": ["GIVEN=env"], "extra_arguments": ["--extra-vars", "extra=more to={to}/played"]}},
              {{"type": "file", "source": "sent/a.txt", "destination": "{to}/sent.txt"}},
              {{"type": "file", "source": "sent", "destination": "{to}/"}},
              {{"type": "shell", "inline": ["echo inline $A > {to}/inline"], "environment_vars": ["A=b c"]}},
              {{"type": "shell", "script": "script.sh", "environment_vars": ["A=x", "TO={to}/script"], "execute_command": "chmod +x {{{{.Path}}}}; env {{{{ .Vars }}}} {{{{ .Path }}}}"}},
              {{"type": "file", "source": "{to}/inline", "destination": "{to}/back", "direction": "download"}}
            ]}}"#,
            port = server.port,
            at = at.display(),
            ansible = reference.display(),
        )
    };
    let mut found = Vec::new();
    for who in ["theirs", "ours"] {
        let to = at.join(who);
        std::fs::create_dir_all(&to).expect("made");
        let name = format!("{who}.json");
        write(at, &name, &template(&to.display().to_string()));
        if who == "theirs" {
            let output = packer(at, &["build", &name]);
            assert!(output.status.success(), "{}", said(&output));
        } else {
            ok(bakery(at, &["bake", &name]));
        }
        let mut all = left(&to);
        all.insert("sent/a.txt".into(), std::fs::read_to_string(to.join("sent/a.txt")).expect("read"));
        found.push(all);
    }
    assert_eq!(found[0], found[1]);

    // What is done when a provisioner fails is done on the machine, and sees how the template's conditions came out.
    for who in ["theirs", "ours"] {
        let to = at.join(format!("{who}-cleaned"));
        let text = format!(
            r#"{{"builders": [{{"type": "null", "name": "machine", "ssh_host": "127.0.0.1", "ssh_port": {port}, "ssh_username": "root", "ssh_private_key_file": "{at}/key"}}],
            "provisioners": [{{"type": "shell", "inline": ["exit 9"]}}],
            "error-cleanup-provisioner": {{"type": "shell", "inline": ["echo $SSH_CONNECTION | cut -d' ' -f1 > {to}"],
              "execute_command": "chmod +x {{{{.Path}}}}; {{{{if .Vars}}}}env {{{{.Vars}}}}{{{{else}}}}false{{{{end}}}} {{{{.Path}}}}"}}}}"#,
            port = server.port,
            at = at.display(),
            to = to.display()
        );
        write(at, "fails.json", &text);
        if who == "theirs" {
            assert!(!packer(at, &["build", "fails.json"]).status.success());
        } else {
            let (_, told) = fails(bakery(at, &["bake", "fails.json"]));
            assert!(told.contains("exit code 9") && !told.contains("cleanup-provisioner failed"), "{told}");
        }
        assert_eq!(std::fs::read_to_string(to).expect("cleaned up"), "127.0.0.1\n", "{who}");
    }
}
