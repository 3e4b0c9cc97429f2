//! The lookup `url`: what is at an address (`ansible/plugins/lookup/url.py`).

use bakery_jinja::{Error, Result, Scope as _};
use bakery_lang::{Map, Value};
use bakery_modules::args::{boolean, string_list, text};
use bakery_modules::http::{LARGEST_TEXT, Redirects, Request, masked, send};

use crate::templar::Templar;

/// An option: of the call, a variable, the environment or the configuration.
fn option(templar: &Templar, options: &Map, name: &str) -> Option<Value> {
    // Their names are not quite those of the options.
    let setting = match name {
        "http_agent" => "agent",
        "unredirected_headers" => "unredir_headers",
        other => other,
    };
    let kept = || {
        let variable = format!("ANSIBLE_LOOKUP_URL_{}", setting.to_uppercase());
        templar.loader.as_ref()?.settings.text(&variable, "url_lookup", setting).map(Value::from)
    };
    options
        .get(name)
        .or_else(|| templar.variable(&format!("ansible_lookup_url_{setting}")))
        .or_else(kept)
        .filter(|value| !value.is_none())
}

/// What is at addresses, as lines or as one text each.
pub(super) fn url(templar: &Templar, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let get = |name: &str| option(templar, options, name);
    let flag = |name: &str, default: bool| get(name).map_or(default, |v| boolean(&v).unwrap_or(default));
    let mut headers: Vec<(String, String)> = Vec::new();
    if let Some(Value::Map(map)) = get("headers") {
        headers.extend(map.pairs().into_iter().map(|(k, v)| (k.to_string(), text(&v))));
    }
    if flag("force", false) {
        headers.push(("cache-control".into(), "no-cache".into()));
    }
    let always = flag("force_basic_auth", false);
    let password = get("password").map(|v| text(&v)).unwrap_or_default();
    let follow = get("follow_redirects").map_or_else(|| "urllib2".to_owned(), |v| text(&v));
    let ca = get("ca_path").map(|path| bakery_host::fs::read(text(&path))).transpose();
    let words = |name: &str| get(name).map(|list| string_list(&list)).transpose().map_err(Error::new);
    let unredirected = words("unredirected_headers")?.unwrap_or_default();
    let plain = Request {
        headers,
        timeout: get("timeout").and_then(|v| text(&v).parse().ok()).unwrap_or(10),
        most: LARGEST_TEXT,
        redirects: match follow.as_str() {
            "no" | "none" | "False" => Redirects::None,
            "urllib2" => Redirects::Urllib,
            _ => Redirects::All,
        },
        validate_certs: flag("validate_certs", true),
        use_proxy: flag("use_proxy", true),
        use_netrc: flag("use_netrc", true),
        login: get("username").map(|user| (text(&user), password, always)),
        ca: ca.map_err(|e| Error::new(e.to_string()))?,
        unredirected: unredirected.iter().map(|name| name.to_lowercase()).collect(),
        ciphers: words("ciphers")?.map(|ciphers| ciphers.join(":")),
        unix_socket: get("unix_socket").map(|path| text(&path).into()),
        use_gssapi: flag("use_gssapi", false),
        ..Request::get("")
    };
    let agent = get("http_agent").map_or_else(|| plain.agent.clone(), |v| text(&v));
    let mut out = Vec::new();
    for term in terms {
        let shown = masked(&term.to_string());
        let request = Request { url: term.to_string(), agent: agent.clone(), ..plain.clone() };
        let answer =
            send(&request).map_err(|e| Error::new(format!("Failed lookup url for {shown} : {e}")))?;
        if answer.status >= 400 {
            let status = answer.status;
            return Err(Error::new(format!("Received HTTP error for {shown} : http status: {status}")));
        }
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if flag("split_lines", true) {
            out.extend(body.lines().map(Value::from));
        } else {
            out.push(body.into());
        }
    }
    Ok(out)
}
