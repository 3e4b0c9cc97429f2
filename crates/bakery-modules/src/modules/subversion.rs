//! `subversion`: a repository's files at a revision (`ansible/modules/subversion.py`).

use std::time::Duration;

use bakery_host::Output;
use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Checks a repository of Subversion out, or brings a working copy to a revision.
#[derive(ModuleArgs)]
struct Args {
    /// The repository's address.
    #[arg(required, alias = "name,repository")]
    repo: String,
    /// Where to.
    dest: Option<String>,
    /// The revision.
    #[arg(default = "HEAD", alias = "rev,version")]
    revision: String,
    /// Whether local changes are thrown away.
    force: bool,
    /// Whether a folder that is no working copy becomes one.
    in_place: bool,
    /// The user.
    username: Option<String>,
    /// The user's password.
    #[arg(secret)]
    password: Option<String>,
    /// The program.
    executable: Option<String>,
    /// Whether a missing working copy is made.
    #[arg(default = "true")]
    checkout: bool,
    /// Whether a working copy that is there is brought up to date.
    #[arg(default = "true")]
    update: bool,
    /// Whether the files come without Subversion's own.
    export: bool,
    /// Whether a working copy of another repository is switched to this one.
    #[arg(default = "true")]
    switch: bool,
    /// Whether the server's certificate is checked.
    validate_certs: bool,
}

/// The program with the options of all its calls.
struct Svn<'a> {
    host: &'a Host,
    args: &'a Args,
    program: String,
    dest: String,
}

/// The first line that says a revision, in any language.
fn revision_of(said: &str) -> Option<&str> {
    said.lines().find(|line| {
        line.split_once(':').is_some_and(|(name, number)| {
            let name = name.strip_suffix(char::is_whitespace).unwrap_or(name);
            let digits = number.trim_start();
            !name.is_empty()
                && name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && digits.len() < number.len()
                && !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit())
        })
    })
}

/// Whether lines of `update` or `switch` tell of a file that changed.
fn has_changes(said: &str) -> bool {
    said.lines().any(|line| {
        let mut letters = line.chars();
        letters.next().is_some_and(|c| "ABDUCGE".contains(c))
            && letters.next().is_some_and(char::is_whitespace)
    })
}

