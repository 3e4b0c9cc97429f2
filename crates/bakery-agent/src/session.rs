//! Answers module calls over frames until the controller closes the channel.

use std::io::{Read, Write};

use bakery_host::users;
use bakery_lang::{Map, json};
use bakery_modules::{Host, Phase};
use bakery_protocol::{Error, Hello, Request, Response, VERSION};

/// Serves a controller, optionally as another user. With `sync` the session begins after the line that says so.
///
/// # Errors
/// When the channel breaks, or the user is not known.
pub fn serve(
    input: &mut impl Read,
    output: &mut impl Write,
    user: Option<&str>,
    sync: bool,
) -> Result<(), Error> {
    if sync {
        bakery_protocol::sync(input)?;
    }
    if let Some(name) = user {
        become_user(name)?;
    }
    bakery_protocol::write(
        output,
        &Hello { protocol: VERSION, agent: env!("CARGO_PKG_VERSION").to_owned() },
    )?;
    loop {
        let request: Request = match bakery_protocol::read(input) {
            Ok(request) => request,
            Err(Error::Ended) => return Ok(()),
            Err(error) => return Err(error),
        };
        bakery_protocol::write(output, &Response { result: answer(&request) })?;
    }
}

fn answer(request: &Request) -> serde_json::Value {
    let mut host = Host::default();
    host.check = request.check;
    host.diff = request.diff;
    host.phase = if request.bake { Phase::Bake } else { Phase::Live };
    host.environment.clone_from(&request.environment);
    host.cwd = request.cwd.as_ref().map(Into::into);
    let args = json::from_json(&request.args).as_map().cloned().unwrap_or_else(Map::new);
    // A module that panics is a failed task, not the end of the session.
    let run = std::panic::AssertUnwindSafe(|| bakery_modules::run(&request.module, &args, &mut host));
    match std::panic::catch_unwind(run) {
        Ok(result) => json::to_json(&result),
        Err(_) => serde_json::json!({
            "failed": true,
            "changed": false,
            "msg": format!("the module `{}` ended unexpectedly; this is a defect of bakery", request.module),
        }),
    }
}

fn become_user(name: &str) -> Result<(), Error> {
    let user = users::find_user(name).ok_or_else(|| Error::NoUser(name.to_owned()))?;
    let groups: Vec<u32> =
        users::groups("/").into_iter().filter(|g| g.members.contains(&user.name)).map(|g| g.gid).collect();
    users::become_user(&user, &groups)?;
    Ok(())
}
