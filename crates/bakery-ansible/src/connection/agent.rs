//! A channel to an agent: started, greeted, asked.

use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use bakery_host::{Cmd, signal};
use bakery_protocol::{Hello, Request, Response};

use super::{Secret, Unreachable};

/// How much of what an agent's way said is kept for the error, in bytes.
const SAID: usize = 4096;

/// What came of a request.
pub(super) enum Answer {
    /// The module's result.
    Result(serde_json::Value),
    /// It took longer than so many seconds, and was killed.
    TimedOut(u64),
}

/// How long becoming another user may take.
const ESCALATION_LIMIT: Duration = Duration::from_secs(12);

/// A time limit under way.
struct Watch {
    fired: Arc<AtomicBool>,
    _done: mpsc::Sender<()>,
}

impl Watch {
    fn has_fired(self) -> bool {
        self.fired.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    pub(super) stdin: BufWriter<ChildStdin>,
    pub(super) stdout: BufReader<ChildStdout>,
    said: Arc<Mutex<Vec<u8>>>,
    /// Closed when there is no more to say.
    last_word: mpsc::Receiver<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// Starts a program that serves and greets it; a password is for what stands before it and asks for one.
    pub(super) fn start(cmd: Cmd, password: Option<&Secret>) -> Result<Self, Unreachable> {
        let mut agent = Self::open(cmd)?;
        agent.greet(password)?;
        Ok(agent)
    }

    /// Starts a program that will serve after some talk.
    pub(super) fn open(mut cmd: Cmd) -> Result<Self, Unreachable> {
        cmd.raw().stderr(Stdio::piped());
        let mut child = cmd.spawn_piped()?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Unreachable("the agent has no channel".into()));
        };
        let said = Arc::default();
        let last_word = listen(stderr, Arc::clone(&said));
        Ok(Self { child, stdin: BufWriter::new(stdin), stdout: BufReader::new(stdout), said, last_word })
    }

    /// Waits for the agent's first word.
    pub(super) fn greet(&mut self, password: Option<&Secret>) -> Result<(), Unreachable> {
        if let Some(password) = password {
            // Whether somebody asks for it cannot be known: the agent passes over what nobody read. Who asks again, since
            // it was wrong, gets a wrong one until it gives up.
            let lines = format!("{}\n\n{}\n", password.0, bakery_protocol::SYNC);
            let sent = self.stdin.write_all(lines.as_bytes()).and_then(|()| self.stdin.flush());
            sent.map_err(|e| self.failed(&e.to_string()))?;
        }
        let watch = self.watch(password.map(|_| ESCALATION_LIMIT));
        let hello: Result<Hello, _> = bakery_protocol::read(&mut self.stdout);
        if watch.is_some_and(Watch::has_fired) {
            return Err(Unreachable("Timed out waiting for become success or become password prompt".into()));
        }
        let hello = hello.map_err(|e| self.failed(&format!("the agent did not start: {e}")))?;
        if hello.protocol == bakery_protocol::VERSION {
            return Ok(());
        }
        Err(Unreachable(format!(
            "the agent speaks protocol {} and this program {}",
            hello.protocol,
            bakery_protocol::VERSION
        )))
    }

    /// Why there is no channel: what was said on the way, else what is known here.
    pub(super) fn failed(&mut self, known: &str) -> Unreachable {
        // What ends says its last words; what does not is not waited for.
        let _ = self.last_word.recv_timeout(Duration::from_secs(1));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Unreachable(if said.is_empty() { known.to_owned() } else { said })
    }

    /// Kills the program unless the watch is dropped in time.
    fn watch(&self, limit: Option<Duration>) -> Option<Watch> {
        let limit = limit?;
        let fired = Arc::new(AtomicBool::new(false));
        let (done, waits) = mpsc::channel::<()>();
        let (flag, pid) = (Arc::clone(&fired), self.child.id());
        std::thread::spawn(move || {
            if waits.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::Relaxed);
                signal::kill(pid as i32, 9);
            }
        });
        Some(Watch { fired, _done: done })
    }

    /// Sends a request and waits for its answer, so long at most.
    pub(super) fn ask(&mut self, request: &Request, limit: Option<Duration>) -> Result<Answer, Unreachable> {
        let watch = self.watch(limit);
        let answer = bakery_protocol::write(&mut self.stdin, request)
            .and_then(|()| bakery_protocol::read::<Response>(&mut self.stdout));
        match answer {
            Err(_) if watch.is_some_and(Watch::has_fired) => {
                Ok(Answer::TimedOut(limit.map_or(0, |l| l.as_secs())))
            }
            Ok(response) => Ok(Answer::Result(response.result)),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }
}

/// Keeps the end of what is written to stderr; the channel is closed when that is.
fn listen(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) -> mpsc::Receiver<()> {
    let (ended, last_word) = mpsc::channel();
    std::thread::spawn(move || {
        let _ended = ended;
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stderr.read(&mut bytes) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.extend_from_slice(&bytes[..read]);
            let over = said.len().saturating_sub(SAID);
            said.drain(..over);
        }
    });
    last_word
}
