//! How one endpoint is picked. Istio: `LoadBalancerSettings`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The algorithm that picks an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancing {
    /// The better of two random endpoints by requests in flight; Istio's default.
    #[default]
    LeastRequest,
    /// Any endpoint with equal chance (or by weight).
    Random,
    /// One after the other (or by weight).
    RoundRobin,
    /// The same endpoint for the same key: the next point on a ring of hashes.
    RingHash {
        /// Points on the ring, at least.
        minimum_size: u64,
        /// Points on the ring, at most.
        maximum_size: u64,
    },
    /// The same endpoint for the same key: a table of turns.
    Maglev {
        /// Places in the table, a prime number.
        table_size: u64,
    },
}

impl LoadBalancing {
    /// Envoy's (and Istio's) least number of points on a ring where none is stated.
    pub const MINIMUM_RING_SIZE: u64 = 1024;
    /// Most points on a ring that Envoy accepts.
    pub const MAXIMUM_RING_SIZE: u64 = 8 << 20;
    /// Most points on a ring that we keep: 12 MiB, and a quarter of a second to make.
    pub const LARGEST_RING: u64 = 1 << 20;
    /// Envoy's number of places in a Maglev table where none is stated.
    pub const MAGLEV_TABLE_SIZE: u64 = 65537;

    /// Most places in a Maglev table that Envoy accepts.
    pub const MAXIMUM_MAGLEV_SIZE: u64 = 5_000_011;

    /// Whether a Maglev table may have so many places: a prime number, or turns would not reach all of them.
    pub fn can_be_maglev(size: u64) -> bool {
        let divisors = (2..).take_while(|divisor| divisor * divisor <= size);
        (2..=Self::MAXIMUM_MAGLEV_SIZE).contains(&size)
            && divisors.into_iter().all(|divisor| !size.is_multiple_of(divisor))
    }

    /// Whether the choice depends on a key.
    pub fn is_consistent(self) -> bool {
        matches!(
            self,
            LoadBalancing::RingHash { .. } | LoadBalancing::Maglev { .. }
        )
    }
}

/// New endpoints get their share of requests little by little. Istio: `warmup`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowStart {
    /// How long.
    pub window: Duration,
    /// Shape of the growth; 1 is a line, more begins faster.
    pub aggression: f64,
    /// The share to begin with, of the full one.
    pub minimum_percent: f64,
}

/// What the place of an endpoint counts for, within one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalityBalancing {
    /// Nothing.
    #[default]
    Ignored,
    /// First a place is chosen, by the weights of the places; then one endpoint in it.
    Weighted,
    /// Near endpoints take what they can bear. Envoy does this only where it knows the group of proxies it belongs to
    /// (`local_cluster_name`), and ignores places elsewhere.
    ZoneAware {
        /// Share of requests that this is done for.
        enabled_percent: u8,
        /// Fewer endpoints than this are not told apart.
        minimum_size: u64,
    },
}

impl LocalityBalancing {
    /// Whether places count for nothing.
    pub fn is_ignored(&self) -> bool {
        *self == Self::Ignored
    }
}

/// A key for a consistent choice. Istio: `consistentHash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashPolicy {
    /// Where the key is.
    pub key: HashKey,
    /// If there is this key, those after it do not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
}

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// In a header; lower case.
    Header(String),
    /// In a cookie.
    Cookie(HashCookie),
    /// It is the address of the client.
    SourceAddress,
    /// In a query parameter.
    QueryParameter(String),
}

/// A cookie as key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// A request without the cookie is given one that lives so long, 0 as long as the session; `None` makes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Path of a cookie that is made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Other attributes of a cookie that is made, with values that may be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
}
