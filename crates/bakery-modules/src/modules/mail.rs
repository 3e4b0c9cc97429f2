//! `mail`: a message by SMTP (`community.general`, `plugins/modules/mail.py`).

use std::error::Error as _;
use std::time::Duration;

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use base64::Engine as _;
use jiff::Zoned;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, Headers};
use lettre::message::{Attachment, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{SmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sends a message by a mail server.
#[derive(ModuleArgs)]
#[args(together = "password,username")]
struct Args {
    /// What it is about.
    #[arg(required, alias = "msg")]
    subject: String,
    /// Its text; the subject if there is none.
    body: Option<String>,
    /// Who sends it: an address, with a name before it if need be.
    #[arg(default = "root", alias = "from")]
    sender: String,
    /// Who receives it.
    #[arg(default = "root", alias = "recipients")]
    to: Vec<String>,
    /// Who receives a copy.
    cc: Vec<String>,
    /// Who receives a copy that the others do not know of.
    bcc: Vec<String>,
    /// Files that come with it.
    attach: Vec<String>,
    /// Images that the text shows by the address `cid:NAME`: `path`, `cid`, and `mime_type` unless the file's name tells it.
    inline: Vec<Map>,
    /// Further headers, as `Name=value`.
    headers: Vec<String>,
    /// Accepted; a text is sent as UTF-8, which every reader understands.
    #[arg(default = "utf-8")]
    charset: String,
    /// What the text is.
    #[arg(default = "plain", choices = "html,plain")]
    subtype: String,
    /// The mail server.
    #[arg(default = "localhost")]
    host: String,
    /// Its port.
    #[arg(default = "25")]
    port: i64,
    /// How this machine calls itself to the server; its host name if not given.
    ehlohost: Option<String>,
    /// Who logs in to the server.
    username: Option<String>,
    /// The password.
    #[arg(secret)]
    password: Option<String>,
    /// Whether the connection is encrypted: from its beginning (`always`), after it was asked for (`starttls`), not at all, or
    /// where it can be (`try`). What is asked for is safe: the server's certificate is verified, unless it is only tried.
    #[arg(default = "try", choices = "always,never,starttls,try")]
    secure: String,
    /// Seconds to wait for the server.
    #[arg(default = "20")]
    timeout: i64,
    /// The domain in the message's identity.
    #[arg(default = "ansible")]
    message_id_domain: String,
}

/// An address and the name that stands with it.
struct Party {
    name: String,
    address: String,
}

impl Party {
    /// Reads `name <address>`, `address (name)` or an address alone (Python's `email.utils.parseaddr`).
    fn read(text: &str) -> Self {
        let text = text.trim();
        let (name, address) = if let Some((name, rest)) = text.rsplit_once('<') {
            (name, rest.trim_end().trim_end_matches('>'))
        } else if let Some((address, rest)) = text.split_once('(') {
            (rest.trim_end().trim_end_matches(')'), address)
        } else {
            ("", text)
        };
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        Self { name: name.replace("\\\"", "\""), address: address.trim().to_owned() }
    }

    /// As it stands in a header.
    fn shown(&self) -> String {
        let Self { name, address } = self;
        if name.is_empty() {
            return address.clone();
        }
        if !name.is_ascii() {
            return format!("{} <{address}>", encoded(name));
        }
        if name.contains(|c| "()<>@,:;\".[]\\".contains(c)) {
            return format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""));
        }
        format!("{name} <{address}>")
    }
}

