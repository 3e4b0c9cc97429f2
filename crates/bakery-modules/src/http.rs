//! What is at a URL, for lookups.

use std::io::Read as _;
use std::time::Duration;

/// The most that is read, in bytes.
const MOST: u64 = 64 << 20;

/// The body of a successful answer.
///
/// # Errors
/// What the server or the network says.
pub fn get(url: &str, headers: &[(String, String)]) -> Result<Vec<u8>, String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30)));
    let agent: ureq::Agent = config.build().into();
    let mut request = agent.get(url).header("User-Agent", "ansible-httpget");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut response = request.call().map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().with_config().limit(MOST).reader();
    reader.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}
