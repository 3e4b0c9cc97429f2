//! What can be typed after `galaxy`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

/// Installs roles and collections, and looks after them.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  bakery galaxy install -r requirements.yml -p roles   roles into the project, exactly as locked\n  bakery galaxy install --locked                       in CI: refuse what is not locked\n  bakery galaxy install --upgrade nginx                move one role on\n  bakery galaxy collection install community.general   a collection by name\n  bakery galaxy outdated                               what has moved on\n  bakery galaxy verify                                 what was edited by hand\n\n`requirements.lock` beside the requirements says exactly what was installed; commit it.\nServers and tokens come from ansible.cfg ([galaxy], [galaxy_server.NAME]) and ANSIBLE_GALAXY_* variables.\nWhat was fetched is kept in BAKERY_HOME/galaxy and shared by all projects."
)]
pub struct GalaxyArgs {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Roles only
    #[command(subcommand)]
    Role(Kinded),
    /// Collections only
    #[command(subcommand)]
    Collection(Kinded),
    #[command(flatten)]
    Both(Kinded),
}

/// What can be done with roles, collections, or both.
#[derive(Debug, Clone, Subcommand)]
pub enum Kinded {
    /// Install what is named, or what a requirements file wants
    Install(Box<InstallArgs>),
    /// List what is installed
    List(ListArgs),
    /// Remove what is installed
    #[command(visible_alias = "delete")]
    Remove {
        /// Names
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        paths: Paths,
    },
    /// Show what is known of a role or collection
    Info {
        /// Names
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        paths: Paths,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Start a new role or collection
    Init {
        /// Its name; `namespace.name` for collections
        name: String,
        /// Where to
        #[arg(long, default_value = ".", value_name = "FOLDER")]
        init_path: PathBuf,
        /// Write into a folder that is there
        #[arg(short, long)]
        force: bool,
        /// Accepted for ansible-galaxy's sake
        #[arg(long, hide = true)]
        offline: bool,
    },
    /// Download archives of what is named and of what it needs, for an install elsewhere
    Download(DownloadArgs),
    /// Make a collection's archive from its folder
    Build {
        /// Folders with a galaxy.yml
        #[arg(default_value = ".")]
        folders: Vec<PathBuf>,
        /// Where to
        #[arg(long, default_value = ".", value_name = "FOLDER")]
        output_path: PathBuf,
        /// Replace an archive that is there
        #[arg(short, long)]
        force: bool,
    },
    /// Say which files are not what was installed
    Verify(VerifyArgs),
    /// Say which locked versions have newer ones
    Outdated {
        #[command(flatten)]
        file: FileArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Which server, and how it is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerArgs {
    /// A server's name in the configuration, or its address
    #[arg(short, long, value_name = "SERVER")]
    pub server: Option<String>,
    /// A token for the server
    #[arg(long, alias = "api-key", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Take any certificate
    #[arg(short = 'c', long = "ignore-certs")]
    pub ignore_certs: bool,
    /// How long a server may take to answer, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Ask nobody: only what is in the cache or on this machine
    #[arg(long)]
    pub offline: bool,
    /// Say more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Accepted for ansible-galaxy's sake
    #[arg(long, hide = true)]
    pub no_cache: bool,
    /// Accepted for ansible-galaxy's sake
    #[arg(long, hide = true)]
    pub clear_response_cache: bool,
}

/// Where roles and collections are.
#[derive(Debug, Clone, Default, Args)]
pub struct Paths {
    /// Where roles are (for `collection`: where collections are); else as ansible.cfg says, or ~/.ansible
    #[arg(short = 'p', long = "roles-path", value_name = "FOLDER")]
    pub roles_path: Option<PathBuf>,
    /// Where collections are
    #[arg(long, value_name = "FOLDER")]
    pub collections_path: Option<PathBuf>,
}

/// Which requirements.
#[derive(Debug, Clone, Default, Args)]
pub struct FileArgs {
    /// The requirements file; requirements.yml if nothing is named
    #[arg(short = 'r', long = "role-file", alias = "requirements-file", value_name = "FILE")]
    pub requirements: Option<PathBuf>,
}

/// `install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// Roles as `author.role[,version[,name]]`, collections as `namespace.name[:version]`, addresses, archives
    pub names: Vec<String>,
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub paths: Paths,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Replace what is there
    #[arg(short, long)]
    pub force: bool,
    /// Replace what is there, and what it needs
    #[arg(long, conflicts_with = "no_deps")]
    pub force_with_deps: bool,
    /// Leave out what others need
    #[arg(short, long)]
    pub no_deps: bool,
    /// Go on without what cannot be had
    #[arg(short, long)]
    pub ignore_errors: bool,
    /// Refuse to install what is not locked
    #[arg(long, conflicts_with_all = ["upgrade", "no_lock"])]
    pub locked: bool,
    /// Move on to newer versions: of these names, or of all
    #[arg(short = 'U', long, num_args = 0.., value_name = "NAME")]
    pub upgrade: Option<Vec<String>>,
    /// Take tags that have moved and archives that have changed
    #[arg(long)]
    pub accept_changed: bool,
    /// Neither read nor write a lock file
    #[arg(long)]
    pub no_lock: bool,
    /// Take versions before a release, too
    #[arg(long)]
    pub pre: bool,
    /// Keep `.git` of roles
    #[arg(short = 'g', long)]
    pub keep_scm_meta: bool,
    #[command(flatten)]
    pub signatures: SignatureArgs,
}

/// How signatures of collections are checked.
#[derive(Debug, Clone, Default, Args)]
pub struct SignatureArgs {
    /// Keys that signatures of collections are checked with
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// Check no signatures
    #[arg(long)]
    pub disable_gpg_verify: bool,
    /// Where a signature of the collection's manifest is
    #[arg(long = "signature", value_name = "URL")]
    pub signatures: Vec<String>,
    /// How many signatures must be good: `1`, `all`, `+1`
    #[arg(long, value_name = "COUNT")]
    pub required_valid_signature_count: Option<String>,
    /// What gpg may say, and the signature does not count
    #[arg(
        long = "ignore-signature-status-code",
        alias = "ignore-signature-status-codes",
        value_name = "CODE"
    )]
    pub ignored_codes: Vec<String>,
}

/// `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only this one
    pub name: Option<String>,
    #[command(flatten)]
    pub paths: Paths,
    /// human, json or yaml
    #[arg(long, default_value = "human", value_parser = ["human", "json", "yaml"])]
    pub format: String,
}

/// `download`.
#[derive(Debug, Clone, Args)]
pub struct DownloadArgs {
    /// Roles or collections
    pub names: Vec<String>,
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Where to
    #[arg(short = 'p', long, default_value = "./collections", value_name = "FOLDER")]
    pub download_path: PathBuf,
    /// Leave out what others need
    #[arg(short, long)]
    pub no_deps: bool,
    /// Take versions before a release, too
    #[arg(long)]
    pub pre: bool,
}

/// `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Only these; all that is installed if none is named
    pub names: Vec<String>,
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub paths: Paths,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Go on after one that cannot be verified
    #[arg(short, long)]
    pub ignore_errors: bool,
}
