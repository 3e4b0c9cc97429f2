//! `get_url`: a file from an address, checked and whole.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

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
    /// Permissions and ownership.
    #[arg(flatten)]
    attributes: FileAttributes,
}

/// The largest answer, in bytes.
const MOST: u64 = 8 * 1024 * 1024 * 1024;

fn fetch(url: &str, args: Option<&Args>) -> Result<(Vec<u8>, u16), Failure> {
    if let Some(path) = url.strip_prefix("file://") {
        return Ok((fs::read(path)?, 200));
    }
    let timeout = args.map_or(30, |a| a.timeout.max(1) as u64);
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(timeout)))
        .timeout_recv_response(Some(Duration::from_secs(timeout)))
        .timeout_recv_body(Some(Duration::from_secs(timeout.max(60) * 20)))
        .http_status_as_error(false)
        .user_agent(args.map_or("ansible-httpget", |a| a.http_agent.as_str()));
    if args.is_some_and(|a| !a.validate_certs) {
        config = config.tls_config(ureq::tls::TlsConfig::builder().disable_verification(true).build());
    }
    let agent: ureq::Agent = config.build().into();
    let mut last = Failure::new("no attempt was made");
    for attempt in 0..3u64 {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(500 << attempt));
        }
        let mut request = agent.get(url);
        for (name, value) in args.and_then(|a| a.headers.as_ref()).map(Map::pairs).unwrap_or_default() {
            request = request.header(name.to_string(), value.to_string());
        }
        if let Some(Args { url_username: Some(user), url_password, .. }) = args {
            use base64::Engine as _;
            let pair = format!("{user}:{}", url_password.as_deref().unwrap_or_default());
            request = request.header(
                "Authorization",
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)),
            );
        }
        match request.call() {
            Ok(mut response) => {
                let status = response.status().as_u16();
                if status >= 500 {
                    last = Failure::new(format!("Request failed: HTTP Error {status}"))
                        .with("status_code", i64::from(status));
                    continue;
                }
                if status >= 400 {
                    return Err(Failure::new("Request failed")
                        .with("status_code", i64::from(status))
                        .with("url", url)
                        .with("response", format!("HTTP Error {status}")));
                }
                let length = response
                    .headers()
                    .get("content-length")
                    .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
                let mut bytes = Vec::new();
                let read = response.body_mut().with_config().limit(MOST).reader().read_to_end(&mut bytes);
                match (read, length) {
                    (Ok(_), Some(length)) if bytes.len() < length => {
                        last = Failure::new(format!(
                            "the download was cut off after {} of {length} bytes",
                            bytes.len()
                        ));
                    }
                    (Ok(_), _) => return Ok((bytes, status)),
                    (Err(error), _) => {
                        last = Failure::new(format!("the download of {url} was cut off: {error}"));
                    }
                }
            }
            Err(error) => last = Failure::new(format!("Request failed: {error}")).with("url", url),
        }
    }
    Err(last)
}

/// Fetches an address into a temporary file that stays until the process ends.
pub(super) fn to_temporary(_: &Host, url: &str) -> Result<PathBuf, Failure> {
    let (bytes, _) = fetch(url, None)?;
    let name = url.rsplit('/').next().unwrap_or("download");
    let folder = ::tempfile::tempdir().map_err(|e| Failure::new(e.to_string()))?.keep();
    let path = folder.join(name);
    fs::write_atomic(&path, bytes)?;
    Ok(path)
}

/// The algorithm and the sum that `checksum` asks for.
fn wanted_sum(args: &Args) -> Result<Option<(String, String)>, Failure> {
    if args.checksum.is_empty() {
        return Ok(None);
    }
    let (algorithm, sum) = args
        .checksum
        .split_once(':')
        .ok_or("The checksum parameter has to be in format <algorithm>:<checksum>")?;
    if !sum.contains("://") {
        return Ok(Some((algorithm.to_owned(), sum.trim().to_lowercase())));
    }
    let (list, _) = fetch(sum, Some(args))?;
    let name = args.url.split('?').next().unwrap_or(&args.url).rsplit('/').next().unwrap_or_default();
    let list = String::from_utf8_lossy(&list).into_owned();
    let single = list.lines().count() == 1 && list.split_whitespace().count() == 1;
    let found = list.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (sum, file) = (words.next()?, words.next().unwrap_or_default());
        (single || file.trim_start_matches(['*', '.', '/']).rsplit('/').next() == Some(name))
            .then(|| sum.to_lowercase())
    });
    found
        .map(|sum| Some((algorithm.to_owned(), sum)))
        .ok_or_else(|| Failure::new(format!("Unable to find a checksum for file '{name}' in '{sum}'")))
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut dest = host.path(&args.dest);
    if dest.is_dir() || args.dest.ends_with('/') {
        let name =
            args.url.split(['?', '#']).next().unwrap_or(&args.url).rsplit('/').next().unwrap_or("index.html");
        dest = dest.join(if name.is_empty() { "index.html" } else { name });
    }
    let into_folder = args.dest.ends_with('/') || host.path(&args.dest).is_dir();
    let sum = wanted_sum(&args)?;
    let base =
        |outcome: Outcome| outcome.with("url", args.url.as_str()).with("dest", dest.display().to_string());
    if let (Some((algorithm, sum)), Ok(Some(now))) = (&sum, host.read_optional(&dest))
        && super::stat::digest(algorithm, &now) == *sum
    {
        let changed = host.attributes(&dest, &args.attributes)?;
        return Ok(base(Outcome::changed(changed)).msg("file already exists"));
    }
    if dest.exists() && sum.is_none() && !args.force && !into_folder {
        let changed = host.attributes(&dest, &args.attributes)?;
        return Ok(base(Outcome::changed(changed)).msg("file already exists"));
    }
    if host.check {
        return Ok(base(Outcome::changed(true)));
    }
    if !dest.parent().is_some_and(std::path::Path::is_dir) {
        return Err(Failure::new(format!(
            "Destination {} does not exist",
            dest.parent().unwrap_or(&dest).display()
        )));
    }
    let (bytes, status) = fetch(&args.url, Some(&args))?;
    if let Some((algorithm, sum)) = &sum {
        let got = super::stat::digest(algorithm, &bytes);
        if got != *sum {
            return Err(Failure::new(format!(
                "The checksum for {} did not match {sum}; it was {got}.",
                args.url
            )));
        }
    }
    let (mut changed, backup) = host.replace(
        &dest,
        &bytes,
        &Replace { backup: args.backup, instead_of_link: true, ..Replace::default() },
    )?;
    changed |= host.attributes(&dest, &args.attributes)?;
    let mut outcome = base(Outcome::changed(changed))
        .with("checksum_dest", super::copy::sha1(&bytes))
        .with("checksum_src", super::copy::sha1(&bytes))
        .with("status_code", i64::from(status))
        .msg(format!("OK ({} bytes)", bytes.len()));
    if let Some(backup) = backup {
        outcome = outcome.with("backup_file", Value::from(backup.display().to_string()));
    }
    Ok(outcome)
}

module!("get_url", "ansible.builtin", Args, run);
