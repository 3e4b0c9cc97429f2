//! `capabilities`: a capability of a program (community.general `capabilities.py`).

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Gives a program a capability, or takes it away.
#[derive(ModuleArgs)]
struct Args {
    /// The program.
    #[arg(required, alias = "key")]
    path: String,
    /// The capability with its flags, such as `cap_net_bind_service+ep`.
    #[arg(required, alias = "cap")]
    capability: String,
    /// Whether it has it.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
}

/// Name, operator and flags; flags in one order, so that they can be compared.
fn parse(text: &str) -> Result<(String, char, String), Failure> {
    let at = text.find(['=', '-', '+']);
    let at = at
        .ok_or_else(|| Failure::new(format!("Couldn't find operator (one of: ['=', '-', '+']) in {text}")))?;
    let mut flags: Vec<char> = text[at + 1..].chars().collect();
    flags.sort_unstable();
    Ok((text[..at].to_lowercase(), char::from(text.as_bytes()[at]), flags.into_iter().collect()))
}

/// What getcap(8) says of a path, in either of its two forms.
fn current(host: &Host, path: &str) -> Result<Vec<String>, Failure> {
    let output = host.try_run(&["getcap", "-v", path])?;
    let text = output.text();
    if !output.success() || !output.stderr.is_empty() || text.trim().ends_with(')') {
        return Err(Failure::new(format!("Unable to get capabilities of {path}"))
            .with("stdout", text.trim())
            .with("stderr", output.error_text()));
    }
    let rest = text.trim().strip_prefix(path).unwrap_or_default().trim();
    let rest = rest.strip_prefix('=').map_or(rest, str::trim);
    let mut out = Vec::new();
    // `cap_a,cap_b=ep` is one word for two.
    for word in rest.split_whitespace() {
        let at = word.find(['=', '+', '-']).unwrap_or(word.len());
        out.extend(word[..at].split(',').map(|name| format!("{name}{}", &word[at..])));
    }
    Ok(out)
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(args.path.trim()).display().to_string();
    let present = args.state == "present";
    let wanted = match parse(args.capability.trim()) {
        // What is taken away needs no flags.
        Err(_) if !present => (args.capability.trim().to_lowercase(), '=', String::new()),
        parsed => parsed?,
    };
    let now = current(host, &path)?;
    let mut parsed = now.iter().map(|c| parse(c)).collect::<Result<Vec<_>, _>>()?;
    let named = parsed.iter().position(|(name, ..)| *name == wanted.0);
    let differs = match (named, present) {
        (Some(at), true) => parsed[at].2 != wanted.2,
        (None, true) => true,
        (at, false) => at.is_some(),
    };
    if !differs {
        return Ok(Outcome::unchanged().with("state", args.state));
    }
    if let Some(at) = named {
        parsed.remove(at);
    }
    if present {
        parsed.push(wanted);
    }
    let list: Vec<String> =
        parsed.iter().map(|(name, operator, flags)| format!("{name}{operator}{flags}")).collect();
    let outcome = Outcome::changed(true).msg("capabilities changed");
    if host.check {
        return Ok(outcome);
    }
    let output = host.run(&["setcap", &list.join(" "), &path]).map_err(|f| {
        let why = f.fields.get("stderr").unwrap_or_default();
        Failure::new(format!("Unable to set capabilities of {path}")).with("stderr", why)
    })?;
    Ok(outcome.with("state", args.state).with("stdout", output.text()))
}

module!("capabilities", "community.general", Args, run);
