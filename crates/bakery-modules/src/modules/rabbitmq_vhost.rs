//! `rabbitmq_vhost`: virtual hosts of RabbitMQ (community.rabbitmq `rabbitmq_vhost.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::rabbitmq::Ctl;
use crate::rabbitmq::api::{Api, Certificates, Login};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes and removes virtual hosts of RabbitMQ.
#[derive(ModuleArgs)]
struct Args {
    /// The virtual host.
    #[arg(required, alias = "vhost")]
    name: String,
    /// The Erlang node.
    #[arg(default = "rabbit")]
    node: String,
    /// Whether it is traced.
    #[arg(alias = "trace")]
    tracing: bool,
    /// Whether it is there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    #[arg(flatten)]
    login: Login,
    #[arg(flatten)]
    certificates: Certificates,
}

/// Whether a virtual host is traced, if there is one.
fn tracing(api: &Api<'_>, name: &str) -> Result<Option<bool>, Failure> {
    let vhost = api.get(&["vhosts", name], "Error getting the vhost")?;
    Ok(vhost.map(|vhost| vhost.get("tracing").is_some_and(|traced| traced.is_true())))
}

fn by_api(api: &Api<'_>, args: &Args) -> Result<bool, Failure> {
    let name = args.name.as_str();
    let tell = |method: &str, body: Option<&Value>, what: &str| {
        api.tell(method, &["vhosts", name], body, &format!("Error trying to {what} vhost {name}"))
    };
    let now = tracing(api, name)?;
    if args.state == "absent" {
        if now.is_some() {
            tell("DELETE", None, "remove")?;
        }
        return Ok(now.is_some());
    }
    if now.is_none() {
        tell("PUT", None, "create")?;
    }
    if args.tracing != now.unwrap_or(false) {
        let what = if args.tracing { "enable tracing on" } else { "disable tracing on" };
        tell("PUT", Some(&Value::map([("tracing", args.tracing.into())])), what)?;
        return Ok(true);
    }
    Ok(now.is_none())
}

fn by_program(ctl: &Ctl<'_>, args: &Args) -> Result<bool, Failure> {
    let name = args.name.as_str();
    let rows = ctl.rows(&["list_vhosts", "name", "tracing"])?;
    let now = rows.iter().find(|row| row.len() == 2 && row[0] == name).map(|row| row[1] == "true");
    if args.state == "absent" {
        if now.is_some() {
            ctl.tell(&["delete_vhost", name])?;
        }
        return Ok(now.is_some());
    }
    if now.is_none() {
        ctl.tell(&["add_vhost", name])?;
    }
    if args.tracing != now.unwrap_or(false) {
        ctl.tell(&[if args.tracing { "trace_on" } else { "trace_off" }, "-p", name])?;
        return Ok(true);
    }
    Ok(now.is_none())
}

fn run(args: Args, host: &mut Host) -> Run {
    let changed = match Api::asked(host, &args.login, Some(&args.certificates))? {
        Some(api) => by_api(&api, &args)?,
        None => by_program(&Ctl::new(host, Some(&args.node))?, &args)?,
    };
    Ok(Outcome::changed(changed).with("name", args.name).with("state", args.state))
}

module!("rabbitmq_vhost", "community.rabbitmq", Args, run);
