//! User-data: its formats, and the keys of cloud-config that bakery carries out.

use std::io::Read as _;

use bakery_lang::{Diagnostic, Source, Value, suggest, yaml};
use base64::Engine as _;

use crate::{Error, Result};

/// The top-level keys that are carried out.
pub(crate) const KEYS: &[&str] = &[
    "fqdn",
    "hostname",
    "manage_etc_hosts",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "runcmd",
    "ssh_authorized_keys",
    "write_files",
];

/// User-data by its kind.
#[derive(Debug, Clone)]
pub enum UserData {
    /// None was given.
    Empty,
    /// `#cloud-config`.
    CloudConfig(CloudConfig),
    /// A script with its interpreter in the first line.
    Script(String),
}

/// What a cloud-config asks for.
#[derive(Debug, Clone, Default)]
pub struct CloudConfig {
    /// The short name.
    pub hostname: Option<String>,
    /// The full name.
    pub fqdn: Option<String>,
    /// Whether /etc/hosts is written.
    pub manage_etc_hosts: bool,
    /// Whether the name is left alone.
    pub preserve_hostname: bool,
    /// Files to write.
    pub write_files: Vec<WriteFile>,
    /// Commands: words, or a line for the shell.
    pub runcmd: Vec<Command>,
    /// Keys that may log in.
    pub ssh_authorized_keys: Vec<String>,
    /// What is not carried out or looks wrong.
    pub warnings: Vec<String>,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFile {
    /// Where.
    pub path: String,
    /// What.
    pub content: Vec<u8>,
    /// `user:group`.
    pub owner: String,
    /// Permissions.
    pub mode: u32,
    /// Whether it is added to what is there.
    pub append: bool,
}

/// A command of `runcmd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Words that are quoted.
    Words(Vec<String>),
    /// A line as it is.
    Line(String),
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(64 * 1024 * 1024)
        .read_to_end(&mut out)
        .map_err(|e| Error(format!("the user-data is not whole gzip: {e}")))?;
    Ok(out)
}

impl UserData {
    /// Recognises the format; gzip and base64 are undone first, as clouds and Terraform add them.
    ///
    /// # Errors
    /// A format that bakery does not know, or text that is not valid; values are never quoted.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            return Self::parse(&gunzip(bytes)?);
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(Self::Empty);
        }
        let first = trimmed.lines().next().unwrap_or_default();
        if first.starts_with("#!") {
            return Ok(Self::Script(text));
        }
        if first.starts_with("#cloud-config") && !first.starts_with("#cloud-config-") {
            return CloudConfig::parse(&text).map(Self::CloudConfig);
        }
        let compact: String = trimmed.split_whitespace().collect();
        if !trimmed.starts_with('#')
            && let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(&compact)
            && !decoded.is_empty()
        {
            return Self::parse(&decoded);
        }
        let what = match first {
            f if f.to_lowercase().starts_with("content-type: multipart")
                || f.to_lowercase().starts_with("mime-version") =>
            {
                "MIME multipart"
            }
            f if f.starts_with("#include") => "#include",
            f if f.starts_with("#cloud-config-") => "#cloud-config-archive or -jsonp",
            f if f.starts_with("#cloud-boothook") => "#cloud-boothook",
            f if f.starts_with("#part-handler") => "#part-handler",
            f if f.starts_with("## template:") => "a template",
            _ => "text without a first line that says what it is",
        };
        Err(Error(format!(
            "the user-data is {what}, which bakery does not carry out (known: #cloud-config and scripts, also gzipped or in base64)"
        )))
    }
}

