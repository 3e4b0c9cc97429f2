//! The API of RabbitMQ's management plugin.

use bakery_lang::{Value, json};
use bakery_macros::ModuleArgs;

use super::parsed;
use crate::http::{Answer, LARGEST_TEXT, Request, send};
use crate::{Failure, Host};

/// How the API is reached by modules that do without it, too.
#[derive(ModuleArgs)]
pub struct Login {
    /// The server of the management API, which is asked instead of `rabbitmqctl` if given.
    pub login_host: Option<String>,
    /// The API's port.
    #[arg(default = "15672")]
    pub login_port: String,
    /// The API's protocol.
    #[arg(default = "http", choices = "http,https")]
    pub login_protocol: String,
    /// The user to log in as.
    #[arg(secret)]
    pub login_user: Option<String>,
    /// The user's password.
    #[arg(secret)]
    pub login_password: Option<String>,
}

/// What is shown to a server of HTTPS.
#[derive(ModuleArgs)]
pub struct Certificates {
    /// The certificate that the server's is checked against.
    pub ca_cert: Option<String>,
    /// The client's certificate.
    pub client_cert: Option<String>,
    /// The client's key.
    pub client_key: Option<String>,
}

/// How the API is reached by modules that know nothing else.
#[derive(ModuleArgs)]
pub struct Server {
    /// The server of the management API.
    #[arg(default = "localhost")]
    pub login_host: String,
    /// The API's port.
    #[arg(default = "15672")]
    pub login_port: String,
    /// The API's protocol.
    #[arg(default = "http", choices = "http,https")]
    pub login_protocol: String,
    /// The user to log in as.
    #[arg(default = "guest")]
    pub login_user: String,
    /// The user's password.
    #[arg(default = "guest", secret)]
    pub login_password: String,
    /// The certificate that the server's is checked against.
    #[arg(alias = "cacert")]
    pub ca_cert: Option<String>,
    /// The client's certificate.
    #[arg(alias = "cert")]
    pub client_cert: Option<String>,
    /// The client's key.
    #[arg(alias = "key")]
    pub client_key: Option<String>,
    /// The virtual host.
    #[arg(default = "/")]
    pub vhost: String,
}

