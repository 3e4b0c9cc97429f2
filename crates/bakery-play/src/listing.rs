//! `--list-tasks`, `--list-tags` and `--list-hosts`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use bakery_ansible::Options;
use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::{Entry, Loader, Playbook};
use bakery_lang::{Map, Value};

use crate::PlayArgs;

pub(crate) fn list(
    args: &PlayArgs,
    path: &Path,
    playbook: &Playbook,
    inventory: &Inventory,
    loader: &Loader,
    options: &Options,
    out: &mut (dyn Write + Send),
) {
    let mut text = format!("\nplaybook: {}\n", path.display());
    for (at, play) in playbook.plays.iter().enumerate() {
        let names = Names { loader, vars: &play.keywords.vars };
        let tags = names.tags(&play.keywords.tags);
        text.push_str(&format!(
            "\n  play #{} ({}): {}\tTAGS: [{}]\n",
            at + 1,
            play.hosts,
            play.name,
            join(&tags)
        ));
        if args.common.list_hosts {
            let hosts =
                inventory.matching(&play.hosts.to_string()).map(|(hosts, _)| hosts).unwrap_or_default();
            text.push_str(&format!("    pattern: ['{}']\n    hosts ({}):\n", play.hosts, hosts.len()));
            for host in hosts {
                text.push_str(&format!("      {host}\n"));
            }
        }
        let mut rows = Vec::new();
        for entries in [&play.pre_tasks, &play.roles, &play.tasks, &play.post_tasks] {
            names.collect(entries, &tags, None, options, &mut rows);
        }
        if args.list_tasks {
            text.push_str("    tasks:\n");
            for (name, tags) in &rows {
                text.push_str(&format!("      {name}\tTAGS: [{}]\n", join(tags)));
            }
        }
        if args.list_tags {
            let all: BTreeSet<&String> = rows.iter().flat_map(|(_, tags)| tags).collect();
            text.push_str(&format!(
                "      TASK TAGS: [{}]\n",
                all.into_iter().cloned().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    let _ = out.write_all(text.as_bytes());
}

fn join(tags: &BTreeSet<String>) -> String {
    tags.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// What tags are called, with what is known before a run.
struct Names<'a> {
    loader: &'a Loader,
    vars: &'a Map,
}

impl Names<'_> {
    fn tags(&self, values: &[Value]) -> BTreeSet<String> {
        let known = |v: &Value| self.loader.value(v, self.vars).unwrap_or_else(|_| v.clone());
        values
            .iter()
            .map(known)
            .flat_map(|v| v.as_items().unwrap_or_else(|| vec![v.clone()]))
            .flat_map(|v| v.to_string().split(',').map(|t| t.trim().to_owned()).collect::<Vec<_>>())
            .filter(|t| !t.is_empty())
            .collect()
    }

    fn collect(
        &self,
        entries: &[Entry],
        outer: &BTreeSet<String>,
        role: Option<&str>,
        options: &Options,
        rows: &mut Vec<(String, BTreeSet<String>)>,
    ) {
        for entry in entries {
            match entry {
                Entry::Task(task) => {
                    let mut tags = outer.clone();
                    tags.extend(self.tags(&task.keywords.tags));
                    let list: Vec<String> = tags.iter().cloned().collect();
                    if !bakery_ansible::is_selected(&list, options) {
                        continue;
                    }
                    let role = task.role.as_ref().map(|r| r.role.name.as_str()).or(role);
                    let name = task.name.as_ref().map_or_else(|| task.action.clone(), ToString::to_string);
                    rows.push((role.map_or_else(|| name.clone(), |r| format!("{r} : {name}")), tags));
                }
                Entry::Block(block) => {
                    let mut tags = outer.clone();
                    tags.extend(self.tags(&block.keywords.tags));
                    let role = block.role.as_ref().map(|r| r.role.name.as_str()).or(role);
                    for part in [&block.block, &block.rescue, &block.always] {
                        self.collect(part, &tags, role, options, rows);
                    }
                }
            }
        }
    }
}
