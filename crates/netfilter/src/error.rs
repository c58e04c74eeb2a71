//! What can go wrong between a table and the kernel.

use std::fmt;
use std::io;

/// The kernel's refusal, with the part of the table that it refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket, or no answer.
    #[error("cannot talk to the kernel's packet filter: {0}{hint}", hint = socket_hint(.0))]
    Socket(#[source] io::Error),
    /// The batch as a whole is more than the socket takes at once.
    #[error("table {table}: {bytes} bytes of rules are more than one transaction of the kernel holds")]
    TooLarge { table: String, bytes: usize },
    /// One part was refused; nothing of the batch is in force.
    #[error("{part}: {source}{hint}")]
    Refused {
        /// `table mesh, chain output, rule 3 (redirect to :15001)`.
        part: String,
        #[source]
        source: io::Error,
        hint: Hint,
    },
}

/// What to do about a refusal; empty when the error number says enough.
#[derive(Debug, PartialEq, Eq)]
pub enum Hint {
    None,
    /// The kernel's own words.
    Kernel(String),
    Permission,
    Module(&'static str),
}

impl Error {
    pub(crate) fn refused(
        part: String,
        errno: i32,
        kernel: Option<String>,
        module: Option<&'static str>,
    ) -> Self {
        Self::Refused {
            part,
            source: io::Error::from_raw_os_error(errno),
            hint: hint(errno, kernel, module),
        }
    }

    /// The kernel's error number, if it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket(source) | Self::Refused { source, .. } => source.raw_os_error(),
            Self::TooLarge { .. } => None,
        }
    }
}

fn hint(errno: i32, kernel: Option<String>, module: Option<&'static str>) -> Hint {
    match (errno, kernel, module) {
        (errno::EPERM, _, _) => Hint::Permission,
        // An expression or chain type that the kernel does not have is "no such entry"; a whole missing subsystem is
        // "not supported".
        (errno::ENOENT | errno::EOPNOTSUPP | errno::EAFNOSUPPORT, _, Some(module)) => Hint::Module(module),
        (_, Some(words), _) => Hint::Kernel(words),
        _ => Hint::None,
    }
}

fn socket_hint(error: &io::Error) -> Hint {
    match error.raw_os_error() {
        Some(errno::EPROTONOSUPPORT) => Hint::Module("nfnetlink"),
        _ => Hint::None,
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Kernel(words) => write!(out, " ({words})"),
            Self::Permission => out.write_str(" (CAP_NET_ADMIN over this network namespace is needed)"),
            Self::Module(name) => write!(out, " (kernel module {name} is missing; try: modprobe {name})"),
        }
    }
}

/// Error numbers that mean something special here; the same on every Linux architecture we build for.
pub(crate) mod errno {
    pub(crate) const EPERM: i32 = 1;
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const EAGAIN: i32 = 11;
    pub(crate) const EMSGSIZE: i32 = 90;
    pub(crate) const EPROTONOSUPPORT: i32 = 93;
    pub(crate) const EOPNOTSUPP: i32 = 95;
    pub(crate) const EAFNOSUPPORT: i32 = 97;
}