/// The API with a login.
pub struct Api<'a> {
    host: &'a Host,
    base: String,
    login: (String, String),
    ca: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Api<'a> {
    /// The API that options ask for, if they do.
    ///
    /// # Errors
    /// When a certificate cannot be read.
    pub fn asked(
        host: &'a Host,
        login: &Login,
        certificates: Option<&Certificates>,
    ) -> Result<Option<Self>, Failure> {
        let Some(server) = &login.login_host else { return Ok(None) };
        let base = format!("{}://{server}:{}/api", login.login_protocol, login.login_port);
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let api = Self {
            host,
            base,
            login: (word(&login.login_user), word(&login.login_password)),
            ca: None,
            client: None,
        };
        let Some(given) = certificates else { return Ok(Some(api)) };
        api.with_files([&given.ca_cert, &given.client_cert, &given.client_key]).map(Some)
    }

    /// The API of a server.
    ///
    /// # Errors
    /// When a certificate cannot be read.
    pub fn of(host: &'a Host, server: &Server) -> Result<Self, Failure> {
        let base = format!("{}://{}:{}/api", server.login_protocol, server.login_host, server.login_port);
        let login = (server.login_user.clone(), server.login_password.clone());
        let files = [&server.ca_cert, &server.client_cert, &server.client_key];
        Self { host, base, login, ca: None, client: None }.with_files(files)
    }

    fn with_files(self, [ca, cert, key]: [&Option<String>; 3]) -> Result<Self, Failure> {
        let read = |path: &Option<String>| {
            let path = path.as_ref().map(|path| self.host.path(path));
            path.map(|path| bakery_host::fs::read(&path).map_err(Failure::from)).transpose()
        };
        let (ca, cert, key) = (read(ca)?, read(cert)?, read(key)?);
        // A file may hold both.
        let client = cert.map(|cert| (cert.clone(), key.unwrap_or(cert)));
        Ok(Self { ca, client, ..self })
    }

    /// What the API says to a request for what is under these names.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn send(&self, method: &str, path: &[&str], body: Option<&Value>) -> Result<Answer, Failure> {
        self.send_as(&self.login, method, path, body)
    }

    /// Whether someone may log in, to the management or not at all.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn knows(&self, user: &str, password: &str) -> Result<bool, Failure> {
        let login = (user.to_owned(), password.to_owned());
        let answer = self.send_as(&login, "GET", &["whoami"], None)?;
        let is_no_manager = || {
            let reason = json_of(&answer).ok().and_then(|said| said.get("reason"));
            reason.is_some_and(|reason| reason.as_str() == Some("Not management user"))
        };
        Ok(answer.status < 400 || is_no_manager())
    }

    fn send_as(
        &self,
        (user, password): &(String, String),
        method: &str,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let path: Vec<String> = path.iter().map(|name| quoted(name)).collect();
        let request = Request {
            method: method.to_owned(),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: body.map(|body| json::dumps(body, 0, false).into_bytes()),
            login: Some((user.clone(), password.clone(), true)),
            use_netrc: false,
            most: LARGEST_TEXT,
            ca: self.ca.clone(),
            client: self.client.clone(),
            ..Request::by(self.host, &format!("{}/{}", self.base, path.join("/")))
        };
        send(&request).map_err(|error| {
            let user = &self.login.0;
            Failure::new(format!(
                "Error in HTTP request (method {method}) for user {user} in rabbitmq: {error}"
            ))
        })
    }

    /// As [`Self::send`], of an answer that says all is well; nothing in check mode.
    ///
    /// # Errors
    /// The status and what the server says, behind `what` was tried.
    pub fn tell(&self, method: &str, path: &[&str], body: Option<&Value>, what: &str) -> Result<(), Failure> {
        if self.host.check {
            return Ok(());
        }
        let answer = self.send(method, path, body)?;
        if answer.status >= 400 {
            return Err(refused(&answer, &format!("{what} in rabbitmq. Status code '{}'.", answer.status)));
        }
        Ok(())
    }

    /// What is under these names; nothing where the server knows none of it.
    ///
    /// # Errors
    /// The status and what the server says, behind `what` was tried.
    pub fn get(&self, path: &[&str], what: &str) -> Result<Option<Value>, Failure> {
        self.find(path, what).map(|(found, _)| found)
    }

    /// As [`Self::get`], with what the server says of it, as the results of check mode have it.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn find(&self, path: &[&str], what: &str) -> Result<(Option<Value>, Value), Failure> {
        let answer = self.send("GET", path, None)?;
        match answer.status {
            404 => Ok((None, text_of(&answer).into())),
            status if status < 300 => json_of(&answer).map(|found| (Some(found.clone()), found)),
            _ => Err(refused(&answer, what)),
        }
    }

    /// Makes what is under these names, of a body, or removes it without one.
    ///
    /// # Errors
    /// The answer, behind what `told` makes of it.
    pub fn keep(
        &self,
        path: &[&str],
        body: Option<&Value>,
        told: impl FnOnce(&Answer) -> String,
    ) -> Result<(), Failure> {
        let answer = self.send(if body.is_some() { "PUT" } else { "DELETE" }, path, body)?;
        // It was 204 alone before RabbitMQ 3.6.7.
        if matches!(answer.status, 201 | 204) { Ok(()) } else { Err(refused(&answer, &told(&answer))) }
    }
}

/// A name in an address, slashes and all.
fn quoted(name: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(letter).collect()
}

/// What a server said.
pub fn text_of(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// What a server said in JSON.
///
/// # Errors
/// When it is none.
pub fn json_of(answer: &Answer) -> Result<Value, Failure> {
    parsed(&text_of(answer))
}

/// A failure for an answer that is none, with its status and text.
pub fn refused(answer: &Answer, what: &str) -> Failure {
    Failure::new(what).with("status", i64::from(answer.status)).with("details", text_of(answer))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_quoted_whole() {
        assert_eq!(super::quoted("/a b%é"), "%2Fa%20b%25%C3%A9");
    }
}
