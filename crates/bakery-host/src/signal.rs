//! Ctrl-C and termination: noted once, so that long work can stop and clean up.
#![allow(unsafe_code)]

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Whether somebody sees what is said to them.
static IS_SEEN: AtomicBool = AtomicBool::new(false);

/// How long a sleep may go on after a signal.
const PIECE: Duration = Duration::from_millis(50);

extern "C" fn note(signal: libc::c_int) {
    if CAUGHT.swap(signal, Ordering::SeqCst) != 0 {
        // A second Ctrl-C means it: leave at once. What must not be half done is renamed into place.
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(128 + signal) };
    }
    if IS_SEEN.load(Ordering::Relaxed) {
        let said = b"\nstopping when what is under way has ended; once more to leave at once\n";
        // SAFETY: write is async-signal-safe, and the text is there for good.
        unsafe { libc::write(libc::STDERR_FILENO, said.as_ptr().cast(), said.len()) };
    }
}

/// Notes SIGINT, SIGTERM and SIGHUP instead of dying of them.
pub fn catch_termination() {
    IS_SEEN.store(std::io::stderr().is_terminal(), Ordering::Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: `note` only touches an atomic and calls _exit.
        unsafe { libc::signal(signal, note as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Dies silently when a pipe's reader is gone, as command-line programs do.
pub fn default_broken_pipe() {
    // SAFETY: restores the default disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Ends what is under way as Ctrl-C does.
pub fn interrupt() {
    note(libc::SIGINT);
}

/// The signal that was noted.
pub fn caught() -> Option<i32> {
    match CAUGHT.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// Sleeps until the time is over or a signal is noted; whether none was.
pub fn sleep(time: Duration) -> bool {
    let began = Instant::now();
    while caught().is_none() {
        let left = time.saturating_sub(began.elapsed());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(PIECE));
    }
    false
}

/// Sends a signal to a process; whether it was there.
pub fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: kill has no memory effects.
    pid > 0 && unsafe { libc::kill(pid, signal) } == 0
}

/// Whether a process is there.
pub fn is_alive(pid: i32) -> bool {
    kill(pid, 0)
}
