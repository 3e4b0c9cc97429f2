//! `zypper_repository`: repositories of SUSE's packages (community.general `zypper_repository.py`).

use bakery_lang::{Map, Value, ini};
use bakery_macros::ModuleArgs;

use crate::http::{self, Request};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds and removes repositories of SUSE's packages.
#[derive(ModuleArgs)]
struct Args {
    /// The repository's alias.
    name: Option<String>,
    /// Its address, or that of a `.repo` file.
    repo: Option<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// Whether its lists are fetched.
    runrefresh: bool,
    /// Its name for people.
    description: Option<String>,
    /// Whether its signatures are not checked.
    disable_gpg_check: Option<bool>,
    /// Whether its lists are fetched whenever they are needed.
    #[arg(alias = "refresh")]
    autorefresh: Option<bool>,
    /// Its priority; lower ones come first.
    priority: Option<i64>,
    /// Whether it is used.
    enabled: Option<bool>,
    /// Whether it takes the place of several others.
    overwrite_multiple: bool,
    /// Whether keys are taken as they come.
    auto_import_keys: bool,
}

/// What is compared of repositories, and what zypper calls it.
const OPTIONS: &[&str] = &["alias", "name", "priority", "enabled", "autorefresh", "gpgcheck"];

struct Zypper<'a> {
    host: &'a Host,
    program: String,
}

