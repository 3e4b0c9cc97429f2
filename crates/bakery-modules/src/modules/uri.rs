//! `uri`: talks to a web service (`ansible/modules/uri.py`).

use bakery_host::fs;
use bakery_lang::quote::form_value;
use bakery_lang::{Map, Value, json};
use bakery_macros::ModuleArgs;

use crate::args::without_secret_keys;
use crate::host::{FileAttributes, Replace, received};
use crate::http::{Redirects, Request, joined, masked, send, unless_newer};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Talks to a web service: sends a request, checks the status, returns the answer.
#[derive(ModuleArgs)]
#[args(exclusive = "body,src")]
struct Args {
    /// The address.
    #[arg(required)]
    url: String,
    /// The method.
    #[arg(default = "GET")]
    method: String,
    /// What to send: text, or values with a `body_format`.
    body: Option<Value>,
    /// How values become text.
    #[arg(default = "raw", choices = "form-urlencoded,json,raw,form-multipart")]
    body_format: String,
    /// A file to send; on the controller unless `remote_src`.
    src: Option<String>,
    /// Whether `src` is on the target.
    remote_src: bool,
    /// Headers to send.
    headers: Option<Map>,
    /// Statuses that are a success.
    status_code: Option<Vec<String>>,
    /// Whether the answer is returned as `content`.
    return_content: bool,
    /// A file or folder that the answer is written to.
    dest: Option<String>,
    /// A path that, when there, means that nothing needs to be done.
    creates: Option<String>,
    /// A path that, when missing, means that nothing needs to be done.
    removes: Option<String>,
    /// Which redirections are followed: all, none, or those of GET and HEAD.
    #[arg(default = "safe", choices = "all,no,none,safe,urllib2,yes")]
    follow_redirects: String,
    /// Seconds before giving up.
    #[arg(default = "30")]
    timeout: i64,
    /// The user to log in as.
    #[arg(alias = "user")]
    url_username: Option<String>,
    /// The password.
    #[arg(alias = "password", secret)]
    url_password: Option<String>,
    /// Whether the password is sent without being asked.
    force_basic_auth: bool,
    /// Whether certificates are checked.
    #[arg(default = "true")]
    validate_certs: bool,
    /// A file of certificates to trust.
    ca_path: Option<String>,
    /// The client's certificate, in PEM.
    client_cert: Option<String>,
    /// The client's key, in PEM; if not given, it is with the certificate.
    client_key: Option<String>,
    /// Whether proxies of the environment are used.
    #[arg(default = "true")]
    use_proxy: bool,
    /// What to call ourselves.
    #[arg(default = "ansible-httpget")]
    http_agent: String,
    /// Whether caches on the way are told not to answer.
    #[arg(alias = "thirsty")]
    force: bool,
    /// A socket to connect to, in place of the address's host.
    unix_socket: Option<String>,
    /// Headers that are not sent to where the server redirects to.
    unredirected_headers: Option<Vec<String>>,
    /// Whether a compressed answer is unpacked.
    #[arg(default = "true")]
    decompress: bool,
    /// Ciphers that may be used, as OpenSSL's lists name them, of those that the TLS library has.
    ciphers: Option<Vec<String>>,
    /// Whether `.netrc` says who to be where nothing else does.
    #[arg(default = "true")]
    use_netrc: bool,
    /// Kerberos, which is refused.
    use_gssapi: bool,
    /// Used internally: `src` in base64, from the controller.
    #[arg(name = "_data")]
    data: Option<String>,
    /// Permissions and ownership of `dest`.
    #[arg(flatten)]
    attributes: FileAttributes,
}

/// A mapping, or a list of pairs, as a form; lists give their name once for each item.
fn form(body: &Value) -> Result<String, Failure> {
    let pairs: Vec<(String, Value)> = match body {
        Value::Map(map) => map.pairs().into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
        other => other
            .as_items()
            .unwrap_or_default()
            .iter()
            .map(|pair| match pair.as_items().as_deref() {
                Some([name, value]) => Ok((name.to_string(), value.clone())),
                _ => Err(Failure::new(
                    "failed to parse body as form_urlencoded: too many values to unpack (expected 2): a list of pairs is expected",
                )),
            })
            .collect::<Result<_, _>>()?,
    };
    let mut words = Vec::new();
    for (name, value) in pairs {
        match value.as_items() {
            Some(items) => {
                words.extend(
                    items.iter().map(|i| format!("{}={}", form_value(&name), form_value(&i.to_string()))),
                );
            }
            None => words.push(format!("{}={}", form_value(&name), form_value(&value.to_string()))),
        }
    }
    Ok(words.join("&"))
}

