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
    /// The capability with its flags, such as `cap_net_bind_service+ep`; several have commas between their names, or blanks between them.
    #[arg(required, alias = "cap")]
    capability: String,
    /// Whether it has it.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
}

const OPERATORS: [char; 3] = ['=', '-', '+'];

/// A capability's name, and its operator with the flags.
type Capability = (String, String);

/// What getcap(8) says of a path, in either of its two forms.
fn current(host: &Host, path: &str) -> Result<Vec<Capability>, Failure> {
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
    for word in rest.to_lowercase().split_whitespace() {
        let at = word.find(OPERATORS).unwrap_or(word.len());
        out.extend(word[..at].split(',').map(|name| (name.to_owned(), word[at..].to_owned())));
    }
    Ok(out)
}

/// The names in `cap_a,cap_b+ep cap_c=p`.
fn names(capability: &str) -> Vec<&str> {
    let words = capability.split_whitespace().map(|word| &word[..word.find(OPERATORS).unwrap_or(word.len())]);
    words.flat_map(|names| names.split(',')).filter(|name| !name.is_empty()).collect()
}

fn run(args: Args, host: &mut Host) -> Run {
    host.program("getcap")?;
    host.program("setcap")?;
    let path = host.path(args.path.trim()).display().to_string();
    let wanted = args.capability.trim().to_lowercase();
    let present = args.state == "present";
    if present && !wanted.contains(OPERATORS) {
        return Err(format!("Couldn't find operator (one of: {OPERATORS:?})").into());
    }
    let unchanged = Outcome::unchanged().with("state", args.state.as_str());
    let mut before = current(host, &path)?;
    let names = names(&wanted);
    if !present && before.iter().all(|(name, _)| !names.contains(&name.as_str())) {
        return Ok(unchanged);
    }
    // What the file has besides stays.
    let kept = before.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let mut clauses: Vec<String> = kept.map(|(name, flags)| format!("{name}{flags}")).collect();
    clauses.extend(present.then_some(wanted.clone()));
    let clauses = clauses.join(" ");
    // setcap(8) knows whether two ways to write capabilities mean the same.
    let is_so = if clauses.is_empty() {
        before.is_empty()
    } else {
        host.try_run(&["setcap", "-v", &clauses, &path])?.success()
    };
    if is_so {
        return Ok(unchanged);
    }
    let outcome = Outcome::changed(true).with("state", args.state.as_str()).msg("capabilities changed");
    if host.check {
        return Ok(outcome);
    }
    let output = host.run(&["setcap", &clauses, &path]).map_err(|f| {
        let why = f.fields.get("stderr").unwrap_or_default();
        Failure::new(format!("Unable to set capabilities of {path}")).with("stderr", why)
    })?;
    let mut after = current(host, &path)?;
    before.sort();
    after.sort();
    Ok(Outcome { changed: before != after, ..outcome }.with("stdout", output.text()))
}

module!("capabilities", "community.general", Args, run);
