//! Images of containers without a daemon: made, named, pushed to a registry and pulled from it, saved, imported.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::layers::Project;
use super::{bakery, fails, ok, shell, write};

/// A registry that wants a login, with a certificate of its own.
struct Registry {
    process: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; the test has said so then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    fn start(at: &Path) -> Self {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        shell(
            at,
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=registry -addext subjectAltName=IP:127.0.0.1 2>/dev/null; htpasswd -Bbn ann secret-word > users",
        );
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/blobs}}}}\nhttp: {{addr: '127.0.0.1:{port}', tls: {{certificate: {0}/tls.crt, key: {0}/tls.key}}}}\nauth: {{htpasswd: {{realm: here, path: {0}/users}}}}\n",
            at.display()
        );
        write(at, "registry.yml", &config);
        let process = Command::new("docker-registry")
            .args(["serve", "registry.yml"])
            .current_dir(at)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { process, host: format!("127.0.0.1:{port}") };
        let started = Instant::now();
        while std::net::TcpStream::connect(&registry.host).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "no registry");
            std::thread::sleep(Duration::from_millis(50));
        }
        registry
    }
}

#[test]
fn images_go_to_a_registry_and_come_from_it() {
    let project = Project::new();
    let at = project.at();
    let registry = Registry::start(at);
    let host = &registry.host;
    let run = |args: &[&str]| {
        let mut command = bakery(at, args);
        command.env("SSL_CERT_FILE", at.join("tls.crt")).env("REGISTRY_AUTH_FILE", at.join("auth.json"));
        command
    };
    let skopeo = |args: &str| {
        let env = "SSL_CERT_FILE=tls.crt REGISTRY_AUTH_FILE=auth.json";
        let text = shell(at, &format!("{env} skopeo {args}"));
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let first = |password: &str| {
        format!(
            r#"source "docker" "app" {{
  image   = "base.tar"
  commit  = true
  changes = ["ENTRYPOINT [\"/bin/app\"]", "ENV A=b", "WORKDIR /srv"]
}}
build {{
  sources = ["source.docker.app"]
  provisioner "shell" {{ inline = ["mkdir -p /srv", "echo one > /srv/one"] }}
  post-processors {{
    post-processor "docker-tag" {{
      repository = "{host}/team/app"
      tags       = ["1.0", "latest"]
    }}
    post-processor "docker-push" {{
      login          = true
      login_username = "ann"
      login_password = "{password}"
    }}
    post-processor "docker-save" {{ path = "app.tar" }}
  }}
}}
"#
        )
    };
    write(at, "first.pkr.hcl", &first("wrong-word"));
    let (_, text) = fails(run(&["bake", "first.pkr.hcl"]));
    assert!(text.contains("could not be pushed") && !text.contains("wrong-word"), "{text}");
    write(at, "first.pkr.hcl", &first("secret-word"));
    ok(run(&["bake", "first.pkr.hcl"]));
    assert_eq!(
        shell(at, "tar -xf app.tar manifest.json -O | grep -o '\"RepoTags\":\\[[^]]*'"),
        format!("\"RepoTags\":[\"{host}/team/app:1.0\"\n")
    );

    // Nobody pulls it without a login; with one it is a base whose settings are kept.
    let second = format!(
        r#"source "docker" "more" {{
  image   = "{host}/team/app:1.0"
  commit  = true
  changes = ["LABEL k=v"]
}}
build {{
  sources = ["source.docker.more"]
  provisioner "shell" {{ inline = ["cat /srv/one > /srv/two"] }}
  post-processors {{
    post-processor "docker-tag" {{
      repository = "{host}/team/more"
      tag        = ["2"]
    }}
    post-processor "docker-push" {{}}
  }}
}}
"#
    );
    write(at, "second.pkr.hcl", &second);
    let (_, text) = fails(run(&["bake", "second.pkr.hcl"]));
    assert!(text.contains("cannot be had from its registry"), "{text}");
    shell(
        at,
        &format!(
            "echo secret-word | SSL_CERT_FILE=tls.crt skopeo login --authfile auth.json -u ann --password-stdin {host}"
        ),
    );
    ok(run(&["bake", "second.pkr.hcl"]));
    let config = skopeo(&format!("inspect --config docker://{host}/team/more:2"))["config"].clone();
    assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/app"]));
    assert_eq!(config["WorkingDir"], "/srv");
    assert_eq!(config["Labels"], serde_json::json!({ "k": "v" }));
    assert!(config["Env"].to_string().contains("\"A=b\""), "{config}");
    shell(
        at,
        &format!(
            "SSL_CERT_FILE=tls.crt skopeo copy -q --authfile auth.json docker://{host}/team/more:2 oci:layout:latest; umoci unpack --image layout:latest bundle >/dev/null"
        ),
    );
    assert_eq!(std::fs::read_to_string(at.join("bundle/rootfs/srv/two")).expect("read"), "one\n");

    // Who asks anew takes what has moved, and nothing else.
    let refreshed = || ok(run(&["bake", "--refresh", "--json", "second.pkr.hcl"]));
    assert!(refreshed().contains("has not moved"));
    write(at, "first.pkr.hcl", &first("secret-word").replace("echo one", "echo moved"));
    ok(run(&["bake", "first.pkr.hcl"]));
    assert!(!refreshed().contains("has not moved"));
    shell(
        at,
        &format!(
            "rm -rf bundle layout; SSL_CERT_FILE=tls.crt skopeo copy -q --authfile auth.json docker://{host}/team/more:2 oci:layout:latest; umoci unpack --image layout:latest bundle >/dev/null"
        ),
    );
    assert_eq!(std::fs::read_to_string(at.join("bundle/rootfs/srv/two")).expect("read"), "moved\n");

    // Another instruction is another image, though no file of it is another.
    write(at, "second.pkr.hcl", &second.replace("k=v", "k=w"));
    ok(run(&["bake", "second.pkr.hcl"]));
    let config = skopeo(&format!("inspect --config docker://{host}/team/more:2"))["config"].clone();
    assert_eq!(config["Labels"], serde_json::json!({ "k": "w" }));
}

#[test]
fn a_tree_is_imported_as_an_image() {
    let project = Project::new();
    let at = project.at();
    let template = r#"{"builders": [{"type": "docker", "image": "base.tar", "export_path": "tree.tar"}],
        "provisioners": [{"type": "shell", "inline": ["echo here > /etc/here"]}],
        "post-processors": [[{"type": "docker-import", "repository": "local/app", "tag": "3", "changes": ["CMD [\"/bin/cat\"]"]}, {"type": "docker-save", "path": "saved.tar"}]]}"#;
    write(at, "t.json", template);
    ok(bakery(at, &["bake", "t.json"]));
    let tags = shell(at, "tar -xf saved.tar manifest.json -O | grep -o 'local/app:3'");
    assert_eq!(tags, "local/app:3\n");
    let config = shell(at, "skopeo inspect --config docker-archive:saved.tar");
    assert!(config.contains("/bin/cat"), "{config}");
    shell(
        at,
        "skopeo copy -q docker-archive:saved.tar oci:layout:latest; umoci unpack --image layout:latest bundle >/dev/null",
    );
    assert_eq!(std::fs::read_to_string(at.join("bundle/rootfs/etc/here")).expect("read"), "here\n");
}