/// A mapping as `multipart/form-data`: text, or mappings of `content` or `filename`, `mime_type` and `multipart_encoding`
/// (`prepare_multipart` in `ansible/module_utils/urls.py`). `_data` is what the controller read of a file, in base64.
fn multipart(host: &Host, body: &Value) -> Result<(String, Vec<u8>), Failure> {
    let wrong = |why: String| Failure::new(format!("failed to parse body as form-multipart: {why}"));
    let map = body.as_map().ok_or_else(|| wrong("Mapping is required".into()))?;
    let boundary = format!("=============={}==", uuid::Uuid::new_v4().simple());
    let mut out = Vec::new();
    let mut fields: Vec<(String, Value)> = map.pairs().into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, value) in fields {
        let mut head = format!("Content-Disposition: form-data; name=\"{name}\"");
        let mut kind = "text/plain".to_owned();
        let content = match &value {
            Value::Str(text) => with_crlf(text.as_str().as_bytes()),
            Value::Map(part) => {
                let text = |key: &str| part.get(key).filter(|v| !v.is_none()).map(|v| v.to_string());
                let file = text("filename");
                if let Some(file) = &file {
                    head.push_str(&format!("; filename=\"{}\"", file.rsplit('/').next().unwrap_or(file)));
                }
                let guessed =
                    || mime_guess::from_path(file.as_deref().unwrap_or_default()).first_or_octet_stream();
                kind = text("mime_type").unwrap_or_else(|| guessed().to_string());
                match (text("content").filter(|content| !content.is_empty()), &file) {
                    (Some(content), _) => with_crlf(content.as_bytes()),
                    (None, None) => {
                        return Err(wrong("at least one of filename or content must be provided".into()));
                    }
                    (None, Some(file)) => {
                        let bytes = match text("_data") {
                            Some(data) => received(&data)?,
                            None => fs::read(host.path(file))?,
                        };
                        match text("multipart_encoding").as_deref() {
                            None | Some("base64") => {
                                head.push_str("\r\nContent-Transfer-Encoding: base64");
                                in_lines(&bytes)
                            }
                            Some("7or8bit") => with_crlf(&bytes),
                            Some(other) => {
                                return Err(wrong(format!(
                                    "multipart_encoding must be one of ['base64', '7or8bit'], not '{other}'"
                                )));
                            }
                        }
                    }
                }
            }
            other => {
                let kind = other.type_name();
                return Err(wrong(format!("value must be a string, or mapping, cannot be type {kind}")));
            }
        };
        out.extend(format!("--{boundary}\r\n{head}\r\nContent-Type: {kind}\r\n\r\n").into_bytes());
        out.extend(content);
        out.extend(b"\r\n");
    }
    out.extend(format!("--{boundary}--\r\n").into_bytes());
    Ok((format!("multipart/form-data; boundary=\"{boundary}\""), out))
}

