//! What is asked of people: `vars_prompt` of plays, and `pause` (`ansible/executor/playbook_executor.py`,
//! `ansible/utils/display.py`, `ansible/plugins/action/pause.py`).

use std::time::Duration;

use bakery_host::terminal::{Typed, Until};
use bakery_lang::{Diagnostic, Map, Text, Value};
use bakery_modules::args::boolean;

use super::run::Runner;
use crate::playbook::Play;
use crate::{Error, Result};
use bakery_modules::passwords::{Wanted, hash, salt};

/// What an entry of `vars_prompt` may say.
const KEYS: &[&str] =
    &["name", "prompt", "default", "private", "confirm", "encrypt", "salt_size", "salt", "unsafe"];

/// Checks the entries of `vars_prompt`.
///
/// # Errors
/// One without a name, or that says what is not known.
pub(crate) fn check(play: &Play) -> Result<()> {
    let wrong = |text: String| {
        Error::parse(Diagnostic::at(&play.origin, format!("Invalid vars_prompt data structure, {text}")))
    };
    for entry in &play.vars_prompt {
        let Value::Map(entry) = entry else { return Err(wrong("an entry is no mapping".into())) };
        if !entry.contains("name") {
            return Err(wrong("missing 'name' key".into()));
        }
        if let Some(key) = entry.keys().iter().map(ToString::to_string).find(|k| !KEYS.contains(&k.as_str()))
        {
            return Err(wrong(format!("found unsupported key '{key}'")));
        }
    }
    Ok(())
}

