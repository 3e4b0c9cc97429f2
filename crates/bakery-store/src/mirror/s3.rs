//! A bucket of S3, or of what speaks its language: requests signed by `rusty-s3`, with the variables and the file of
//! credentials that Amazon's own programs read.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::{Error, Result, fs};
use bakery_lang::ini;
use rusty_s3::actions::{ListObjectsV2, S3Action as _};
use rusty_s3::{Bucket, Credentials, UrlStyle};

use super::Mirror;

/// How long a signed request is good for.
const SIGNED: Duration = Duration::from_hours(1);
/// How often a request is tried that fails for a reason that passes.
const ATTEMPTS: u32 = 5;

/// A bucket, and the start of the names in it.
#[derive(Debug)]
pub struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    agent: ureq::Agent,
}

fn refused(what: &str, why: impl Into<String>) -> Error {
    Error::new("reach the bucket", what, std::io::Error::other(why.into()))
}

fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

/// A setting of a profile, from the files that `aws configure` writes.
fn of_profile(file: &str, variable_of_file: &str, key: &str) -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let path = variable(&[variable_of_file])
        .map_or_else(|| PathBuf::from(home).join(".aws").join(file), PathBuf::from);
    let profile = variable(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]).unwrap_or_else(|| "default".into());
    let text = fs::read_to_string(path).ok()?;
    let parsed = ini::parse(&text, ini::Rules::default()).ok()?;
    [profile.clone(), format!("profile {profile}")].iter().find_map(|section| {
        let options = parsed.options(section);
        options.into_iter().find(|(name, _)| *name == key).and_then(|(_, value)| value.map(str::to_owned))
    })
}

impl S3 {
    /// The bucket and prefix of `BUCKET/PREFIX`.
    ///
    /// # Errors
    /// Credentials that are missing; an endpoint that is no URL.
    pub fn new(address: &str) -> Result<Self> {
        let (name, prefix) = address.split_once('/').unwrap_or((address, ""));
        let secret = |names: &[&str], key: &str| {
            variable(names)
                .or_else(|| of_profile("credentials", "AWS_SHARED_CREDENTIALS_FILE", key))
                .ok_or_else(|| {
                    refused(
                        name,
                        format!(
                            "there are no credentials: {} is not set, and no profile has {key}",
                            names[0]
                        ),
                    )
                })
        };
        let key = secret(&["AWS_ACCESS_KEY_ID"], "aws_access_key_id")?;
        let hidden = secret(&["AWS_SECRET_ACCESS_KEY"], "aws_secret_access_key")?;
        let token = variable(&["AWS_SESSION_TOKEN"])
            .or_else(|| of_profile("credentials", "AWS_SHARED_CREDENTIALS_FILE", "aws_session_token"));
        let region = variable(&["AWS_REGION", "AWS_DEFAULT_REGION"])
            .or_else(|| of_profile("config", "AWS_CONFIG_FILE", "region"))
            .unwrap_or_else(|| "us-east-1".into());
        let own = variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        // Who speaks S3's language elsewhere mostly has one name only.
        let style = if own.is_some() { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let endpoint = own.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let url = endpoint
            .parse::<url::Url>()
            .map_err(|e| refused(name, format!("`{endpoint}` is no URL: {e}")))?;
        let bucket =
            Bucket::new(url, style, name.to_owned(), region).map_err(|e| refused(name, e.to_string()))?;
        let credentials = match token {
            Some(token) => Credentials::new_with_token(key, hidden, token),
            None => Credentials::new(key, hidden),
        };
        let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_mins(2)))
            .timeout_per_read(Some(Duration::from_mins(2)))
            .timeout_per_write(Some(Duration::from_mins(2)))
            .http_status_as_error(false);
        let prefix = prefix.trim_matches('/').to_owned();
        Ok(Self { bucket, credentials, prefix, agent: config.build().into() })
    }

    fn key(&self, folder: &str, name: &str) -> String {
        [self.prefix.as_str(), folder, name]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Makes a request until it is answered with success; other answers are errors.
    fn ask<T>(&self, what: &str, act: &dyn Fn() -> std::result::Result<(u16, T), ureq::Error>) -> Result<T> {
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(200 << attempt));
            }
            match act() {
                Ok((200..=299, done)) => return Ok(done),
                Ok((status @ (429 | 500..=599), _)) => last = format!("{what}: the answer was {status}"),
                Ok((403, _)) => return Err(refused(self.bucket.name(), format!("{what}: access is denied"))),
                Ok((404, _)) => return Err(refused(self.bucket.name(), format!("{what}: it is not there"))),
                Ok((status, _)) => {
                    return Err(refused(self.bucket.name(), format!("{what}: the answer was {status}")));
                }
                Err(error) => last = format!("{what}: {error}"),
            }
        }
        Err(refused(self.bucket.name(), format!("{last} ({ATTEMPTS} times)")))
    }
}

impl Mirror for S3 {
    fn names(&self, folder: &str) -> Result<BTreeSet<String>> {
        let prefix = self.key(folder, "") + "/";
        let mut names = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let text = self.ask("list", &|| {
                let mut action = ListObjectsV2::new(&self.bucket, Some(&self.credentials));
                action.with_prefix(prefix.as_str());
                if let Some(token) = &after {
                    action.with_continuation_token(token.as_str());
                }
                let mut response = self.agent.get(action.sign(SIGNED).as_str()).call()?;
                let text = response.body_mut().read_to_string()?;
                Ok((response.status().as_u16(), text))
            })?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|e| refused(self.bucket.name(), format!("its list cannot be read: {e}")))?;
            let keys = page.contents.iter().filter_map(|object| object.key.strip_prefix(prefix.as_str()));
            names.extend(keys.filter(|name| !name.contains('/')).map(str::to_owned));
            after = page.next_continuation_token;
            if after.is_none() {
                return Ok(names);
            }
        }
    }

    fn put(&self, folder: &str, name: &str, file: &Path) -> Result<()> {
        let key = self.key(folder, name);
        self.ask(&key, &|| {
            let url = self.bucket.put_object(Some(&self.credentials), &key).sign(SIGNED);
            let open = fs::open(file).map_err(|e| ureq::Error::Io(std::io::Error::other(e.to_string())))?;
            let length = open.metadata()?.len();
            let request = self.agent.put(url.as_str()).header("Content-Length", length.to_string());
            let response = request.send(ureq::SendBody::from_owned_reader(open))?;
            Ok((response.status().as_u16(), ()))
        })
    }

    fn get(&self, folder: &str, name: &str, to: &Path) -> Result<()> {
        let key = self.key(folder, name);
        self.ask(&key, &|| {
            let url = self.bucket.get_object(Some(&self.credentials), &key).sign(SIGNED);
            let mut response = self.agent.get(url.as_str()).call()?;
            let status = response.status().as_u16();
            if status == 200 {
                let mut file =
                    fs::create(to).map_err(|e| ureq::Error::Io(std::io::Error::other(e.to_string())))?;
                std::io::copy(&mut response.body_mut().as_reader(), &mut file)?;
                file.flush()?;
            }
            Ok((status, ()))
        })
    }
}