impl Svn<'_> {
    fn try_ask(&self, words: &[&str]) -> Result<Output, Failure> {
        let mut argv = vec!["--non-interactive", "--no-auth-cache"];
        if !self.args.validate_certs {
            argv.push("--trust-server-cert");
        }
        if let Some(user) = self.args.username.as_deref().filter(|user| !user.is_empty()) {
            argv.extend(["--username", user]);
        }
        let password = self.args.password.as_deref().filter(|password| !password.is_empty());
        if password.is_some() {
            // Never on the command line, where everyone reads it: Subversion has this since 1.10, of 2018.
            argv.push("--password-from-stdin");
        }
        argv.extend(words);
        let mut cmd =
            self.host.cmd(&self.program).env("LC_MESSAGES", "C.UTF-8").env("LANG", "C.UTF-8").args(argv);
        if let Some(password) = password {
            cmd = cmd.input(password);
        }
        Ok(cmd.timeout(Duration::from_hours(1)).output()?)
    }

    fn ask(&self, words: &[&str]) -> Result<String, Failure> {
        let output = self.try_ask(words)?;
        if !output.success() {
            return Err(Failure::new(output.error_text().trim_end()).with_output(&output));
        }
        Ok(output.text())
    }

    /// The lines with the working copy's revision and address.
    fn place(&self) -> Result<(String, Value), Failure> {
        let said = self.ask(&["info", &self.dest])?;
        let revision = revision_of(&said).unwrap_or("Unable to get revision").to_owned();
        let url = said
            .lines()
            .find(|line| line.strip_prefix("URL").is_some_and(|rest| rest.trim_start().starts_with(':')));
        let both = [revision.as_str(), url.unwrap_or("Unable to get URL")];
        Ok((revision.clone(), Value::strings(both)))
    }

    fn has_local_changes(&self) -> Result<bool, Failure> {
        let said = self.ask(&["status", "--quiet", "--ignore-externals", &self.dest])?;
        Ok(said.lines().any(|line| !line.is_empty() && !line.starts_with(['?', 'X'])))
    }

    /// Throws local changes away; whether something else was said than that.
    fn revert(&self) -> Result<bool, Failure> {
        Ok(self.ask(&["revert", "-R", &self.dest])?.lines().any(|line| !line.starts_with("Reverted ")))
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let program = match &args.executable {
        Some(program) => host.path(program).display().to_string(),
        None => host.program("svn")?,
    };
    let given = args.dest.as_deref().filter(|dest| !dest.is_empty());
    if given.is_none() && (args.checkout || args.update || args.export) {
        return Err(
            "the destination directory must be specified unless checkout=no, update=no, and export=no".into(),
        );
    }
    let folder = host.path(given.unwrap_or_default());
    let svn = Svn { host, args: &args, program, dest: folder.display().to_string() };
    let (revision, repo, dest) = (args.revision.as_str(), args.repo.as_str(), svn.dest.as_str());
    if !args.export && !args.update && !args.checkout {
        let said = svn.ask(&["info", repo])?;
        return Ok(
            Outcome::unchanged().with("after", revision_of(&said).unwrap_or("Unable to get remote revision"))
        );
    }
    let done = |changed: bool, before: Option<Value>| {
        Ok(Outcome::changed(changed).with("before", before).with("after", svn.place()?.1))
    };
    if args.export || !folder.exists() {
        if host.check {
            return Ok(Outcome::changed(true));
        }
        if !args.export && !args.checkout {
            return Ok(Outcome::unchanged());
        }
        let mut words = vec![if args.export { "export" } else { "checkout" }];
        if args.export && args.force {
            words.push("--force");
        }
        words.extend(["-r", revision, repo, dest]);
        svn.ask(&words)?;
        return if args.export { Ok(Outcome::changed(true)) } else { done(true, None) };
    }
    let modified = "ERROR: modified files exist in the repository.";
    if svn.try_ask(&["info", dest])?.success() {
        if !args.update {
            return Ok(Outcome::unchanged());
        }
        // Before it is switched, or other files look changed.
        let (now, before) = svn.place()?;
        let is_modified = svn.has_local_changes()?;
        if host.check {
            if is_modified && !args.force {
                return Err(modified.into());
            }
            let said = svn.ask(&["info", "-r", revision, dest])?;
            let there = revision_of(&said).unwrap_or("Unable to get revision").to_owned();
            let number =
                |line: &str| line.rsplit(':').next().and_then(|digits| digits.trim().parse::<u64>().ok());
            return Ok(Outcome::changed(number(&now) < number(&there))
                .with("before", now)
                .with("after", there));
        }
        let mut changed = false;
        if args.switch {
            changed |= has_changes(&svn.ask(&["switch", "--revision", revision, repo, dest])?);
        }
        if is_modified {
            if !args.force {
                return Err(modified.into());
            }
            changed |= svn.revert()?;
        }
        changed |= has_changes(&svn.ask(&["update", "-r", revision, dest])?);
        return done(changed || is_modified, Some(before));
    }
    if !args.in_place {
        return Err(
            format!("ERROR: {dest} folder already exists, but its not a subversion repository.").into()
        );
    }
    if host.check {
        return Ok(Outcome::changed(true));
    }
    svn.ask(&["checkout", "--force", "-r", revision, repo, dest])?;
    if svn.has_local_changes()? && args.force {
        svn.revert()?;
    }
    done(true, None)
}

module!("subversion", "ansible.builtin", Args, run);

#[cfg(test)]
mod tests {
    use super::{has_changes, revision_of};

    #[test]
    fn revisions_and_changes_are_found_in_what_is_said() {
        assert_eq!(
            revision_of("Path: x\nURL: file:///a:1\nRevision: 12\nLast Changed Rev: 3"),
            Some("Revision: 12")
        );
        assert_eq!(revision_of("Révision : 1889134"), Some("Révision : 1889134"));
        assert_eq!(revision_of("URL: http://x"), None);
        assert!(has_changes("Updating 'x':\nU    x/a\nUpdated to revision 2."));
        assert!(!has_changes("Updating 'x':\nUpdated to revision 2."));
    }
}
