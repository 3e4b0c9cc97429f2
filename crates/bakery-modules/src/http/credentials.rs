//! Who asks: logins in addresses, `.netrc`, and what a server wants of them (`Request.open` in
//! `ansible/module_utils/urls.py`).

use url::Url;

use super::Request;

/// A user and a password.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Login {
    user: String,
    password: String,
    /// Whether it is sent without being asked for.
    pub(super) always: bool,
}

impl Login {
    /// What a request is made as: what it says itself, what its address says, or what `.netrc` says of the host. The address
    /// loses what it says.
    pub(super) fn of(request: &Request, url: &mut Url) -> Option<Self> {
        let decoded = |text: &str| percent_decoded(text);
        let written = (!url.username().is_empty()).then(|| Self {
            user: decoded(url.username()),
            password: decoded(url.password().unwrap_or_default()),
            always: false,
        });
        // They stay in no address: redirections and messages would show them.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        let given = request.login.clone();
        given
            .map(|(user, password, always)| Self { user, password, always })
            .or(written)
            .or_else(|| request.use_netrc.then(|| from_file(request, url.host_str()?)).flatten())
    }

    fn basic(&self) -> String {
        use base64::Engine as _;
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    /// The header `Authorization` without a question.
    pub(super) fn unasked(&self) -> Option<String> {
        self.always.then(|| self.basic())
    }

    /// The header `Authorization` for a server that asked, by its headers `WWW-Authenticate`.
    pub(super) fn answer(&self, asked: &[String], method: &str, url: &Url, body: &[u8]) -> Option<String> {
        let digest = asked.iter().find(|way| way.to_lowercase().starts_with("digest"));
        let Some(mut prompt) = digest.and_then(|way| digest_auth::parse(way).ok()) else {
            return Some(self.basic());
        };
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let method = digest_auth::HttpMethod::from(method);
        let context = digest_auth::AuthContext::new_with_method(
            self.user.as_str(),
            self.password.as_str(),
            path,
            Some(body),
            method,
        );
        prompt.respond(&context).ok().map(|answer| answer.to_header_string())
    }
}

pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the file that `NETRC` names, or `.netrc` in the home folder, says of a host.
fn from_file(request: &Request, host: &str) -> Option<Login> {
    let file = match request.variable("NETRC") {
        Some(file) => file.into(),
        None => std::path::PathBuf::from(request.variable("HOME")?).join(".netrc"),
    };
    of_host(&bakery_host::fs::read_to_string(file).ok()?, host)
}

/// The entry of a `.netrc` for a host, or its `default`.
fn of_host(text: &str, host: &str) -> Option<Login> {
    let words: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches('"'))
        .collect();
    let mut at = 0;
    let mut found: Option<Login> = None;
    let mut is_it = false;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1).copied().unwrap_or_default();
        at += if *word == "default" { 1 } else { 2 };
        let login = match *word {
            "machine" | "default" => {
                if is_it && found.is_some() {
                    break;
                }
                is_it = *word == "default" || next == host;
                continue;
            }
            "login" | "password" if is_it => found.get_or_insert_with(|| Login {
                user: String::new(),
                password: String::new(),
                always: true,
            }),
            _ => continue,
        };
        let part = if *word == "login" { &mut login.user } else { &mut login.password };
        next.clone_into(part);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_host() {
        let text = "# kept\nmachine a.example login me password \"s3\"\nmachine b\n  login you\n  password pw\ndefault login x password y\n";
        let login = |host: &str| of_host(text, host).map(|login| (login.user, login.password));
        assert_eq!(login("a.example"), Some(("me".into(), "s3".into())));
        assert_eq!(login("b"), Some(("you".into(), "pw".into())));
        assert_eq!(login("c"), Some(("x".into(), "y".into())));
        assert_eq!(of_host("machine a login b", "c"), None);
    }

    #[test]
    fn logins_of_addresses_are_decoded_and_taken_out() {
        let mut url = Url::parse("https://foo%40example.com:test%40@host/x").expect("an address");
        let login = Login::of(&Request { use_netrc: false, ..Request::get("") }, &mut url).expect("a login");
        assert_eq!((login.user.as_str(), login.password.as_str()), ("foo@example.com", "test@"));
        assert_eq!(url.as_str(), "https://host/x");
    }
}
