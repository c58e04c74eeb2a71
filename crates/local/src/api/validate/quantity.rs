//! Resource quantities: `100m`, `1.5Gi`, `2e3`; and the one form in which each is written back.
//!
//! Sizes up to `2^63-1` with nine digits after the point, as in Kubernetes' `resource.Quantity`.

use serde_json::Value;

/// What Go's decoder says about anything else.
pub const MALFORMED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const NANO: i128 = 1_000_000_000;
const DECIMAL: &[(&str, i32)] = &[
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: &[&str] = &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// How a quantity was written, which is how it is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// A number in billionths.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.nanos.partial_cmp(&other.nanos)
    }
}

/// Reads a quantity.
pub fn parse(text: &str) -> Option<Quantity> {
    let digits_end = text
        .char_indices()
        .find(|(at, letter)| {
            !(letter.is_ascii_digit() || *letter == '.' || (*at == 0 && matches!(letter, '+' | '-')))
        })
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(digits_end);
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
        return None;
    }
    let (form, scale) = scale(suffix)?;
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let nanos = match scale {
        Scale::Ten(power) => shift(mantissa, power + 9 - places)?,
        Scale::Two(power) => {
            let scaled = mantissa.checked_mul(1_i128.checked_shl(power)?)?;
            shift(scaled, 9 - places)?
        }
    };
    Some(Quantity {
        nanos: if negative { -nanos } else { nanos },
        form,
    })
}

/// The canonical form of a value that is to be a quantity, when it differs from what is there.
pub fn canonical_value(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let canonical = parse(&text)?.to_string();
    (Some(canonical.as_str()) != value.as_str()).then_some(canonical)
}

impl Quantity {
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// In billionths.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// Another amount, written in the same form.
    #[must_use]
    pub fn with(self, nanos: i128) -> Self {
        Self { nanos, ..self }
    }

    /// The number, if it is a whole one.
    pub fn whole(self) -> Option<i64> {
        (self.nanos % NANO == 0)
            .then(|| i64::try_from(self.nanos / NANO).ok())
            .flatten()
    }

    /// Whole units, rounded up: bytes, cores.
    pub fn ceil(self) -> i128 {
        div_ceil(self.nanos, NANO)
    }

    /// How many `divisor`s it is, rounded up, as the downward API shows it; `None` unless the divisor is positive.
    pub fn counted_in(self, divisor: Self) -> Option<i128> {
        (divisor.nanos > 0).then(|| div_ceil(self.nanos, divisor.nanos))
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.form == Form::Binary && self.nanos.abs() >= 1024 * NANO {
            let mut value = self.ceil();
            let mut power = 0;
            while value % 1024 == 0 && power + 1 < BINARY.len() {
                value /= 1024;
                power += 1;
            }
            return write!(out, "{value}{}", BINARY[power]);
        }
        let (mut value, mut power) = (self.nanos, -9);
        while value != 0 && value % 1000 == 0 && power < 18 {
            value /= 1000;
            power += 3;
        }
        match (value, self.form) {
            (0, _) => write!(out, "0"),
            (_, Form::Exponent) if power != 0 => write!(out, "{value}e{power}"),
            _ => {
                let suffix = DECIMAL
                    .iter()
                    .find(|(_, its)| *its == power)
                    .map_or("", |(suffix, _)| *suffix);
                write!(out, "{value}{suffix}")
            }
        }
    }
}

fn div_ceil(value: i128, divisor: i128) -> i128 {
    value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0)
}

enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Option<(Form, Scale)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Form::Decimal, Scale::Ten(*power)));
    }
    if let Some(index) = BINARY.iter().position(|name| *name == suffix) {
        return Some((Form::Binary, Scale::Two(10 * u32::try_from(index).ok()?)));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-18..=18)
        .contains(&exponent)
        .then_some((Form::Exponent, Scale::Ten(exponent)))
}

/// Times ten to the `power`; what is finer than a billionth is rounded up, as in Kubernetes.
fn shift(value: i128, power: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(power.unsigned_abs())?;
    if power >= 0 {
        value.checked_mul(factor)
    } else {
        Some((value + factor - 1) / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_back_in_canonical_form() {
        for (given, wanted) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("100Ki", "100Ki"),
            ("0.5Ki", "512"),
            ("1500M", "1500M"),
            ("2000M", "2G"),
            ("1e3", "1e3"),
            ("0", "0"),
            ("-1", "-1"),
        ] {
            assert_eq!(
                parse(given).map(|one| one.to_string()).as_deref(),
                Some(wanted),
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "a",
            "1.2.3",
            "1gi",
            "1 Gi",
            "--1",
            "1e99",
            "99999999999999999999999999999999",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn quantities_are_counted_in_a_divisor_and_rounded_up() {
        for (value, divisor, shown) in [
            ("2", "1", Some(2)),
            ("1500m", "1", Some(2)),
            ("0.5", "1m", Some(500)),
            ("1Gi", "1", Some(1_073_741_824)),
            ("1Gi", "1Mi", Some(1024)),
            ("128M", "1", Some(128_000_000)),
            ("1", "0", None),
        ] {
            let read = |text| parse(text).expect("a quantity");
            assert_eq!(
                read(value).counted_in(read(divisor)),
                shown,
                "{value} in {divisor}"
            );
        }
    }
}
