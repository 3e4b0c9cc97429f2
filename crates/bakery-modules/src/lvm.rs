//! What the reporting commands of LVM (vgs, lvs, pvs) say.

use bakery_host::Output;

use crate::{Failure, Host};

/// A report of LVM.
pub struct Report(Output);

impl Report {
    /// Its rows; none when the command failed, as it does when there is no such volume group.
    pub fn rows(&self) -> Option<Vec<Vec<String>>> {
        let row = |line: &str| line.trim().split(';').map(str::to_owned).collect();
        let text = self.0.success().then(|| self.0.text())?;
        Some(text.lines().filter(|line| !line.trim().is_empty()).map(row).collect())
    }

    /// A failure that says how the command ended.
    pub fn failure(&self, sentence: impl Into<String>) -> Failure {
        Failure::new(sentence).with("rc", self.0.code).with("err", self.0.error_text())
    }
}

/// Asks `command` for fields, with further `words` behind them.
///
/// # Errors
/// When LVM is not installed.
pub fn report(host: &Host, command: &str, fields: &str, words: &[&str]) -> Result<Report, Failure> {
    if bakery_host::command::find_program(command).is_none() {
        return Err(Failure::new(format!(
            "Failed to find required executable \"{command}\": install the package lvm2"
        )));
    }
    let argv = [&[command, "--noheadings", "--separator", ";", "-o", fields], words].concat();
    Ok(Report(host.try_run(&argv)?))
}

/// The field of a row, empty if it has none.
pub fn field(row: &[String], at: usize) -> &str {
    row.get(at).map_or("", String::as_str)
}

/// Whether the attributes of a logical volume, as `lv_attr` shows them, are those of an active one.
pub fn is_active(attributes: &str) -> bool {
    attributes.chars().nth(4) == Some('a')
}

/// Runs a command that changes something.
///
/// # Errors
/// The sentence, with how the command ended.
pub fn change(host: &Host, argv: &[String], sentence: impl FnOnce() -> String) -> Result<(), Failure> {
    let output = host.try_run(argv)?;
    if output.success() {
        return Ok(());
    }
    Err(Failure::new(sentence()).with("rc", output.code).with("err", output.error_text()))
}
