//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use bakery_play::PlayArgs;
use clap::{Args, Parser, Subcommand};

/// Bakes machine images and finishes them at boot, with the same code in both phases, out of the files you already
/// have: Packer templates, playbooks and roles, cloud-config user-data, Terraform files.
#[derive(Debug, Parser)]
#[command(name = "bakery", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start here:\n  bakery doctor                 what this host lacks, and the command that installs it\n  bakery bake packer.json       a bootable image from a template\n  bakery apply main.tf --local  a machine from it, with its data volume\n  bakery replace --image NAME   a new machine from a newer image, the data kept\n\nSettings: flags, then environment (BAKERY_HOME, BAKERY_AGENT, BAKERY_ACCEL), then built-in values."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Write events as JSON, one a line, to stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Bake an image from a Packer template (JSON or HCL2)
    #[command(visible_alias = "build")]
    Bake(BakeArgs),
    /// Check a Packer template
    Validate(ValidateArgs),
    /// Show what is in a Packer template
    Inspect(TemplateArgs),
    /// Write HCL templates in their canonical form
    Fmt(FmtArgs),
    /// Try expressions against a template's variables, one a line from stdin (`packer console`)
    Eval(TemplateArgs),
    /// Mend options of older Packers in a JSON template, and write it to stdout
    Fix {
        /// The template
        template: PathBuf,
        /// Check the result, as Packer does
        #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
        validate: bool,
    },
    /// Write a JSON template as HCL2
    #[command(name = "hcl2_upgrade")]
    Hcl2Upgrade {
        /// The template
        template: PathBuf,
        /// The file to write; the template's name with `.pkr.hcl` if not given
        #[arg(long, value_name = "FILE")]
        output_file: Option<PathBuf>,
    },
    /// Say which builders, provisioners and post-processors are built in; nothing is downloaded
    Init {
        /// The template whose plugins are asked for
        template: Option<PathBuf>,
        /// Accepted for Packer's sake
        #[arg(long)]
        upgrade: bool,
    },
    /// Look into what bakes remember, and tidy it up
    #[command(subcommand)]
    Cache(CacheVerb),
    /// List images
    Images,
    /// Show an image
    Show {
        /// Its name or id
        image: String,
    },
    /// Look into an image for what must not be in it, and for what it must have to boot
    Lint {
        /// Its name or id
        image: String,
        /// What makes the command fail: error, warning or note
        #[arg(long, value_name = "SEVERITY", default_value = "error", value_parser = ["error", "warning", "note"])]
        fail_on: String,
    },
    /// Boot a machine that is thrown away, and run a playbook that checks it; fails if that does
    Taste(TasteArgs),
    /// Write an image's bill of materials
    Sbom {
        /// Its name or id
        image: String,
        /// spdx (2.3) or cyclonedx (1.5)
        #[arg(long, default_value = "spdx", value_parser = ["spdx", "cyclonedx"])]
        format: String,
        /// The file to write; stdout if not given
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write where an image comes from: an in-toto statement with SLSA's provenance
    Provenance {
        /// Its name or id
        image: String,
        /// A private key (PEM) to sign it with
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// The file to write; stdout if not given
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Say what is different in another image: packages, files, units, users
    Diff {
        /// The name or id of the one
        one: String,
        /// The name or id of the other
        other: String,
    },
    /// Run playbooks natively, as ansible-playbook does
    Play(PlayArgs),
    /// Run one module on hosts (`ansible`)
    Adhoc(bakery_play::AdhocArgs),
    /// Show an inventory (`ansible-inventory`)
    Inventory(bakery_play::InventoryArgs),
    /// Encrypt and decrypt files and values (`ansible-vault`)
    Vault(bakery_play::VaultArgs),
    /// Say what runs at bake and what at boot, task by task
    Explain(ExplainArgs),
    /// Say what roles ask for: modules that are native, modules and options that are not
    Survey(SurveyArgs),
    /// Install roles and collections, exactly as locked (`ansible-galaxy`)
    Galaxy(bakery_galaxy::command::GalaxyArgs),
    /// Show what `apply` would do
    Plan(TfArgs),
    /// Make machines and volumes as Terraform files say, on this host
    Apply(TfArgs),
    /// Throw machines away; data volumes stay
    Destroy(TfArgs),
    /// Throw an instance away and boot a new one from a newer image, its volumes kept
    Replace(ReplaceArgs),
    /// List machines and volumes
    Ls,
    /// Show a machine's console
    Logs {
        /// Its id or address
        instance: Option<String>,
        /// Go on as it writes more
        #[arg(long, short)]
        follow: bool,
    },
    /// Run a command in a machine
    Exec {
        /// Its id or address; the only one if there is one
        #[arg(long, short)]
        instance: Option<String>,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Log into a machine
    Ssh {
        /// Its id or address
        instance: Option<String>,
    },
    /// Talk to a machine's serial console; Ctrl-] leaves
    Console {
        /// Its id or address
        instance: Option<String>,
    },
    /// Carry out user-data on this machine, or say what it would do
    Boot(bakery_cloudinit::BootArgs),
    /// Say what this host lacks, and the command that installs it
    Doctor,
    /// Show a module's reference page
    Doc {
        /// The module
        module: Option<String>,
        /// List the modules
        #[arg(long, short)]
        list: bool,
    },
    /// Write completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual page
    Man,
}

/// What buckets need.
const MIRRORS: &str = "Buckets take credentials, region and endpoint from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,\nAWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL_S3, or from the profile of AWS_PROFILE in ~/.aws.";

#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// List layers: what made them, how large they are, how many images have them
    Ls,
    /// Say what a bake would have to make anew, and which input changed
    Why(BuildArgs),
    /// Remove layers that no image has, and what is remembered of them
    Prune {
        /// Keep what is younger than so many days
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        older: u64,
        /// Keep nothing but what images have
        #[arg(long, conflicts_with = "older")]
        all: bool,
    },
    /// Read every layer, and drop those that are damaged: the next bake makes them anew
    Verify,
    /// Copy layers and records to a folder or a bucket that a team shares
    #[command(after_help = MIRRORS)]
    Push {
        /// The folder, or s3://BUCKET/PREFIX
        mirror: String,
    },
    /// Copy layers and records from there; each layer is checked
    #[command(after_help = MIRRORS)]
    Pull {
        /// The folder, or s3://BUCKET/PREFIX
        mirror: String,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bakery bake                       the template of this folder\n  bakery bake --local packer.json   an AMI's template, baked here, without a cloud account\n\nAn image whose inputs have not changed is not baked again."
)]
pub(crate) struct BakeArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Make everything anew
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Ask whether the base has moved, and make everything after it anew
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Write the disk from its first block on, not by changing that of the image before: the same inputs then give the
    /// same disk everywhere
    #[arg(long)]
    pub(crate) fresh_disk: bool,
    /// How much memory a provisioner may take, such as 2G
    #[arg(long, value_name = "SIZE", env = "BAKERY_MEMORY")]
    pub(crate) memory: Option<String>,
    /// How many processes a provisioner may have at a time
    #[arg(long, value_name = "N", env = "BAKERY_PROCESSES")]
    pub(crate) processes: Option<u64>,
    /// Replace files that are in the way
    #[arg(long)]
    pub(crate) force: bool,
    /// How many builds run at a time; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) parallel_builds: usize,
    /// Say what was built in lines of fields, as Packer does
    #[arg(long)]
    pub(crate) machine_readable: bool,
    /// Only the build of this name; how several builds are started
    #[arg(long, hide = true)]
    pub(crate) one_build: Option<String>,
    /// Colours, for Packer's sake
    #[arg(long, value_name = "BOOL")]
    pub(crate) color: Option<bool>,
    /// Accepted for Packer's sake: what failed is always cleaned up
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_error: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Only check the syntax
    #[arg(long)]
    pub(crate) syntax_only: bool,
    /// Accepted as Packer's: data sources are always asked, the ones that there are cost nothing
    #[arg(long, hide = true)]
    pub(crate) evaluate_datasources: bool,
}

