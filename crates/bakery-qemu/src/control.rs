//! QEMU's control socket (QMP): commands and answers as lines of JSON (`docs/interop/qmp-spec` of QEMU).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::{Error, Result};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine's control socket, greeted.
#[derive(Debug)]
pub struct Control {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

fn silent(error: std::io::Error) -> Error {
    Error::new(format!("the machine does not answer: {error}"))
}

impl Control {
    /// Opens the socket at a path.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn connect(path: &Path) -> Result<Self> {
        let writer = UnixStream::connect(path).map_err(silent)?;
        writer.set_read_timeout(Some(PATIENCE)).map_err(silent)?;
        let mut control = Self { reader: BufReader::new(writer.try_clone().map_err(silent)?), writer };
        // The greeting, which nobody asked for.
        control.reader.read_line(&mut String::new()).map_err(silent)?;
        control.execute("qmp_capabilities", json!({}))?;
        Ok(control)
    }

    /// Carries out a command; what it returns.
    ///
    /// # Errors
    /// When the machine refuses it or is gone.
    pub fn execute(&mut self, command: &str, arguments: Json) -> Result<Json> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.writer.write_all(format!("{request}\n").as_bytes()).map_err(silent)?;
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).map_err(silent)? == 0 {
                // Who is told to quit may be gone before it answers.
                return Ok(Json::Null);
            }
            // What is neither an answer nor an error is an event.
            let Ok(mut said) = serde_json::from_str::<Json>(&line) else { continue };
            if let Some(error) = said.get("error") {
                let why = error["desc"].as_str().unwrap_or_default();
                return Err(Error::new(format!("the machine refused `{command}`: {why}")));
            }
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }
}
