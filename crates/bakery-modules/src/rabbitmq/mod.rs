//! What the modules of RabbitMQ share (`community.rabbitmq`): its command line, its management API, and what users may do by
//! either.

pub mod api;
pub mod permissions;

use bakery_host::Output;
use bakery_lang::{Value, json};

use crate::{Failure, Host};

/// `rabbitmqctl` for a node.
pub struct Ctl<'a> {
    host: &'a Host,
    argv: Vec<String>,
}

impl<'a> Ctl<'a> {
    /// The command for a node, or for the one that it finds by itself.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn new(host: &'a Host, node: Option<&str>) -> Result<Self, Failure> {
        let mut argv = vec![host.program("rabbitmqctl")?, "-q".to_owned()];
        if let Some(node) = node.filter(|node| !node.is_empty()) {
            argv.extend(["-n".to_owned(), node.to_owned()]);
        }
        Ok(Self { host, argv })
    }

    /// How a command ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_ask(&self, words: &[&str]) -> Result<Output, Failure> {
        let argv: Vec<&str> = self.argv.iter().map(String::as_str).chain(words.iter().copied()).collect();
        self.host.try_run(&argv)
    }

    /// What a command says.
    ///
    /// # Errors
    /// What it says to standard error, when it fails.
    pub fn ask(&self, words: &[&str]) -> Result<String, Failure> {
        let output = self.try_ask(words)?;
        if output.success() {
            return Ok(output.text());
        }
        let argv = self.argv.iter().map(String::as_str).chain(words.iter().copied());
        // Where no broker runs, it says so in a screen of diagnostics.
        Err(Failure::new(output.error_text().trim_end())
            .with_output(&output)
            .with("cmd", Value::strings(argv)))
    }

    /// Has a command change something; nothing in check mode.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn tell(&self, words: &[&str]) -> Result<(), Failure> {
        if !self.host.check {
            self.ask(words)?;
        }
        Ok(())
    }

    /// The rows of a list, of fields between tabulators; the first may be the fields' names (since RabbitMQ 3.7.9).
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn rows(&self, words: &[&str]) -> Result<Vec<Vec<String>>, Failure> {
        let said = self.ask(words)?;
        let lines = said.lines().filter(|line| !line.trim().is_empty());
        Ok(lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// What a command says in JSON; null where it says nothing.
    ///
    /// # Errors
    /// As [`Self::ask`], and when it is no JSON.
    pub fn json(&self, words: &[&str]) -> Result<Value, Failure> {
        let said = self.ask(words)?;
        if said.trim().is_empty() {
            return Ok(Value::None);
        }
        parsed(&said)
    }

    /// The numbers of the broker's version, such as 3, 10, 8; none when it does not say one.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn version(&self) -> Result<Vec<u64>, Failure> {
        let status = self.ask(&["status"])?;
        // `{rabbit,"RabbitMQ","3.6.10"}` before 3.8.
        let old = status.find("{rabbit,").and_then(|at| status[at..].split('"').nth(3));
        let new = status.lines().find_map(|line| line.strip_prefix("RabbitMQ version: "));
        Ok(numbers(new.or(old).unwrap_or_default()))
    }
}

/// The numbers of a version.
pub fn numbers(version: &str) -> Vec<u64> {
    version.trim().split('.').map_while(|part| part.parse().ok()).collect()
}

/// A value out of JSON.
///
/// # Errors
/// What is wrong with it.
pub fn parsed(text: &str) -> Result<Value, Failure> {
    json::parse(text).map_err(|error| Failure::new(format!("no JSON: {error}: {text}")))
}
