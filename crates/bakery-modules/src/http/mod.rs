//! The http client of modules and lookups.

mod ciphers;
mod credentials;
mod proxy;
mod tls;
mod unix;

use std::io::{Read, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::Host;

use credentials::Login;

/// The largest file, in bytes.
const LARGEST_FILE: u64 = 8 << 30;
/// The largest answer that is held for a moment, in bytes.
pub const LARGEST_TEXT: u64 = 64 << 20;

/// A request; the defaults are those of `ansible.module_utils.urls`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The address.
    pub url: String,
    /// Headers to send.
    pub headers: Vec<(String, String)>,
    /// Headers that are not sent to where a server redirects to, in lower case.
    pub unredirected: Vec<String>,
    /// What to send.
    pub body: Option<Vec<u8>>,
    /// Seconds to wait for a connection and for an answer.
    pub timeout: u64,
    /// Seconds for all of it; without it, a large file may take long.
    pub timeout_whole: Option<u64>,
    /// The most that is read, in bytes.
    pub most: u64,
    /// Which redirections are followed.
    pub redirects: Redirects,
    /// Whether certificates are checked.
    pub validate_certs: bool,
    /// Whether proxies of the environment are used.
    pub use_proxy: bool,
    /// The task's environment, which comes before that of the process.
    pub environment: Vec<(String, String)>,
    /// What to call ourselves.
    pub agent: String,
    /// Whether a compressed answer is unpacked.
    pub decompress: bool,
    /// User and password, and whether they are sent without being asked.
    pub login: Option<(String, String, bool)>,
    /// Whether `.netrc` says who to be where nothing else does.
    pub use_netrc: bool,
    /// PEM of certificates that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// PEM of the client's certificate and of its key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
    /// The ciphers that may be used, as OpenSSL's lists name them.
    pub ciphers: Option<String>,
    /// The socket to connect to, whatever the address's host is.
    pub unix_socket: Option<PathBuf>,
    /// Whether Kerberos is asked for, which is refused.
    pub use_gssapi: bool,
}

impl Request {
    /// A GET by a task, with its environment.
    pub fn by(host: &Host, url: &str) -> Self {
        Self { environment: host.environment.clone(), ..Self::get(url) }
    }

    /// A variable of the environment: the task's, or else the process's.
    fn variable(&self, name: &str) -> Option<String> {
        let own = self.environment.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        own.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
    }

    /// A GET.
    pub fn get(url: &str) -> Self {
        Self {
            method: "GET".into(),
            url: url.into(),
            headers: vec![],
            unredirected: vec![],
            body: None,
            timeout: 30,
            timeout_whole: None,
            most: LARGEST_FILE,
            redirects: Redirects::All,
            validate_certs: true,
            use_proxy: true,
            environment: vec![],
            agent: "ansible-httpget".into(),
            decompress: true,
            login: None,
            use_netrc: true,
            ca: None,
            client: None,
            ciphers: None,
            unix_socket: None,
            use_gssapi: false,
        }
    }
}

/// Which redirections are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// None.
    None,
    /// All.
    All,
    /// Those that Python's `urllib` follows: nothing is sent twice.
    Urllib,
}

/// What a server said, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status, such as 404.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, unpacked if that was wanted.
    pub body: Vec<u8>,
    /// The address that answered, after redirections.
    pub url: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The name that a server gives its answer, else that of the address; without folders.
    pub fn file_name(&self) -> String {
        let given = self.header("content-disposition").and_then(|value| {
            let mut parts = value.split(';').skip(1).filter_map(|part| part.split_once('='));
            let (_, name) = parts.find(|(key, _)| key.trim().eq_ignore_ascii_case("filename"))?;
            name.trim().trim_matches('"').rsplit('/').next().map(str::to_owned)
        });
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        let of_address = || {
            path.splitn(4, '/')
                .nth(3)?
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .map(credentials::percent_decoded)
        };
        let usual = |name: &String| !matches!(name.as_str(), "" | "." | "..") && !name.contains('/');
        given.filter(usual).or_else(|| of_address().filter(usual)).unwrap_or_else(|| "index.html".into())
    }
}