impl CloudConfig {
    /// Reads a cloud-config.
    ///
    /// # Errors
    /// Text that is no YAML, or a key of the wrong type, with its place.
    pub fn parse(text: &str) -> Result<Self> {
        let node = yaml::parse(&Source::new("user-data", text))?;
        let mut config = Self::default();
        let Some(pairs) = node.as_map() else {
            if node.is_none() {
                return Ok(config);
            }
            return Err(Diagnostic::at(&node.origin, "a cloud-config must be a mapping").into());
        };
        for (key, value) in pairs {
            let name = key.as_str().unwrap_or_default().replace('-', "_");
            let v = value.to_value().untrusted();
            let text = || Some(v.to_string()).filter(|s| !s.is_empty() && !v.is_none());
            let list = |what: &str| {
                value.as_list().ok_or_else(|| {
                    Error::from(Diagnostic::at(&value.origin, format!("`{what}` must be a list")))
                })
            };
            match name.as_str() {
                "hostname" => config.hostname = text(),
                "fqdn" => config.fqdn = text(),
                "manage_etc_hosts" => {
                    config.manage_etc_hosts = v.is_true() && v.to_string().to_lowercase() != "false";
                }
                "preserve_hostname" => config.preserve_hostname = v.is_true(),
                "prefer_fqdn_over_hostname" => {}
                "ssh_authorized_keys" => {
                    config.ssh_authorized_keys =
                        list(&name)?.iter().map(|n| n.to_value().to_string()).collect();
                }
                "runcmd" => {
                    for item in list(&name)? {
                        let v = item.to_value();
                        config.runcmd.push(match v.as_items() {
                            Some(words) => Command::Words(words.iter().map(ToString::to_string).collect()),
                            None if v.as_str().is_some() => Command::Line(v.to_string()),
                            None => {
                                return Err(Diagnostic::at(
                                    &item.origin,
                                    "a command of `runcmd` must be text or a list of words",
                                )
                                .into());
                            }
                        });
                    }
                }
                "write_files" => {
                    for item in list(&name)? {
                        config.write_files.push(write_file(item)?);
                    }
                }
                _ => {
                    let hint =
                        suggest(&name, KEYS.iter().copied()).map(|h| format!(" ({h})")).unwrap_or_default();
                    config.warnings.push(format!(
                        "user-data line {}: the key `{name}` is not carried out{hint}",
                        key.origin.line
                    ));
                }
            }
        }
        Ok(config)
    }
}

fn write_file(node: &yaml::Node) -> Result<WriteFile> {
    let v = node.to_value().untrusted();
    let text = |name: &str| v.get(name).filter(|v| !v.is_none()).map(|v| v.to_string());
    let path = text("path").ok_or_else(|| {
        Error::from(Diagnostic::at(&node.origin, "an entry of `write_files` needs a `path`"))
    })?;
    let raw = text("content").unwrap_or_default().into_bytes();
    let bad = |e: String| Error(format!("write_files: the content of {path} cannot be decoded: {e}"));
    let base64 = |bytes: &[u8]| {
        let compact: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        base64::engine::general_purpose::STANDARD.decode(compact).map_err(|e| bad(e.to_string()))
    };
    let content = match text("encoding").unwrap_or_default().to_lowercase().as_str() {
        "b64" | "base64" => base64(&raw)?,
        "gz" | "gzip" => gunzip(&raw)?,
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => gunzip(&base64(&raw)?)?,
        "" | "text/plain" => raw,
        other => return Err(bad(format!("unknown encoding `{other}`"))),
    };
    let mode = match v.get("permissions") {
        Some(Value::Int(i)) => i as u32,
        Some(other) => u32::from_str_radix(&other.to_string(), 8).unwrap_or(0o644),
        None => 0o644,
    };
    let append = v.get("append").is_some_and(|a| a.is_true());
    Ok(WriteFile {
        path,
        content,
        owner: text("owner").unwrap_or_else(|| "root:root".into()),
        mode: mode & 0o7777,
        append,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_user_data_is_understood() {
        let text = "#cloud-config\nfqdn: toast01.bakery.inet\nhostname: toast01\nmanage_etc_hosts: true\n\nwrite_files:\n  - content: |\n      {\"a\": true}\n    path: /root/x.json\n    permissions: '0640'\n\nruncmd:\n  - ansible-playbook -v x.yml\n  - [ls, 'a b']\nruncdm: []\n";
        let Ok(UserData::CloudConfig(config)) = UserData::parse(text.as_bytes()) else {
            panic!("not understood")
        };
        assert_eq!(config.hostname.as_deref(), Some("toast01"));
        assert_eq!(config.write_files[0].mode, 0o640);
        assert_eq!(config.write_files[0].content, b"{\"a\": true}\n");
        assert_eq!(config.runcmd.len(), 2);
        assert!(config.warnings[0].contains("did you mean `runcmd`"), "{:?}", config.warnings);
    }

    #[test]
    fn base64_and_gzip_are_undone_and_unknown_formats_named() {
        let b64 = base64::engine::general_purpose::STANDARD.encode("#cloud-config\nhostname: a\n");
        assert!(
            matches!(UserData::parse(b64.as_bytes()), Ok(UserData::CloudConfig(c)) if c.hostname.as_deref() == Some("a"))
        );
        assert!(matches!(UserData::parse(b"#!/bin/sh\ntrue\n"), Ok(UserData::Script(_))));
        assert!(matches!(UserData::parse(b""), Ok(UserData::Empty)));
        let error = UserData::parse(b"Content-Type: multipart/mixed; boundary=x\n\n").expect_err("not known");
        assert!(error.0.contains("MIME"));
    }
}
