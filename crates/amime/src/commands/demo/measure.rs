//! Counting answers, and saying whether the counts are what the rule promises.

use anyhow::{Context, bail};

use crate::cluster::Cluster;
use crate::cluster::exec::Place;

/// Requests of one measurement.
pub(super) const REQUESTS: u32 = 1000;
/// How far a count may be from its expectation, in standard deviations: one false alarm in 150,000 steps.
const BOUND: f64 = 4.5;

/// Answers by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) v0: u32,
    pub(super) v1: u32,
}

/// Calls the backend from the client's own container, so that the calls cross its sidecar.
pub(super) async fn run(cluster: &Cluster, client: &Place<'_>) -> anyhow::Result<Counts> {
    let url = format!("http://backend:9090/?[1-{REQUESTS}]");
    let command = ["curl", "-s", "-S", "-m", "10", "-w", "\n", &url].map(str::to_owned);
    let (mut printed, mut complaints) = (Vec::new(), Vec::new());
    let code = cluster
        .exec(client, &command, &mut printed, &mut complaints)
        .await?;
    if code != 0 {
        bail!(
            "curl failed with {code}: {}",
            String::from_utf8_lossy(&complaints).trim()
        );
    }
    count(&String::from_utf8_lossy(&printed))
}

fn count(printed: &str) -> anyhow::Result<Counts> {
    let mut counts = Counts { v0: 0, v1: 0 };
    for line in printed.lines().filter(|line| !line.is_empty()) {
        match line {
            "Hello, World!, version: 0" => counts.v0 += 1,
            "Hello, World!, version: 1" => counts.v1 += 1,
            other => bail!("an answer that no version gives: {other:?}"),
        }
    }
    let all = counts.v0 + counts.v1;
    (all == REQUESTS)
        .then_some(counts)
        .with_context(|| format!("{all} answers to {REQUESTS} requests"))
}

/// What is wrong with the counts when a share of `v1` is promised; `None` when nothing is.
pub(super) fn judge(counts: Counts, share: f64) -> Option<String> {
    let expected = f64::from(REQUESTS) * share;
    let deviation = (f64::from(REQUESTS) * share * (1.0 - share)).sqrt();
    let off = (f64::from(counts.v1) - expected).abs();
    let message = || {
        format!(
            "version 1 answered {} times, expected {expected:.0} ± {:.0}",
            counts.v1,
            BOUND * deviation
        )
    };
    (off > BOUND * deviation).then(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_judged_by_its_deviation() {
        assert_eq!(judge(Counts { v0: 900, v1: 100 }, 0.1), None);
        assert_eq!(judge(Counts { v0: 858, v1: 142 }, 0.1), None);
        assert!(judge(Counts { v0: 857, v1: 143 }, 0.1).is_some());
        assert_eq!(judge(Counts { v0: 1000, v1: 0 }, 0.0), None);
        assert!(judge(Counts { v0: 999, v1: 1 }, 0.0).is_some());
    }

    #[test]
    fn every_request_must_be_answered_by_a_version() {
        assert!(count("Hello, World!, version: 0\n").is_err());
        assert!(count("no healthy upstream\n").is_err());
        let all = "Hello, World!, version: 0\n\n".repeat(900) + &"Hello, World!, version: 1\n".repeat(100);
        assert_eq!(count(&all).unwrap(), Counts { v0: 900, v1: 100 });
    }
}
