//! The options of `ansible-playbook` (`ansible/cli/playbook.py`).

use bakery_ansible::playbook::Loader;
use bakery_ansible::{Error, Options, vars};
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
    #[arg(short, long, value_delimiter = ',')]
    pub tags: Vec<String>,
    /// No tasks with these tags
    #[arg(long, value_delimiter = ',')]
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
    /// A file with a vault password; bakery does not open vaults
    #[arg(long, value_name = "FILE")]
    pub vault_password_file: Option<String>,
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
    /// The inventory sources: the options, else `ANSIBLE_INVENTORY`, else the system's file.
    pub fn inventory_sources(&self) -> Vec<String> {
        if !self.inventory.is_empty() {
            return self.inventory.clone();
        }
        if let Ok(sources) = std::env::var("ANSIBLE_INVENTORY") {
            return vec![sources];
        }
        let system = "/etc/ansible/hosts";
        if std::path::Path::new(system).exists() { vec![system.into()] } else { vec![] }
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
        if self.vault_password_file.is_some() {
            return Err(Error::message(
                "bakery does not open vaults; give the variables in a file that is not encrypted",
            ));
        }
        Ok(Options {
            extra_vars: vars::extra_vars(&self.extra_vars, loader)?,
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
            check: self.check,
            diff: self.diff,
            limit: self.limit.clone(),
            connection: self.connection.clone(),
            r#become: self.r#become,
            become_user: self.become_user.clone(),
            force_handlers: self.force_handlers,
            start_at_task: self.start_at_task.clone(),
        })
    }
}
