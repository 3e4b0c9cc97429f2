//! How an agent comes to run as another user: sudo, su, doas (`ansible/plugins/become/*.py`).

use super::{Secret, Unreachable};

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Escalation {
    /// The user's name.
    pub user: String,
    /// `sudo`, `su`, `doas` or `runuser`.
    pub method: String,
    /// The program, if it is not the one of the method's name.
    pub exe: Option<String>,
    /// Its options instead of the usual ones.
    pub flags: Option<String>,
    /// The folder to change to before.
    pub chdir: Option<String>,
    /// What it may ask for.
    pub password: Option<Secret>,
    /// Whether the method is used where none is needed (`BECOME_ALLOW_SAME_USER`).
    pub always: bool,
}

impl Escalation {
    /// Whether somebody said how to become the user, so that no shorter way will do. Nobody asks root for a password.
    pub fn is_particular(&self) -> bool {
        self.always || self.exe.is_some() || self.flags.is_some() || self.chdir.is_some()
    }

    /// What a refusal is called that was said while becoming the user; `None` if nothing was refused.
    pub fn refusal(&self, said: &str) -> Option<String> {
        let unknown = bakery_protocol::Error::NoUser(self.user.clone()).to_string();
        if said.contains(&unknown) {
            return Some(format!("Task failed: {unknown} to become"));
        }
        let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
        let what = if has(&[
            "Sorry, try again",
            "incorrect password",
            "Authentication failure",
            "Authentication failed",
        ]) {
            "Incorrect"
        } else if has(&[
            "a password is required",
            "Authentication required",
            "Authentication token manipulation",
        ]) {
            "Missing"
        } else if self.chdir.is_some() && said.contains("cd: ")
            || said.lines().any(|line| line.starts_with(&format!("{}:", self.method)))
        {
            return Some(format!("Task failed: {said}"));
        } else {
            return None;
        };
        Some(format!("Task failed: {what} {} password", self.method))
    }

    /// The command that runs a program as the user.
    ///
    /// # Errors
    /// A method that is not known.
    pub fn command(&self, program: &[&str]) -> Result<Vec<String>, Unreachable> {
        let exe = self.exe.clone().unwrap_or_else(|| self.method.clone());
        let flags = |usual: &str| -> Vec<String> {
            let own = self.flags.as_deref().filter(|f| !f.trim().is_empty()).unwrap_or(usual);
            crate::playbook::split_words(own)
        };
        let mut words = vec![exe];
        let programs = program.iter().map(|w| (*w).to_owned());
        match self.method.rsplit('.').next().unwrap_or_default() {
            "sudo" => {
                // With a password there is something to ask for, by standard input and without a word.
                let asks = self.password.is_some();
                words.extend(flags("-H -S -n").into_iter().filter_map(|flag| {
                    if !asks
                        || flag.starts_with("--") && flag != "--non-interactive"
                        || !flag.starts_with('-')
                    {
                        return Some(flag);
                    }
                    // `-n` alone or among other letters would refuse to ask.
                    Some(flag.replacen('n', "", 1)).filter(|rest| rest != "-" && !rest.starts_with("--"))
                }));
                words.extend(if asks { vec!["-p".into(), String::new()] } else { vec![] });
                words.extend(["-u".into(), self.user.clone()]);
                words.extend(programs);
            }
            "su" | "runuser" => {
                words.extend(flags(""));
                let line =
                    program.iter().map(|w| bakery_lang::quote::shell_word(w)).collect::<Vec<_>>().join(" ");
                words.extend([self.user.clone(), "-c".into(), line]);
            }
            "doas" => {
                words.extend(flags("-n"));
                words.extend(["-u".into(), self.user.clone()]);
                words.extend(programs);
            }
            other => {
                return Err(Unreachable(format!(
                    "bakery does not know the become method `{other}`; it knows sudo, su, doas and runuser"
                )));
            }
        }
        Ok(match &self.chdir {
            None => words,
            Some(folder) => {
                let script = format!("cd {} && exec \"$@\"", bakery_lang::quote::shell_word(folder));
                ["/bin/sh".into(), "-c".into(), script, "sh".into()].into_iter().chain(words).collect()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_methods() {
        let one = |method: &str, flags: Option<&str>, password: Option<&str>| {
            let escalation = Escalation {
                user: "app".into(),
                method: method.into(),
                exe: None,
                chdir: None,
                always: false,
                flags: flags.map(Into::into),
                password: password.map(|p| Secret(p.into())),
            };
            escalation.command(&["/a b", "serve"]).map(|words| words.join(" ")).map_err(|e| e.0)
        };
        assert_eq!(one("sudo", None, None).as_deref(), Ok("sudo -H -S -n -u app /a b serve"));
        assert_eq!(one("sudo", Some("-E -n"), Some("x")).as_deref(), Ok("sudo -E -p  -u app /a b serve"));
        assert_eq!(one("su", None, None).as_deref(), Ok("su app -c '/a b' serve"));
        assert_eq!(one("doas", None, None).as_deref(), Ok("doas -n -u app /a b serve"));
        assert!(one("pbrun", None, None).is_err_and(|e| e.contains("pbrun")));
    }
}
