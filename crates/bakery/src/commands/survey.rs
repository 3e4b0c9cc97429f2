//! `survey`: what roles ask for.

use std::collections::BTreeMap;

use bakery_ansible::survey::{self, Obstacle, RoleReport};
use bakery_events::{Event, Reporter as _, exit};
use serde_json::json;

use super::Outcome;
use crate::cli::SurveyArgs;
use crate::terminal::{self, Terminal};

/// How many tasks and roles a module or its options concern.
#[derive(Default)]
struct Count {
    tasks: usize,
    roles: usize,
}

pub(crate) fn survey(args: &SurveyArgs, terminal: &Terminal) -> Outcome {
    let mut reports = Vec::new();
    for path in &args.paths {
        reports.extend(survey::roles(path)?.iter().map(|path| survey::role(path)));
    }
    let tasks: usize = reports.iter().map(|r| r.tasks).sum();
    let foreign = reports.iter().flat_map(|r| &r.findings).count();
    let native_roles = reports.iter().filter(|r| r.is_native()).count();
    let loaded = reports.iter().filter(|r| r.trouble.is_none() && r.unreadable.is_empty()).count();
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let code = if loaded == reports.len() { exit::OK } else { exit::PARSE_ERROR };
    if terminal.is_json() {
        let data = json!({
            "roles": reports.len(),
            "roles_that_load": loaded,
            "roles_all_native": native_roles,
            "tasks": tasks,
            "tasks_native": tasks - foreign,
            "reports": reports.iter().map(report).collect::<Vec<_>>(),
        });
        terminal.event(&Event::Result { verb: "survey".into(), data });
        return Ok(code);
    }
    for report in &reports {
        for why in report.trouble.iter().chain(&report.unreadable) {
            terminal::say(&format!("{}: does not load: {why}", report.path.display()));
        }
        for finding in report.findings.iter().filter(|_| args.tasks) {
            terminal::say(&format!("{}: {}: {}", finding.place, finding.module, what(&finding.obstacle)));
        }
    }
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for report in &reports {
        let mut seen: Vec<String> = Vec::new();
        for finding in &report.findings {
            let key = match &finding.obstacle {
                Obstacle::Foreign => finding.module.clone(),
                Obstacle::Options(names) => format!("{} ({})", finding.module, names.join(", ")),
            };
            let count = counts.entry(key.clone()).or_default();
            count.tasks += 1;
            if !seen.contains(&key) {
                seen.push(key);
                count.roles += 1;
            }
        }
    }
    let mut rows: Vec<(String, Count)> = counts.into_iter().collect();
    rows.sort_by(|a, b| b.1.tasks.cmp(&a.1.tasks).then_with(|| a.0.cmp(&b.0)));
    if !rows.is_empty() {
        let mut table = vec![["TASKS", "ROLES", "NOT NATIVE"].map(str::to_owned).to_vec()];
        table.extend(rows.into_iter().map(|(name, c)| vec![c.tasks.to_string(), c.roles.to_string(), name]));
        terminal::table(&table);
        terminal::say("");
    }
    terminal::say(&format!(
        "{} roles, {loaded} load, {native_roles} ({:.1} %) have nothing but native tasks; {tasks} tasks, {} ({:.1} %) native with every option known",
        reports.len(),
        percent(native_roles, reports.len()),
        tasks - foreign,
        percent(tasks - foreign, tasks),
    ));
    Ok(code)
}

fn what(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Foreign => "not native".into(),
        Obstacle::Options(names) => format!("options that are not known: {}", names.join(", ")),
    }
}

fn report(report: &RoleReport) -> serde_json::Value {
    json!({
        "path": report.path,
        "trouble": report.trouble,
        "unreadable": report.unreadable,
        "tasks": report.tasks,
        "findings": report.findings.iter().map(|finding| json!({
            "place": finding.place,
            "module": finding.module,
            "options": match &finding.obstacle {
                Obstacle::Foreign => serde_json::Value::Null,
                Obstacle::Options(names) => json!(names),
            },
        })).collect::<Vec<_>>(),
    })
}
