//! Envoy's response flags: why a request or connection ended as it did, in two letters.
//!
//! They are kept and printed in the order in which they came up (`URX,UF`), as Envoy does.

use std::fmt;

/// One response flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    NoHealthyUpstream,
    UpstreamRequestTimeout,
    UpstreamRemoteReset,
    UpstreamConnectionFailure,
    UpstreamConnectionTermination,
    UpstreamOverflow,
    NoRouteFound,
    UpstreamRetryLimitExceeded,
    DownstreamConnectionTermination,
    StreamIdleTimeout,
    DownstreamProtocolError,
    UpstreamProtocolError,
    NoClusterFound,
    LocalReset,
    DelayInjected,
    FaultInjected,
    RateLimited,
    DurationTimeout,
    UpstreamMaxStreamDurationReached,
    OverloadManager,
    DownstreamRemoteReset,
    UnauthorizedExternalService,
    RateLimitServiceError,
}

/// Flag, short name, long name; in the order of the enum.
const NAMES: [(Flag, &str, &str); 23] = [
    (Flag::NoHealthyUpstream, "UH", "NoHealthyUpstream"),
    (Flag::UpstreamRequestTimeout, "UT", "UpstreamRequestTimeout"),
    (Flag::UpstreamRemoteReset, "UR", "UpstreamRemoteReset"),
    (Flag::UpstreamConnectionFailure, "UF", "UpstreamConnectionFailure"),
    (
        Flag::UpstreamConnectionTermination,
        "UC",
        "UpstreamConnectionTermination",
    ),
    (Flag::UpstreamOverflow, "UO", "UpstreamOverflow"),
    (Flag::NoRouteFound, "NR", "NoRouteFound"),
    (
        Flag::UpstreamRetryLimitExceeded,
        "URX",
        "UpstreamRetryLimitExceeded",
    ),
    (
        Flag::DownstreamConnectionTermination,
        "DC",
        "DownstreamConnectionTermination",
    ),
    (Flag::StreamIdleTimeout, "SI", "StreamIdleTimeout"),
    (Flag::DownstreamProtocolError, "DPE", "DownstreamProtocolError"),
    (Flag::UpstreamProtocolError, "UPE", "UpstreamProtocolError"),
    (Flag::NoClusterFound, "NC", "NoClusterFound"),
    (Flag::LocalReset, "LR", "LocalReset"),
    (Flag::DelayInjected, "DI", "DelayInjected"),
    (Flag::FaultInjected, "FI", "FaultInjected"),
    (Flag::RateLimited, "RL", "RateLimited"),
    (Flag::DurationTimeout, "DT", "DurationTimeout"),
    (
        Flag::UpstreamMaxStreamDurationReached,
        "UMSDR",
        "UpstreamMaxStreamDurationReached",
    ),
    (Flag::OverloadManager, "OM", "OverloadManagerTerminated"),
    (Flag::DownstreamRemoteReset, "DR", "DownstreamRemoteReset"),
    (
        Flag::UnauthorizedExternalService,
        "UAEX",
        "UnauthorizedExternalService",
    ),
    (Flag::RateLimitServiceError, "RLSE", "RateLimitServiceError"),
];

/// A few response flags: one byte each, the first in the lowest; no request collects more than eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Flags(u64);

impl Flags {
    /// The same and one more, at the end.
    #[must_use]
    pub(crate) fn with(self, flag: Flag) -> Self {
        let length = self.iter().count();
        if self.contains(flag) || length == 8 {
            return self;
        }
        Self(self.0 | (u64::from(flag as u8) + 1) << (8 * length))
    }

    /// Those of both.
    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        other.iter().fold(self, Self::with)
    }

    /// Whether that flag is set.
    pub(crate) fn contains(self, flag: Flag) -> bool {
        self.iter().any(|set| set == flag)
    }

    /// Whether one with that short name is set.
    pub(crate) fn has_short(self, name: &str) -> bool {
        self.iter().any(|flag| flag.short() == name)
    }

    /// Long names.
    pub(crate) fn long(self) -> String {
        let names: Vec<_> = self.iter().map(|flag| NAMES[flag as usize].2).collect();
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(",")
        }
    }

    fn iter(self) -> impl Iterator<Item = Flag> {
        let bytes = self.0.to_le_bytes().into_iter();
        bytes
            .take_while(|byte| *byte != 0)
            .filter_map(|byte| NAMES.get(usize::from(byte) - 1).map(|(flag, ..)| *flag))
    }
}

impl Flag {
    fn short(self) -> &'static str {
        NAMES[self as usize].1
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        Self::default().with(flag)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return out.write_str("-");
        }
        for (position, flag) in self.iter().enumerate() {
            write!(out, "{}{}", if position == 0 { "" } else { "," }, flag.short())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_the_order_in_which_they_came_and_none_is_a_dash() {
        assert_eq!(Flags::default().to_string(), "-");
        let both = Flags::from(Flag::UpstreamRetryLimitExceeded).with(Flag::UpstreamConnectionFailure);
        assert_eq!(both.to_string(), "URX,UF");
        assert_eq!(both.with(Flag::UpstreamRetryLimitExceeded), both);
        assert_eq!(
            both.long(),
            "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
        );
        let other = Flags::from(Flag::DelayInjected).with(Flag::UpstreamConnectionFailure);
        assert_eq!(both.union(other).to_string(), "URX,UF,DI");
        assert!(both.has_short("UF") && !both.has_short("U"));
    }

    #[test]
    fn the_table_of_names_follows_the_enum() {
        for (position, (flag, short, _)) in NAMES.iter().enumerate() {
            assert_eq!(*flag as usize, position, "{short}");
        }
    }

    #[test]
    fn a_ninth_flag_is_left_out() {
        let all = NAMES
            .iter()
            .fold(Flags::default(), |flags, (flag, ..)| flags.with(*flag));
        assert_eq!(all.iter().count(), 8);
    }
}
