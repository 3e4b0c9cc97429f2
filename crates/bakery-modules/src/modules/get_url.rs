//! `get_url`: a file from an address, checked and whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::{fs, signal};
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::host::{Content, FileAttributes, Replace};
use crate::http::{Answer, Request, masked, send, send_into, unless_newer};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run, digests};

/// Fetches a file by http, https or `file:`.
#[derive(ModuleArgs)]
struct Args {
    /// The address.
    #[arg(required)]
    url: String,
    /// Where to put it; a folder takes the address's last part as name.
    #[arg(required)]
    dest: String,
    /// What it must be: `algorithm:hex`, or `algorithm:address` of a list of sums.
    #[arg(default = "")]
    checksum: String,
    /// Whether a file that is there is fetched anew.
    force: bool,
    /// Whether a dated copy of the old file is kept.
    backup: bool,
    /// Headers to send.
    headers: Option<Map>,
    /// Seconds before giving up.
    #[arg(default = "10")]
    timeout: i64,
    /// Whether certificates are checked.
    #[arg(default = "true")]
    validate_certs: bool,
    /// The user to log in as.
    #[arg(alias = "username")]
    url_username: Option<String>,
    /// The password.
    #[arg(alias = "password", secret)]
    url_password: Option<String>,
    /// Whether the password is sent without being asked.
    force_basic_auth: bool,
    /// Whether proxies of the environment are used.
    #[arg(default = "true")]
    use_proxy: bool,
    /// The folder for the file while it is fetched.
    tmp_dest: Option<String>,
    /// What to call ourselves.
    #[arg(default = "ansible-httpget")]
    http_agent: String,
    /// Whether compressed answers are asked for.
    #[arg(default = "true")]
    decompress: bool,
    /// The client's certificate, in PEM.
    client_cert: Option<String>,
    /// The client's key, in PEM; if not given, it is with the certificate.
    client_key: Option<String>,
    /// Ciphers that may be used, as OpenSSL's lists name them, of those that the TLS library has.
    ciphers: Option<Vec<String>>,
    /// Headers that are not sent to where the server redirects to.
    unredirected_headers: Option<Vec<String>>,
    /// Kerberos, which is refused.
    use_gssapi: bool,
    /// Whether `.netrc` says who to be where nothing else does.
    #[arg(default = "true")]
    use_netrc: bool,
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

fn request(host: &Host, url: &str, args: Option<&Args>) -> Request {
    let mut request = Request::by(host, url);
    if let Some(args) = args {
        request.timeout = args.timeout.max(1) as u64;
        request.agent.clone_from(&args.http_agent);
        request.decompress = args.decompress;
        request.validate_certs = args.validate_certs;
        request.use_proxy = args.use_proxy;
        request.use_netrc = args.use_netrc;
        request.ciphers = args.ciphers.as_ref().map(|ciphers| ciphers.join(":"));
        request.use_gssapi = args.use_gssapi;
        let unredirected = args.unredirected_headers.iter().flatten();
        request.unredirected = unredirected.map(|name| name.to_lowercase()).collect();
        let headers = args.headers.iter().flat_map(Map::pairs);
        request.headers = headers.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let login = args.url_username.clone();
        let file = |path: &Option<String>| path.as_ref().and_then(|path| bakery_host::fs::read(path).ok());
        let certificate = file(&args.client_cert);
        let key = file(&args.client_key).or_else(|| certificate.clone());
        request.client = certificate.zip(key);
        request.login =
            login.map(|user| (user, args.url_password.clone().unwrap_or_default(), args.force_basic_auth));
    }
    request
}

/// Fetches an address, with another try after what may pass: a broken connection, a server's trouble.
fn fetch(request: &Request) -> Result<Answer, Failure> {
    attempts(request, &mut || send(request))
}

fn attempts(request: &Request, send: &mut dyn FnMut() -> Result<Answer, String>) -> Result<Answer, Failure> {
    let url = masked(&request.url);
    let mut last = Failure::new("no attempt was made");
    for attempt in 0..3u64 {
        if attempt > 0 && !signal::sleep(Duration::from_millis(500 << attempt)) {
            break;
        }
        match send() {
            Ok(answer) if answer.status >= 500 => {
                last = Failure::new(format!("Request failed: HTTP Error {}", answer.status))
                    .with("status_code", i64::from(answer.status));
            }
            Ok(answer) if answer.status >= 400 => {
                return Err(Failure::new("Request failed")
                    .with("status_code", i64::from(answer.status))
                    .with("url", url.as_str())
                    .with("response", format!("HTTP Error {}", answer.status)));
            }
            Ok(answer) => return Ok(answer),
            Err(problem) => {
                last = Failure::new(format!("Request failed: {problem}")).with("url", url.as_str());
            }
        }
    }
    Err(last)
}

/// What a server would send: for check mode, in which nothing is fetched.
fn ask(host: &Host, args: &Args) -> Result<Answer, Failure> {
    let request = request(host, &args.url, Some(args));
    if args.url.starts_with("file://") {
        let path = args.url.trim_start_matches("file://");
        let length = fs::metadata(path).map_err(|e| Failure::new(format!("Request failed: {e}")))?.len();
        let headers = vec![("content-length".into(), length.to_string())];
        return Ok(Answer { status: 200, headers, body: vec![], url: args.url.clone() });
    }
    let url = masked(&args.url);
    let answer = send(&Request { method: "HEAD".into(), ..request })
        .map_err(|e| Failure::new(format!("Request failed: {e}")).with("url", url.as_str()))?;
    if answer.status >= 400 {
        return Err(Failure::new("Request failed").with("status_code", i64::from(answer.status)));
    }
    Ok(answer)
}

/// Fetches an address into a file that is there until the module ends.
pub(super) fn to_temporary(host: &Host, url: &str, validate_certs: bool) -> Result<PathBuf, Failure> {
    let request = Request { validate_certs, ..request(host, url, None) };
    let name = url.rsplit('/').next().unwrap_or("download");
    let path = host.scratch()?.join(name);
    let mut file = fs::create(&path)?;
    attempts(&request, &mut || send_into(&request, &mut file))?;
    Ok(path)
}

/// A sum without what comes along when sums are copied.
fn plain(sum: &str) -> String {
    sum.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

/// The sum and the file of a line as BSD's programs write it: `SHA256 (file) = sum`.
fn of_bsd(line: &str) -> Option<(&str, &str)> {
    let (file, sum) = line.split_once('(')?.1.rsplit_once(')')?;
    Some((sum.trim_start().strip_prefix('=')?.trim(), file))
}

/// The algorithm and the sum that `checksum` asks for.
fn wanted_sum(host: &Host, args: &Args) -> Result<Option<(String, String)>, Failure> {
    if args.checksum.is_empty() {
        return Ok(None);
    }
    let (algorithm, sum) = args
        .checksum
        .split_once(':')
        .ok_or("The checksum parameter has to be in format <algorithm>:<checksum>")?;
    if !digests::NAMES.contains(&algorithm) {
        return Err(Failure::new(format!(
            "Could not hash file '{}' with algorithm '{algorithm}'. Available algorithms: {}",
            args.dest,
            digests::NAMES.join(", ")
        )));
    }
    if !sum.contains("://") {
        return Ok(Some((algorithm.to_owned(), plain(sum))));
    }
    let list = fetch(&request(host, sum, Some(args)))?.body;
    let name = args.url.split('?').next().unwrap_or(&args.url).rsplit('/').next().unwrap_or_default();
    let list = String::from_utf8_lossy(&list).into_owned();
    let single = list.lines().count() == 1 && list.split_whitespace().count() == 1;
    let found = list.lines().find_map(|line| {
        let (sum, file) = of_bsd(line).unwrap_or_else(|| {
            let (sum, file) = line.trim().split_once(char::is_whitespace).unwrap_or((line, ""));
            (sum, file.trim_start().trim_start_matches(['*', '.', '/']))
        });
        (single || file.rsplit('/').next() == Some(name)).then(|| plain(sum))
    });
    found.map(|sum| Some((algorithm.to_owned(), sum))).ok_or_else(|| {
        Failure::new(format!("Unable to find a checksum for file '{name}' in '{}'", masked(sum)))
    })
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut dest = host.path(&args.dest);
    // In a folder the file has the name that the answer gives it.
    let into_folder = args.dest.ends_with('/') || dest.is_dir();
    let sum = wanted_sum(host, &args)?;
    let base = |outcome: Outcome, dest: &Path| {
        outcome.with("url", masked(&args.url)).with("dest", dest.display().to_string())
    };
    if let (false, Some((algorithm, sum)), true) = (into_folder, &sum, dest.is_file())
        && digests::of_file(&dest, [algorithm])?[0].as_ref() == Some(sum)
    {
        let changed = host.attributes(&dest, &args.attributes)?;
        return Ok(base(Outcome::changed(changed), &dest).msg("file already exists"));
    }
    let folder = if into_folder { Some(dest.as_path()) } else { dest.parent() };
    if !folder.is_some_and(Path::is_dir) {
        let folder = folder.unwrap_or(&dest).display();
        return Err(Failure::new(format!("Destination {folder} does not exist")));
    }
    if host.check {
        let answer = ask(host, &args)?;
        if into_folder {
            dest = dest.join(answer.file_name());
        }
        let length = answer.header("content-length").unwrap_or("unknown");
        return Ok(base(Outcome::changed(true), &dest).msg(format!("OK ({length} bytes)")));
    }
    let local = args.url.starts_with("file://");
    let mut request = request(host, &args.url, Some(&args));
    if !args.force && !into_folder && args.checksum.is_empty() {
        // What is there already is sent again only if the server has something newer.
        request.headers.extend(unless_newer(&dest));
    }
    // Beside its place, where it has room and can take that in a moment.
    let beside = folder.unwrap_or(&dest).to_path_buf();
    let mut staged = fs::stage(&beside).or_else(|_| fs::stage(std::env::temp_dir()))?;
    let answer = attempts(&request, &mut || send_into(&request, staged.as_file_mut()))?;
    if into_folder {
        dest = dest.join(answer.file_name());
    }
    let status = answer.status;
    if status == 304 {
        let changed = host.attributes(&dest, &args.attributes)?;
        return Ok(base(Outcome::changed(changed), &dest)
            .msg("HTTP Error 304: Not Modified")
            .with("status_code", 304));
    }
    let algorithm = sum.as_ref().map_or("", |(algorithm, _)| algorithm);
    let [sha1, md5, got] = digests::of_file(staged.path(), ["sha1", "md5", algorithm])?;
    let length = fs::metadata(staged.path())?.len();
    if let Some((_, sum)) = &sum {
        let got = got.unwrap_or_default();
        if got != *sum {
            let url = masked(&args.url);
            return Err(Failure::new(format!("The checksum for {url} did not match {sum}; it was {got}.")));
        }
    }
    let before = if dest.is_file() { digests::of_file(&dest, ["sha1"])? } else { [None] };
    let [before] = before;
    let how = Replace { backup: args.backup, instead_of_link: true, ..Replace::default() };
    let (mut changed, backup) = if staged.path().parent() == Some(&beside) {
        host.replace_by(&dest, Content::Staged(staged), &how)?
    } else {
        host.replace_by(&dest, Content::Of(staged.path()), &how)?
    };
    changed |= host.attributes(&dest, &args.attributes)?;
    let mut outcome = base(Outcome::changed(changed), &dest)
        .with("checksum_dest", before)
        .with("md5sum", md5)
        .with("checksum_src", sha1)
        .with("status_code", if local { Value::None } else { i64::from(status).into() })
        .msg(format!("OK ({length} bytes)"));
    if let Some(backup) = backup {
        outcome = outcome.with("backup_file", Value::from(backup.display().to_string()));
    }
    Ok(outcome)
}

module!("get_url", "ansible.builtin", Args, run);
