//! The options of `ansible-playbook` (`ansible/cli/playbook.py`).

use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::Loader;
use std::path::Path;

use bakery_ansible::connection::Secret;
use bakery_ansible::{Error, FactCache, Options, ReachOptions, Settings, vars, vault};
use clap::{ArgAction, Args, ValueEnum};

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Banners and lines, as Ansible's `default` callback.
    Default,
    /// One document at the end, as the `json` callback.
    Json,
    /// One line or document for each host, as the `minimal` callback.
    Minimal,
    /// One line for each host, as the `oneline` callback.
    Oneline,
    /// Banners, lines, and results in YAML, as the `yaml` callback.
    Yaml,
}

/// What `ansible-playbook`, `ansible` and `ansible-inventory` take alike (`ansible/cli/arguments/option_helpers.py`).
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Seconds that a task may take
    #[arg(long, value_name = "SECONDS")]
    pub task_timeout: Option<u64>,
    /// Inventory: a file, a folder, or hosts with a comma (`localhost,`)
    #[arg(short, long = "inventory", alias = "inventory-file", value_name = "INVENTORY")]
    pub inventory: Vec<String>,
    /// Connection of hosts that do not say (`local`)
    #[arg(short, long)]
    pub connection: Option<String>,
    /// Variables: `key=value`, JSON, YAML, or `@file`
    #[arg(short, long = "extra-vars", value_name = "VARS")]
    pub extra_vars: Vec<String>,
    /// Say more; repeat for more still
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Change nothing, and say what would be changed
    #[arg(short = 'C', long)]
    pub check: bool,
    /// Show how files change
    #[arg(short = 'D', long)]
    pub diff: bool,
    /// Only these hosts
    #[arg(short, long, value_name = "PATTERN")]
    pub limit: Option<String>,
    /// List the hosts and stop
    #[arg(long)]
    pub list_hosts: bool,
    /// Become another user
    #[arg(short, long = "become")]
    pub r#become: bool,
    /// The user to become
    #[arg(long, value_name = "USER")]
    pub become_user: Option<String>,
    /// How to become: sudo, su, doas or runuser
    #[arg(long, value_name = "METHOD")]
    pub become_method: Option<String>,
    /// The user to connect as
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// How many hosts at a time
    #[arg(short, long, value_name = "N")]
    pub forks: Option<u32>,
    /// Forget the cached facts of every host of the inventory
    #[arg(long)]
    pub flush_cache: bool,
    /// A file with a vault password, or a program that prints it
    #[arg(long, alias = "vault-pass-file", value_name = "FILE")]
    pub vault_password_file: Vec<String>,
    /// A vault password under a vault id: `id@file`, or `id@prompt`
    #[arg(long, value_name = "ID")]
    pub vault_id: Vec<String>,
    /// Ask for the vault password
    #[arg(short = 'J', long, alias = "ask-vault-password")]
    pub ask_vault_pass: bool,
    /// Ask for the connection's password
    #[arg(short = 'k', long)]
    pub ask_pass: bool,
    /// Ask for the password to become another user
    #[arg(short = 'K', long)]
    pub ask_become_pass: bool,
    /// A file with the password to become another user
    #[arg(long, alias = "become-pass-file", value_name = "FILE")]
    pub become_password_file: Option<String>,
    /// Folders of modules
    #[arg(short = 'M', long, value_name = "PATHS")]
    pub module_path: Option<String>,
    /// The key to connect with
    #[arg(long, alias = "key-file", value_name = "FILE")]
    pub private_key: Option<String>,
    /// More options for ssh
    #[arg(long, allow_hyphen_values = true, value_name = "ARGS")]
    pub ssh_common_args: Option<String>,
    /// More options for ssh
    #[arg(long, allow_hyphen_values = true, value_name = "ARGS")]
    pub ssh_extra_args: Option<String>,
    /// Seconds before a connection is given up
    #[arg(short = 'T', long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
}

