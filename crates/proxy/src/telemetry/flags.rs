//! Envoy's response flags: why a request ended as it did, in two letters.

use std::fmt;

/// One response flag; its place here is its place in the printed list.
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
    DelayInjected,
    FaultInjected,
    UpstreamRetryLimitExceeded,
    DownstreamConnectionTermination,
    StreamIdleTimeout,
    DownstreamProtocolError,
    UpstreamProtocolError,
    NoClusterFound,
}

const NAMES: [(Flag, &str); 15] = [
    (Flag::NoHealthyUpstream, "UH"),
    (Flag::UpstreamRequestTimeout, "UT"),
    (Flag::UpstreamRemoteReset, "UR"),
    (Flag::UpstreamConnectionFailure, "UF"),
    (Flag::UpstreamConnectionTermination, "UC"),
    (Flag::UpstreamOverflow, "UO"),
    (Flag::NoRouteFound, "NR"),
    (Flag::DelayInjected, "DI"),
    (Flag::FaultInjected, "FI"),
    (Flag::UpstreamRetryLimitExceeded, "URX"),
    (Flag::DownstreamConnectionTermination, "DC"),
    (Flag::StreamIdleTimeout, "SI"),
    (Flag::DownstreamProtocolError, "DPE"),
    (Flag::UpstreamProtocolError, "UPE"),
    (Flag::NoClusterFound, "NC"),
];

/// A set of response flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Flags(u16);

impl Flags {
    /// The same and one more.
    #[must_use]
    pub(crate) fn with(self, flag: Flag) -> Self {
        Self(self.0 | Self::from(flag).0)
    }

    /// Those of both.
    #[must_use]
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether that flag is set.
    pub(crate) fn contains(self, flag: Flag) -> bool {
        self.0 & Self::from(flag).0 != 0
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        Self(1 << flag as u8)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return out.write_str("-");
        }
        let set = NAMES.iter().filter(|(flag, _)| self.contains(*flag));
        for (position, (_, name)) in set.enumerate() {
            write!(out, "{}{name}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_a_fixed_order_and_none_is_a_dash() {
        assert_eq!(Flags::default().to_string(), "-");
        let both = Flags::from(Flag::UpstreamRetryLimitExceeded).with(Flag::UpstreamConnectionFailure);
        assert_eq!(both.to_string(), "UF,URX");
    }
}
