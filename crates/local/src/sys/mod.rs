//! What the kernel offers, as small safe functions: processes that execute this binary again, namespaces,
//! mounts, messages with file descriptors.
//!
//! Namespaces are only ever entered by processes that have one thread; everything here is a plain system call.

pub(crate) mod frame;
pub(crate) mod handover;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod readiness;
pub(crate) mod reexec;
pub(crate) mod refusal;
