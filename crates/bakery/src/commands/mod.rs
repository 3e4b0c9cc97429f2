//! One file per group of verbs; each takes what was typed and gives an exit code or an error with a hint.

mod bake;
mod cache;
mod doctor;
mod explain;
mod galaxy;
mod images;
mod look;
mod machines;
mod reference;
mod survey;
mod taste;
mod templates;

use std::io::{BufWriter, Write};

use bakery_events::exit;

use crate::cli::{Cli, Verb};
use crate::terminal::{self, Terminal};

/// What a verb says when it cannot.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) code: i32,
}

pub(crate) type Outcome = Result<i32, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: exit::ERROR }
    }
}

impl From<bakery_host::Error> for Failure {
    fn from(error: bakery_host::Error) -> Self {
        Self::new(error.to_string())
    }
}
impl From<bakery_packer::Error> for Failure {
    fn from(error: bakery_packer::Error) -> Self {
        Self::new(error.to_string())
    }
}
impl From<bakery_image::Error> for Failure {
    fn from(error: bakery_image::Error) -> Self {
        Self { message: error.message, hint: error.hint, code: exit::ERROR }
    }
}
impl From<bakery_launch::Error> for Failure {
    fn from(error: bakery_launch::Error) -> Self {
        Self { message: error.message, hint: error.hint, code: exit::ERROR }
    }
}
impl From<bakery_galaxy::Error> for Failure {
    fn from(error: bakery_galaxy::Error) -> Self {
        Self::new(error.to_string())
    }
}
impl From<bakery_ansible::Error> for Failure {
    fn from(error: bakery_ansible::Error) -> Self {
        Self { message: error.diagnostic.to_string(), hint: None, code: error.code }
    }
}
impl From<bakery_cloudinit::Error> for Failure {
    fn from(error: bakery_cloudinit::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Goes on as root of a user namespace of its own, unless this is root: layers hold files of many users.
pub(crate) fn as_root() -> Result<(), Failure> {
    if bakery_host::users::effective_uid() == 0 {
        return Ok(());
    }
    let store = bakery_store::Store::open()?;
    bakery_host::namespace::become_own_root(&[("BAKERY_HOME", store.root())])
        .map_err(|error| Failure { hint: Some("or run it with sudo".into()), ..Failure::from(error) })
}

/// Carries a verb out; the exit code.
pub(crate) fn run(cli: Cli) -> i32 {
    let terminal = Terminal::new(cli.global.json, cli.global.quiet);
    let result = match cli.verb {
        Verb::Bake(args) => bake::bake(&args, &terminal),
        Verb::Validate(args) => templates::validate(&args, &terminal),
        Verb::Inspect(args) => templates::inspect(&args),
        Verb::Fmt(args) => templates::fmt(&args),
        Verb::Eval(args) => templates::console(&args),
        Verb::Fix { template, validate } => templates::fix(&template, validate, &terminal),
        Verb::Hcl2Upgrade { template, output_file } => templates::upgrade(&template, output_file),
        Verb::Init { template, .. } => templates::init(template.as_deref(), &terminal),
        Verb::Cache(verb) => cache::cache(&verb, &terminal),
        Verb::Images => images::list(&terminal),
        Verb::Show { image } => images::show(&image, &terminal),
        Verb::Lint { image, fail_on } => look::lint(&image, &fail_on, &terminal),
        Verb::Taste(args) => taste::taste(&args, &terminal),
        Verb::Sbom { image, format, output } => look::sbom(&image, &format, output.as_deref()),
        Verb::Provenance { image, key, output } => {
            look::provenance(&image, key.as_deref(), output.as_deref())
        }
        Verb::Diff { one, other } => look::diff(&one, &other, &terminal),
        Verb::Play(args) => Ok(written(|out, err, colour| bakery_play::main(&args, out, err, colour))),
        Verb::Adhoc(args) => Ok(written(|out, err, colour| bakery_play::adhoc(&args, out, err, colour))),
        Verb::Inventory(args) => {
            Ok(written(|out, err, colour| bakery_play::inventory(&args, out, err, colour)))
        }
        Verb::Vault(args) => Ok(written(|out, err, colour| bakery_play::vault(&args, out, err, colour))),
        Verb::Explain(args) => explain::explain(&args, &terminal),
        Verb::Survey(args) => survey::survey(&args, &terminal),
        Verb::Galaxy(args) => galaxy::galaxy(&args, &terminal),
        Verb::Plan(args) => machines::plan(&args, &terminal),
        Verb::Apply(args) => machines::apply(&args, &terminal),
        Verb::Destroy(args) => machines::destroy(&args, &terminal),
        Verb::Replace(args) => machines::replace(&args, &terminal),
        Verb::Ls => machines::list(&terminal),
        Verb::Logs { instance, follow } => machines::logs(instance.as_deref(), follow),
        Verb::Exec { instance, command } => machines::exec(instance.as_deref(), &command),
        Verb::Ssh { instance } => machines::exec(instance.as_deref(), &[]),
        Verb::Console { instance } => machines::console(instance.as_deref()),
        Verb::Boot(args) => bakery_cloudinit::boot(&args, &mut std::io::stdout()).map_err(Failure::from),
        Verb::Doctor => doctor::doctor(&terminal),
        Verb::Doc { module, list } => reference::doc(module.as_deref(), list),
        Verb::Completions { shell } => reference::completions(shell),
        Verb::Man => reference::man(),
    };
    terminal.settle();
    result.unwrap_or_else(|failure| {
        terminal::complain(&failure.message, failure.hint.as_deref());
        failure.code
    })
}

/// Runs a command of the Ansible family with the terminal's streams.
fn written(
    run: impl FnOnce(&mut (dyn Write + Send), &mut (dyn Write + Send), bakery_play::Colour) -> i32,
) -> i32 {
    let mut out = BufWriter::new(std::io::stdout());
    let code = run(&mut out, &mut std::io::stderr(), terminal::stdout_colour());
    // A reader that went away has what it wanted.
    let _ = out.flush();
    code
}

/// `NAME=VALUE` pairs.
pub(crate) fn pairs(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    texts
        .iter()
        .map(|text| {
            text.split_once('=')
                .map(|(k, v)| (k.trim().to_owned(), v.to_owned()))
                .ok_or_else(|| Failure::new(format!("`{text}` is not NAME=VALUE")))
        })
        .collect()
}
