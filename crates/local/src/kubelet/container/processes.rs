//! How many processes a container may have: what a fork bomb meets.
//!
//! There are no cgroups here. But since Linux 6.14 each PID namespace has a `pid_max` of its own, every container has
//! such a namespace, and its `/proc/sys` is read-only afterwards. Before 6.14 the number is the whole machine's, and
//! is left alone: there a container is bounded by what bounds its user.

use std::fs;

/// As many as a pod of a usual cluster gets.
const MOST: u32 = 4096;

/// Bounds the caller's PID namespace, whose `/proc` is mounted. Where that is refused programs get along without.
pub(super) fn bound() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if has_own_limit(&release) {
        let _ = fs::write("/proc/sys/kernel/pid_max", MOST.to_string());
    }
}

/// Whether a PID namespace of this kernel has its own limit.
fn has_own_limit(release: &str) -> bool {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 14),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kernels_that_limit_each_namespace_are_asked_to() {
        assert!(has_own_limit("6.14.0-generic\n"));
        assert!(has_own_limit("7.0"));
        assert!(!has_own_limit("6.8.0-45-generic"));
        assert!(!has_own_limit("5.15.0"));
        assert!(!has_own_limit(""));
    }
}
