//! The `ansible-inventory` command: what an inventory says, as others can read it (`ansible/cli/inventory.py`).

use std::io::Write;

use bakery_ansible::Error;
use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::Loader;
use bakery_events::exit;
use bakery_lang::{Map, Value, json, yaml};
use clap::Args;

use crate::{Colour, CommonArgs};

/// Shows an inventory.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  bakery inventory -i hosts --list\n  bakery inventory -i hosts --graph --vars\n  bakery inventory -i hosts --host web1"
)]
pub struct InventoryArgs {
    /// The group to start at, with --graph
    #[arg(default_value = "all")]
    pub group: String,
    /// What all of these commands take
    #[command(flatten)]
    pub common: CommonArgs,
    /// Everything, as an inventory script gives it
    #[arg(long)]
    pub list: bool,
    /// The variables of one host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// A tree of groups and hosts
    #[arg(long)]
    pub graph: bool,
    /// With --graph: variables, too
    #[arg(long = "vars")]
    pub show_vars: bool,
    /// YAML instead of JSON
    #[arg(short, long)]
    pub yaml: bool,
    /// Variables where they are defined, not where they apply
    #[arg(long)]
    pub export: bool,
    /// Write to a file
    #[arg(long, value_name = "FILE")]
    pub output: Option<String>,
    /// The folder of a playbook, for its group_vars and host_vars
    #[arg(long, value_name = "FOLDER")]
    pub playbook_dir: Option<String>,
}

/// Runs the command; the exit code is Ansible's.
pub fn inventory(
    args: &InventoryArgs,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
    colour: Colour,
) -> i32 {
    match run(args, err, colour) {
        Ok(text) => match &args.output {
            Some(path) => match bakery_host::fs::write_atomic(path, &text) {
                Ok(()) => exit::OK,
                Err(error) => {
                    let _ = writeln!(err, "{}", colour.red(&format!("[ERROR]: {error}")));
                    exit::ERROR
                }
            },
            None => {
                let _ = writeln!(out, "{}", text.trim_end());
                exit::OK
            }
        },
        Err(error) => {
            let _ = writeln!(err, "{}", colour.red(&format!("[ERROR]: {}", error.diagnostic)));
            error.code
        }
    }
}

fn run(args: &InventoryArgs, err: &mut (dyn Write + Send), colour: Colour) -> Result<String, Error> {
    let options = |text: &str| Error { code: exit::BAD_OPTIONS, ..Error::message(text) };
    match [args.list, args.graph, args.host.is_some()].iter().filter(|on| **on).count() {
        0 => {
            return Err(options(
                "No action selected, at least one of --host, --graph or --list needs to be specified.",
            ));
        }
        1 => {}
        _ => {
            return Err(options(
                "Conflicting options used, only one of --host, --graph or --list can be used at the same time.",
            ));
        }
    }
    let folder = CommonArgs::folder(args.playbook_dir.as_deref(), "/nonexistent");
    let loader = args.common.loader(&folder.join("site.yml"))?;
    let (inventory, mut warnings) = Inventory::load(&args.common.sources(&loader.settings), &loader)?;
    warnings.extend(loader.take_warnings());
    for warning in &warnings {
        let _ = writeln!(err, "{}", colour.purple(&format!("[WARNING]: {warning}")));
    }
    let view = View { inventory: &inventory, loader: &loader, args };
    let dump = |value: &Value| {
        if args.yaml {
            yaml::emit(value, yaml::Style { vaults: true, ..Default::default() })
        } else {
            json::dumps(value, 4, true)
        }
    };
    if let Some(host) = &args.host {
        let (hosts, _) = inventory.matching(host)?;
        return match hosts.as_slice() {
            [one] => Ok(dump(&view.shown(view.host_vars(one)?))),
            _ => Err(options("You must pass a single valid host to --host parameter")),
        };
    }
    if args.graph {
        if args.group != "all" && args.group != "ungrouped" && inventory.group(&args.group).is_none() {
            return Err(options("Pattern must be valid group name when using --graph"));
        }
        let mut lines = Vec::new();
        view.graph(&args.group, 0, &mut lines)?;
        return Ok(lines.join("\n"));
    }
    let allowed = match &args.common.limit {
        Some(limit) => inventory.matching(limit)?.0,
        None => inventory.hosts_of("all"),
    };
    if args.yaml {
        let tree = view.tree("all", &allowed, &mut vec![], &mut vec![])?;
        return Ok(dump(&Map::from_iter([("all", Value::Map(tree))]).into()));
    }
    Ok(dump(&view.list(&allowed)?.into()))
}

struct View<'a> {
    inventory: &'a Inventory,
    loader: &'a Loader,
    args: &'a InventoryArgs,
}

