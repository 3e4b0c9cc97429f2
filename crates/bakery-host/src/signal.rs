//! Ctrl-C and termination: noted once, so that long work can stop and clean up.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicI32, Ordering};

static CAUGHT: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: libc::c_int) {
    if CAUGHT.swap(signal, Ordering::SeqCst) != 0 {
        // A second Ctrl-C means it: leave at once. What must not be half done is renamed into place.
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(128 + signal) };
    }
}

/// Notes SIGINT, SIGTERM and SIGHUP instead of dying of them.
pub fn catch_termination() {
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

/// Sends a signal to a process; whether it was there.
pub fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: kill has no memory effects.
    pid > 0 && unsafe { libc::kill(pid, signal) } == 0
}

/// Whether a process is there.
pub fn is_alive(pid: i32) -> bool {
    kill(pid, 0)
}