impl Runner<'_> {
    /// Asks for the play's variables; those that the command line sets are not asked for.
    pub(super) fn vars_prompt(&self, play: &Play) -> Result<Map> {
        let answers = Map::new();
        for entry in &play.vars_prompt {
            let vars = play.keywords.vars.copied();
            vars.extend(&answers);
            let Value::Map(raw) = entry else { continue };
            let said = Map::new();
            for (key, value) in raw.pairs() {
                said.insert(key, self.loader().template(&value, &vars)?);
            }
            let text = |name: &str| said.get(name).filter(|v| !v.is_none()).map(|v| v.to_string());
            let flag = |name: &str, default: bool| {
                said.get(name).map_or(default, |v| boolean(&v).unwrap_or(default))
            };
            let name = text("name").unwrap_or_default();
            if self.options.extra_vars.contains(&name) {
                continue;
            }
            let default = text("default");
            let prompt = match (text("prompt").unwrap_or_else(|| name.clone()), &default) {
                (prompt, Some(default)) => format!("{prompt} [{default}]: "),
                (prompt, None) => format!("{prompt}: "),
            };
            let answer = self.answer(&prompt, !flag("private", true), flag("confirm", false));
            let answer = answer.filter(|a| !a.is_empty()).or(default);
            let value = match (answer, text("encrypt")) {
                (None, _) => Value::None,
                (Some(answer), Some(algorithm)) => {
                    let size = text("salt_size").and_then(|s| s.parse().ok());
                    let own = match (text("salt"), size) {
                        (Some(salt), _) => Some(salt),
                        (None, Some(size)) => Some(salt(size).map_err(Error::message)?),
                        (None, None) => None,
                    };
                    let wanted = Wanted { algorithm, salt: own, ..Wanted::default() };
                    hash(&answer, &wanted).map_err(Error::message)?.into()
                }
                (Some(answer), None) if flag("unsafe", false) => answer.into(),
                (Some(answer), None) => Value::Str(Text::written(answer, play.origin.clone())),
            };
            answers.set(&name, value);
        }
        Ok(answers)
    }

    /// An answer, twice the same if it is to be confirmed; `None` when nobody is there.
    fn answer(&self, prompt: &str, echo: bool, confirm: bool) -> Option<String> {
        loop {
            let Some(first) = self.callback().ask(prompt, echo) else {
                self.show_warnings(vec!["Not prompting as we are not in interactive mode".into()]);
                return None;
            };
            if !confirm || self.callback().ask(&format!("confirm {prompt}"), echo)? == first {
                return Some(first);
            }
            self.callback().verbose(0, "***** VALUES ENTERED DO NOT MATCH ****");
        }
    }

    /// `pause`: for so long, or until somebody answers.
    ///
    /// # Errors
    /// Arguments that do not fit.
    pub(super) fn pause(&self, name: &str, args: &Map) -> std::result::Result<Map, String> {
        let number = |name: &str| match args.get(name).filter(|v| !v.is_none()) {
            None => Ok(None),
            Some(v) => {
                v.as_float().or_else(|| v.to_string().trim().parse().ok()).map(|n| Some(n as i64)).ok_or_else(
                    || {
                        format!(
                            "argument '{name}' is of type {} and we were unable to convert to int: '{v}'",
                            v.type_name()
                        )
                    },
                )
            }
        };
        for key in args.keys() {
            if !matches!(key.as_str(), Some("echo" | "minutes" | "seconds" | "prompt" | "_raw_params")) {
                return Err(format!(
                    "Unsupported parameters for (pause) module: {key}. Supported parameters include: echo, minutes, prompt, seconds."
                ));
            }
        }
        let echo = match args.get("echo") {
            None => true,
            Some(value) => boolean(&value).map_err(|_| format!("argument 'echo' is of type {} and we were unable to convert to bool: The value '{value}' is not a valid boolean.", value.type_name()))?,
        };
        let (minutes, seconds) = (number("minutes")?, number("seconds")?);
        if minutes.is_some() && seconds.is_some() {
            return Err("parameters are mutually exclusive: minutes|seconds".into());
        }
        let now = || jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
        let (began, start) = (std::time::Instant::now(), now());
        let hidden = if echo { "" } else { " (output is hidden)" };
        let text = args.get("prompt").filter(|p| !p.is_none()).map(|p| p.to_string());
        let usual = || "Press enter to continue, Ctrl+C to interrupt".to_owned();
        let prompt =
            |text: Option<String>| format!("[{}]\n{}{hidden}:\n", name.trim(), text.unwrap_or_else(usual));
        let typed = match minutes.map(|m| m * 60).or(seconds) {
            Some(seconds) => {
                let seconds = seconds.max(1);
                self.callback().verbose(0, &format!("Pausing for {seconds} seconds{hidden}"));
                let end = began + Duration::from_secs(seconds as u64);
                let keys = "(ctrl+C then 'C' = continue early, ctrl+C then 'A' = abort)\n";
                let shown =
                    text.map_or_else(|| keys.to_owned(), |text| format!("{keys}{}", prompt(Some(text))));
                let typed = self.callback().wait_for(&shown, false, Until::Time(end));
                while typed.is_none()
                    && std::time::Instant::now() < end
                    && bakery_host::signal::caught().is_none()
                {
                    let left = end.saturating_duration_since(std::time::Instant::now());
                    std::thread::sleep(left.min(Duration::from_millis(100)));
                }
                typed.unwrap_or(Typed::Nothing)
            }
            None => {
                let typed = self.callback().wait_for(&prompt(text), echo, Until::Line);
                typed.unwrap_or_else(|| {
                    let text = "Not waiting for response to prompt as stdin is not interactive";
                    self.show_warnings(vec![text.into()]);
                    Typed::Nothing
                })
            }
        };
        let input = match typed {
            Typed::Line(line) => line,
            Typed::Nothing => String::new(),
            Typed::Interrupted => {
                let prompt = "Press 'C' to continue the play or 'A' to abort \n";
                let choice = self.callback().wait_for(prompt, false, Until::Letter(&['c', 'a']));
                if choice != Some(Typed::Line("c".into())) {
                    return Err("user requested abort!".into());
                }
                String::new()
            }
        };
        let took = began.elapsed().as_secs_f64();
        let (amount, unit) = if seconds.is_some() { (took, "seconds") } else { (took / 60.0, "minutes") };
        let result = Map::from_iter([
            ("changed", Value::from(false)),
            ("rc", 0.into()),
            ("stderr", "".into()),
            (
                "stdout",
                format!("Paused for {} {unit}", Value::Float((amount * 100.0).round() / 100.0)).into(),
            ),
            ("start", start.into()),
            ("stop", now().into()),
            ("delta", (took as i64).into()),
            ("echo", echo.into()),
            ("user_input", input.into()),
        ]);
        Ok(result)
    }
}
