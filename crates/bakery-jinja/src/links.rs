//! Links out of text: `urlize` (`jinja2/utils.py`).

use bakery_lang::regex::{Flags, compile};

use crate::filters::escape;
use crate::{Arguments, Error, Result};

/// What is taken for an address of the web: with a scheme, of a host that begins with `www.`, or of one of the oldest
/// domains; an address of IP only with a scheme.
const WEB: &str = r"^((https?://|www\.)(([\w%-]+\.)+)?([a-z]{2,63}|xn--[\w%]{2,59})|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)|(https?://)((([\d]{1,3})(\.[\d]{1,3}){3})|(\[([\da-f]{0,4}:){2}([\da-f]{0,4}:?){1,6}\])))(?::[\d]{1,5})?(?:[/?#]\S*)?$";

/// What is taken for an address of mail.
const MAIL: &str = r"^\S+@\w[\w.-]*\.\w+$";

/// The text, escaped, with its addresses as links.
pub(crate) fn urlize(text: &str, args: &Arguments) -> Result<String> {
    let web = compile(WEB, Flags { ignore_case: true, ..Flags::default() }).map_err(Error::new)?;
    let mail = compile(MAIL, Flags::default()).map_err(Error::new)?;
    let is = |regex: &bakery_lang::regex::Regex, text: &str| matches!(regex.is_match(text), Ok(true));
    let given = |at: usize, name: &str| args.get(at, name).filter(|v| !v.is_none());
    let limit = given(0, "trim_url_limit").and_then(|v| usize::try_from(v.as_int()?).ok());
    let mut rel: Vec<String> = given(3, "rel")
        .map(|v| v.to_string())
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    rel.push("noopener".into());
    if args.flag(1, "nofollow", false) {
        rel.push("nofollow".into());
    }
    rel.sort();
    rel.dedup();
    let target = given(2, "target").map(|v| format!(" target=\"{}\"", escape(&v.to_string())));
    let attributes = format!(" rel=\"{}\"{}", escape(&rel.join(" ")), target.unwrap_or_default());
    let schemes: Vec<String> = given(4, "extra_schemes")
        .and_then(|v| v.as_items())
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    for scheme in &schemes {
        let name = scheme.split(':').next().unwrap_or_default();
        let fits = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'))
            && matches!(&scheme[name.len()..], ":" | ":/" | ":///" | "://");
        if !fits {
            return Err(Error::new(format!("'{scheme}' is not a valid URI scheme prefix.")));
        }
    }
    let shown = |address: &str| match limit {
        Some(limit) if address.chars().count() > limit => {
            format!("{}...", address.chars().take(limit).collect::<String>())
        }
        _ => address.to_owned(),
    };
    let link = |middle: &str| -> Option<String> {
        if is(&web, middle) {
            let scheme =
                if middle.starts_with("http://") || middle.starts_with("https://") { "" } else { "https://" };
            return Some(format!("<a href=\"{scheme}{middle}\"{attributes}>{}</a>", shown(middle)));
        }
        if let Some(address) = middle.strip_prefix("mailto:").filter(|address| is(&mail, address)) {
            return Some(format!("<a href=\"{middle}\">{address}</a>"));
        }
        if !middle.starts_with("www.")
            && !middle.starts_with('@')
            && !middle.contains(':')
            && is(&mail, middle)
        {
            return Some(format!("<a href=\"mailto:{middle}\">{middle}</a>"));
        }
        let is_other = schemes.iter().any(|scheme| middle != scheme && middle.starts_with(scheme.as_str()));
        is_other.then(|| format!("<a href=\"{middle}\"{attributes}>{middle}</a>"))
    };
    let escaped = escape(text);
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped.as_str();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (head, middle, tail) = parts(&rest[..end]);
        out.push_str(&head);
        out.push_str(&link(&middle).unwrap_or(middle));
        out.push_str(&tail);
        let blank = rest[end..].find(|c: char| !c.is_whitespace()).unwrap_or(rest.len() - end);
        out.push_str(&rest[end..end + blank]);
        rest = &rest[end + blank..];
    }
    Ok(out)
}

/// A word without the brackets before it, and without the brackets and the punctuation behind it, unless they close what
/// was opened within.
fn parts(word: &str) -> (String, String, String) {
    const BEFORE: [&str; 3] = ["(", "<", "&lt;"];
    const BEHIND: [&str; 6] = [")", ">", ".", ",", "\n", "&gt;"];
    let mut middle = word;
    while let Some(rest) = BEFORE.iter().find_map(|bracket| middle.strip_prefix(bracket)) {
        middle = rest;
    }
    let head = word[..word.len() - middle.len()].to_owned();
    let inner = middle;
    while let Some(rest) = BEHIND.iter().find_map(|end| middle.strip_suffix(end)) {
        middle = rest;
    }
    let mut tail = &inner[middle.len()..];
    let mut middle = middle.to_owned();
    for (open, close) in [("(", ")"), ("<", ">"), ("&lt;", "&gt;")] {
        let opened = middle.matches(open).count();
        if opened <= middle.matches(close).count() {
            continue;
        }
        for _ in 0..opened.min(tail.matches(close).count()) {
            if let Some(at) = tail.find(close) {
                middle.push_str(&tail[..at + close.len()]);
                tail = &tail[at + close.len()..];
            }
        }
    }
    (head, middle, tail.to_owned())
}
