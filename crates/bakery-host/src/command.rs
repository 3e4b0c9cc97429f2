//! Child processes: they die with us, and a failure shows the command line and the end of what they said.
#![allow(clippy::disallowed_methods, reason = "this is the one place that may start programs")]
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::fs::{self, Error, Result};
use crate::talk::Talk;

/// A program to start, and who waits for it.
type Starting = (Cmd, Sender<Result<Child>>);

/// A program to run.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
    shown: String,
    input: Option<Vec<u8>>,
    timeout: Option<Duration>,
}

/// What a program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code, or minus the signal that ended it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    /// Whether it was ended because its time was up.
    pub timed_out: bool,
}

impl Output {
    /// Whether the exit code is zero.
    pub fn success(&self) -> bool {
        self.code == 0
    }
    /// stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    /// stderr as text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Cmd {
    /// A program found by name on `PATH`, or by path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        // SAFETY: prctl with these arguments only sets an attribute of the new process and is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        Self { command, shown: program.to_string_lossy().into_owned(), input: None, timeout: None }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self = self.arg(arg);
        }
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Sets variables of the environment.
    pub fn envs(mut self, pairs: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.command.envs(pairs);
        self
    }

    /// Starts from an empty environment.
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// Sets the working folder.
    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// What the program reads from stdin.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Ends the program after this time.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Runs the program as another user, with that user's primary group only.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.command.uid(uid).gid(gid);
        self
    }

    fn begin(&mut self) -> Result<Child> {
        let _alone = fs::WRITING.write().unwrap_or_else(PoisonError::into_inner);
        self.command.spawn().map_err(|e| self.error(e))
    }

    /// Lets the program outlive us, in a session of its own.
    pub fn detached(mut self) -> Self {
        // SAFETY: both calls are async-signal-safe and only touch the new process.
        unsafe {
            self.command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, 0);
                libc::setsid();
                Ok(())
            });
        }
        self
    }

    /// Starts it on a terminal of its own, which shows what is written to it or not; what is behind the terminal.
    pub fn on_terminal(mut self, echo: bool) -> Result<(Child, OwnedFd)> {
        let open = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
            use rustix::fs::{Mode, OFlags};
            let ours =
                rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
            rustix::pty::grantpt(&ours)?;
            rustix::pty::unlockpt(&ours)?;
            let name = rustix::pty::ptsname(&ours, Vec::new())?;
            let theirs =
                rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::CLOEXEC)?;
            let mut modes = rustix::termios::tcgetattr(&theirs)?;
            modes.local_modes.set(rustix::termios::LocalModes::ECHO, echo);
            rustix::termios::tcsetattr(&theirs, rustix::termios::OptionalActions::Now, &modes)?;
            Ok((ours, theirs))
        };
        let (ours, theirs) = open().map_err(|e| self.error(e.into()))?;
        let copy = || theirs.try_clone().map(Stdio::from);
        let streams = copy().and_then(|first| Ok((first, copy()?)));
        let (stdin, stdout) = streams.map_err(|e| self.error(e))?;
        self.command.stdin(stdin).stdout(stdout).stderr(theirs);
        // SAFETY: both calls are async-signal-safe and only touch the new process.
        unsafe {
            self.command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = self.begin()?;
        // Our copies of the program's side would keep the terminal open after its end.
        drop(self.command);
        Ok((child, ours))
    }

    /// The command line as people would type it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The underlying command, for what this wrapper does not say.
    pub fn raw(&mut self) -> &mut Command {
        &mut self.command
    }

    fn error(&self, source: std::io::Error) -> Error {
        Error::new("run", PathBuf::from(&self.shown), source)
    }

    /// Starts it with pipes for stdin and stdout; stderr goes where ours goes unless set otherwise.
    ///
    /// It may outlive the thread that asks for it: the kernel ends a child with the thread that started it
    /// (`PR_SET_PDEATHSIG` in prctl(2)), so a thread that lasts as long as the process does that. The first thread lasts,
    /// and has namespaces of its own that others may not share: it starts its programs itself.
    pub fn spawn_piped(mut self) -> Result<Child> {
        static STARTER: OnceLock<Mutex<Sender<Starting>>> = OnceLock::new();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if rustix::thread::gettid() == rustix::process::getpid() {
            return self.begin();
        }
        let starter = STARTER.get_or_init(|| {
            let (sender, orders) = channel::<Starting>();
            std::thread::spawn(move || {
                for (mut cmd, answer) in orders {
                    let started = cmd.begin();
                    // Whoever asked may be gone; the program then ends with its pipes.
                    let _ = answer.send(started);
                }
            });
            Mutex::new(sender)
        });
        let (answer, started) = channel();
        let gone = |cmd: &str| {
            Error::new("run", PathBuf::from(cmd), std::io::Error::other("nothing starts programs"))
        };
        let shown = self.shown.clone();
        let sent = starter.lock().unwrap_or_else(PoisonError::into_inner).send((self, answer));
        sent.map_err(|_| gone(&shown))?;
        started.recv().map_err(|_| gone(&shown))?
    }

    /// Starts it without any of our streams, so that nobody waits for them to close.
    pub fn spawn_silent(mut self) -> Result<Child> {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.begin()
    }

    /// Starts it.
    pub fn spawn(mut self) -> Result<Child> {
        self.begin()
    }

    /// Runs it with our own stdin, stdout and stderr, and gives its exit code.
    pub fn status(mut self) -> Result<i32> {
        let status = self.begin()?.wait().map_err(|e| self.error(e))?;
        Ok(status.code().unwrap_or_else(|| -status.signal().unwrap_or(1)))
    }

    /// Runs it and gives away each line that it writes, and whether it was one of errors; its exit code.
    pub fn lines(mut self, each: &(dyn Fn(&str, bool) + Sync)) -> Result<i32> {
        use std::io::BufRead as _;
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.begin()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|threads| {
            let read = |pipe: Option<Box<dyn std::io::Read + Send>>, is_error: bool| {
                threads.spawn(move || {
                    let Some(pipe) = pipe else { return };
                    let mut reader = std::io::BufReader::new(pipe);
                    let mut line = Vec::new();
                    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                        each(String::from_utf8_lossy(&line).trim_end_matches('\n'), is_error);
                        line.clear();
                    }
                });
            };
            read(stdout.map(|p| Box::new(p) as Box<dyn std::io::Read + Send>), false);
            read(stderr.map(|p| Box::new(p) as Box<dyn std::io::Read + Send>), true);
        });
        let status = child.wait().map_err(|e| self.error(e))?;
        Ok(status.code().unwrap_or_else(|| -status.signal().unwrap_or(1)))
    }

    /// Replaces this process.
    pub fn exec(mut self) -> Error {
        let source = self.command.exec();
        self.error(source)
    }

    /// Runs it to its end and collects what it wrote, whatever its exit code.
    pub fn output(mut self) -> Result<Output> {
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.begin()?;
        let mut talk = Talk::with(&mut child, self.input.take().unwrap_or_default());
        let until = self.timeout.map(|limit| Instant::now() + limit);
        let mut timed_out = false;
        talk.finish(until, &mut || matches!(child.try_wait(), Ok(Some(_)))).map_err(|e| self.error(e))?;
        // Most programs have ended when their pipes are closed: what waits long is looked at less often.
        let mut pause = Duration::from_micros(100);
        let status = loop {
            let Some(until) = until else { break child.wait() };
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if Instant::now() > until => {
                    timed_out = true;
                    let _ = child.kill();
                    break child.wait();
                }
                Ok(None) => {
                    std::thread::sleep(pause);
                    pause = (pause * 3 / 2).min(Duration::from_millis(10));
                }
                Err(error) => break Err(error),
            }
        };
        // What it has started may write on.
        talk.finish(None, &mut || true).map_err(|e| self.error(e))?;
        let (stdout, stderr) = talk.said();
        let status = status.map_err(|e| self.error(e))?;
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(1));
        Ok(Output { code, stdout, stderr, timed_out })
    }

    /// Runs it to its end and fails unless its exit code is zero.
    pub fn run(self) -> Result<Output> {
        let shown = self.shown.clone();
        let output = self.output()?;
        if output.success() {
            return Ok(output);
        }
        let said = if output.stderr.is_empty() { output.text() } else { output.error_text() };
        let lines: Vec<&str> = said.trim_end().lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        let how = if output.timed_out {
            "ran out of time".to_owned()
        } else if output.code < 0 {
            format!("ended by signal {}", -output.code)
        } else {
            format!("exit code {}", output.code)
        };
        Err(Error::new("run", PathBuf::from(shown), std::io::Error::other(format!("{how}\n{tail}"))))
    }
}

