//! What dnf says where it does nothing (`dnf/cli/cli.py`, `dnf/cli/main.py`), and what Ansible makes of that (`dnf.py`).

use bakery_host::Output;
use bakery_lang::Value;

use crate::Failure;

/// There is no group, environment of groups or module of a name.
pub(crate) fn no_group(name: &str) -> Failure {
    Failure::new(format!("No group {name} available.")).with("results", vec![])
}

/// The repository that dnf does not know, if it is for that that it did nothing.
pub(crate) fn unknown_repository(output: &Output) -> Option<String> {
    let said = output.error_text();
    let (_, rest) = said.split_once("Unknown repo: '")?;
    Some(rest.split_once('\'')?.0.to_owned())
}

/// Packages that no repository has: dnf names them on lines of their own or, before it ends, all on one; the yum before it says
/// so in the words that Ansible has for it.
pub(crate) fn missing(said: &str) -> Vec<String> {
    let named = said.lines().filter_map(|line| {
        let of_yum = || line.strip_prefix("No package ")?.strip_suffix(" available.");
        line.strip_prefix("No match for argument: ").or_else(of_yum)
    });
    let mut missing: Vec<&str> = named.collect();
    if missing.is_empty() {
        let all = said.lines().find_map(|line| line.strip_prefix("Error: Unable to find a match: "));
        missing.extend(all.into_iter().flat_map(|all| all.split(' ')));
    }
    missing.iter().map(|name| format!("No package {name} available.")).collect()
}

/// Why dnf did nothing, in the words that Ansible has for it.
pub(crate) fn failure(output: &Output) -> Failure {
    let (text, said) = (output.text(), output.error_text());
    let said: Vec<&str> = said.lines().filter(|line| !line.contains("detect release version")).collect();
    let said = said.join("\n");
    let failure = |msg: String| Failure::new(msg).with("rc", 1).with("results", vec![]);
    let lines = || text.lines().chain(said.lines());
    let unknown_group = lines().find_map(|line| {
        let name = line.strip_prefix("Module or Group '")?;
        Some(name.split_once('\'')?.0)
    });
    if let Some(group) = unknown_group {
        return no_group(group);
    }
    let missing = missing(&format!("{text}\n{said}"));
    if !missing.is_empty() {
        return failure("Failed to install some of the specified packages".to_owned())
            .with("failures", Value::strings(&missing));
    }
    let reason = said.strip_prefix("Error: ").unwrap_or(&said).trim_end();
    if said.contains(" Problem") {
        return failure(format!("Depsolve Error occurred: {reason}")).with("failures", vec![]);
    }
    let unsigned = said.lines().find(|line| line.contains("is not signed"));
    if said.contains("GPG check FAILED") {
        let package = unsigned.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("a package");
        let package = package.strip_suffix(".rpm").unwrap_or(package);
        let why = unsigned.unwrap_or(reason);
        return Failure::new(format!("Failed to validate GPG signature for {package}: {why}"));
    }
    let unchecked = lines().find_map(|line| line.strip_prefix("Problem repository: "));
    if let Some(repository) = unchecked {
        return Failure::new(format!(
            "Failed to validate GPG signature for packages of {repository}: what is not signed with a key that rpm \
             has is refused, it has none, and the repository names none (`gpgkey`)"
        ));
    }
    failure(if reason.is_empty() {
        format!("dnf ended with exit code {}", output.code)
    } else {
        reason.to_owned()
    })
}
