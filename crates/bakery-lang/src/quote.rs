//! Text as other programs' readers take it for one piece: words of a shell, values of a form.

/// A word as a POSIX shell reads it back: as it is where nothing in it is special, else between quotes (Python's
/// `shlex.quote`).
pub fn shell_word(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// A value of `application/x-www-form-urlencoded`, or of an address's query: blanks are `+`.
pub fn form_value(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b' ' => "+".to_owned(),
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_values_are_read_back_whole() {
        assert_eq!(shell_word("a/b-c"), "a/b-c");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("it's"), "'it'\"'\"'s'");
        assert_eq!(form_value("a b&ü~"), "a+b%26%C3%BC~");
    }
}
