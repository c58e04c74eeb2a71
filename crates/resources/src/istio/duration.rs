//! Lengths of time as users write them: Go's notation, `5s`, `1.5h`, `1m30s`, `100ms`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration as Time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A length of time. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub Time);

impl Duration {
    /// Nothing at all.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Istio's proxies count in milliseconds; finer values are refused.
    pub(super) fn is_whole_milliseconds(self) -> bool {
        self.0.subsec_nanos().is_multiple_of(1_000_000)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a duration such as 1h, 1.5s or 100ms");
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self::default());
        }
        let mut seconds = 0.0;
        while !rest.is_empty() || text.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(bad)?;
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            let tail = &rest[digits..];
            let letters = tail
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(tail.len());
            seconds += number * unit(&tail[..letters]).ok_or_else(bad)?;
            rest = &tail[letters..];
        }
        let time = Time::try_from_secs_f64(seconds).map_err(|_| bad())?;
        // Sums of binary fractions miss the decimal that was meant by less than a nanosecond or two.
        let nanoseconds = time.as_nanos();
        let rounded = (nanoseconds + 500) / 1_000 * 1_000;
        let exact = if nanoseconds.abs_diff(rounded) <= 2 {
            rounded
        } else {
            nanoseconds
        };
        u64::try_from(exact)
            .map(|exact| Self(Time::from_nanos(exact)))
            .map_err(|_| bad())
    }
}

/// Seconds in a unit.
fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

impl fmt::Display for Duration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\+?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("0.3s", 300),
            ("1.1s", 1100),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("100ms", 100),
            ("0", 0),
            ("0s", 0),
            (".5s", 500),
            ("86400.001s", 86_400_001),
        ] {
            let parsed = Duration::parse(text).unwrap();
            assert_eq!(parsed.0, Time::from_millis(milliseconds), "{text}");
            assert!(parsed.is_whole_milliseconds(), "{text}");
        }
        assert!(!Duration::parse("1us").unwrap().is_whole_milliseconds());
        for text in ["", "5", "s", "-1s", "5 s", "1d", "1s1", "9999999999999999h"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }
}
