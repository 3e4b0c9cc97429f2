//! `taste`: a machine of an image, booted, checked by a playbook, and thrown away.

use std::fmt::Write as _;
use std::time::Duration;

use bakery_events::{Event, Reporter as _, Step, exit};
use bakery_host::{Cmd, fs};
use bakery_launch::{ApplyOptions, Instance};
use bakery_play::junit::{Case, Verdict, report};
use bakery_store::Store;
use serde_json::Value as Json;

use super::{Failure, Outcome};
use crate::cli::TasteArgs;
use crate::terminal::{self, Terminal};

/// The machine in Terraform's words.
fn configuration(args: &TasteArgs, image: &str) -> Result<String, Failure> {
    let text = |value: &str| serde_json::to_string(value).unwrap_or_default();
    let user_data = match &args.user_data {
        Some(path) => {
            fs::metadata(path)?;
            let path = fs::canonicalize(path)?;
            format!("  user_data = file({})\n", text(&path.display().to_string()))
        }
        None => String::new(),
    };
    let mut out = format!(
        "resource \"aws_instance\" \"taste\" {{\n  ami = {}\n  instance_type = \"t3.medium\"\n{user_data}}}\n",
        text(image)
    );
    for (at, volume) in args.volumes.iter().enumerate() {
        let wrong = || Failure::new(format!("`{volume}` is no volume (expected something like 2:/dev/xvdb)"));
        let (size, device) = volume.split_once(':').ok_or_else(wrong)?;
        let size: u32 = size.parse().map_err(|_| wrong())?;
        let _ = write!(
            out,
            "resource \"aws_ebs_volume\" \"v{at}\" {{\n  size = {size}\n  availability_zone = \"here\"\n}}\n\
             resource \"aws_volume_attachment\" \"v{at}\" {{\n  device_name = {}\n  volume_id = aws_ebs_volume.v{at}.id\n  instance_id = aws_instance.taste.id\n}}\n",
            text(device)
        );
    }
    Ok(out)
}

pub(crate) fn taste(args: &TasteArgs, terminal: &Terminal) -> Outcome {
    fs::metadata(&args.playbook)?;
    let store = Store::open()?;
    let image = store.images().find(&args.image)?;
    let folder = tempfile::tempdir().map_err(|e| Failure::new(e.to_string()))?;
    fs::write_atomic(folder.path().join("main.tf"), configuration(args, &image.id)?)?;
    let config = bakery_launch::load(folder.path(), &[])?;
    let options =
        ApplyOptions { image: None, forward: vec![], wait: Some(Duration::from_secs(args.timeout)) };
    let step = Step::start(terminal, "boot", &image.name);
    let tasted =
        bakery_launch::apply(&store, &config, &options, terminal).map_err(Failure::from).and_then(|_| {
            step.finish("done");
            check(args, &store, folder.path(), terminal)
        });
    // Thrown away whatever came of it.
    let gone = bakery_launch::destroy(&store, &config, true, terminal);
    let code = tasted?;
    gone?;
    let data = serde_json::json!({ "image": image.id, "passed": code == exit::OK });
    terminal.event(&Event::Result { verb: "taste".into(), data });
    if !terminal.is_json() {
        let how = if code == exit::OK { "tastes as it should" } else { "does not taste as it should" };
        terminal::say(&format!("{} {} {how}", image.id, image.name));
    }
    Ok(code)
}

/// Runs the playbook on the machine; its exit code.
fn check(
    args: &TasteArgs,
    store: &Store,
    folder: &std::path::Path,
    terminal: &Terminal,
) -> Result<i32, Failure> {
    let instance = Instance::find(store, None, folder)?;
    let mut inventory = String::from("taste");
    for (name, value) in bakery_launch::ssh_variables(store, &instance)? {
        let _ = write!(inventory, " {name}={value}");
    }
    let hosts = folder.join("hosts");
    fs::write_atomic(&hosts, inventory + "\n")?;
    let exe = std::env::current_exe().map_err(|e| Failure::new(e.to_string()))?;
    let mut cmd = Cmd::new(exe).arg("play").arg("-i").arg(&hosts).arg(&args.playbook);
    for vars in &args.extra_vars {
        cmd = cmd.arg("-e").arg(vars);
    }
    let Some(junit) = &args.junit else {
        let code = cmd.lines(&|line, is_error| {
            if is_error || terminal.is_json() { terminal.talk(line) } else { terminal::say(line) }
        })?;
        return Ok(code);
    };
    let output = cmd.env("ANSIBLE_STDOUT_CALLBACK", "json").output()?;
    let text = output.text();
    // Warnings may stand before the document.
    let document = text.find('{').and_then(|at| serde_json::from_str::<Json>(&text[at..]).ok());
    let document = document.ok_or_else(|| {
        Failure::new(format!("the playbook gave no results: {}", (text + &output.error_text()).trim()))
    })?;
    let (xml, failures) = junit_xml(&document);
    fs::write_atomic(junit, xml)?;
    for failure in failures {
        terminal.talk(&format!("failed: {failure}"));
    }
    Ok(output.code)
}

/// Every task as a test case; also what the failed ones say.
fn junit_xml(document: &Json) -> (String, Vec<String>) {
    let (mut cases, mut failures) = (Vec::new(), Vec::new());
    for play in document["plays"].as_array().into_iter().flatten() {
        let class = play["play"]["name"].as_str().unwrap_or_default();
        for task in play["tasks"].as_array().into_iter().flatten() {
            let title = task["task"]["name"].as_str().unwrap_or_default();
            for (host, result) in task["hosts"].as_object().into_iter().flatten() {
                let is = |key: &str| result[key] == true;
                let verdict = if is("failed") || is("unreachable") {
                    let said = result["msg"].as_str().map_or_else(|| result.to_string(), str::to_owned);
                    failures.push(format!("{title}: {said}"));
                    Verdict::Failed(said, result.to_string())
                } else if is("skipped") {
                    Verdict::Skipped("skipped".into())
                } else {
                    Verdict::Passed(None)
                };
                let (name, class) = (format!("[{host}] {title}"), class.to_owned());
                cases.push(Case { name, class, seconds: None, verdict });
            }
        }
    }
    (report("taste", &cases), failures)
}
