//! What a machine that installs itself fetches: files of a folder, or texts, by HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bakery_host::fs;
use bakery_packer::Component;
use tiny_http::{Method, Response, Server};

use super::options::{Options, entries};
use crate::{Error, Result};

/// What is served.
#[derive(Debug, Clone, Default)]
struct Content {
    folder: Option<PathBuf>,
    texts: Vec<(String, String)>,
}

/// A server; it ends when this is dropped.
pub(super) struct Served {
    /// Its port; none if there is nothing to serve.
    pub(super) port: Option<u16>,
    ended: Arc<AtomicBool>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Served {
    /// Serves what a builder's `http_directory` or `http_content` name.
    pub(super) fn start(builder: &Component, options: &Options, folder: &Path) -> Result<Self> {
        let content = Content {
            folder: builder.text("http_directory").map(|name| folder.join(name)),
            texts: entries(builder.config.get("http_content")),
        };
        let ended = Arc::new(AtomicBool::new(false));
        if content.folder.is_none() && content.texts.is_empty() {
            return Ok(Self { port: None, ended });
        }
        if let Some(folder) = content.folder.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(Error::new(format!("`http_directory`: there is no folder {}", folder.display())));
        }
        let (least, most) = options.http_ports;
        let started = (least..=most)
            .find_map(|port| Server::http((options.http_address.as_str(), port)).ok().map(|s| (port, s)));
        let (port, server) = started.ok_or_else(|| {
            Error::new(format!("no port from {least} to {most} is free at {}", options.http_address))
                .hint("`http_port_min` and `http_port_max` choose others")
        })?;
        let server = Arc::new(server);
        // One machine asks, but it may ask for several files at once.
        for _ in 0..4 {
            let (server, content, ended) = (Arc::clone(&server), content.clone(), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    if let Ok(Some(request)) = server.recv_timeout(Duration::from_millis(200)) {
                        // Who has hung up does not want it any more.
                        let _ = answer(request, &content);
                    }
                }
            });
        }
        Ok(Self { port: Some(port), ended })
    }
}

fn answer(request: tiny_http::Request, content: &Content) -> std::io::Result<()> {
    let refuse = |request: tiny_http::Request, status: u16| request.respond(Response::empty(status));
    if !matches!(request.method(), Method::Get | Method::Head) {
        return refuse(request, 405);
    }
    let Some(path) = plain(request.url()) else { return refuse(request, 400) };
    if let Some((_, text)) = content.texts.iter().find(|(name, _)| name.trim_start_matches('/') == path) {
        return request.respond(Response::from_string(text.clone()));
    }
    let Some(folder) = &content.folder else { return refuse(request, 404) };
    let found = fs::canonicalize(folder.join(&path)).ok();
    let root = fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
    // A link may lead out of the folder; the machine may not.
    let Some(found) = found.filter(|found| found.starts_with(&root)) else { return refuse(request, 404) };
    if found.is_dir() {
        let names = fs::read_dir(&found).unwrap_or_default();
        let names = names.iter().filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some(if path.is_dir() { format!("{name}/\n") } else { format!("{name}\n") })
        });
        return request.respond(Response::from_string(names.collect::<String>()));
    }
    match fs::open(&found) {
        Ok(file) => request.respond(Response::from_file(file)),
        Err(_) => refuse(request, 404),
    }
}

/// The path of a request without what follows it, decoded; nothing if it would lead elsewhere.
fn plain(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    let path = String::from_utf8(bytes).ok()?;
    let leads_out = path.split('/').any(|part| part == "..") || path.contains('\0');
    (!leads_out).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn requests_stay_in_their_folder() {
        assert_eq!(plain("/a%20b/c?x=1").as_deref(), Some("a b/c"));
        assert_eq!(plain("/").as_deref(), Some(""));
        for bad in ["/../etc/passwd", "/a/%2e%2e/b", "/a%0", "/%ff"] {
            assert_eq!(plain(bad), None, "{bad}");
        }
    }
}
