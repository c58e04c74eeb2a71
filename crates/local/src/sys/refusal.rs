//! Why the kernel refuses namespaces, in one line that names the switch and says what to do.
//!
//! Linux says only EPERM or ENOSPC; which of its many switches it was is found out by looking at them
//! (user_namespaces(7), namespaces(7); Debian's and Ubuntu's own sysctls).

use std::fmt;
use std::io;

use nix::libc::{ENOSPC, EPERM};

/// The stable name of this failure; scripts may look for it.
pub(crate) const CODE: &str = "NamespacesForbidden";

/// Namespaces are not to be had on this machine, or in this container.
#[derive(Debug, thiserror::Error)]
#[error("{CODE}: {reason}")]
pub(crate) struct Refusal {
    reason: Reason,
}

#[derive(Debug, PartialEq, Eq)]
enum Reason {
    /// A sysctl with its present value, and the one that would do.
    Switch(&'static str, u64, u64),
    /// AppArmor strips unnamed programs of what the namespace is for.
    AppArmor,
    Limit,
    Seccomp,
    Missing,
    Policy(String),
}

/// What the host says about itself.
#[derive(Debug, Default)]
struct Host {
    /// Values of [`SWITCHES`] and [`APPARMOR`], where they exist.
    switches: Vec<(&'static str, u64)>,
    has_user_namespaces: bool,
    seccomp: bool,
}

/// Sysctls that forbid namespaces with 0, and what to set them to.
const SWITCHES: [(&str, u64); 5] = [
    ("user.max_user_namespaces", 15_000),
    ("user.max_pid_namespaces", 15_000),
    ("user.max_mnt_namespaces", 15_000),
    ("user.max_net_namespaces", 15_000),
    ("kernel.unprivileged_userns_clone", 1),
];
/// Forbids with 1.
const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// Finds out why the kernel answered with `error`.
pub(crate) fn explain(error: &io::Error) -> Refusal {
    Refusal {
        reason: judge(error, &Host::read()),
    }
}

impl Host {
    fn read() -> Self {
        let value = |name: &str| {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            std::fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        let names = SWITCHES.iter().map(|(name, _)| *name).chain([APPARMOR]);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            switches: names.filter_map(|name| Some((name, value(name)?))).collect(),
            has_user_namespaces: std::path::Path::new("/proc/self/ns/user").exists(),
            seccomp: filtered(&status),
        }
    }

    fn value(&self, name: &str) -> Option<u64> {
        let found = self.switches.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

/// Whether a filter of system calls is in force: `Seccomp: 2`.
fn filtered(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

fn judge(error: &io::Error, host: &Host) -> Reason {
    if !host.has_user_namespaces {
        return Reason::Missing;
    }
    let off = SWITCHES.iter().find(|(name, _)| host.value(name) == Some(0));
    if let Some((name, good)) = off {
        return Reason::Switch(name, 0, *good);
    }
    match error.raw_os_error() {
        // The limits here are not zero, so it is one of them used up, or one further out.
        Some(ENOSPC) => Reason::Limit,
        Some(EPERM) if host.value(APPARMOR) == Some(1) => Reason::AppArmor,
        Some(EPERM) if host.seccomp => Reason::Seccomp,
        _ => Reason::Policy(error.to_string()),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(name, value, good) => write!(
                out,
                "{name} is {value}, and the local cluster lives in namespaces; try: sudo sysctl -w {name}={good}"
            ),
            Self::AppArmor => write!(
                out,
                "AppArmor keeps ordinary users from namespaces ({APPARMOR} is 1); \
                 try: sudo sysctl -w {APPARMOR}=0, or give this program a profile with `userns,`, or run as root"
            ),
            Self::Limit => out.write_str(
                "this machine's limit of namespaces is reached, or that of a container around this one; \
                 try: raise user.max_user_namespaces, user.max_pid_namespaces and user.max_net_namespaces there",
            ),
            Self::Seccomp => out.write_str(
                "a seccomp filter forbids namespaces, as container engines set it by default; \
                 try: docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined, or run outside",
            ),
            Self::Missing => out.write_str(
                "this kernel has no user namespaces (CONFIG_USER_NS); run as root, with all capabilities",
            ),
            Self::Policy(error) => write!(
                out,
                "the kernel refuses namespaces ({error}), and no sysctl says why: a security module such as SELinux, \
                 a service manager's RestrictNamespaces=, or a chroot; run as root, or outside of it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(switches: &[(&'static str, u64)]) -> Host {
        Host {
            switches: switches.to_vec(),
            has_user_namespaces: true,
            seccomp: false,
        }
    }

    fn said(errno: i32, host: &Host) -> String {
        let reason = judge(&io::Error::from_raw_os_error(errno), host);
        Refusal { reason }.to_string()
    }

    #[test]
    fn a_switch_that_is_off_is_named_with_the_command_that_turns_it_on() {
        let max = host(&[("user.max_user_namespaces", 0)]);
        assert_eq!(
            said(ENOSPC, &max),
            "NamespacesForbidden: user.max_user_namespaces is 0, and the local cluster lives in namespaces; \
             try: sudo sysctl -w user.max_user_namespaces=15000"
        );
        let debian = host(&[
            ("user.max_user_namespaces", 9),
            ("kernel.unprivileged_userns_clone", 0),
        ]);
        assert!(said(EPERM, &debian).ends_with("sudo sysctl -w kernel.unprivileged_userns_clone=1"));
        let net = host(&[("user.max_user_namespaces", 9), ("user.max_net_namespaces", 0)]);
        assert!(said(ENOSPC, &net).contains("user.max_net_namespaces is 0"));
    }

    #[test]
    fn policies_without_a_number_are_named_too() {
        let ubuntu = host(&[("user.max_user_namespaces", 9), (APPARMOR, 1)]);
        assert!(said(EPERM, &ubuntu).contains("AppArmor"));
        let container = Host {
            seccomp: filtered("Name:\tamime\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
            ..host(&[(APPARMOR, 0)])
        };
        assert!(said(EPERM, &container).contains("seccomp filter"));
        assert!(said(EPERM, &host(&[])).contains("SELinux"));
        assert!(said(ENOSPC, &host(&[("user.max_user_namespaces", 9)])).contains("limit"));
        assert!(said(EPERM, &Host::default()).contains("CONFIG_USER_NS"));
    }

    #[test]
    fn each_explanation_is_one_line() {
        let reasons = [
            Reason::Switch("user.max_user_namespaces", 0, 1),
            Reason::AppArmor,
            Reason::Limit,
            Reason::Seccomp,
            Reason::Missing,
            Reason::Policy("Operation not permitted".to_owned()),
        ];
        for reason in reasons {
            let text = Refusal { reason }.to_string();
            assert!(text.lines().count() == 1 && text.starts_with(CODE), "{text}");
        }
    }
}
