//! HTTP as a build needs it: time limits, retries that wait longer each time, downloads that go on where they were cut
//! off, the system's certificates and proxies.

use std::io::Read as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bakery_host::signal;
use base64::Engine as _;

use crate::tree::MOST_BYTES;
use crate::{Error, Result};

/// How often a request is tried that fails for a reason that passes.
const ATTEMPTS: u32 = 5;
/// How often an answer may lead elsewhere.
const REDIRECTS: u32 = 10;

/// A client.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    /// The same, but it tells where it is redirected to instead of going there.
    careful: ureq::Agent,
    /// How long nothing may come.
    patience: Duration,
}

/// An answer that is no success.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The status, or 0 when there was no answer.
    pub status: u16,
    /// In words.
    pub message: String,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::new(refused.message)
    }
}

/// Where a body is put, piece by piece.
pub trait Sink {
    /// How many bytes are there.
    fn length(&self) -> u64;

    /// Forgets what is there.
    ///
    /// # Errors
    /// When that cannot be done.
    fn restart(&mut self) -> std::io::Result<()>;

    /// Takes a piece; `whole` is how many bytes there will be, if that was said.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn add(&mut self, piece: &[u8], whole: Option<u64>) -> std::io::Result<()>;
}

/// In memory, of which it must not take too much.
impl Sink for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.clear();
        Ok(())
    }

    fn add(&mut self, piece: &[u8], _: Option<u64>) -> std::io::Result<()> {
        if (self.len() + piece.len()) as u64 > MOST_BYTES {
            return Err(std::io::Error::other(format!("it is bigger than {} MiB", MOST_BYTES >> 20)));
        }
        self.extend_from_slice(piece);
        Ok(())
    }
}

/// Whether another try may help (`RETRY_HTTP_ERROR_CODES` in `galaxy/api.py`, and failures of servers).
fn passes(status: u16) -> bool {
    matches!(status, 0 | 408 | 429 | 500 | 502 | 503 | 504 | 520)
}

impl Client {
    /// A client that waits `timeout` for an answer and for each part of it, and checks certificates or not.
    pub fn new(timeout: Duration, check_certificates: bool) -> Self {
        let make = |redirects: u32| -> ureq::Agent {
            let tls = ureq::tls::TlsConfig::builder()
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .disable_verification(!check_certificates)
                .build();
            ureq::Agent::config_builder()
                .tls_config(tls)
                .timeout_connect(Some(Duration::from_secs(30).min(timeout)))
                .timeout_recv_response(Some(timeout))
                .timeout_recv_body(Some(Duration::from_hours(2)))
                .max_redirects(redirects)
                .http_status_as_error(false)
                .user_agent(concat!("bakery/", env!("CARGO_PKG_VERSION")))
                .build()
                .into()
        };
        Self { agent: make(REDIRECTS), careful: make(0), patience: timeout }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// The last answer, or what the network says.
    pub fn get(&self, url: &str, headers: &[(String, String)]) -> std::result::Result<Vec<u8>, Refused> {
        let mut body = Vec::new();
        self.download(url, headers, &mut body)?;
        Ok(body)
    }

    /// Puts the body of a successful answer somewhere.
    ///
    /// # Errors
    /// The last answer, what the network says, or why it cannot be put there.
    pub fn download(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: &mut dyn Sink,
    ) -> std::result::Result<(), Refused> {
        let mut tag: Option<String> = None;
        let mut last = Refused { status: 0, message: String::new() };
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(200 << attempt));
            }
            match self.once(url, headers, body, &mut tag, REDIRECTS) {
                Ok(()) => return Ok(()),
                Err(refused) if passes(refused.status) => last = refused,
                Err(refused) => return Err(refused),
            }
        }
        last.message = format!("{} ({ATTEMPTS} times)", last.message);
        Err(last)
    }

    /// One request; what was read before a failure stays in the body, and the next one asks for the rest of it.
    fn once(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: &mut dyn Sink,
        tag: &mut Option<String>,
        redirects: u32,
    ) -> std::result::Result<(), Refused> {
        let unreachable =
            |e: ureq::Error| Refused { status: 0, message: format!("{} cannot be reached: {e}", shown(url)) };
        let unwritable = |e: std::io::Error| Refused {
            status: 507,
            message: format!("what {} sent cannot be kept: {e}", shown(url)),
        };
        // Tokens are for the server that they were given for, not for where it redirects to.
        let agent = if headers.is_empty() { &self.agent } else { &self.careful };
        let mut request = agent.get(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(credentials) = credentials(url) {
            request = request.header("Authorization", credentials);
        }
        // Without a strong tag of what was begun, it may have changed meanwhile.
        let resumes = body.length() > 0 && tag.is_some();
        if let Some(tag) = tag.as_deref().filter(|_| resumes) {
            request = request.header("Range", format!("bytes={}-", body.length())).header("If-Range", tag);
        }
        let mut response = request.call().map_err(unreachable)?;
        let status = response.status().as_u16();
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        if let Some(location) = header("location").filter(|_| (300..400).contains(&status)) {
            let Some(redirects) = redirects.checked_sub(1) else {
                return Err(Refused {
                    status,
                    message: format!("{} leads elsewhere without an end", shown(url)),
                });
            };
            let next = joined(url, &location);
            let same = origin(&next) == origin(url);
            return self.once(&next, if same { headers } else { &[] }, body, tag, redirects);
        }
        if !(200..300).contains(&status) {
            let text = response.body_mut().with_config().limit(64 << 10).read_to_string().unwrap_or_default();
            return Err(Refused {
                status,
                message: format!("{} answered {status}{}", shown(url), detail(&text)),
            });
        }
        if !(resumes && status == 206) {
            body.restart().map_err(unwritable)?;
        }
        *tag = header("etag").filter(|t| !t.starts_with("W/"));
        let whole = header("content-length").and_then(|l| l.parse::<u64>().ok()).map(|l| l + body.length());
        let encoded = header("content-encoding").is_some();
        let chunks = chunks_of(response.into_body());
        let mut last = Instant::now();
        loop {
            match chunks.recv_timeout(Duration::from_millis(200)) {
                Ok(Ok(chunk)) => {
                    body.add(&chunk, whole).map_err(unwritable)?;
                    last = Instant::now();
                }
                Ok(Err(error)) => {
                    let message = format!("the download of {} was cut off: {error}", shown(url));
                    return Err(Refused { status: 0, message });
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if signal::caught().is_some() => {
                    return Err(Refused { status: 499, message: "interrupted".into() });
                }
                Err(RecvTimeoutError::Timeout) if last.elapsed() < self.patience => {}
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = self.patience.as_secs();
                    let message = format!("the download of {} stalled for {seconds} s", shown(url));
                    return Err(Refused { status: 0, message });
                }
            }
        }
        if !encoded && whole.is_some_and(|whole| whole != body.length()) {
            let message = format!("the download of {} ended early, at byte {}", shown(url), body.length());
            return Err(Refused { status: 0, message });
        }
        Ok(())
    }

    /// Makes a request once; the headers of the answer and its text.
    ///
    /// # Errors
    /// No success, or what the network says.
    pub fn ask(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> Result<(Vec<(String, String)>, String)> {
        let failed = |e: ureq::Error| Error::new(format!("{} cannot be reached: {e}", shown(url)));
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body.to_owned());
        let request = request.map_err(|e| Error::new(format!("{} cannot be asked: {e}", shown(url))))?;
        let mut response = self.agent.run(request).map_err(failed)?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_string().map_err(failed)?;
        if !(200..300).contains(&status) {
            return Err(Error::new(format!("{} answered {status}{}", shown(url), detail(&text))));
        }
        let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Ok((response.headers().iter().map(header).collect(), text))
    }

    /// Posts a form and gives the answer's JSON.
    ///
    /// # Errors
    /// No success, or no JSON.
    pub fn post_form(&self, url: &str, fields: &[(&str, &str)]) -> Result<serde_json::Value> {
        let failed = |e: ureq::Error| Error::new(format!("{} cannot be reached: {e}", shown(url)));
        let mut response = self.agent.post(url).send_form(fields.iter().copied()).map_err(failed)?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(failed)?;
        if !(200..300).contains(&status) {
            return Err(Error::new(format!("{} answered {status}{}", shown(url), detail(&text))));
        }
        serde_json::from_str(&text)
            .map_err(|e| Error::new(format!("{} did not answer with JSON: {e}", shown(url))))
    }
}