impl View<'_> {
    /// Variables as JSON marks them; YAML says of vaults what they are.
    fn shown(&self, vars: Map) -> Value {
        if self.args.yaml { vars.into() } else { yaml::marked(&vars.into(), true, self.args.host.is_none()) }
    }

    fn host_vars(&self, host: &str) -> Result<Map, Error> {
        let vars = self.inventory.host_vars(host, self.loader)?;
        let out = Map::new();
        if !self.args.export {
            out.extend(&vars.groups);
        }
        out.extend(&vars.host);
        if !self.args.export {
            out.extend(&self.loader.extra_vars);
        }
        Ok(out)
    }

    fn group_vars(&self, group: &str) -> Result<Map, Error> {
        self.inventory.group_vars_of(group, self.loader)
    }

    fn own_hosts(&self, group: &str) -> Vec<String> {
        match group {
            "all" => vec![],
            "ungrouped" => self.inventory.hosts_of("ungrouped"),
            _ => self.inventory.group(group).map(|g| g.hosts.iter().cloned().collect()).unwrap_or_default(),
        }
    }

    fn children(&self, group: &str) -> Vec<String> {
        let mut out: Vec<String> = self.inventory.children(group).into_iter().map(str::to_owned).collect();
        if group == "all" {
            out.insert(0, "ungrouped".into());
        }
        out
    }

    fn list(&self, allowed: &[String]) -> Result<Map, Error> {
        let out = Map::new();
        self.list_group("all", allowed, &out, &mut vec![])?;
        let hosts = Map::new();
        for host in allowed {
            let vars = self.host_vars(host)?;
            if !vars.is_empty() {
                hosts.set(host, self.shown(vars));
            }
        }
        out.set(
            "_meta",
            Map::from_iter([("hostvars", Value::Map(hosts)), ("profile", "inventory_legacy".into())]),
        );
        Ok(out)
    }

    fn list_group(
        &self,
        group: &str,
        allowed: &[String],
        out: &Map,
        seen: &mut Vec<String>,
    ) -> Result<(), Error> {
        let one = Map::new();
        let hosts: Vec<String> = self.own_hosts(group).into_iter().filter(|h| allowed.contains(h)).collect();
        if !hosts.is_empty() {
            one.set("hosts", Value::strings(&hosts));
        }
        let children = self.children(group);
        if !children.is_empty() {
            one.set("children", Value::strings(&children));
        }
        for child in children {
            if !seen.contains(&child) {
                seen.push(child.clone());
                self.list_group(&child, allowed, out, seen)?;
            }
        }
        if self.args.export {
            let vars = self.group_vars(group)?;
            if !vars.is_empty() {
                one.set("vars", self.shown(vars));
            }
        }
        if !one.is_empty() {
            out.set(group, one);
        }
        Ok(())
    }

    fn tree(
        &self,
        group: &str,
        allowed: &[String],
        seen_groups: &mut Vec<String>,
        seen_hosts: &mut Vec<String>,
    ) -> Result<Map, Error> {
        let out = Map::new();
        let children = Map::new();
        for child in self.children(group) {
            if seen_groups.contains(&child) {
                children.set(&child, Map::new());
                continue;
            }
            let inner = self.tree(&child, allowed, seen_groups, seen_hosts)?;
            if !inner.is_empty() {
                children.set(&child, inner);
            }
            seen_groups.push(child);
        }
        if !children.is_empty() {
            out.set("children", children);
        }
        let hosts = Map::new();
        for host in self.own_hosts(group).into_iter().filter(|h| allowed.contains(h)) {
            let vars = if seen_hosts.contains(&host) { Map::new() } else { self.host_vars(&host)? };
            hosts.set(&host, vars);
            seen_hosts.push(host);
        }
        if !hosts.is_empty() {
            out.set("hosts", hosts);
        }
        if self.args.export {
            let vars = self.group_vars(group)?;
            if !vars.is_empty() {
                out.set("vars", vars);
            }
        }
        Ok(out)
    }

    fn graph(&self, group: &str, depth: usize, lines: &mut Vec<String>) -> Result<(), Error> {
        let line = |depth: usize, text: &str| {
            if depth == 0 { text.to_owned() } else { format!("{}--{text}", "  |".repeat(depth)) }
        };
        let vars = |depth: usize, vars: &Map, lines: &mut Vec<String>| {
            let mut pairs: Vec<(String, Value)> =
                vars.pairs().into_iter().map(|(k, v)| (k.to_string(), v)).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            lines.extend(pairs.iter().map(|(k, v)| line(depth, &format!("{{{k} = {v}}}"))));
        };
        lines.push(line(depth, &format!("@{group}:")));
        for child in self.children(group) {
            self.graph(&child, depth + 1, lines)?;
        }
        for host in self.own_hosts(group) {
            lines.push(line(depth + 1, &host));
            if self.args.show_vars {
                vars(depth + 2, &self.host_vars(&host)?, lines);
            }
        }
        if self.args.show_vars {
            vars(depth + 1, &self.group_vars(group)?, lines);
        }
        Ok(())
    }
}
