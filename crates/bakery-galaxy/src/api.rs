//! Galaxy servers: their v1 interface for roles, v2 and v3 for collections (`ansible/galaxy/api.py`, `token.py`).

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value as Json;

use crate::http::{Client, Refused, joined, shown};
use crate::{Error, Result};

/// How many versions a page has.
const PAGE: usize = 100;
/// The most pages that are read of one answer.
const MOST_PAGES: usize = 500;

/// What a server is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Nothing.
    #[default]
    None,
    /// A token.
    Token(String),
    /// A user's name and password.
    Basic(String, String),
    /// A lasting token that another server exchanges for a short-lived one.
    Exchange {
        /// The other server.
        url: String,
        /// The lasting token.
        token: String,
        /// Who asks.
        client: String,
        /// The asker's own secret.
        secret: Option<String>,
    },
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// Its name in the configuration, or its URL.
    pub name: String,
    url: String,
    login: Login,
    client: Client,
    /// The interface's address and the paths of its versions, once it was asked.
    root: Mutex<Option<(String, BTreeMap<String, String>)>>,
    bearer: Mutex<Option<String>>,
}

/// A role as a server knows it.
#[derive(Debug, Clone)]
pub struct RoleAbout {
    /// Versions, and where each is downloaded.
    pub versions: Vec<(String, String)>,
    /// What is taken when there is no version, and where.
    pub default: (String, String),
}

/// A version of a collection as a server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionAbout {
    /// Where its archive is.
    pub download: String,
    /// The archive's SHA-256.
    pub sha256: String,
    /// What it needs.
    pub dependencies: BTreeMap<String, String>,
    /// Signatures of its manifest, and all that the server says of each.
    pub signatures: Vec<Json>,
    /// Its page.
    pub page: String,
}

/// Path parts with one slash between them and one at the end.
fn address(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().map(|p| p.trim_matches('/')).filter(|p| !p.is_empty()).collect();
    format!("{}/", parts.join("/"))
}