/// A limit for whatever we start meanwhile: when it is over, that is killed, with all that it has started.
#[derive(Debug)]
pub struct Watch {
    fired: std::sync::Arc<std::sync::atomic::AtomicBool>,
    _done: std::sync::mpsc::Sender<()>,
}

impl Watch {
    /// Starts it; it ends when it is dropped.
    pub fn start(limit: Duration) -> Self {
        let fired: std::sync::Arc<std::sync::atomic::AtomicBool> = std::sync::Arc::default();
        let flag = std::sync::Arc::clone(&fired);
        let (done, waits) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if waits.recv_timeout(limit) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            flag.store(true, std::sync::atomic::Ordering::Relaxed);
            // What it starts next must end, too.
            while waits.recv_timeout(Duration::from_millis(50))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let parents = parents();
                for pid in parents.keys().filter(|pid| depth(&parents, **pid).is_some_and(|depth| depth > 0))
                {
                    crate::signal::kill(*pid as i32, 9);
                }
            }
        });
        Self { fired, _done: done }
    }

    /// Whether it was over.
    pub fn has_fired(&self) -> bool {
        self.fired.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// The parents of all processes that live.
fn parents() -> std::collections::HashMap<u32, u32> {
    let mut parents = std::collections::HashMap::new();
    for path in crate::fs::read_dir("/proc").unwrap_or_default() {
        let Some(pid) = path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok()) else { continue };
        let stat = crate::fs::read_to_string(path.join("stat")).unwrap_or_default();
        // The name, in brackets, may hold anything.
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        if let (Some(state), Some(Ok(parent))) = (words.next(), words.next().map(str::parse::<u32>))
            && state != "Z"
        {
            parents.insert(pid, parent);
        }
    }
    parents
}