/// Words with other letters than ASCII's, as headers have them (RFC 2047).
fn encoded(text: &str) -> String {
    let mut words = vec![String::new()];
    for letter in text.chars() {
        // A word has 75 letters at most, four for every three bytes.
        if words.last().is_some_and(|word| word.len() + letter.len_utf8() > 45) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let engine = base64::engine::general_purpose::STANDARD;
    let word = |word: &String| format!("=?utf-8?b?{}?=", engine.encode(word));
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("community.general.mail"));
    }
    let sender = Party::read(&args.sender);
    let read = |list: &[String]| list.iter().map(|text| Party::read(text)).collect::<Vec<_>>();
    let (to, copies, blind) = (read(&args.to), read(&args.cc), read(&args.bcc));
    let message = compose(&args, host, &sender, &to, &copies)?;
    let mut addresses: Vec<&str> = Vec::new();
    for party in blind.iter().chain(&to).chain(&copies) {
        if !addresses.contains(&party.address.as_str()) {
            addresses.push(&party.address);
        }
    }
    let no_line = |address: &&str| address.contains(['\r', '\n', '<', '>']);
    if let Some(bad) = addresses.iter().copied().chain([sender.address.as_str()]).find(no_line) {
        return Err(Failure::new(format!("'{bad}' is no address")).with("rc", 1));
    }
    let mut connection = connect(&args)?;
    log_in(&args, &mut connection, host)?;
    let all = addresses.join(", ");
    let refused = |why: &lettre::transport::smtp::Error| {
        failure(format!("Failed to send mail to '{all}': {}", said(why)))
    };
    connection.command(format!("MAIL FROM:<{}>\r\n", sender.address)).map_err(|e| refused(&e))?;
    let result = Map::new();
    for address in &addresses {
        if let Err(error) = connection.command(format!("RCPT TO:<{address}>\r\n")) {
            let Some(code) = error.status() else { return Err(refused(&error)) };
            let code: i64 = code.to_string().parse().unwrap_or(0);
            let why = said(&error);
            if result.len() + 1 == addresses.len() {
                connection.abort();
                return Err(failure(format!("Failed to send mail to '{all}': ({code}, '{why}')")));
            }
            host.warn(format!("Failed to send mail to '{address}': {code} {why}"));
            result.set(address, vec![Value::from(code), why.into()]);
        }
    }
    connection.command("DATA\r\n").map_err(|e| refused(&e))?;
    connection.message(&message).map_err(|e| refused(&e))?;
    // It is sent, however the server says good-bye.
    let _ = connection.quit();
    let msg = match result.len() {
        0 => "Mail sent successfully",
        _ => "Failed to send mail to at least one recipient",
    };
    Ok(Outcome::unchanged().msg(msg).with("result", result))
}

fn failure(msg: String) -> Failure {
    Failure::new(msg).with("rc", 1)
}

/// What the server, or what keeps from reaching it, says.
fn said(error: &lettre::transport::smtp::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Opens the connection as `secure` says.
fn connect(args: &Args) -> Result<SmtpConnection, Failure> {
    let place = format!("{}:{}", args.host, args.port);
    let name = args
        .ehlohost
        .clone()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let name = ClientId::Domain(name);
    let port = u16::try_from(args.port).map_err(|_| failure(format!("{} is no port", args.port)))?;
    let tls = TlsParameters::builder(args.host.clone())
        .dangerous_accept_invalid_certs(args.secure == "try")
        .build_rustls()
        .map_err(|e| failure(e.to_string()))?;
    let open = |tls: Option<&TlsParameters>| {
        let timeout = Some(Duration::from_secs(args.timeout.max(1).unsigned_abs()));
        SmtpConnection::connect((args.host.as_str(), port), timeout, &name, tls, None)
    };
    let no_session = |why: &lettre::transport::smtp::Error| {
        failure(format!("Unable to start an encrypted session to {place}: {}", said(why)))
    };
    if matches!(args.secure.as_str(), "always" | "try") {
        match open(Some(&tls)) {
            Ok(connection) => return Ok(connection),
            Err(error) if args.secure == "always" => return Err(no_session(&error)),
            // A server that speaks no TLS before it is asked to.
            Err(_) => {}
        }
    }
    let mut connection =
        open(None).map_err(|error| Failure::new(format!("Unable to Connect {place}: {}", said(&error))))?;
    if matches!(args.secure.as_str(), "starttls" | "try") {
        if connection.can_starttls() {
            connection.starttls(&tls, &name).map_err(|error| no_session(&error))?;
        } else if args.secure == "starttls" {
            return Err(failure(format!("StartTLS is not offered on server {place}")));
        }
    }
    Ok(connection)
}

fn log_in(args: &Args, connection: &mut SmtpConnection, host: &mut Host) -> Result<(), Failure> {
    let (Some(username), Some(password)) = (&args.username, &args.password) else { return Ok(()) };
    let place = format!("{}:{}", args.host, args.port);
    let ways = [Mechanism::Plain, Mechanism::Login];
    if !ways.iter().any(|way| connection.server_info().supports_auth_mechanism(*way)) {
        return Err(failure(format!("No Suitable authentication method was found on {place}")));
    }
    let login = Credentials::new(username.clone(), password.clone());
    connection.auth(&ways, &login).map_err(|_| {
        failure(format!("Authentication to {place} failed, please check your username and/or password"))
    })?;
    if !connection.is_encrypted() {
        host.warn("Username and Password was sent without encryption");
    }
    Ok(())
}

/// The type of an image, by its name's ending.
fn image_type(path: &std::path::Path) -> Option<&'static str> {
    Some(match path.extension()?.to_ascii_lowercase().to_str()? {
        "png" => "image/png",
        "jpg" | "jpeg" | "jpe" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        "ico" => "image/vnd.microsoft.icon",
        "tif" | "tiff" => "image/tiff",
        _ => return None,
    })
}

