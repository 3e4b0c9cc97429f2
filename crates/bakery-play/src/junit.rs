//! Reports in the XML that JUnit writes and build servers read.

use std::fmt::Write as _;

/// How a test case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed, with what it said.
    Passed(Option<String>),
    /// It failed: why, and all that it said.
    Failed(String, String),
    /// It was not run, and why.
    Skipped(String),
}

/// A test case.
#[derive(Debug, Clone)]
pub struct Case {
    /// What was tested.
    pub name: String,
    /// What it belongs to: a file, a play.
    pub class: String,
    /// Seconds that it took, if somebody counted.
    pub seconds: Option<f64>,
    /// How it ended.
    pub verdict: Verdict,
}

/// The document of one suite.
pub fn report(suite: &str, cases: &[Case]) -> String {
    let mut inner = String::new();
    let (mut failed, mut skipped) = (0, 0);
    for case in cases {
        let (name, class) = (escaped(&case.name), escaped(&case.class));
        let time = case.seconds.map(|s| format!(" time=\"{s}\"")).unwrap_or_default();
        let body = match &case.verdict {
            Verdict::Passed(None) => String::new(),
            Verdict::Passed(Some(said)) => format!("\t\t\t<system-out>{}</system-out>\n", escaped(said)),
            Verdict::Failed(why, said) => {
                failed += 1;
                let why = escaped(why);
                format!("\t\t\t<failure message=\"{why}\" type=\"failure\">{}</failure>\n", escaped(said))
            }
            Verdict::Skipped(why) => {
                skipped += 1;
                format!("\t\t\t<skipped>{}</skipped>\n", escaped(why))
            }
        };
        let start = format!("\t\t<testcase classname=\"{class}\" name=\"{name}\"{time}");
        let _ = if body.is_empty() {
            writeln!(inner, "{start}/>")
        } else {
            writeln!(inner, "{start}>\n{body}\t\t</testcase>")
        };
    }
    let (count, suite) = (cases.len(), escaped(suite));
    let counts = format!("disabled=\"0\" errors=\"0\" failures=\"{failed}\"");
    let seconds: f64 = cases.iter().filter_map(|case| case.seconds).sum();
    let time = if seconds > 0.0 { format!(" time=\"{seconds}\"") } else { String::new() };
    format!(
        "<?xml version=\"1.0\" ?>\n<testsuites {counts} tests=\"{count}\"{time}>\n\t<testsuite {counts} name=\"{suite}\" skipped=\"{skipped}\" tests=\"{count}\"{time}>\n{inner}\t</testsuite>\n</testsuites>\n"
    )
}

/// Text for an element or an attribute; letters that XML does not know are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