/// What comes, as it comes. A thread reads it, for nobody else can say that nothing has come for a while; it ends with
/// the body, or when nobody listens any more.
fn chunks_of(body: ureq::Body) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(16);
    std::thread::spawn(move || {
        let mut reader = body.into_reader();
        loop {
            let mut buffer = vec![0; 64 << 10];
            let read = reader.read(&mut buffer).map(|read| {
                buffer.truncate(read);
                buffer
            });
            let (ended, failed) = (read.as_ref().is_ok_and(Vec::is_empty), read.is_err());
            if ended || sender.send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// What a server says of a refusal, if it says it as Galaxy's do (`GalaxyError` in `galaxy/api.py`).
fn detail(text: &str) -> String {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return String::new() };
    let errors = value.get("errors").and_then(|e| e.as_array()).cloned().unwrap_or_default();
    let one = |error: &serde_json::Value| {
        let text = ["detail", "title", "message", "default"].iter().find_map(|k| error.get(k)?.as_str());
        text.map(str::to_owned)
    };
    let said: Vec<String> = errors.iter().chain([&value]).filter_map(one).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) }
}

/// A URL without its password.
pub fn shown(url: &str) -> String {
    match (url.split_once("://"), url) {
        (Some((scheme, rest)), _) => {
            let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            match host.rsplit_once('@') {
                Some((user, host)) if user.contains(':') => {
                    format!("{scheme}://{}:***@{host}{path}", user.split(':').next().unwrap_or_default())
                }
                _ => url.to_owned(),
            }
        }
        _ => url.to_owned(),
    }
}

/// `user:password@` of a URL as a header.
fn credentials(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let host = rest.split('/').next()?;
    let (user, _) = host.rsplit_once('@')?;
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user)))
}

/// A URL's scheme and host.
pub fn origin(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
}

/// A reference as seen from a URL.
pub fn joined(base: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return format!("{}://{rest}", base.split("://").next().unwrap_or("https"));
    }
    if reference.starts_with('/') {
        return format!("{}{reference}", origin(base));
    }
    let folder = base.rsplit_once('/').map_or(base, |(folder, _)| folder);
    format!("{folder}/{reference}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown_and_references_are_joined() {
        assert_eq!(shown("https://me:secret@h/x"), "https://me:***@h/x");
        assert_eq!(shown("ssh://git@h/x"), "ssh://git@h/x");
        assert_eq!(joined("http://h/api/v3/", "/a/b"), "http://h/a/b");
        assert_eq!(joined("http://h/api/v3", "c"), "http://h/api/c");
        assert_eq!(origin("http://h:1/x/y"), "http://h:1");
    }
}