/// Runs playbooks on this machine, natively: no Python is needed.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  bakery play site.yml -i localhost, -c local\n  bakery play site.yml -e cloud_init=true --check --diff\n\nExit codes: 0 all went well, 1 something is missing, 2 a host failed, 4 a host could not be reached or a file could not be understood, 5 options do not fit, 99 interrupted."
)]
pub struct PlayArgs {
    /// The playbooks
    #[arg(required = true, value_name = "PLAYBOOK")]
    pub playbooks: Vec<String>,
    /// What all of these commands take
    #[command(flatten)]
    pub common: CommonArgs,
    /// Only tasks with these tags
    #[arg(short, long)]
    pub tags: Vec<String>,
    /// No tasks with these tags
    #[arg(long)]
    pub skip_tags: Vec<String>,
    /// List the tasks and stop
    #[arg(long)]
    pub list_tasks: bool,
    /// List the tags and stop
    #[arg(long)]
    pub list_tags: bool,
    /// Read everything and stop
    #[arg(long)]
    pub syntax_check: bool,
    /// Start at the task of this name
    #[arg(long, value_name = "NAME")]
    pub start_at_task: Option<String>,
    /// Run handlers on hosts that failed, too
    #[arg(long)]
    pub force_handlers: bool,
    /// Ask before each task
    #[arg(long)]
    pub step: bool,
    /// Output format; `ANSIBLE_STDOUT_CALLBACK` is also heard
    #[arg(long, value_enum)]
    pub output: Option<Output>,
}

impl CommonArgs {
    /// Forgets the facts of all hosts, `localhost` among them, if that is asked for.
    pub(crate) fn flush(&self, loader: &Loader, inventory: &Inventory) {
        if let Some(cache) = loader.fact_cache.as_ref().filter(|_| self.flush_cache) {
            let hosts = inventory.hosts.keys().map(String::as_str);
            hosts.chain(["localhost"]).for_each(|host| cache.forget(host));
        }
    }

    /// The passwords of vaults that the options and settings name.
    ///
    /// # Errors
    /// One that cannot be had.
    pub fn secrets(&self, loader: &Loader) -> Result<Vec<vault::Secret>, Error> {
        let sources = vault::Sources {
            ids: self.vault_id.clone(),
            files: self.vault_password_file.clone(),
            ask: self.ask_vault_pass,
        };
        let mut warnings = Vec::new();
        let found = vault::Secret::load(&sources, &loader.settings, &mut warnings);
        warnings.iter().for_each(|warning| loader.warn(warning));
        found
    }

    /// What reads files, for a playbook or for a folder.
    ///
    /// # Errors
    /// Passwords and variables that cannot be had.
    pub fn loader(&self, playbook: &Path) -> Result<Loader, Error> {
        let mut loader = Loader::new(playbook, bakery_lang::Map::new());
        loader.verbosity = self.verbose;
        loader.secrets = self.secrets(&loader)?.into();
        loader.extra_vars = vars::extra_vars(&self.extra_vars, &loader)?;
        match FactCache::configured(&loader.settings) {
            Ok(cache) => loader.fact_cache = cache,
            Err(trouble) => loader.warn(&trouble),
        }
        if let Some(paths) = &self.module_path {
            loader.libraries.splice(0..0, std::env::split_paths(paths));
        }
        Ok(loader)
    }

    /// The folder that an option names, or what settings say, else another one.
    pub fn folder(named: Option<&str>, other: &str) -> std::path::PathBuf {
        let setting = || Settings::load().path("ANSIBLE_PLAYBOOK_DIR", "defaults", "playbook_dir");
        named.map(Into::into).or_else(setting).unwrap_or_else(|| other.into())
    }

    /// The inventory sources: the options, else what settings say, else the system's file.
    pub fn sources(&self, settings: &Settings) -> Vec<String> {
        if !self.inventory.is_empty() {
            return self.inventory.clone();
        }
        let named = settings.paths("ANSIBLE_INVENTORY", "defaults", "inventory");
        let text = settings.text("ANSIBLE_INVENTORY", "defaults", "inventory").unwrap_or_default();
        if text.contains(',') {
            return text.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
        }
        if !named.is_empty() {
            return named.iter().map(|path| path.display().to_string()).collect();
        }
        let system = "/etc/ansible/hosts";
        if Path::new(system).exists() { vec![system.into()] } else { vec![] }
    }

