//! What measurements share: processor time of processes, and medians.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by measurements, each of which uses a part of it"
)]

use std::path::PathBuf;
use std::time::Duration;

/// What all threads of a process have run for, as the scheduler counts it.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = threads.flatten().map(|thread| {
        // A thread may end in between.
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next();
        first
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or_default()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// The middle one, and the quarters on both sides of it.
pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    [at(0.25), at(0.5), at(0.75)]
}

/// Where stock Envoy is.
pub(crate) fn envoy() -> PathBuf {
    let program = std::env::var_os("ENVOY").map_or_else(|| "envoy".into(), PathBuf::from);
    assert!(
        program.is_file() || !program.is_absolute(),
        "ENVOY says {}, which is no file",
        program.display()
    );
    program
}
