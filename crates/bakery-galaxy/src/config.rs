//! Servers, tokens and limits of `ansible.cfg` and of the environment (`run` of `ansible/cli/galaxy.py`,
//! `GALAXY_SERVER_DEF` of `ansible/config/manager.py`).

use std::path::PathBuf;
use std::time::Duration;

use bakery_host::fs;
use bakery_lang::yaml;

use crate::api::{Login, Server};
use crate::cache::Cache;
use crate::fetch::Fetcher;
use crate::http::Client;

/// Gives a setting by its environment variable, section and key.
pub type Lookup<'a> = &'a dyn Fn(&str, &str, &str) -> Option<String>;

/// What a command line says over the settings.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// A server's name or URL.
    pub server: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// Whether any certificate will do.
    pub ignore_certificates: bool,
    /// How long a server may take to answer, in seconds.
    pub timeout: Option<u64>,
}

fn truth(text: &str) -> bool {
    matches!(text.trim().to_lowercase().as_str(), "1" | "true" | "yes" | "on" | "y" | "t")
}

/// The token that ansible-galaxy keeps in the user's home.
fn kept_token(lookup: Lookup<'_>) -> Option<String> {
    let path = lookup("ANSIBLE_GALAXY_TOKEN_PATH", "galaxy", "token_path").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".ansible/galaxy_token"),
        PathBuf::from,
    );
    let value = yaml::parse_data("galaxy_token", &fs::read_to_string(path).ok()?).ok()?;
    value.get("token").filter(|t| !t.is_none()).map(|t| t.to_string())
}

/// A fetcher as the settings want it, with the cache in a folder.
pub fn fetcher(cache: PathBuf, lookup: Lookup<'_>, overrides: &Overrides) -> Fetcher {
    let flag = |variable: &str, key: &str| lookup(variable, "galaxy", key).is_some_and(|t| truth(&t));
    let ignore = overrides.ignore_certificates || flag("ANSIBLE_GALAXY_IGNORE", "ignore_certs");
    let seconds = overrides
        .timeout
        .or_else(|| lookup("ANSIBLE_GALAXY_SERVER_TIMEOUT", "galaxy", "server_timeout")?.trim().parse().ok())
        .unwrap_or(60);
    let client = |ignore: bool, seconds: u64| Client::new(Duration::from_secs(seconds.max(1)), !ignore);
    let list = lookup("ANSIBLE_GALAXY_SERVER_LIST", "galaxy", "server_list").unwrap_or_default();
    let mut servers = Vec::new();
    for name in list.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        let get = |key: &str| {
            let variable = format!("ANSIBLE_GALAXY_SERVER_{}_{}", name.to_uppercase(), key.to_uppercase());
            lookup(&variable, &format!("galaxy_server.{name}"), key).filter(|t| !t.is_empty())
        };
        let Some(url) = get("url") else { continue };
        let login = match (get("username"), get("auth_url"), get("token")) {
            (Some(user), _, _) => Login::Basic(user, get("password").unwrap_or_default()),
            (None, Some(url), token) => Login::Exchange {
                url,
                token: token.unwrap_or_default(),
                client: get("client_id").unwrap_or_else(|| "cloud-services".into()),
                secret: get("client_secret"),
            },
            (None, None, Some(token)) => Login::Token(token),
            (None, None, None) => Login::None,
        };
        let ignore = get("validate_certs").map_or(ignore, |t| !truth(&t));
        let seconds = get("timeout").and_then(|t| t.parse().ok()).unwrap_or(seconds);
        servers.push(Server::new(name, url, login, client(ignore, seconds)));
    }
    let own = || match overrides.token.clone().or_else(|| kept_token(lookup)) {
        Some(token) => Login::Token(token),
        None => Login::None,
    };
    if let Some(server) = &overrides.server {
        // A name of the list, or an address of its own.
        servers.retain(|s| s.name == *server);
        if servers.is_empty() {
            servers.push(Server::new("cmd_arg", server, own(), client(ignore, seconds)));
        }
    }
    if servers.is_empty() {
        let url = lookup("ANSIBLE_GALAXY_SERVER", "galaxy", "server");
        let url = url.unwrap_or_else(|| "https://galaxy.ansible.com".into());
        servers.push(Server::new("default", url, own(), client(ignore, seconds)));
    }
    let mut fetcher = Fetcher::new(Cache::at(cache), client(ignore, seconds), servers);
    fetcher.scm.ignore_certificates = ignore;
    fetcher
}