/// An address without the login in it, to be shown.
pub fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (server, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match server.rsplit_once('@') {
        Some((login, server)) => {
            let hidden = if login.contains(':') { "****:****" } else { "****" };
            format!("{scheme}://{hidden}@{server}{path}")
        }
        None => url.to_owned(),
    }
}

/// The header that asks for what is newer than a file.
pub fn unless_newer(file: &Path) -> Option<(String, String)> {
    let time = bakery_host::fs::metadata(file).ok()?.modified().ok()?;
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(("If-Modified-Since".into(), time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()))
}

/// An address that is relative to another one, whole.
pub fn joined(base: &str, relative: &str) -> String {
    let whole = Url::parse(base).and_then(|base| {
        // `https:path` and `https:///path` are paths of the same server, as Python's `urljoin` reads them.
        let rest = relative.strip_prefix(&format!("{}:", base.scheme())).unwrap_or(relative);
        match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') => base.join(path),
            Some(_) => base.join(relative),
            None => base.join(rest),
        }
    });
    whole.map_or_else(|_| relative.to_owned(), |whole| whole.to_string())
}

/// How many redirections are followed.
const REDIRECTIONS: usize = 10;

/// Sends a request.
///
/// # Errors
/// What the network says; an answer of any status is none.
pub fn send(request: &Request) -> Result<Answer, String> {
    send_with(request, None)
}

/// Sends a request; what is answered with success goes into a file, which may be of any size, and not into the answer.
///
/// # Errors
/// As for [`send`], and what the file system says.
pub fn send_into(request: &Request, file: &mut std::fs::File) -> Result<Answer, String> {
    let emptied = file.set_len(0).and_then(|()| file.rewind());
    emptied.map_err(|e| e.to_string())?;
    send_with(request, Some(file))
}

fn send_with(request: &Request, mut into: Option<&mut std::fs::File>) -> Result<Answer, String> {
    if request.use_gssapi {
        return Err("use_gssapi: Kerberos is not spoken here; `command: curl --negotiate -u : …` does".into());
    }
    if let Some(path) = request.url.strip_prefix("file://") {
        let mut file = bakery_host::fs::open(path).map_err(|e| e.to_string())?;
        let mut body = Vec::new();
        let out: &mut dyn Write = match into {
            Some(into) => into,
            None => &mut body,
        };
        std::io::copy(&mut file, out).map_err(|e| format!("{path}: {e}"))?;
        return Ok(Answer { status: 200, headers: vec![], body, url: request.url.clone() });
    }
    let mut url = Url::parse(&request.url).map_err(|e| format!("{e}: {}", masked(&request.url)))?;
    let login = Login::of(request, &mut url);
    let home = url.origin();
    let mut method = request.method.clone();
    let mut body = request.body.as_deref();
    let mut left = REDIRECTIONS;
    loop {
        let (redirected, at_home) = (left < REDIRECTIONS, url.origin() == home);
        let sent = Sent { method: &method, url: &url, body, redirected, at_home };
        let login = login.as_ref().filter(|_| sent.takes(request, "authorization"));
        let agent = agent(request, &url)?;
        let ask = |authorization: Option<String>| ask(&agent, request, &sent, authorization);
        let mut response = ask(login.and_then(Login::unasked))?;
        if let Some(login) = login.filter(|login| response.status() == 401 && !login.always) {
            let asked = response.headers().get_all("www-authenticate").into_iter();
            let asked: Vec<String> = asked.filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
            response = ask(login.answer(&asked, &method, &url, body.unwrap_or_default()))?;
        }
        let status = response.status().as_u16();
        let location = response.headers().get("location").and_then(|v| v.to_str().ok());
        let follows = match (request.redirects, status) {
            (Redirects::None, _) => false,
            (Redirects::Urllib, 307 | 308) => matches!(method.as_str(), "GET" | "HEAD"),
            (_, status) => matches!(status, 301 | 302 | 303 | 307 | 308),
        };
        let next = location
            .filter(|_| follows && left > 0)
            .and_then(|location| Url::parse(&joined(url.as_str(), location)).ok());
        let Some(next) = next else {
            return received(request, response, &method, url.as_str(), into.as_deref_mut());
        };
        url = next;
        left -= 1;
        // What is asked for by another method is fetched where it lies; 307 and 308 ask the same again.
        if matches!(status, 302 | 303) && method != "HEAD" || status == 301 && method == "POST" {
            method = "GET".into();
            body = None;
        }
    }
}

