//! The options of `ansible-playbook` (`ansible/cli/playbook.py`).

use bakery_ansible::playbook::Loader;
use bakery_ansible::{Error, Options, vars, vault};
use clap::{ArgAction, Args, ValueEnum};

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Banners and lines, as Ansible's `default` callback.
    Default,
    /// One document at the end, as the `json` callback.
    Json,
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
    /// Only tasks with these tags
    #[arg(short, long)]
    pub tags: Vec<String>,
    /// No tasks with these tags
    #[arg(long)]
    pub skip_tags: Vec<String>,
    /// Only these hosts
    #[arg(short, long, value_name = "PATTERN")]
    pub limit: Option<String>,
    /// List the tasks and stop
    #[arg(long)]
    pub list_tasks: bool,
    /// List the tags and stop
    #[arg(long)]
    pub list_tags: bool,
    /// List the hosts and stop
    #[arg(long)]
    pub list_hosts: bool,
    /// Read everything and stop
    #[arg(long)]
    pub syntax_check: bool,
    /// Start at the task of this name
    #[arg(long, value_name = "NAME")]
    pub start_at_task: Option<String>,
    /// Become another user
    #[arg(short, long = "become")]
    pub r#become: bool,
    /// The user to become
    #[arg(long, value_name = "USER")]
    pub become_user: Option<String>,
    /// How to become; sudo is used
    #[arg(long, value_name = "METHOD")]
    pub become_method: Option<String>,
    /// The user to connect as
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// How many hosts at a time
    #[arg(short, long, value_name = "N")]
    pub forks: Option<u32>,
    /// Run handlers on hosts that failed, too
    #[arg(long)]
    pub force_handlers: bool,
    /// Forget cached facts; none are kept between runs
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
    /// Ask before each task
    #[arg(long)]
    pub step: bool,
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
    /// Output format; `ANSIBLE_STDOUT_CALLBACK` is also heard
    #[arg(long, value_enum)]
    pub output: Option<Output>,
}

impl PlayArgs {
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
        vault::Secret::load(&sources, &loader.settings)
    }

    /// The output format.
    pub fn output(&self) -> Output {
        self.output.unwrap_or_else(|| match std::env::var("ANSIBLE_STDOUT_CALLBACK").as_deref() {
            Ok("json" | "ansible.posix.json") => Output::Json,
            _ => Output::Default,
        })
    }

    /// What the executor needs to know.
    ///
    /// # Errors
    /// Variables that cannot be understood.
    pub fn options(&self, loader: &Loader) -> Result<Options, Error> {
        let split = |tags: &[String]| -> Vec<String> {
            tags.iter().flat_map(|t| t.split(',')).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
        };
        let or = |own: Vec<String>, variable: &str, section: &str, key: &str| {
            if own.is_empty() { loader.settings.list(variable, section, key) } else { own }
        };
        let settings = &loader.settings;
        Ok(Options {
            extra_vars: vars::extra_vars(&self.extra_vars, loader)?,
            tags: or(split(&self.tags), "ANSIBLE_RUN_TAGS", "tags", "run"),
            skip_tags: or(split(&self.skip_tags), "ANSIBLE_SKIP_TAGS", "tags", "skip"),
            check: self.check,
            diff: self.diff,
            limit: self.limit.clone(),
            connection: self.connection.clone(),
            r#become: self.r#become || settings.flag("ANSIBLE_BECOME", "privilege_escalation", "become", false),
            become_user: self
                .become_user
                .clone()
                .or_else(|| settings.text("ANSIBLE_BECOME_USER", "privilege_escalation", "become_user")),
            force_handlers: self.force_handlers
                || settings.flag("ANSIBLE_FORCE_HANDLERS", "defaults", "force_handlers", false),
            start_at_task: self.start_at_task.clone(),
            forks: self.forks.map_or_else(|| settings.number("ANSIBLE_FORKS", "defaults", "forks", 5), u64::from) as usize,
            verbosity: self.verbose,
            strict_conditions: settings.strict_conditions(),
            python: python(),
        })
    }
}

/// This machine's Python, for `ansible_playbook_python`.
fn python() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| [folder.join("python3"), folder.join("python")])
        .find(|program| program.is_file());
    found.map_or_else(|| "/usr/bin/python3".into(), |program| program.display().to_string())
}