    /// What the executor needs to know, tags and the like aside.
    ///
    /// # Errors
    /// Variables that cannot be understood.
    pub fn options(&self, loader: &Loader) -> Result<Options, Error> {
        let settings = &loader.settings;
        let text = |own: &Option<String>, variable: &str, section: &str, key: &str| {
            own.clone().or_else(|| settings.text(variable, section, key))
        };
        Ok(Options {
            extra_vars: vars::extra_vars(&self.extra_vars, loader)?,
            check: self.check,
            diff: self.diff || settings.flag("ANSIBLE_DIFF_ALWAYS", "diff", "always", false),
            limit: self.limit.clone(),
            connection: text(&self.connection, "ANSIBLE_TRANSPORT", "defaults", "transport")
                .filter(|c| !matches!(c.as_str(), "smart" | "ssh")),
            r#become: self.r#become
                || settings.flag("ANSIBLE_BECOME", "privilege_escalation", "become", false),
            become_user: text(
                &self.become_user,
                "ANSIBLE_BECOME_USER",
                "privilege_escalation",
                "become_user",
            ),
            force_handlers: settings.flag("ANSIBLE_FORCE_HANDLERS", "defaults", "force_handlers", false),
            forks: self
                .forks
                .map_or_else(|| settings.number("ANSIBLE_FORKS", "defaults", "forks", 5), u64::from)
                as usize,
            verbosity: self.verbose,
            strict_conditions: settings.strict_conditions(),
            reach: ReachOptions {
                user: self.user.clone(),
                private_key: self.private_key.clone(),
                password: ask(self.ask_pass, None, "SSH password: ")?,
                become_method: text(
                    &self.become_method,
                    "ANSIBLE_BECOME_METHOD",
                    "privilege_escalation",
                    "become_method",
                ),
                become_password: ask(
                    self.ask_become_pass,
                    self.become_password_file.as_deref(),
                    "BECOME password: ",
                )?,
                ssh_common_args: self.ssh_common_args.clone(),
                ssh_extra_args: self.ssh_extra_args.clone(),
                timeout: self.timeout.map(u64::from),
            },
            task_timeout: self
                .task_timeout
                .unwrap_or_else(|| settings.number("ANSIBLE_TASK_TIMEOUT", "defaults", "task_timeout", 0)),
            merge_hashes: settings.merges_hashes(),
            hide_facts: !settings.flag("ANSIBLE_INJECT_FACT_VARS", "defaults", "inject_facts_as_vars", true),
            python: bakery_ansible::controller_python(),
            ..Options::default()
        })
    }
}

/// A password from a file or, when it is asked for, from the terminal.
fn ask(wanted: bool, file: Option<&str>, prompt: &str) -> Result<Option<Secret>, Error> {
    if let Some(file) = file {
        let text = bakery_host::fs::read_to_string(file)?;
        return Ok(Some(Secret(text.trim().to_owned())));
    }
    if !wanted {
        return Ok(None);
    }
    let text = bakery_host::terminal::ask_hidden(prompt).map_err(|e| Error::message(e.to_string()))?;
    Ok(Some(Secret(text)))
}

impl PlayArgs {
    /// The output format: the option's, else the callback's that settings name, and the name of a callback that is not
    /// native.
    pub fn output(&self, settings: &Settings) -> (Output, Option<String>) {
        if let Some(output) = self.output {
            return (output, None);
        }
        let Some(name) = settings.text("ANSIBLE_STDOUT_CALLBACK", "defaults", "stdout_callback") else {
            return (Output::Default, None);
        };
        match name.rsplit('.').next().unwrap_or(&name) {
            "json" => (Output::Json, None),
            "minimal" => (Output::Minimal, None),
            "oneline" => (Output::Oneline, None),
            "yaml" => (Output::Yaml, None),
            "default" => (Output::Default, None),
            _ => (Output::Default, Some(name)),
        }
    }

    /// What the executor needs to know.
    ///
    /// # Errors
    /// Variables that cannot be understood.
    pub fn options(&self, loader: &Loader) -> Result<Options, Error> {
        let tags = |own: &[String], variable: &str, key: &str| -> Vec<String> {
            if own.is_empty() {
                return loader.settings.list(variable, "tags", key);
            }
            own.iter()
                .flat_map(|t| t.split(','))
                .map(|t| t.trim().to_owned())
                .filter(|t| !t.is_empty())
                .collect()
        };
        let common = self.common.options(loader)?;
        Ok(Options {
            tags: tags(&self.tags, "ANSIBLE_RUN_TAGS", "run"),
            skip_tags: tags(&self.skip_tags, "ANSIBLE_SKIP_TAGS", "skip"),
            force_handlers: self.force_handlers || common.force_handlers,
            start_at_task: self.start_at_task.clone(),
            ..common
        })
    }
}
