//! EC2's instance meta-data service, version 2: a token first, then paths below `latest/`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bakery_host::fs;

use super::Instance;
use crate::{Error, Result};

/// Whether the firmware says that this is EC2, or a machine that answers as EC2 does.
pub(super) fn is_here() -> bool {
    let dmi = |name: &str| {
        fs::read_to_string(format!("/sys/class/dmi/id/{name}")).unwrap_or_default().trim().to_lowercase()
    };
    dmi("product_uuid").starts_with("ec2") || dmi("sys_vendor") == "amazon ec2"
}

struct Imds {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl Imds {
    /// Gets a token, trying until the network is there.
    fn connect(base: &str, limit: Duration) -> Result<Self> {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(2)))
            .timeout_recv_response(Some(Duration::from_secs(10)))
            .timeout_per_read(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .proxy(None);
        let agent: ureq::Agent = config.build().into();
        let started = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let request = agent
                .put(format!("{base}/latest/api/token"))
                .header("X-aws-ec2-metadata-token-ttl-seconds", "21600");
            let last = match request.send_empty() {
                Ok(mut response) if response.status() == 200 => {
                    let token = response.body_mut().read_to_string().map_err(|e| Error(e.to_string()))?;
                    return Ok(Self { agent, base: base.to_owned(), token });
                }
                Ok(response) => format!("status {}", response.status()),
                Err(error) => error.to_string(),
            };
            if started.elapsed() > limit {
                return Err(Error(format!(
                    "the meta-data service at {base} did not answer within {} s: {last}",
                    limit.as_secs()
                )));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// A path's content; nothing when there is none.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut last = String::new();
        for attempt in 0..6u32 {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(100 << attempt));
            }
            match self
                .agent
                .get(format!("{}/latest/{path}", self.base))
                .header("X-aws-ec2-metadata-token", &self.token)
                .call()
            {
                Ok(mut response) => match response.status().as_u16() {
                    200 => {
                        let body = response.body_mut().with_config().limit(16 * 1024 * 1024).read_to_vec();
                        return body.map(Some).map_err(|e| Error(e.to_string()));
                    }
                    404 => return Ok(None),
                    status => last = format!("status {status}"),
                },
                Err(error) => last = error.to_string(),
            }
        }
        Err(Error(format!("the meta-data service did not give `{path}`: {last}")))
    }

    fn text(&self, path: &str) -> Result<Option<String>> {
        Ok(self.get(path)?.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }
}

/// Asks the service at an address.
pub(super) fn fetch(base: &str, limit: Duration) -> Result<Instance> {
    let imds = Imds::connect(base, limit)?;
    let id = imds
        .text("meta-data/instance-id")?
        .ok_or_else(|| Error("the meta-data service knows no instance id".into()))?;
    let mut public_keys = Vec::new();
    for line in imds.text("meta-data/public-keys/")?.unwrap_or_default().lines() {
        let index = line.split('=').next().unwrap_or("0");
        public_keys.extend(imds.text(&format!("meta-data/public-keys/{index}/openssh-key"))?);
    }
    let mut volumes = BTreeMap::new();
    for name in imds.text("meta-data/block-device-mapping/")?.unwrap_or_default().lines() {
        if name.starts_with("ebs") {
            let device = imds.text(&format!("meta-data/block-device-mapping/{name}"))?.unwrap_or_default();
            let device = device.trim_start_matches("/dev/").to_owned();
            // Machines of bakery also say which volume it is; on EC2 the disk's own data does.
            let volume = imds.text(&format!("meta-data/block-device-mapping/{name}-volume"))?;
            volumes.insert(format!("/dev/{device}"), volume);
        }
    }
    Ok(Instance {
        datasource: "Ec2",
        id,
        hostname: imds.text("meta-data/local-hostname")?,
        is_local: imds.text("meta-data/placement/region")?.is_some_and(|region| region.starts_with("local-")),
        public_keys,
        volumes,
        user_data: imds.get("user-data")?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A service that refuses version 1, answers 503 once, and knows a few paths.
    fn service() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut failed = false;
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().expect("a copy"))
                    .lines()
                    .map_while(std::result::Result::ok);
                let first = lines.next().unwrap_or_default();
                let headers: Vec<String> =
                    lines.take_while(|l| !l.is_empty()).map(|l| l.to_lowercase()).collect();
                let authorized = headers.iter().any(|h| h == "x-aws-ec2-metadata-token: secret");
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, body) = match (first.split(' ').next(), path.as_str()) {
                    (Some("PUT"), "/latest/api/token") if !failed => {
                        failed = true;
                        (503, "")
                    }
                    (Some("PUT"), "/latest/api/token") => (200, "secret"),
                    _ if !authorized => (401, ""),
                    (_, "/latest/meta-data/instance-id") => (200, "i-0123456789abcdef0"),
                    (_, "/latest/meta-data/block-device-mapping/") => (200, "ami\nebs1\nroot"),
                    (_, "/latest/meta-data/block-device-mapping/ebs1") => (200, "xvdb"),
                    (_, "/latest/user-data") => (200, "#cloud-config\n"),
                    _ => (404, ""),
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        format!("http://{address}")
    }

    #[test]
    fn a_token_first_then_the_instance() {
        let instance = fetch(&service(), Duration::from_secs(10)).expect("answers");
        assert_eq!(instance.id, "i-0123456789abcdef0");
        assert_eq!(instance.user_data, b"#cloud-config\n");
        assert_eq!(instance.volumes.get("/dev/xvdb"), Some(&None));
        assert_eq!(instance.hostname, None);
    }
}