/// Lines that end as lines of http do.
fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut before = 0;
    for &byte in bytes {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

/// Base64 in lines of 76 letters, as mail has it.
fn in_lines(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes();
    text.chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect()
}

fn request(args: &Args, host: &Host) -> Result<Request, Failure> {
    let method = args.method.to_uppercase();
    if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase()) {
        return Err("Parameter 'method' needs to be a single word in uppercase, like GET or POST.".into());
    }
    let mut headers: Vec<(String, String)> = args
        .headers
        .iter()
        .flat_map(Map::pairs)
        .map(|(name, value)| (name.to_string(), crate::args::text(&value)))
        .collect();
    if args.force {
        headers.push(("cache-control".into(), "no-cache".into()));
    }
    let mut kind = None;
    let body = match (&args.body, args.body_format.as_str()) {
        (Some(Value::Str(text)), format) => {
            kind = match format {
                "json" => Some("application/json".to_owned()),
                "form-urlencoded" => Some("application/x-www-form-urlencoded".to_owned()),
                _ => None,
            };
            Some(text.as_str().as_bytes().to_vec())
        }
        (Some(value), "json") => {
            kind = Some("application/json".to_owned());
            Some(json::dumps(value, 0, false).into_bytes())
        }
        (Some(value), "form-urlencoded") => {
            kind = Some("application/x-www-form-urlencoded".to_owned());
            Some(form(value)?.into_bytes())
        }
        (Some(value), "form-multipart") => {
            let (named, bytes) = multipart(host, value)?;
            kind = Some(named);
            Some(bytes)
        }
        (Some(value), _) => Some(crate::args::text(value).into_bytes()),
        (None, "json") => {
            kind = Some("application/json".to_owned());
            Some(b"null".to_vec())
        }
        (None, _) => None,
    };
    let body = match (&args.data, &args.src) {
        (Some(data), _) => Some(received(data)?),
        (None, Some(src)) => Some(fs::read(host.path(src))?),
        (None, None) => body,
    };
    // What the client that Ansible uses says of a body that nobody described.
    let kind = kind.or_else(|| body.is_some().then(|| "application/x-www-form-urlencoded".to_owned()));
    if let Some(kind) = kind.filter(|_| !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")))
    {
        headers.push(("Content-Type".into(), kind));
    }
    let dest = args.dest.as_ref().map(|dest| host.path(dest)).filter(|dest| dest.is_file() && !args.force);
    headers.extend(dest.as_deref().and_then(unless_newer));
    let file = |path: &Option<String>| path.as_ref().map(|p| fs::read(host.path(p))).transpose();
    let certificate = file(&args.client_cert)?;
    let key = file(&args.client_key)?;
    let login = args
        .url_username
        .clone()
        .map(|user| (user, args.url_password.clone().unwrap_or_default(), args.force_basic_auth));
    Ok(Request {
        redirects: match args.follow_redirects.as_str() {
            "all" | "yes" => Redirects::All,
            "urllib2" => Redirects::Urllib,
            "safe" if matches!(method.as_str(), "GET" | "HEAD") => Redirects::All,
            _ => Redirects::None,
        },
        method,
        headers,
        body,
        timeout: args.timeout.max(1) as u64,
        validate_certs: args.validate_certs,
        use_proxy: args.use_proxy,
        agent: args.http_agent.clone(),
        decompress: args.decompress,
        login,
        unredirected: args.unredirected_headers.iter().flatten().map(|name| name.to_lowercase()).collect(),
        use_netrc: args.use_netrc,
        ca: file(&args.ca_path)?,
        client: certificate.map(|certificate| (certificate.clone(), key.unwrap_or(certificate))),
        ciphers: args.ciphers.as_ref().map(|ciphers| ciphers.join(":")),
        unix_socket: args.unix_socket.as_ref().map(|path| host.path(path)),
        use_gssapi: args.use_gssapi,
        ..Request::by(host, &args.url)
    })
}

/// Whether a content type is one of JSON's.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
    let sub = kind.split_once('/').map_or("", |(_, sub)| sub);
    let sub = sub.split_once('+').map_or(sub, |(_, suffix)| suffix);
    matches!(sub, "json" | "javascript")
}