/// Whether something that was started by what serves us in a sandbox is still at work: our children are the sandboxes'
/// keepers, theirs the first processes inside, and all below is somebody else's.
pub fn has_strays() -> bool {
    let parents = parents();
    parents.keys().any(|pid| depth(&parents, *pid).is_some_and(|depth| depth > 2))
}

/// How far below us a process is; nothing if it is not ours.
fn depth(parents: &std::collections::HashMap<u32, u32>, mut pid: u32) -> Option<usize> {
    for depth in 0..64 {
        if pid == std::process::id() {
            return Some(depth);
        }
        pid = *parents.get(&pid)?;
    }
    None
}

/// Whether a program is on `PATH` (or in the places where root's programs are).
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::Cmd;
    use crate::fs;

    /// A script that was written just now runs, whatever other threads start at the same time.
    #[test]
    fn what_was_written_can_be_run() {
        let folder = tempfile::tempdir().expect("a folder");
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let folder = folder.path();
                threads.spawn(move || {
                    for round in 0..40 {
                        let script = folder.join(format!("{thread}-{round}"));
                        fs::write_lightly(&script, "#!/bin/sh\nexit 0\n", 0o700).expect("written");
                        let code = Cmd::new(&script).status().expect("not busy");
                        assert_eq!(code, 0);
                    }
                });
            }
        });
    }

    /// What is written and read at the same time may be longer than any pipe.
    #[test]
    fn long_talks_end() {
        let input = vec![b'x'; 3 << 20];
        let script = "cat; echo said >&2";
        let output = Cmd::new("sh").args(["-c", script]).input(input.clone()).output().expect("it ran");
        assert!(output.stdout == input, "{} bytes", output.stdout.len());
        assert_eq!(output.error_text(), "said\n");
        // Nobody reads this input.
        let output = Cmd::new("true").input(input).output().expect("it ran");
        assert_eq!(output.code, 0);
    }

    /// A program that closes its pipes or waits for ever is ended when its time is over; what was said before is kept.
    #[test]
    fn a_limit_ends_what_waits() {
        for script in ["echo said; exec >&- 2>&-; exec sleep 60", "echo said; exec sleep 60"] {
            let cmd = Cmd::new("sh").args(["-c", script]).timeout(std::time::Duration::from_millis(300));
            let output = cmd.output().expect("it ran");
            assert!(output.timed_out, "{script}");
            assert_eq!(output.text(), "said\n");
        }
    }
}
