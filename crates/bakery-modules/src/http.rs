//! The http client of modules and lookups.

use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;

/// The largest file, in bytes.
const LARGEST_FILE: u64 = 8 << 30;
/// The largest answer that is held for a moment, in bytes.
const LARGEST_TEXT: u64 = 64 << 20;

/// A request; the defaults are those of `ansible.module_utils.urls`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The address.
    pub url: String,
    /// Headers to send.
    pub headers: Vec<(String, String)>,
    /// What to send.
    pub body: Option<Vec<u8>>,
    /// Seconds to wait for a connection and for an answer.
    pub timeout: u64,
    /// Seconds for all of it; without it, a large file may take long.
    pub timeout_whole: Option<u64>,
    /// The most that is read, in bytes.
    pub most: u64,
    /// Whether redirections are followed.
    pub redirects: bool,
    /// Whether certificates are checked.
    pub validate_certs: bool,
    /// Whether proxies of the environment are used.
    pub use_proxy: bool,
    /// What to call ourselves.
    pub agent: String,
    /// User and password, and whether they are sent without being asked.
    pub login: Option<(String, String, bool)>,
    /// PEM of certificates that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// PEM of the client's certificate and of its key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Request {
    /// A GET.
    pub fn get(url: &str) -> Self {
        Self {
            method: "GET".into(),
            url: url.into(),
            headers: vec![],
            body: None,
            timeout: 30,
            timeout_whole: None,
            most: LARGEST_FILE,
            redirects: true,
            validate_certs: true,
            use_proxy: true,
            agent: "ansible-httpget".into(),
            login: None,
            ca: None,
            client: None,
        }
    }
}

/// What a server said, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status, such as 404.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, unpacked.
    pub body: Vec<u8>,
    /// The address that answered, after redirections.
    pub url: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

fn tls(request: &Request) -> Result<ureq::tls::TlsConfig, String> {
    use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
    let certificates = |pem: &[u8]| -> Result<Vec<Certificate<'static>>, String> {
        let mut found = Vec::new();
        for item in parse_pem(pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|e| e.to_string())? {
                found.push(certificate);
            }
        }
        Ok(found)
    };
    let mut config = TlsConfig::builder().disable_verification(!request.validate_certs);
    if let Some(ca) = &request.ca {
        config = config.root_certs(RootCerts::new_with_certs(&certificates(ca)?));
    }
    if let Some((certificate, key)) = &request.client {
        let key = PrivateKey::from_pem(key).map_err(|e| e.to_string())?;
        config = config.client_cert(Some(ClientCert::new_with_certs(&certificates(certificate)?, key)));
    }
    Ok(config.build())
}

/// Sends a request.
///
/// # Errors
/// What the network says; an answer of any status is none.
pub fn send(request: &Request) -> Result<Answer, String> {
    if let Some(path) = request.url.strip_prefix("file://") {
        let body = bakery_host::fs::read(path).map_err(|e| e.to_string())?;
        return Ok(Answer { status: 200, headers: vec![], body, url: request.url.clone() });
    }
    let wait = Duration::from_secs(request.timeout.max(1));
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(wait))
        .timeout_recv_response(Some(wait))
        .timeout_global(request.timeout_whole.map(Duration::from_secs))
        // A long answer may take its time, a server that falls silent in the middle may not.
        .timeout_per_read(Some(wait))
        .timeout_per_write(Some(wait))
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(if request.redirects { 10 } else { 0 })
        .max_redirects_will_error(false)
        .user_agent(&request.agent)
        .tls_config(tls(request)?);
    if !request.use_proxy {
        config = config.proxy(None);
    }
    let agent: ureq::Agent = config.build().into();
    let call = |authorized: bool| -> Result<_, String> {
        let mut built = ureq::http::Request::builder().method(request.method.as_str()).uri(&request.url);
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        if let (Some((user, password, _)), true) = (&request.login, authorized) {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            built = built.header("Authorization", format!("Basic {pair}"));
        }
        let said = |e: &dyn std::fmt::Display| e.to_string();
        match &request.body {
            Some(body) => agent.run(built.body(body.as_slice()).map_err(|e| said(&e))?).map_err(|e| said(&e)),
            None => agent.run(built.body(()).map_err(|e| said(&e))?).map_err(|e| said(&e)),
        }
    };
    let mut response = call(request.login.as_ref().is_some_and(|(_, _, always)| *always))?;
    if response.status().as_u16() == 401 && request.login.as_ref().is_some_and(|(_, _, always)| !*always) {
        response = call(true)?;
    }
    let headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_lowercase(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let packed = headers.iter().any(|(name, _)| name == "content-encoding");
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, v)| v.parse().ok());
    let status = response.status().as_u16();
    let url = ureq::ResponseExt::get_uri(&response).to_string();
    let mut body = Vec::new();
    let read = response.body_mut().with_config().limit(request.most).reader().read_to_end(&mut body);
    read.map_err(|error| match ureq::Error::from(error) {
        ureq::Error::Timeout(ureq::Timeout::PerRead) => {
            format!("{url} sent nothing for {} seconds in the middle of its answer", wait.as_secs())
        }
        error => format!("the answer of {url} was cut off: {error}"),
    })?;
    let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
    if let Some(length) = length.filter(|length| !packed && !bodiless && body.len() < *length) {
        return Err(format!("the answer of {url} was cut off after {} of {length} bytes", body.len()));
    }
    Ok(Answer { status, headers, body, url })
}

/// The body of a successful answer, of 64 MiB at most and within 30 seconds.
///
/// # Errors
/// What the server or the network says.
pub fn get(url: &str, headers: &[(String, String)]) -> Result<Vec<u8>, String> {
    let request = Request {
        headers: headers.to_vec(),
        timeout_whole: Some(30),
        most: LARGEST_TEXT,
        ..Request::get(url)
    };
    let answer = send(&request)?;
    if answer.status >= 400 {
        return Err(format!("http status: {}", answer.status));
    }
    Ok(answer.body)
}