impl Server {
    /// A server by its address.
    pub fn new(name: impl Into<String>, url: impl Into<String>, login: Login, client: Client) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            login,
            client,
            root: Mutex::default(),
            bearer: Mutex::default(),
        }
    }

    /// Its address as it was configured.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn headers(&self) -> Result<Vec<(String, String)>> {
        let value = match &self.login {
            Login::None => return Ok(vec![]),
            Login::Token(token) => format!("Token {token}"),
            Login::Basic(user, password) => {
                use base64::Engine as _;
                let both = format!("{user}:{password}");
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
            }
            Login::Exchange { url, token, client, secret } => {
                let mut known = self.bearer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if known.is_none() {
                    let mut fields = vec![
                        ("grant_type", if secret.is_some() { "client_credentials" } else { "refresh_token" }),
                        ("client_id", client.as_str()),
                    ];
                    match secret {
                        Some(secret) => fields.push(("client_secret", secret)),
                        None => fields.push(("refresh_token", token)),
                    }
                    let answer = self.client.post_form(url, &fields)?;
                    let token = answer.get("access_token").and_then(Json::as_str);
                    let token =
                        token.ok_or_else(|| Error::new(format!("{} gave no access token", shown(url))))?;
                    *known = Some(token.to_owned());
                }
                format!("Bearer {}", known.as_deref().unwrap_or_default())
            }
        };
        Ok(vec![("Authorization".into(), value)])
    }

    fn call(&self, url: &str) -> Result<std::result::Result<Json, Refused>> {
        match self.client.get(url, &self.headers()?) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Ok(value)),
                Err(error) => Ok(Err(Refused {
                    status: 0,
                    message: format!("{} did not answer with JSON: {error}", shown(url)),
                })),
            },
            Err(mut refused) => {
                if matches!(refused.status, 401 | 403) {
                    refused.message =
                        format!("{} (is the token of the server {} right?)", refused.message, self.name);
                }
                Ok(Err(refused))
            }
        }
    }

    /// The address of the interface of one of several versions.
    fn interface(&self, wanted: &[&str]) -> Result<(String, String)> {
        let mut root = self.root.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if root.is_none() {
            let first = match self.url.trim_end_matches('/') {
                "https://galaxy.ansible.com" => "https://galaxy.ansible.com/api/".to_owned(),
                url => format!("{url}/"),
            };
            let has = |answer: &Json| answer.get("available_versions").is_some();
            let (url, answer) = match self.call(&first)? {
                Ok(answer) if has(&answer) => (first, answer),
                other => {
                    let second = format!("{first}api/");
                    match self.call(&second)? {
                        Ok(answer) if has(&answer) => (second, answer),
                        Ok(_) => return Err(Error::new(format!("{} is no Galaxy server", shown(&self.url)))),
                        Err(error) => return Err(other.err().unwrap_or(error).into()),
                    }
                }
            };
            let versions = answer.get("available_versions").and_then(Json::as_object);
            let versions = versions.into_iter().flatten();
            let mut versions: BTreeMap<String, String> =
                versions.filter_map(|(name, path)| Some((name.clone(), path.as_str()?.to_owned()))).collect();
            if versions.len() == 1 && versions.contains_key("v1") {
                versions.insert("v2".into(), "v2/".into());
            }
            *root = Some((url, versions));
        }
        let (url, versions) = root.as_ref().expect("it was just asked");
        for version in wanted {
            if let Some(path) = versions.get(*version) {
                return Ok(((*version).to_owned(), address(&[url, path])));
            }
        }
        Err(Error::new(format!(
            "{} does not speak {} of Galaxy's interface",
            shown(&self.url),
            wanted.join(" or ")
        )))
    }

    /// Whether it has roles.
    pub fn has_roles(&self) -> bool {
        self.interface(&["v1"]).is_ok()
    }

    /// A role by its `author.name`; `None` if there is none.
    ///
    /// # Errors
    /// What the server or the network says.
    pub fn role(&self, name: &str) -> Result<Option<RoleAbout>> {
        let (_, root) = self.interface(&["v1"])?;
        let (owner, role) = name.rsplit_once('.').unwrap_or(("", name));
        let answer =
            self.call(&format!("{root}roles/?owner__username={}&name={}", quoted(owner), quoted(role)))??;
        let found = answer.get("results").and_then(|r| r.get(0));
        let Some(found) = found else { return Ok(None) };
        let id = found.get("id").map(ToString::to_string).unwrap_or_default();
        let text = |key: &str| found.get(key).and_then(Json::as_str).map(str::to_owned);
        let (user, repository) =
            (text("github_user").unwrap_or_default(), text("github_repo").unwrap_or_default());
        let archive =
            |version: &str| format!("https://github.com/{user}/{repository}/archive/{version}.tar.gz");
        let mut versions = Vec::new();
        for entry in
            self.pages(&format!("{root}roles/{}/versions/?page_size=50", id.trim_matches('"')), "v1")?
        {
            let Some(name) = entry.get("name").and_then(Json::as_str) else { continue };
            let link = entry.get("download_url").or_else(|| entry.get("source")).and_then(Json::as_str);
            versions.push((name.to_owned(), link.map_or_else(|| archive(name), |l| joined(&root, l))));
        }
        let branch = text("github_branch").filter(|b| !b.is_empty()).unwrap_or_else(|| "master".into());
        Ok(Some(RoleAbout { versions, default: (branch.clone(), archive(&branch)) }))
    }

    /// All entries of an answer that comes in pages.
    fn pages(&self, first: &str, version: &str) -> Result<Vec<Json>> {
        let (mut url, mut all) = (first.to_owned(), Vec::new());
        for _ in 0..MOST_PAGES {
            let answer = match self.call(&url)? {
                Err(refused) if refused.status == 404 => return Ok(all),
                other => other?,
            };
            let entries = ["data", "results"].iter().find_map(|k| answer.get(k)?.as_array());
            all.extend(entries.into_iter().flatten().cloned());
            let next = match version {
                "v1" => answer.get("next_link").or_else(|| answer.get("next")),
                "v2" => answer.get("next"),
                _ => answer.pointer("/links/next"),
            };
            match next.and_then(Json::as_str) {
                Some(next) => url = joined(&url, next),
                None => return Ok(all),
            }
        }
        Err(Error::new(format!("{} has more than {MOST_PAGES} pages", shown(first))))
    }

    /// The versions of a collection; none if there is no such collection.
    ///
    /// # Errors
    /// What the server or the network says.
    pub fn collection_versions(&self, name: &str) -> Result<Vec<String>> {
        let (version, root) = self.interface(&["v3", "v2"])?;
        let (namespace, name) = name.split_once('.').unwrap_or((name, ""));
        let size = if version == "v3" { "limit" } else { "page_size" };
        let url = format!("{}?{size}={PAGE}", address(&[&root, "collections", namespace, name, "versions"]));
        let entries = self.pages(&url, &version)?;
        Ok(entries.iter().filter_map(|e| e.get("version")?.as_str().map(str::to_owned)).collect())
    }

    /// A version of a collection.
    ///
    /// # Errors
    /// What the server or the network says.
    pub fn collection(&self, name: &str, version: &str) -> Result<CollectionAbout> {
        let (_, root) = self.interface(&["v3", "v2"])?;
        let (namespace, name) = name.split_once('.').unwrap_or((name, ""));
        let url = address(&[&root, "collections", namespace, name, "versions", version]);
        let answer = self.call(&url)??;
        let text = |pointer: &str| {
            let text = answer.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
            text.ok_or_else(|| Error::new(format!("{} does not say {pointer}", shown(&url))))
        };
        let dependencies = answer.pointer("/metadata/dependencies").and_then(Json::as_object);
        Ok(CollectionAbout {
            download: joined(&root, &text("/download_url")?),
            sha256: text("/artifact/sha256")?,
            dependencies: dependencies
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.as_str().unwrap_or("*").to_owned()))
                .collect(),
            signatures: answer.get("signatures").and_then(Json::as_array).cloned().unwrap_or_default(),
            page: text("/href").unwrap_or_else(|_| url.clone()),
        })
    }

    /// An archive of this server. The login is shown only to the server itself.
    ///
    /// # Errors
    /// What the server or the network says.
    pub fn download(&self, url: &str) -> Result<Vec<u8>> {
        let own = crate::http::origin(url) == crate::http::origin(&self.url);
        let headers = if own { self.headers()? } else { vec![] };
        Ok(self.client.get(url, &headers)?)
    }
}

/// A word as part of a URL.
fn quoted(word: &str) -> String {
    word.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
