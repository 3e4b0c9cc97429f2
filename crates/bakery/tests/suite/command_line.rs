//! Bad input: an error that says where, what is known, and what to do; nothing is changed.

use super::{bakery, fails, ok, write};

#[test]
fn unknown_things_are_named_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "b.json", "{\n  \"builders\": [\n    {\"type\": \"dsik\"}\n  ]\n}\n");
    write(at, "k.json", "{\"builders\": [{\"type\": \"disk\", \"bse\": \"debian:bookworm\"}]}\n");
    write(at, "v.json", "{\"variables\": {\"region\": null}, \"builders\": [{\"type\": \"disk\"}]}\n");
    write(at, "f.json", "{\"builders\": [{\"type\": \"disk\", \"image_name\": \"{{usr `x`}}\"}]}\n");
    write(at, "s.json", "{\"builders\": [\n");
    write(
        at,
        "h.pkr.hcl",
        "source \"disk\" \"a\" {\n  base = vra.b\n}\nbuild {\n  sources = [\"source.disk.a\"]\n}\n",
    );
    write(at, "m.yml", "- hosts: all\n  tasks:\n    - name: x\n      copi:\n        dest: /x\n");
    write(at, "t.yml", "- hosts: all\n  tsks: []\n");
    write(at, "y.yml", "- hosts: all\n  vars:\n    a: {{ b }}\n");
    write(at, "r.tf", "resource \"aws_instnce\" \"a\" {\n}\n");
    for (args, expected) in [
        (
            &["validate", "b.json"][..],
            &["unknown builder type `dsik`", "b.json:3", "did you mean `disk`"][..],
        ),
        (&["validate", "k.json"], &["unknown option `bse`", "did you mean `base`"]),
        (&["validate", "v.json"], &["required variable not set: region", "-var region="]),
        (&["validate", "f.json"], &["function \"usr\" not defined", "did you mean `user`"]),
        (&["validate", "s.json"], &["not valid JSON", "s.json:"]),
        (&["validate", "h.pkr.hcl"], &["unknown name `vra`", "h.pkr.hcl:2"]),
        (
            &["play", "m.yml", "--syntax-check"],
            &["couldn't resolve module/action 'copi'", "m.yml:4", "did you mean `copy`"],
        ),
        (
            &["play", "t.yml", "--syntax-check"],
            &["'tsks' is not a valid attribute for a Play", "did you mean `tasks`"],
        ),
        (&["play", "y.yml", "--syntax-check"], &["y.yml:3", "needs quotes"]),
        (
            &["plan", "r.tf", "--local"],
            &["unknown resource type `aws_instnce`", "r.tf:1", "did you mean `aws_instance`"],
        ),
        (&["show", "nothing"], &["there are none; make one with `bakery bake`"]),
        (&["doc", "cop"], &["there is no module `cop`", "did you mean `copy`"]),
    ] {
        let (_, text) = fails(bakery(at, args));
        for part in expected {
            assert!(text.contains(part), "{args:?}: expected {part:?} in\n{text}");
        }
    }
    assert!(!at.join("roles").exists());
}

#[test]
fn help_teaches_and_references_are_generated() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = ok(bakery(folder.path(), &["--help"]));
    assert!(help.contains("bakery doctor") && help.contains("bakery replace"), "{help}");
    assert!(ok(bakery(folder.path(), &["doc", "file"])).contains("recurse (bool)"));
    assert!(ok(bakery(folder.path(), &["completions", "bash"])).contains("_bakery"));
    assert!(ok(bakery(folder.path(), &["man"])).contains(".TH"));
    assert!(ok(bakery(folder.path(), &["images", "--json"])).contains("\"event\":\"result\""));
}

#[test]
fn machines_of_another_store_are_not_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "main.tf", "resource \"aws_ebs_volume\" \"v\" {\n  size = 1\n}\n");
    let state = folder.path().join(".bakery/state.json");
    let with = |store: &str, args: &[&str]| {
        let mut command = bakery(folder.path(), args);
        command.env("BAKERY_HOME", folder.path().join(store));
        command
    };
    ok(with("one", &["apply", "main.tf", "--local"]));
    let before = std::fs::read(&state).expect("a state");
    for args in [
        &["destroy", "main.tf", "--local"][..],
        &["apply", "main.tf", "--local"],
        &["plan", "main.tf", "--local"],
    ] {
        let (_, text) = fails(with("other", args));
        assert!(text.contains("are in the store") && text.contains("BAKERY_HOME="), "{args:?}: {text}");
        assert_eq!(std::fs::read(&state).expect("a state"), before, "{args:?}");
    }
    ok(with("one", &["destroy", "main.tf", "--local", "--volumes"]));
    ok(with("other", &["plan", "main.tf", "--local"]));
}

#[test]
fn a_second_bakery_at_the_same_state_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "main.tf", "resource \"aws_ebs_volume\" \"v\" {\n  size = 1\n}\n");
    std::fs::create_dir_all(folder.path().join(".bakery")).expect("made");
    let file = std::fs::File::create(folder.path().join(".bakery/lock")).expect("made");
    file.lock().expect("locked");
    let (_, text) = fails(bakery(folder.path(), &["apply", "main.tf", "--local"]));
    assert!(text.contains("another bakery is at work"), "{text}");
    assert!(!folder.path().join(".bakery/state.json").exists());
}
