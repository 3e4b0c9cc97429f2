//! `command`: runs a program without a shell; and what `shell` shares with it.

use std::path::PathBuf;

use bakery_host::Cmd;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs a program without a shell, unless `creates` is there or `removes` is not.
#[derive(ModuleArgs)]
pub(super) struct Args {
    /// The command line, split as a shell would, with no other shell syntax.
    #[arg(name = "_raw_params")]
    pub(super) raw_params: Option<String>,
    /// The command line.
    pub(super) cmd: Option<String>,
    /// The program and its arguments.
    pub(super) argv: Option<Vec<String>>,
    /// The folder to run in.
    pub(super) chdir: Option<String>,
    /// A path (or pattern) that, when there, means that nothing needs to be done.
    pub(super) creates: Option<String>,
    /// A path (or pattern) that must be there for anything to be done.
    pub(super) removes: Option<String>,
    /// The shell to use instead of /bin/sh.
    pub(super) executable: Option<String>,
    /// What the program reads from standard input.
    pub(super) stdin: Option<String>,
    /// Whether a newline is added to `stdin`.
    #[arg(default = "true")]
    pub(super) stdin_add_newline: bool,
    /// Whether empty lines at the end of the output are dropped.
    #[arg(default = "true")]
    pub(super) strip_empty_ends: bool,
    /// Whether variables such as `$HOME` in arguments are replaced; they are unless it says no. Not for shell.
    pub(super) expand_argument_vars: Option<bool>,
    /// Accepted and without meaning.
    pub(super) warn: Option<bool>,
    /// Used by the shell module.
    #[arg(name = "_uses_shell")]
    pub(super) uses_shell: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    execute(args, host, false)
}

/// Whether any path matches a pattern; only `*` and `?` of file names are special.
pub(super) fn glob_exists(host: &Host, pattern: &str) -> bool {
    let path = host.path(pattern);
    if path.exists() || path.is_symlink() {
        return true;
    }
    if !pattern.contains(['*', '?', '[']) {
        return false;
    }
    let mut found = vec![PathBuf::from("/")];
    for part in path.components().skip(1) {
        let part = part.as_os_str().to_string_lossy().into_owned();
        let mut next = Vec::new();
        for folder in &found {
            if !part.contains(['*', '?', '[']) {
                let candidate = folder.join(&part);
                if candidate.symlink_metadata().is_ok() {
                    next.push(candidate);
                }
                continue;
            }
            for entry in bakery_host::fs::read_dir(folder).unwrap_or_default() {
                if entry.file_name().is_some_and(|name| super::find::wildcard(&part, &name.to_string_lossy()))
                {
                    next.push(entry);
                }
            }
        }
        found = next;
    }
    !found.is_empty()
}

/// A span of time as Python writes it: `0:00:01.000002`.
pub(super) fn shown_delta(elapsed: std::time::Duration) -> String {
    let seconds = elapsed.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours}:{minutes:02}:{:02}.{:06}", seconds % 60, elapsed.subsec_micros())
}

/// Splits a command line as Python's `shlex.split` does.
pub(crate) fn split_line(line: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '\\') => {
                let next = chars.next().ok_or_else(|| Failure::new("No escaped character"))?;
                let word = word.get_or_insert_default();
                if !matches!(next, '"' | '\\') {
                    word.push('\\');
                }
                word.push(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => {
                let next = chars.next().ok_or_else(|| Failure::new("No escaped character"))?;
                word.get_or_insert_default().push(next);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Failure::new("No closing quotation"));
    }
    words.extend(word);
    Ok(words)
}

