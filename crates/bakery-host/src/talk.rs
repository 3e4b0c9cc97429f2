//! What is written to a program and read from it, all by one thread: a thread for each pipe costs more than most programs.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a program that has ended may be silent before nobody listens any more.
const QUIET: Duration = Duration::from_secs(1);

/// The pipes of a program.
pub(crate) struct Talk {
    stdin: Option<ChildStdin>,
    input: Vec<u8>,
    written: usize,
    stdout: (Option<OwnedFd>, Vec<u8>),
    stderr: (Option<OwnedFd>, Vec<u8>),
}

impl Talk {
    pub(crate) fn with(child: &mut Child, input: Vec<u8>) -> Self {
        let stdin = child.stdin.take();
        if let Some(stdin) = &stdin {
            // A program that reads nothing must not keep us from reading; if this fails, it does.
            let _ = rustix::io::ioctl_fionbio(stdin, true);
        }
        let (stdout, stderr) = (child.stdout.take().map(Into::into), child.stderr.take().map(Into::into));
        Self { stdin, input, written: 0, stdout: (stdout, vec![]), stderr: (stderr, vec![]) }
    }

    /// What was read: what it wrote to its standard output, and to its standard error.
    pub(crate) fn said(self) -> (Vec<u8>, Vec<u8>) {
        (self.stdout.1, self.stderr.1)
    }

    /// Goes on until all pipes are closed, or until a moment. What a program started and left behind may hold its pipes for
    /// ever: once the program `is_over`, a second without a word ends it, too (as `run_command` of
    /// `ansible/module_utils/basic.py`).
    pub(crate) fn finish(
        &mut self,
        until: Option<Instant>,
        is_over: &mut dyn FnMut() -> bool,
    ) -> std::io::Result<()> {
        loop {
            if self.written == self.input.len() {
                self.stdin = None;
            }
            let mut waits = Vec::with_capacity(3);
            waits.extend(self.stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
            let pipes = [&self.stdout.0, &self.stderr.0];
            waits.extend(pipes.into_iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            if waits.is_empty() {
                return Ok(());
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let wait = left.map_or(QUIET, |left| left.min(QUIET));
            match poll(&mut waits, Timespec::try_from(wait).ok().as_ref()) {
                Ok(0) if left.is_some_and(|left| left <= QUIET) || is_over() => return Ok(()),
                Ok(0) => continue,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut ready =
                waits.iter().map(|wait| !wait.revents().is_empty()).collect::<Vec<_>>().into_iter();
            if let Some(pipe) = &mut self.stdin
                && ready.next() == Some(true)
            {
                match pipe.write(&self.input[self.written..]) {
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    // A program that does not read its input is no error.
                    Err(_) => self.written = self.input.len(),
                }
            }
            for (pipe, bytes) in [&mut self.stdout, &mut self.stderr] {
                if let Some(open) = pipe.as_ref()
                    && ready.next() == Some(true)
                {
                    let mut part = [0; 16 << 10];
                    match rustix::io::read(open, &mut part) {
                        Ok(0) => *pipe = None,
                        Ok(count) => bytes.extend_from_slice(&part[..count]),
                        Err(rustix::io::Errno::INTR) => {}
                        Err(_) => *pipe = None,
                    }
                }
            }
        }
    }
}
