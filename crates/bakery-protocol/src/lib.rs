//! Frames between a controller and the agent on a target, the same over pipes, ssh and namespaces.
//!
//! A frame is a little-endian `u32` length and that many bytes of JSON. The agent speaks first ([`Hello`]); then every
//! [`Request`] has one [`Response`]. One round trip is all that a task needs.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The protocol's version; both sides must agree.
pub const VERSION: u32 = 1;

/// The line after which an agent that was started with `--sync` begins: before it may stand a password that whoever
/// started the agent did or did not read.
pub const SYNC: &str = "bakery-protocol-sync";

/// The largest frame, in bytes.
pub const MAX_FRAME: u32 = 512 * 1024 * 1024;

/// What the agent says first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub protocol: u32,
    /// The agent's own version.
    pub agent: String,
}

/// A module to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// The module's name.
    pub module: String,
    /// Its arguments.
    pub args: Json,
    /// Whether nothing may be changed.
    pub check: bool,
    /// Whether diffs are wanted.
    pub diff: bool,
    /// Whether an image is being baked.
    pub bake: bool,
    /// The task's environment.
    pub environment: Vec<(String, String)>,
    /// The folder for relative paths.
    pub cwd: Option<String>,
}

/// What the module returned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Response {
    /// A mapping with at least `changed`.
    pub result: Json,
}

/// What goes wrong with frames.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other side is gone.
    #[error("the agent ended before it answered")]
    Ended,
    /// The channel failed.
    #[error("the connection to the agent broke: {0}")]
    Io(#[from] std::io::Error),
    /// A frame that is no JSON of the expected shape.
    #[error("the agent's answer cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The user that an agent shall serve as.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// A frame beyond [`MAX_FRAME`].
    #[error("a frame of {0} bytes is larger than the {MAX_FRAME} that are allowed")]
    TooLarge(u32),
}

/// Writes a frame.
///
/// # Errors
/// When the channel fails or the frame is too large.
pub fn write<T: Serialize>(channel: &mut impl Write, message: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if length > MAX_FRAME {
        return Err(Error::TooLarge(length));
    }
    channel.write_all(&length.to_le_bytes())?;
    channel.write_all(&bytes)?;
    Ok(channel.flush()?)
}

/// Reads a frame.
///
/// # Errors
/// [`Error::Ended`] at the end of the channel, else what is wrong with it.
pub fn read<T: for<'de> Deserialize<'de>>(channel: &mut impl Read) -> Result<T, Error> {
    let mut length = [0; 4];
    channel.read_exact(&mut length).map_err(ended)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME {
        return Err(Error::TooLarge(length));
    }
    // Grows as bytes arrive, so that a length alone cannot take memory.
    let mut bytes = Vec::new();
    let read = channel.take(u64::from(length)).read_to_end(&mut bytes)?;
    if read < length as usize {
        return Err(Error::Ended);
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// Reads up to and with the line [`SYNC`], byte by byte, so that nothing after it is taken.
///
/// # Errors
/// [`Error::Ended`] when it does not come.
pub fn sync(channel: &mut impl Read) -> Result<(), Error> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        channel.read_exact(&mut byte).map_err(ended)?;
        if byte != *b"\n" {
            line.push(byte[0]);
        } else if std::mem::take(&mut line) == SYNC.as_bytes() {
            return Ok(());
        }
    }
}

fn ended(error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof { Error::Ended } else { Error::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_bad_ones_are_errors() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Request { module: "ping".into(), ..Request::default() }).expect("fits");
        let read_back: Request = read(&mut bytes.as_slice()).expect("reads");
        assert_eq!(read_back.module, "ping");
        let mut talk = b"a password\nbakery-protocol-sync\n\x02".as_slice();
        assert!(sync(&mut talk).is_ok() && talk == [2]);
        assert!(matches!(sync(&mut b"bakery".as_slice()), Err(Error::Ended)));
        assert!(matches!(read::<Hello>(&mut [].as_slice()), Err(Error::Ended)));
        assert!(matches!(read::<Hello>(&mut [0xff; 8].as_slice()), Err(Error::TooLarge(_))));
        assert!(matches!(read::<Hello>(&mut [2, 0, 0, 0, b'{', b'x'].as_slice()), Err(Error::Malformed(_))));
        assert!(matches!(read::<Hello>(&mut [9, 0, 0, 0, b'{'].as_slice()), Err(Error::Ended)));
    }
}
