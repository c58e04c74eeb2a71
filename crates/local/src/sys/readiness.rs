//! Waiting until a terminal can be read or written.
#![allow(
    unsafe_code,
    reason = "tokio asks for a promise about the descriptor that a type can't make"
)]

use std::fs::File;
use std::io;

use tokio::io::unix::AsyncFd;

/// Registers an open file, set to non-blocking, with the runtime.
pub(crate) fn watch(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor, always answers with the same one, and keeps it open until it is dropped,
    // which `AsyncFd` does after deregistering. Nobody takes the file out or puts another in.
    Ok(unsafe { AsyncFd::register(file) }?)
}
