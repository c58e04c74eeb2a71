//! A ring of hashes (ketama): each host has points on it in proportion to its weight, and a key belongs to the next
//! point. A host that comes or goes moves only the keys next to its points.
//!
//! Points are where Envoy's are (`ip:port_0`, `ip:port_1` … hashed with xxHash64), so that both choose the same host
//! for the same key.

use std::net::SocketAddr;

use super::xxhash;

/// A host, by its place among the endpoints of the cluster, with its share of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) host: u32,
    pub(super) address: SocketAddr,
    /// Of 1.
    pub(super) share: f64,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// In ascending order.
    points: Vec<u64>,
    /// Whose point it is.
    hosts: Vec<u32>,
}

impl Ring {
    /// The lightest host gets a whole number of points, all together at least `minimum` and at most `maximum`.
    pub(super) fn new(shares: &[Share], minimum: u64, maximum: u64) -> Self {
        let lightest = shares.iter().map(|share| share.share).fold(1.0, f64::min);
        if shares.is_empty() || lightest <= 0.0 {
            return Self::default();
        }
        let scale = ((lightest * float(minimum)).ceil() / lightest).min(float(maximum));
        let mut points = Vec::new();
        // Shares need not come to whole points; the running sums carry what is left over to the next host.
        let (mut made, mut wanted) = (0.0, 0.0);
        let mut key = String::new();
        for share in shares {
            key.clear();
            std::fmt::Write::write_fmt(&mut key, format_args!("{}_", share.address))
                .expect("a String takes all");
            let stem = key.len();
            wanted += scale * share.share;
            let mut number = 0_u32;
            while made < wanted {
                key.truncate(stem);
                std::fmt::Write::write_fmt(&mut key, format_args!("{number}")).expect("a String takes all");
                points.push((xxhash::hash(key.as_bytes()), share.host));
                number += 1;
                made += 1.0;
            }
        }
        points.sort_unstable();
        Self {
            points: points.iter().map(|(point, _)| *point).collect(),
            hosts: points.iter().map(|(_, host)| *host).collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The host of the key; a later attempt takes as many points further on.
    pub(super) fn choose(&self, key: u64, attempt: usize) -> Option<u32> {
        let next = self.points.partition_point(|point| *point < key);
        // Beyond the last point comes the first.
        let own = if next == self.hosts.len() { 0 } else { next };
        let at = (own + attempt).checked_rem(self.hosts.len())?;
        self.hosts.get(at).copied()
    }
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn float(size: u64) -> f64 {
    size as f64
}