impl Zypper<'_> {
    fn run(&self, words: &[&str]) -> Result<bakery_host::Output, Failure> {
        let base = [self.program.as_str(), "--quiet", "--non-interactive"];
        self.host.try_run(&[&base[..], words].concat())
    }

    fn must(&self, words: &[&str]) -> Result<(), Failure> {
        let output = self.run(words)?;
        if output.success() { Ok(()) } else { Err(Failure::new(output.error_text()).with_output(&output)) }
    }

    /// The repositories that there are.
    fn all(&self) -> Result<Vec<Map>, Failure> {
        let output = self.run(&["--xmlout", "repos"])?;
        let failed = |msg: String| Failure::new(msg).with_output(&output);
        match output.code {
            0 => {}
            // There are none.
            6 => return Ok(vec![]),
            _ => return Err(failed(format!("Failed to execute \"{} --xmlout repos\"", self.program))),
        }
        let text = output.text();
        let document = roxmltree::Document::parse(text.trim_start()).map_err(|e| failed(e.to_string()))?;
        let repositories = document.descendants().filter(|node| node.has_tag_name("repo"));
        Ok(repositories
            .map(|node| {
                let map: Map = OPTIONS
                    .iter()
                    .map(|name| (*name, Value::from(node.attribute(*name).unwrap_or_default())))
                    .collect();
                let url = node.descendants().find(|n| n.has_tag_name("url")).and_then(|n| n.text());
                map.set("url", url.or_else(|| node.attribute("metalink")).unwrap_or_default());
                map
            })
            .collect())
    }

    /// The version of the program, for options that came late.
    fn is_at_least(&self, wanted: [u32; 3]) -> bool {
        let text =
            self.host.try_run(&[self.program.as_str(), "--version"]).map(|o| o.text()).unwrap_or_default();
        let number = text.strip_prefix("zypper ").unwrap_or("1.0").trim();
        let mut held = [0; 3];
        for (part, digits) in held.iter_mut().zip(number.split('.')) {
            *part = digits.parse().unwrap_or(0);
        }
        held >= wanted
    }

    fn refresh(&self, import_keys: bool, name: Option<&str>) -> Result<(), Failure> {
        let mut words = if import_keys { vec!["--gpg-auto-import-keys"] } else { vec![] };
        words.extend(["refresh", "--force"]);
        words.extend(name.into_iter().flat_map(|name| ["-r", name]));
        self.must(&words)
    }

    /// An address with the values of its variables.
    fn expanded(&self, url: &str) -> Result<String, Failure> {
        let mut url = url.to_owned();
        for (variable, format) in [("$releasever", "%{version}"), ("$basearch", "%{arch}")] {
            if url.contains(variable) {
                let value = self.host.run(&["rpm", "-q", "--qf", format, "-f", "/etc/os-release"])?.text();
                url = url.replace(variable, &value);
            }
        }
        Ok(url.trim_end_matches('/').to_owned())
    }

    fn differs(&self, held: &Map, wanted: &Map) -> Result<bool, Failure> {
        for (key, value) in held.pairs() {
            let Some(wish) = wanted.get_value(&key).filter(Value::is_true) else { continue };
            let same = match key.as_str() {
                Some("url") => self.expanded(&wish.to_string())? == self.expanded(&value.to_string())?,
                _ => wish.to_string() == value.to_string(),
            };
            if !same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add(
        &self,
        wanted: &Map,
        old: &[Map],
        warnings: &mut Vec<String>,
    ) -> Result<bakery_host::Output, Failure> {
        let text = |key: &str| wanted.get(key).filter(Value::is_true).map(|value| value.to_string());
        let mut words = vec!["addrepo".to_owned(), "--check".to_owned()];
        words.extend(text("name").into_iter().flat_map(|name| ["--name".to_owned(), name]));
        if let Some(priority) = text("priority") {
            if self.is_at_least([1, 12, 25]) {
                words.extend(["--priority".to_owned(), priority]);
            } else {
                warnings.push(
                    "Setting priority only available for zypper >= 1.12.25. Ignoring priority argument."
                        .into(),
                );
            }
        }
        let is = |key: &str, value: &str| text(key).as_deref() == Some(value);
        let mut flag = |on: bool, name: &str| words.extend(on.then(|| name.to_owned()));
        flag(is("enabled", "0"), "--disable");
        flag(is("gpgcheck", "1"), "--gpgcheck");
        flag(!is("gpgcheck", "1"), "--no-gpgcheck");
        flag(is("autorefresh", "1"), "--refresh");
        let url = text("url").unwrap_or_default();
        let is_file = url.ends_with(".repo");
        words.push(url);
        words.extend(text("alias").filter(|_| !is_file));
        for repository in old {
            self.must(&["removerepo", &repository.get("url").unwrap_or_default().to_string()])?;
        }
        self.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// A repository's file: its only section, and its options.
type RepoFile = (String, Vec<(String, String)>);

/// What a `.repo` file says; or why it could not be got.
fn repo_file(host: &Host, address: &str) -> Result<Result<RepoFile, &'static str>, Failure> {
    let bytes = if address.starts_with("http://") || address.starts_with("https://") {
        match http::send(&Request::by(host, address)) {
            Ok(answer) if answer.status == 200 => answer.body,
            _ => return Ok(Err("Could not download .repo file from")),
        }
    } else {
        match bakery_host::fs::read(host.path(address)) {
            Ok(bytes) => bytes,
            Err(_) => return Ok(Err("Could not open .repo file at")),
        }
    };
    let file = ini::parse(&String::from_utf8_lossy(&bytes), ini::Rules::default())
        .map_err(|_| Failure::new("Invalid format, .repo file could not be parsed"))?;
    let sections: Vec<&str> = file.sections().filter(|name| *name != "DEFAULT").collect();
    let [section] = sections[..] else {
        return Err(Failure::new(format!(
            "Invalid format, .repo file contains {} repositories, expected 1",
            sections.len()
        )));
    };
    let options: Vec<(String, String)> = file
        .options(section)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned()))
        .collect();
    if options.iter().all(|(name, _)| name != "baseurl") {
        return Err("No baseurl found in .repo file".into());
    }
    Ok(Ok((section.to_owned(), options)))
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("zypper_repository"));
    }
    let zypper = Zypper { host, program: host.program("zypper")? };
    let bit = |on: bool| if on { "1" } else { "0" };
    let optional = |text: &Option<String>| text.clone().map_or(Value::None, Value::from);
    let data = Map::from_iter([
        ("url", optional(&args.repo)),
        ("alias", optional(&args.name)),
        ("name", optional(&args.description)),
        ("priority", args.priority.map_or(Value::None, Value::from)),
    ]);
    for (name, is_on) in [
        ("enabled", args.enabled),
        ("gpgcheck", args.disable_gpg_check.map(|off| !off)),
        ("autorefresh", args.autorefresh),
    ] {
        if let Some(is_on) = is_on {
            data.set(name, bit(is_on));
        }
    }
    let mut import_keys = args.auto_import_keys;
    if args.repo.as_deref() == Some("*") || args.name.as_deref() == Some("*") {
        if !args.runrefresh {
            return Err("repo=* can only be used with the runrefresh option.".into());
        }
        zypper.refresh(import_keys, None)?;
        return Ok(Outcome::unchanged().with("runrefresh", true));
    }
    let present = args.state == "present";
    let mut warnings = Vec::new();
    match (&args.repo, &args.name) {
        (None, _) if present => return Err("Module option state=present requires repo".into()),
        (None, None) => return Err("Alias or repo parameter required when state=absent".into()),
        (Some(repo), Some(_)) if repo.ends_with(".repo") => {
            return Err("Incompatible option: 'name'. Do not use name when adding .repo files".into());
        }
        (Some(repo), None) if present && !repo.ends_with(".repo") => {
            return Err("Name required when adding non-repo files.".into());
        }
        _ => {}
    }
    if let Some(repo) = args.repo.as_ref().filter(|repo| repo.ends_with(".repo")) {
        match repo_file(host, repo)? {
            Ok((section, options)) => {
                data.set("alias", section);
                for (name, value) in options {
                    match name.as_str() {
                        "baseurl" => data.set("url", value),
                        "gpgkey" => import_keys = true,
                        "name" => data.set("name", value),
                        "enabled" | "autorefresh" | "gpgcheck" if !data.contains(&name) => {
                            data.set(&name, value);
                        }
                        _ => {}
                    }
                }
            }
            // To remove it, its name is enough.
            Err(why) if !present => {
                warnings.push(format!("{why} '{repo}'; will try to identify repository by alias"));
                let name = repo.rsplit('/').next().unwrap_or_default();
                data.set("alias", name.strip_suffix(".repo").unwrap_or(name));
            }
            Err(why) => return Err(format!("{why} {repo}").into()),
        }
    }
    for name in ["enabled", "gpgcheck", "autorefresh"] {
        if !data.contains(name) {
            data.set(name, "1");
        }
    }
    let alias = data.get("alias").filter(Value::is_true);
    let short = alias.or_else(|| data.get("url")).unwrap_or_default().to_string();
    let same = |held: &&Map, key: &str| held.get(key) == data.get(key);
    let all = zypper.all()?;
    let old: Vec<Map> = all.iter().filter(|held| same(held, "alias") || same(held, "url")).cloned().collect();
    if old.len() > 1 && !args.overwrite_multiple {
        let shown = Value::list(old.iter().cloned().map(Value::Map).collect());
        return Err(Failure::new(format!(
            "More than one repo matched \"{short}\": \"{shown}\". Use overwrite_multiple to allow more than one repo to be overwritten"
        )));
    }
    let done = |changed: bool| {
        Outcome::changed(changed)
            .with("repodata", Value::Map(data.clone()))
            .with("state", args.state.as_str())
    };
    let output = if present {
        let differs =
            old.len() > 1 || old.first().is_none_or(|held| zypper.differs(held, &data).unwrap_or(true));
        if !differs {
            if args.runrefresh {
                zypper.refresh(import_keys, Some(&short))?;
            }
            return Ok(done(false));
        }
        let output = zypper.add(&data, &old, &mut warnings)?;
        if output.success() && (args.runrefresh || import_keys) {
            zypper.refresh(import_keys, Some(&short))?;
        }
        output
    } else if old.is_empty() {
        return Ok(done(false));
    } else {
        zypper.run(&["removerepo", &short])?
    };
    if !output.success() {
        let fields = done(false).fields;
        return Err(
            Failure { msg: format!("Zypper failed with rc {}", output.code), fields }.with_output(&output)
        );
    }
    let outcome = done(true);
    for warning in warnings {
        host.warn(warning);
    }
    Ok(outcome)
}

module!("zypper_repository", "community.general", Args, run);
