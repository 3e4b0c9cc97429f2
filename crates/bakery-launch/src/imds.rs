//! EC2's instance meta-data service for local machines: one request on stdin, one answer on stdout.
//!
//! QEMU starts it for every connection to 169.254.169.254. Only version 2 is answered: a token first.

use std::io::{BufRead, Write};
use std::path::Path;

use bakery_host::fs;

use crate::instance::Instance;

/// The hidden verb under which a program calls [`answer`].
pub const VERB: &str = "internal-imds";

/// Reads a request and answers it for the instance of a folder.
///
/// # Errors
/// When the channel breaks.
pub fn answer(folder: &Path, input: &mut dyn BufRead, output: &mut dyn Write) -> std::io::Result<()> {
    let mut first = String::new();
    input.read_line(&mut first)?;
    let mut token = None;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("x-aws-ec2-metadata-token")
        {
            token = Some(value.trim().to_owned());
        }
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = respond(folder, method, path, token.as_deref());
    let reason = match status {
        200 => "OK",
        401 => "Unauthorized",
        404 => "Not Found",
        _ => "Error",
    };
    write!(
        output,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\nServer: EC2ws\r\n\r\n",
        body.len()
    )?;
    output.write_all(&body)?;
    output.flush()
}

fn respond(folder: &Path, method: &str, path: &str, token: Option<&str>) -> (u16, Vec<u8>) {
    let Ok(instance) = Instance::read_folder(folder) else { return (500, vec![]) };
    if method == "PUT" && path == "/latest/api/token" {
        return (200, instance.imds_token.clone().into_bytes());
    }
    if token != Some(instance.imds_token.as_str()) {
        return (401, vec![]);
    }
    let text = |s: String| (200, s.into_bytes());
    // A dated version of the service is the same as the latest.
    let Some((_, rest)) = path.trim_start_matches('/').split_once('/') else {
        return text("dynamic\nmeta-data\nuser-data".into());
    };
    let device =
        |at: usize| instance.volumes.get(at).map(|v| v.device.trim_start_matches("/dev/").to_owned());
    match rest {
        "user-data" => match fs::read(folder.join("user-data")) {
            Ok(bytes) if !bytes.is_empty() => (200, bytes),
            _ => (404, vec![]),
        },
        "meta-data/" | "meta-data" => text("ami-id\nblock-device-mapping/\nhostname\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nplacement/\npublic-keys/".into()),
        "meta-data/instance-id" => text(instance.id.clone()),
        "meta-data/ami-id" => text(instance.image.clone()),
        "meta-data/instance-type" => text(instance.instance_type.clone()),
        "meta-data/hostname" | "meta-data/local-hostname" => text(format!("ip-169-254-2-15.{}.internal", "local")),
        "meta-data/local-ipv4" => text("169.254.2.15".into()),
        "meta-data/placement/" => text("availability-zone\nregion".into()),
        "meta-data/placement/availability-zone" => text("local-1a".into()),
        "meta-data/placement/region" => text("local-1".into()),
        "meta-data/public-keys/" => text("0=bakery".into()),
        "meta-data/public-keys/0/" => text("openssh-key".into()),
        "meta-data/public-keys/0/openssh-key" => text(instance.public_key.clone()),
        "meta-data/block-device-mapping/" => {
            let mut names = vec!["ami".to_owned()];
            names.extend((1..=instance.volumes.len()).map(|n| format!("ebs{n}")));
            names.push("root".into());
            text(names.join("\n"))
        }
        "meta-data/block-device-mapping/ami" | "meta-data/block-device-mapping/root" => text("/dev/xvda".into()),
        "dynamic/instance-identity/document" => {
            let document = serde_json::json!({ "instanceId": instance.id, "imageId": instance.image, "instanceType": instance.instance_type, "region": "local-1", "architecture": "x86_64" });
            text(document.to_string())
        }
        other => {
            let ebs = other.strip_prefix("meta-data/block-device-mapping/ebs");
            let (number, volume) = match ebs.map(|e| e.strip_suffix("-volume").map_or((e, false), |n| (n, true))) {
                Some((number, volume)) => (number.parse::<usize>().unwrap_or(0), volume),
                None => return (404, vec![]),
            };
            match number.checked_sub(1).and_then(|at| instance.volumes.get(at).map(|v| (at, v))) {
                Some((_, attached)) if volume => text(attached.volume.clone()),
                Some((at, _)) => text(device(at).unwrap_or_default()),
                None => (404, vec![]),
            }
        }
    }
}
