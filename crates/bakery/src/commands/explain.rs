//! `explain`: what runs at bake and what at boot.

use bakery_ansible::explain::{Line, Verdict, explain as lines};
use bakery_ansible::playbook::Loader;
use bakery_ansible::vars;
use bakery_events::{Event, Reporter as _, exit};
use bakery_lang::Map;

use super::Outcome;
use crate::cli::ExplainArgs;
use crate::terminal::{self, Terminal};

pub(crate) fn explain(args: &ExplainArgs, terminal: &Terminal) -> Outcome {
    let loader = Loader::new(&args.playbook, Map::new());
    let set = |given: &[String], default: &str| {
        let given =
            if given.is_empty() { vec![format!("{{\"cloud_init\": {default}}}")] } else { given.to_vec() };
        vars::extra_vars(&given, &loader)
    };
    let sets = [set(&args.bake, "false")?, set(&args.boot, "true")?];
    let playbook = loader.playbook(&args.playbook)?;
    let found = lines(&playbook, &loader, &sets);
    if terminal.is_json() {
        let data = found.iter().map(|line| {
            let verdict = |v: &Verdict| match v {
                Verdict::Runs => serde_json::json!({"runs": true}),
                Verdict::Skipped(why) => serde_json::json!({"runs": false, "because": why}),
                Verdict::Unknown(why) => serde_json::json!({"runs": null, "because": why}),
            };
            serde_json::json!({"play": line.play, "task": line.name, "action": line.action, "place": line.place, "bake": verdict(&line.verdicts[0]), "boot": verdict(&line.verdicts[1])})
        });
        terminal.event(&Event::Result { verb: "explain".into(), data: data.collect() });
        return Ok(exit::OK);
    }
    let mut rows = vec![["BAKE", "BOOT", "TASK", "ACTION", "WHY"].map(str::to_owned).to_vec()];
    let mut play = String::new();
    for line in &found {
        if line.play != play {
            line.play.clone_into(&mut play);
            rows.push(vec![String::new(), String::new(), format!("play: {play}")]);
        }
        rows.push(row(line));
    }
    terminal::table(&rows);
    terminal::say("\nyes: runs   -: does not   ?: cannot be known before it runs, for the reason given");
    Ok(exit::OK)
}

fn row(line: &Line) -> Vec<String> {
    let word = |verdict: &Verdict| match verdict {
        Verdict::Runs => "yes",
        Verdict::Skipped(_) => "-",
        Verdict::Unknown(_) => "?",
    };
    let unknown = line.verdicts.iter().find_map(|v| match v {
        Verdict::Unknown(why) => Some(why.clone()),
        _ => None,
    });
    let skipped = line.verdicts.iter().find_map(|v| match v {
        Verdict::Skipped(why) => Some(format!("when: {why}")),
        _ => None,
    });
    let action =
        if line.on_controller { format!("{} (on the controller)", line.action) } else { line.action.clone() };
    vec![
        word(&line.verdicts[0]).into(),
        word(&line.verdicts[1]).into(),
        line.name.clone(),
        action,
        unknown.or(skipped).unwrap_or_default(),
    ]
}