/// A template and the variables that fill it in.
#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    /// The template: a file, or a folder of *.pkr.hcl files
    pub(crate) template: Option<PathBuf>,
    /// Set a variable of the template
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) vars: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) var_file: Vec<PathBuf>,
    /// Only builds of these names or types
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// No builds of these names or types
    #[arg(long, value_delimiter = ',')]
    pub(crate) except: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bakery taste prometheus verify.yml\n  bakery taste prometheus verify.yml --user-data user-data --volume 2:/dev/xvdb --junit taste.xml"
)]
pub(crate) struct TasteArgs {
    /// The image's name or id
    pub(crate) image: String,
    /// The playbook; its hosts are `all`, or `taste`
    pub(crate) playbook: PathBuf,
    /// The user-data of the machine
    #[arg(long, value_name = "FILE")]
    pub(crate) user_data: Option<PathBuf>,
    /// A new volume: its size in GiB and its device name
    #[arg(long = "volume", value_name = "SIZE:DEVICE")]
    pub(crate) volumes: Vec<String>,
    /// Variables of the playbook
    #[arg(long, short = 'e', value_name = "VARS")]
    pub(crate) extra_vars: Vec<String>,
    /// Write what was checked as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// How long to wait for the boot, in seconds
    #[arg(long, default_value_t = 600)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct FmtArgs {
    /// Files and folders; `-` is stdin
    #[arg(default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Write nothing; fail if something is not in its canonical form
    #[arg(long)]
    pub(crate) check: bool,
    /// Show what is different
    #[arg(long)]
    pub(crate) diff: bool,
    /// Whether files are written
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) write: bool,
    /// Folders below, too
    #[arg(long)]
    pub(crate) recursive: bool,
}