/// Keys of a result that stay as they are, whatever is secret (`NO_MODIFY_KEYS` of ansible-core's module).
const KEPT_KEYS: &[&str] = &[
    "msg",
    "exception",
    "warnings",
    "deprecations",
    "failed",
    "skipped",
    "changed",
    "rc",
    "stdout",
    "stderr",
    "elapsed",
    "path",
    "location",
    "content_type",
];

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        // It is the action that says so, in other words than modules do.
        let message = "This action (uri) does not support check mode.";
        return Ok(Outcome::unchanged().with("skipped", true).msg(message));
    }
    let statuses: Vec<i64> = match &args.status_code {
        None => vec![200],
        Some(list) => list
            .iter()
            .map(|s| s.trim().parse().map_err(|_| Failure::new(format!("'{s}' is no status code"))))
            .collect::<Result<_, _>>()?,
    };
    for (path, there) in [(&args.creates, true), (&args.removes, false)] {
        if let Some(path) = path
            && host.path(path).exists() == there
        {
            let state = if there { "exists" } else { "does not exist" };
            return Ok(Outcome::unchanged().with("stdout", format!("skipped, since '{path}' {state}")));
        }
    }
    let request = request(&args, host)?;
    let started = std::time::Instant::now();
    let answer = send(&request);
    let elapsed = started.elapsed().as_secs();
    let wrong = |status: i64, msg: &str| {
        let list: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        Failure::new(format!("Status code was {status} and not [{}]: {msg}", list.join(", ")))
            .with("status", status)
            .with("elapsed", elapsed)
            .with("url", masked(&args.url))
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(problem) => {
            if problem.contains(" was cut off") {
                let message = format!("HTTP Error while fetching {}: {problem}", masked(&args.url));
                return Err(Failure::new(message));
            }
            let failure = wrong(-1, &format!("Request failed: {problem}")).with("redirected", false);
            return Err(if args.return_content { failure.with("content", "") } else { failure });
        }
    };
    let status = i64::from(answer.status);
    let fields = Map::new();
    fields.set("redirected", answer.url.trim_end_matches('/') != args.url.trim_end_matches('/'));
    fields.set(
        "url",
        if request.redirects != Redirects::None { answer.url.clone() } else { masked(&args.url) },
    );
    fields.set("status", status);
    fields.set("elapsed", elapsed);
    let cookies = Map::new();
    let mut seen = std::collections::BTreeSet::new();
    for (name, value) in &answer.headers {
        if name == "set-cookie" {
            let (key, rest) = value.split_once('=').unwrap_or((value, ""));
            cookies.set(key.trim(), rest.split(';').next().unwrap_or_default());
        }
        let value = match name.as_str() {
            "location" => joined(&answer.url, value),
            _ => value.clone(),
        };
        // What is said several times stands in one line.
        let name = name.replace('-', "_");
        let before = fields.get(&name).filter(|_| seen.contains(&name));
        fields.set(&name, before.map_or(value.clone(), |before| format!("{before}, {value}")));
        seen.insert(name);
    }
    let all: Vec<String> = cookies.pairs().iter().map(|(k, v)| format!("{k}={v}")).collect();
    fields.set("cookies_string", all.join("; "));
    fields.set("cookies", cookies);
    let content = String::from_utf8_lossy(&answer.body).into_owned();
    if is_json(answer.header("content-type").unwrap_or_default())
        && let Ok(value) = json::parse(&content)
    {
        fields.set("json", value);
    }
    if args.return_content {
        fields.set("content", content);
    }
    let secrets: Vec<String> =
        args.url_password.iter().filter(|secret| !secret.is_empty()).cloned().collect();
    let fields = match without_secret_keys(&fields.into(), &secrets, KEPT_KEYS) {
        Value::Map(fields) => fields,
        _ => Map::new(),
    };
    if !statuses.contains(&status) {
        let failure = wrong(status, &format!("HTTP Error {status}: {}", reason(answer.status)));
        failure.fields.extend(&fields);
        return Err(failure);
    }
    let said = match answer.header("content-length") {
        _ if status >= 300 => format!("HTTP Error {status}: {}", reason(answer.status)),
        Some(length) => format!("OK ({length} bytes)"),
        None => "OK (unknown bytes)".to_owned(),
    };
    let mut changed = false;
    if let Some(dest) = &args.dest {
        let mut path = host.path(dest);
        if path.is_dir() {
            path = path.join(answer.file_name());
        }
        if status != 304 {
            host.replace(&path, &answer.body, &Replace::default()).map_err(|failure| {
                Failure::new(format!("Could not replace {}: {}", path.display(), failure.msg))
            })?;
            host.attributes(&path, &args.attributes)?;
            changed = true;
        }
        fields.set("path", path.display().to_string());
    }
    Ok(Outcome { changed, fields }.msg(said))
}

/// The sentence that goes with a status.
fn reason(status: u16) -> &'static str {
    ureq::http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default()
}

module!("uri", "ansible.builtin", Args, run);