fn agent(request: &Request, url: &Url) -> Result<ureq::Agent, String> {
    let is_direct = !request.use_proxy || request.unix_socket.is_some();
    let proxy = if is_direct { None } else { proxy::of(url, &|name| request.variable(name))? };
    let is_sealed_proxy = proxy.as_ref().is_some_and(|proxy| proxy.uri().scheme_str() == Some("https"));
    let wait = Duration::from_secs(request.timeout.max(1));
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(wait))
        .timeout_recv_response(Some(wait))
        .timeout_global(request.timeout_whole.map(Duration::from_secs))
        // A long answer may take its time, a server that falls silent in the middle may not.
        .timeout_per_read(Some(wait))
        .timeout_per_write(Some(wait))
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(&request.agent)
        .proxy(proxy);
    let config = config.build();
    use ureq::unversioned::resolver::DefaultResolver;
    use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
    let is_sealed = url.scheme() == "https" || is_sealed_proxy;
    let seal = tls::Seal(is_sealed.then(|| tls::config(request)).transpose()?.map(Arc::new));
    Ok(match &request.unix_socket {
        None => {
            let connector =
                ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(seal);
            ureq::Agent::with_parts(config, connector, DefaultResolver::default())
        }
        Some(path) => {
            let socket = <unix::Socket as Connector<()>>::chain(unix::Socket(path.clone()), seal);
            ureq::Agent::with_parts(config, socket, unix::Anywhere)
        }
    })
}

/// What is asked for, after redirections.
struct Sent<'a> {
    method: &'a str,
    url: &'a Url,
    body: Option<&'a [u8]>,
    redirected: bool,
    /// Whether it is still the server that was asked first.
    at_home: bool,
}

impl Sent<'_> {
    /// Whether a header, its name in lower case, is sent along. A login is for the server that it was given for, not for where
    /// that one redirects to; ansible-core sends such headers on.
    fn takes(&self, request: &Request, name: &str) -> bool {
        let stays = self.redirected && request.unredirected.iter().any(|other| other == name);
        let is_login = matches!(name, "authorization" | "cookie" | "proxy-authorization");
        // What was redirected to a page has no body to describe.
        let of_no_body = self.body.is_none() && request.body.is_some() && name.starts_with("content-");
        !stays && !of_no_body && (self.at_home || !is_login)
    }
}

fn ask(
    agent: &ureq::Agent,
    request: &Request,
    sent: &Sent<'_>,
    authorization: Option<String>,
) -> Result<ureq::http::Response<ureq::Body>, String> {
    let mut built = ureq::http::Request::builder().method(sent.method).uri(sent.url.as_str());
    for (name, value) in &request.headers {
        let low = name.to_lowercase();
        // A login that is known is the one that counts.
        let is_over = authorization.is_some() && low == "authorization";
        if !is_over && sent.takes(request, &low) {
            built = built.header(name, value);
        }
    }
    if let Some(authorization) = authorization {
        built = built.header("Authorization", authorization);
    }
    // What is sent to be kept has a length, be it none.
    let body = sent.body.or_else(|| matches!(sent.method, "POST" | "PUT" | "PATCH").then_some(&[][..]));
    let done = match body {
        Some(body) => agent.run(built.body(body).map_err(|e| e.to_string())?),
        None => agent.run(built.body(()).map_err(|e| e.to_string())?),
    };
    done.map_err(|error| explained(&error.to_string(), sent.url))
}

