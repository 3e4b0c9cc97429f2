//! What filters make out of text, and the text that they make of values.

use bakery_jinja::{Arguments, Error, Result};
use bakery_lang::{Value, yaml};
use base64::Engine as _;

/// `b64encode` and `b64decode`, of text in any encoding, for URLs or not.
pub(super) fn base64_filter(name: &str, text: &str, args: &Arguments) -> Result<Value> {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let encoding = args.text(0, "encoding", "utf-8");
    let engine = if args.flag(1, "urlsafe", false) { &URL_SAFE } else { &STANDARD };
    if name == "b64encode" {
        let bytes = bakery_lang::encoding::encode(&encoding, text).and_then(|bytes| {
            bytes.ok_or_else(|| format!("{encoding} does not have all of these characters"))
        });
        return Ok(engine.encode(bytes.map_err(Error::new)?).into());
    }
    let bytes = engine.decode(text.trim()).map_err(|e| Error::new(e.to_string()))?;
    let decoded = bakery_lang::encoding::decode(&encoding, &bytes).map_err(Error::new)?;
    Ok(decoded.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned()).into())
}

pub(super) fn comment(text: &str, args: &Arguments) -> Result<String> {
    let style = args.text(0, "style", "plain");
    let (beginning, decoration, end) = match style.as_str() {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        other => return Err(Error::new(format!("Invalid style '{other}'."))),
    };
    let get =
        |name: &str, default: &str| args.named(name).map_or_else(|| default.to_owned(), |v| v.to_string());
    let count = |name: &str| args.named(name).and_then(|v| v.as_int()).unwrap_or(1).clamp(0, 1000) as usize;
    let decoration = get("decoration", decoration);
    let newline = get("newline", "\n");
    let (beginning, end) = (get("beginning", beginning), get("end", end));
    let prefix = get("prefix", decoration.trim_end());
    let postfix = get("postfix", decoration.trim_end());
    let mut out = String::new();
    if !beginning.is_empty() {
        out += &format!("{beginning}{newline}");
    }
    if prefix == newline {
        out += &newline.repeat(count("prefix_count"));
    } else if !prefix.is_empty() {
        out += &format!("{prefix}{newline}").repeat(count("prefix_count"));
    }
    let lines = format!("{decoration}{}", text.replace(&newline, &format!("{newline}{decoration}")));
    // Lines without text have no space at their end.
    out += &lines.replace(&format!("{decoration}{newline}"), &format!("{}{newline}", decoration.trim_end()));
    out += &format!("{newline}{postfix}").repeat(count("postfix_count"));
    if !end.is_empty() {
        out += &format!("{newline}{end}");
    }
    Ok(out)
}

/// What `to_yaml` and `to_nice_yaml` hand on to PyYAML.
/// The options of `to_yaml` and `to_nice_yaml`, which are those of PyYAML's `dump`.
pub(super) fn yaml_style(args: &Arguments, indent: usize, flow_leaves: bool) -> Result<yaml::Style> {
    const KNOWN: &[&str] = &[
        "allow_unicode",
        "canonical",
        "default_flow_style",
        "default_style",
        "dump_vault_tags",
        "encoding",
        "explicit_end",
        "explicit_start",
        "indent",
        "line_break",
        "sort_keys",
        "tags",
        "vault_behavior",
        "version",
        "width",
    ];
    if let Some((name, _)) = args.named.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
        return Err(Error::new(format!("dump_all() got an unexpected keyword argument '{name}'")));
    }
    let number =
        |name: &str| args.get(usize::MAX, name).and_then(|v| v.as_int()).and_then(|n| n.try_into().ok());
    let flow = args.get(usize::MAX, "default_flow_style").filter(|v| !v.is_none());
    Ok(yaml::Style {
        indent: args
            .get(0, "indent")
            .and_then(|v| v.as_int())
            .and_then(|n| n.try_into().ok())
            .unwrap_or(indent),
        sort_keys: args.flag(usize::MAX, "sort_keys", true),
        flow_leaves: flow.map_or(flow_leaves, |v| v.is_true()),
        width: number("width").unwrap_or(80),
        literal: false,
        vaults: true,
        scalars: args.named("default_style").and_then(|v| v.to_string().chars().next()),
        canonical: args.flag(usize::MAX, "canonical", false),
        explicit_start: args.flag(usize::MAX, "explicit_start", false),
        explicit_end: args.flag(usize::MAX, "explicit_end", false),
    })
}

pub(super) fn human_to_bytes(text: &str) -> Result<Value> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 =
        text[..split].parse().map_err(|_| Error::new(format!("human_to_bytes() can't interpret: {text}")))?;
    let power = match text[split..].trim().chars().next().map(|c| c.to_ascii_uppercase()) {
        None | Some('B') => 0,
        Some('K') => 1,
        Some('M') => 2,
        Some('G') => 3,
        Some('T') => 4,
        Some('P') => 5,
        Some(_) => return Err(Error::new(format!("human_to_bytes() can't interpret: {text}"))),
    };
    Ok(Value::Int((number * 1024f64.powi(power)).round() as i128))
}

pub(super) fn urlsplit(url: &str, args: &Arguments) -> Result<Value> {
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (netloc, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (login, place) = netloc.rsplit_once('@').unwrap_or(("", netloc));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (hostname, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let text = |s: &str| if s.is_empty() { Value::None } else { Value::from(s) };
    let map = Value::map([
        ("fragment", Value::from(fragment)),
        ("hostname", text(hostname)),
        ("netloc", netloc.into()),
        ("password", text(password)),
        ("path", path.into()),
        ("port", port.parse::<i64>().map_or(Value::None, Value::from)),
        ("query", query.into()),
        ("scheme", scheme.into()),
        ("username", text(user)),
    ]);
    match args.get(0, "query").filter(|q| !q.to_string().is_empty()) {
        Some(part) => map
            .get(&part.to_string())
            .ok_or_else(|| Error::new(format!("urlsplit: unknown URL component: {part}"))),
        None => Ok(map),
    }
}