pub(super) fn execute(args: Args, host: &mut Host, shell: bool) -> Run {
    if let Some(executable) = args.executable.as_ref().filter(|_| !shell && !args.uses_shell) {
        host.warn(format!(
            "As of Ansible 2.4, the parameter 'executable' is no longer supported with the 'command' module. Not using '{executable}'."
        ));
    }
    let line = args.raw_params.clone().or(args.cmd.clone()).filter(|line| !line.trim().is_empty());
    let argv = match (&line, &args.argv) {
        (Some(line), None) if shell || args.uses_shell => {
            vec![args.executable.clone().unwrap_or_else(|| "/bin/sh".into()), "-c".into(), line.clone()]
        }
        (Some(line), None) => split_line(line)?,
        (None, Some(argv)) => argv.clone(),
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "parameters are mutually exclusive: only one of command and argv can be given",
            )
            .with("rc", 256));
        }
        (None, None) => {
            return Err(
                Failure::new("one of the following is required: _raw_params, cmd, argv").with("rc", 256)
            );
        }
    };
    let shown: Value = match (&line, shell || args.uses_shell) {
        (Some(line), true) => line.as_str().into(),
        _ => Value::strings(&argv),
    };
    let folder = args.chdir.as_deref().map(|folder| host.path(folder));
    if let Some(folder) = &folder
        && !folder.is_dir()
    {
        return Err(Failure::new(format!(
            "Unable to change directory before execution: no folder `{}`",
            folder.display()
        ))
        .with("rc", Value::None));
    }
    let mut relative = Host::default();
    relative.cwd = folder.clone().or_else(|| host.cwd.clone());
    let not = if host.check { "Would not" } else { "Did not" };
    let skipped = |path: &str, state: &str| {
        Ok(Outcome::unchanged()
            .with("cmd", shown.clone())
            .with("rc", 0)
            .with("stdout", format!("skipped, since {path} {state}"))
            .with("stderr", "")
            .with("msg", format!("{not} run command since '{path}' {state}"))
            .with("start", Value::None)
            .with("end", Value::None)
            .with("delta", Value::None))
    };
    if let Some(creates) = args.creates.as_deref().filter(|p| glob_exists(&relative, p)) {
        return skipped(creates, "exists");
    }
    if let Some(removes) = args.removes.as_deref().filter(|p| !glob_exists(&relative, p)) {
        return skipped(removes, "does not exist");
    }
    if host.check {
        // Nothing can be said about a command that was not run; with `creates` or `removes` it would have run.
        let known = args.creates.is_some() || args.removes.is_some();
        let outcome = Outcome::changed(known);
        let outcome = if known { outcome } else { outcome.with("skipped", true) };
        return Ok(outcome
            .with("cmd", shown)
            .with("rc", 0)
            .with("stdout", "")
            .with("stderr", "")
            .with("msg", "Command would have run if not in check mode"));
    }
    let words: Vec<String> = if !shell && !args.uses_shell && args.expand_argument_vars.unwrap_or(true) {
        argv.iter().map(|word| host.expand(&host_home(host, word))).collect()
    } else {
        argv
    };
    let (program, rest) = words.split_first().ok_or("no command given")?;
    let mut cmd: Cmd = host.cmd(program).args(rest);
    if let Some(folder) = folder {
        cmd = cmd.current_dir(folder);
    }
    if let Some(mut input) = args.stdin {
        if args.stdin_add_newline && !input.ends_with('\n') {
            input.push('\n');
        }
        cmd = cmd.input(input);
    }
    let started = jiff::Zoned::now();
    let clock = std::time::Instant::now();
    let output = match cmd.output() {
        Ok(output) => output,
        Err(error) => {
            let rc = error.source.raw_os_error().unwrap_or(2);
            return Err(Failure::new(format!("Error executing command: {}", error.source))
                .with("rc", rc)
                .with("cmd", shown)
                .with("stdout", "")
                .with("stderr", ""));
        }
    };
    let stamp = |time: &jiff::Zoned| time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let elapsed = clock.elapsed();
    let strip = |text: String| {
        if args.strip_empty_ends { text.trim_end_matches(['\r', '\n']).to_owned() } else { text }
    };
    let fields = [
        ("cmd", shown),
        ("rc", output.code.into()),
        ("stdout", strip(output.text()).into()),
        ("stderr", strip(output.error_text()).into()),
        ("start", stamp(&started).into()),
        ("end", stamp(&jiff::Zoned::now()).into()),
        ("delta", shown_delta(elapsed).into()),
    ];
    if output.success() {
        let mut outcome = Outcome::changed(true).msg("");
        for (name, value) in fields {
            outcome = outcome.with(name, value);
        }
        return Ok(outcome);
    }
    let mut failure = Failure::new("non-zero return code").with("changed", true);
    for (name, value) in fields {
        failure = failure.with(name, value);
    }
    Err(failure)
}

fn host_home(host: &Host, word: &str) -> String {
    if word.starts_with("~/") || word == "~" {
        host.path(word).display().to_string()
    } else {
        word.to_owned()
    }
}

module!("command", "ansible.builtin", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_as_shlex_splits_them() {
        let split = |line: &str| split_line(line).map_err(|f| f.msg);
        assert_eq!(
            split(r#"a "b c" 'd e' f\ g "h\"i""#),
            Ok(vec!["a".into(), "b c".into(), "d e".into(), "f g".into(), "h\"i".into()])
        );
        assert_eq!(split("a ''"), Ok(vec!["a".into(), String::new()]));
        assert!(split("a 'b").is_err());
    }
}