/// The message as it is sent.
fn compose(
    args: &Args,
    host: &mut Host,
    sender: &Party,
    to: &[Party],
    copies: &[Party],
) -> Result<Vec<u8>, Failure> {
    let mut headers = Headers::new();
    let mut set = |name: &str, value: &str| -> Result<(), Failure> {
        let name = HeaderName::new_from_ascii(name.to_owned())
            .map_err(|_| failure(format!("'{name}' is no name of a header")))?;
        headers.insert_raw(HeaderValue::new(name, value.replace(['\r', '\n'], " ")));
        Ok(())
    };
    let list = |parties: &[Party]| parties.iter().map(Party::shown).collect::<Vec<_>>().join(", ");
    set("From", &sender.shown())?;
    set("Date", &Zoned::now().strftime("%a, %d %b %Y %H:%M:%S %z").to_string())?;
    set("Subject", &args.subject)?;
    set("Message-ID", &format!("<{}@{}>", uuid::Uuid::new_v4().simple(), args.message_id_domain))?;
    set("X-Mailer", "Ansible mail module")?;
    // Several stand in one text with `|` between them, in old playbooks.
    for header in args.headers.iter().flat_map(|header| header.split('|')).map(str::trim) {
        let is_set = header.split_once('=').is_some_and(|(name, value)| set(name, value).is_ok());
        if !is_set {
            host.warn(format!("Skipping header '{header}', unable to parse"));
        }
    }
    set("To", &list(to))?;
    if !copies.is_empty() {
        set("Cc", &list(copies))?;
    }
    set("MIME-Version", "1.0")?;
    let kind = |text: &str| ContentType::parse(text).map_err(|e| failure(e.to_string()));
    let body = args.body.as_deref().filter(|body| !body.is_empty()).unwrap_or(&args.subject);
    let text = SinglePart::builder()
        .header(kind(&format!("text/{}; charset=utf-8", args.subtype))?)
        .body(format!("{body}\n\n"));
    let mut parts = MultiPart::mixed().singlepart(text);
    for file in &args.attach {
        let path = host.path(file);
        let content = fs::read(&path).map_err(|error| {
            failure(format!("Failed to send community.general.mail: can't attach file {file}: {error}"))
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        parts = parts.singlepart(Attachment::new(name).body(content, kind("application/octet-stream")?));
    }
    for image in &args.inline {
        let text =
            |name: &str| image.get(name).filter(|value| !value.is_none()).map(|value| value.to_string());
        let wanted = |name: &str| {
            text(name).ok_or_else(|| failure(format!("missing required arguments: {name} found in inline")))
        };
        let (file, cid) = (wanted("path")?, wanted("cid")?);
        let path = host.path(&file);
        let mime = text("mime_type").or_else(|| image_type(&path).map(str::to_owned)).ok_or_else(|| {
            failure(format!(
                "Could not determine the MIME type of '{file}'; please set the mime_type suboption."
            ))
        })?;
        let content =
            fs::read(&path).map_err(|error| failure(format!("Error while embedding '{file}': {error}")))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        parts = parts.singlepart(Attachment::new_inline_with_name(cid, name).body(content, kind(&mime)?));
    }
    let mut message = headers.to_string().into_bytes();
    message.extend(parts.formatted());
    Ok(message)
}

module!("mail", "community.general", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_with_their_names() {
        // As Python's `formataddr(parseaddr(…))` says.
        for (text, shown) in [
            ("root", "root"),
            ("Charlie Root <root@localhost>", "Charlie Root <root@localhost>"),
            ("jane@example.net (Jane Jolie)", "Jane Jolie <jane@example.net>"),
            ("\"Root, Charlie\" <root@localhost>", "\"Root, Charlie\" <root@localhost>"),
            ("<root@localhost>", "root@localhost"),
            ("Jörg <j@example.org>", "=?utf-8?b?SsO2cmc=?= <j@example.org>"),
        ] {
            assert_eq!(Party::read(text).shown(), shown);
        }
    }
}
