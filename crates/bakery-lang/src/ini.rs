//! INI files as Python's `configparser` reads them.

/// What a reader accepts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Whether the case of option names counts.
    pub case_sensitive: bool,
    /// Whether options may stand without a value.
    pub allow_no_value: bool,
}

/// Sections with their options, in the order of the file. `DEFAULT` gives values to all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    sections: Vec<(String, Options)>,
}

type Options = Vec<(String, Option<String>)>;

/// How deep values may refer to each other.
const MOST_DEEP: usize = 10;

/// Reads a file. A `[section]` starts with its line, an option is `name = value` or `name: value`, lines with white
/// space before them go on with the value above them, `#` and `;` begin lines that are comments.
///
/// # Errors
/// With `configparser`'s words: no section yet, a line that is nothing of these, an option that is there twice.
pub fn parse(text: &str, rules: Rules) -> Result<File, String> {
    let mut file = File::default();
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            file.sections.push((name.to_owned(), vec![]));
            continue;
        }
        let Some((section, options)) = file.sections.last_mut() else {
            return Err(format!("File contains no section headers. file: '<???>', line: {}", at + 1));
        };
        if line.starts_with(char::is_whitespace)
            && let Some((_, Some(value))) = options.last_mut()
        {
            value.push('\n');
            value.push_str(trimmed);
            continue;
        }
        let (name, value) = match trimmed.split_once(['=', ':']) {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None if rules.allow_no_value => (trimmed, None),
            None => {
                return Err(format!(
                    "Source contains parsing errors: '<???>'\n\t[line {:2}]: {line:?}",
                    at + 1
                ));
            }
        };
        let name = if rules.case_sensitive { name.to_owned() } else { name.to_lowercase() };
        if options.iter().any(|(known, _)| *known == name) {
            return Err(format!("Duplicate option '{name}' in section '{section}'."));
        }
        options.push((name, value));
    }
    Ok(file)
}

impl File {
    /// The names of the sections but `DEFAULT`.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "DEFAULT")
    }

    /// Whether there is a section of this name.
    pub fn has_section(&self, section: &str) -> bool {
        self.sections.iter().any(|(name, _)| name == section)
    }

    /// The options of a section and those of `DEFAULT` that it has not, as they are written.
    pub fn options(&self, section: &str) -> Vec<(&str, Option<&str>)> {
        let mut options: Vec<(&str, Option<&str>)> = Vec::new();
        for wanted in [section, "DEFAULT"] {
            let own = self.sections.iter().filter(|(name, _)| name == wanted);
            for (name, value) in own.flat_map(|(_, options)| options) {
                if !options.iter().any(|(known, _)| known == name) {
                    options.push((name, value.as_deref()));
                }
            }
        }
        options
    }

    /// A value with the options that it names by `%(name)s` in their place, and `%%` as `%`.
    ///
    /// # Errors
    /// With `configparser`'s words: a `%` before anything else, a name that is not there, values in a circle.
    pub fn interpolated(&self, section: &str, value: &str) -> Result<String, String> {
        filled(value, &self.options(section), MOST_DEEP)
    }
}

fn filled(value: &str, options: &[(&str, Option<&str>)], depth: usize) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("%%") {
            out.push('%');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("%(").and_then(|r| r.split_once(")s")) {
            let found = options.iter().find(|(known, _)| *known == name.to_lowercase());
            let found = found.ok_or_else(|| {
                format!("Bad value substitution: option '{name}' contains an interpolation key which is not a valid option name")
            })?;
            if depth == 0 {
                return Err("Recursion limit exceeded in value substitution".into());
            }
            out.push_str(&filled(found.1.unwrap_or_default(), options, depth - 1)?);
            rest = after;
        } else {
            return Err(format!("'%' must be followed by '%' or '(', found: {rest:?}"));
        }
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::{Rules, parse};

    #[test]
    fn sections_options_and_defaults_are_read() {
        let text = "[DEFAULT]\nroot = /srv\n[a]\nHome: %(root)s/a\n  more\n# no\nrate = 5%%\n";
        let file = parse(text, Rules::default()).expect("read");
        assert_eq!(file.sections().collect::<Vec<_>>(), ["a"]);
        let options = file.options("a");
        assert_eq!(options[0], ("home", Some("%(root)s/a\nmore")));
        assert_eq!(options[2], ("root", Some("/srv")));
        assert_eq!(file.interpolated("a", "%(home)s %(rate)s").expect("filled"), "/srv/a\nmore 5%");
        let error = file.interpolated("a", "this is a % bad % fact").expect_err("refused");
        assert_eq!(error, "'%' must be followed by '%' or '(', found: \"% bad % fact\"");
    }

    #[test]
    fn what_is_no_ini_is_refused() {
        for text in ["a = 1", "[a]\nword", "[a]\nb=1\nB=2", "[a]\nb=%(b)s"] {
            let read = parse(text, Rules::default());
            let circle = read.as_ref().map(|file| file.interpolated("a", "%(b)s"));
            assert!(read.is_err() || matches!(circle, Ok(Err(_))), "{text}");
        }
    }
}