/// What the TLS library says of a certificate, in the words that people search for.
fn explained(said: &str, url: &Url) -> String {
    let Some((_, why)) = said.split_once("invalid peer certificate: ") else { return said.to_owned() };
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
    let why = if why.starts_with("certificate not valid for name") {
        format!("Hostname mismatch, certificate is not valid for '{host}'")
    } else if why == "UnknownIssuer" {
        "unable to get local issuer certificate; the authority that signed it is not among those that this machine trusts".into()
    } else {
        why.to_owned()
    };
    format!("Failed to validate the SSL certificate for {host}:{port}: certificate verify failed: {why}")
}

/// Reads an answer whole.
fn received(
    request: &Request,
    mut response: ureq::http::Response<ureq::Body>,
    method: &str,
    url: &str,
    into: Option<&mut std::fs::File>,
) -> Result<Answer, String> {
    let headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_lowercase(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let encoding =
        headers.iter().find(|(name, _)| name == "content-encoding").map(|(_, value)| value.to_lowercase());
    let length: Option<u64> =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, v)| v.parse().ok());
    let status = response.status().as_u16();
    let bodiless = method == "HEAD" || matches!(status, 204 | 304);
    let mut body = Vec::new();
    let out: &mut dyn Write = match into.filter(|_| (200..300).contains(&status)) {
        Some(file) => file,
        None => &mut body,
    };
    let mut packed =
        Counted { inner: response.body_mut().with_config().limit(request.most).reader(), count: 0 };
    let is_packed = request.decompress && !bodiless && encoding.as_deref() == Some("gzip");
    let copied = if is_packed {
        // A stream may be of several parts, one after the other.
        let mut plain = flate2::read::MultiGzDecoder::new(&mut packed).take(request.most);
        std::io::copy(&mut plain, out)
    } else {
        std::io::copy(&mut packed, out)
    };
    copied.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput if is_packed => format!("the answer of {url} is no gzip: {error}"),
        std::io::ErrorKind::StorageFull => format!("there is no room for the answer of {url}: {error}"),
        _ => match ureq::Error::from(error) {
            ureq::Error::Timeout(ureq::Timeout::PerRead) => {
                format!(
                    "{url} sent nothing for {} seconds in the middle of its answer",
                    request.timeout.max(1)
                )
            }
            error => format!("Incomplete read: the answer of {url} was cut off: {error}"),
        },
    })?;
    if let Some(length) = length.filter(|length| !bodiless && packed.count < *length) {
        return Err(format!(
            "Incomplete read: the answer of {url} was cut off after {} of {length} bytes",
            packed.count
        ));
    }
    Ok(Answer { status, headers, body, url: url.to_owned() })
}

/// A reader that knows how much it gave.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// The body of a successful answer, of 64 MiB at most and within 30 seconds.
///
/// # Errors
/// What the server or the network says.
pub fn get(host: &Host, url: &str, headers: &[(String, String)]) -> Result<Vec<u8>, String> {
    let request = Request {
        headers: headers.to_vec(),
        timeout_whole: Some(30),
        most: LARGEST_TEXT,
        ..Request::by(host, url)
    };
    let answer = send(&request)?;
    if answer.status >= 400 {
        return Err(format!("http status: {}", answer.status));
    }
    Ok(answer.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_join_as_in_python() {
        for relative in ["status", "./status", "/status", "//host/status", "https:status", "https:///status"]
        {
            assert_eq!(joined("https://host/x", relative), "https://host/status", "{relative}");
        }
        assert_eq!(joined("https://host/x", "http://other/y?z"), "http://other/y?z");
    }

    #[test]
    fn logins_are_masked() {
        assert_eq!(masked("https://me:secret@host/x@y"), "https://****:****@host/x@y");
        assert_eq!(masked("https://me@host"), "https://****@host");
        assert_eq!(masked("https://host/a@b"), "https://host/a@b");
    }
}