/// What is baked, and from what.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Bake templates for AMIs, or for machines in QEMU, into disks on this machine, without starting one
    #[arg(long)]
    pub(crate) local: bool,
    /// What to start from: debian:SUITE, a root tarball, a disk (path or URL), an OCI image, docker://NAME of a registry
    #[arg(long)]
    pub(crate) base: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without options the two sets of variables are `cloud_init=false` and `cloud_init=true`."
)]
pub(crate) struct ExplainArgs {
    /// The playbook
    pub(crate) playbook: PathBuf,
    /// Variables while baking
    #[arg(long, value_name = "VARS")]
    pub(crate) bake: Vec<String>,
    /// Variables at boot
    #[arg(long, value_name = "VARS")]
    pub(crate) boot: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A module that is not native runs as itself, where the target has what it needs: Python, mostly. The exit code \
                  is 0 unless a role does not load."
)]
pub(crate) struct SurveyArgs {
    /// Roles, or folders with roles in them
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Say of every task that is not native where it is
    #[arg(long)]
    pub(crate) tasks: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TfArgs {
    /// The file, or the folder of *.tf files
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// On this host, without a cloud account (the only way there is)
    #[arg(long)]
    pub(crate) local: bool,
    /// The image to use whatever the files say
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// Set a variable
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) vars: Vec<String>,
    /// Forward this port of the machines, too
    #[arg(long, value_name = "PORT")]
    pub(crate) forward: Vec<u16>,
    /// Wait until the boots are finished, and fail if one does
    #[arg(long)]
    pub(crate) wait: bool,
    /// The most seconds to wait
    #[arg(long, default_value_t = 900)]
    pub(crate) timeout: u64,
    /// Exit with 2 when a plan has changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// With `destroy`: remove the data volumes too
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Accepted for Terraform's sake: nothing is asked
    #[arg(long)]
    pub(crate) auto_approve: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The instance: its address or id; the only one if there is one
    pub(crate) instance: Option<String>,
    /// The image of the new one; the newest of the same name if not given
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// Do not wait until its boot is finished
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// The most seconds to wait
    #[arg(long, default_value_t = 900)]
    pub(crate) timeout: u64,
    /// Set a variable of the Terraform files
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) vars: Vec<String>,
}

/// The command line of another tool as one of ours, by the name that we were started under.
pub(crate) fn under_other_names(args: Vec<OsString>) -> Vec<OsString> {
    let name =
        args.first().map(PathBuf::from).and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()));
    let verb = match name.as_deref() {
        Some("ansible-playbook") => "play",
        Some("ansible-galaxy") => "galaxy",
        Some("ansible") => "adhoc",
        Some("ansible-inventory") => "inventory",
        Some("ansible-vault") => "vault",
        Some("packer") => {
            // Packer spells long options with one dash.
            let mut out = vec![OsString::from("bakery")];
            out.extend(args.into_iter().skip(1).map(|arg| {
                let text = arg.to_string_lossy().into_owned();
                if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 {
                    OsString::from(format!("-{text}"))
                } else {
                    arg
                }
            }));
            // bakery's own `console` is a machine's.
            if let Some(verb) = out.get_mut(1).filter(|verb| *verb == "console") {
                *verb = OsString::from("eval");
            }
            return out;
        }
        _ => return args,
    };
    let mut out = vec![OsString::from("bakery"), OsString::from(verb)];
    out.extend(args.into_iter().skip(1));
    out
}

/// What was typed, in bakery's own words.
pub(crate) fn typed() -> Vec<OsString> {
    under_other_names(std::env::args_os().collect()).into_iter().skip(1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_verbs() {
        let to = |words: &[&str]| -> Vec<String> {
            under_other_names(words.iter().map(OsString::from).collect())
                .iter()
                .map(|w| w.to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(to(&["/usr/bin/ansible-playbook", "-v", "x.yml"]), ["bakery", "play", "-v", "x.yml"]);
        assert_eq!(
            to(&["packer", "build", "-var", "a=b", "t.json"]),
            ["bakery", "build", "--var", "a=b", "t.json"]
        );
        assert_eq!(to(&["bakery", "ls"]), ["bakery", "ls"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
