//! Kubernetes' quantities (`100m`, `1Gi`), as far as the downward API needs them.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

/// The value in thousandths; `None` for what is no quantity.
pub(crate) fn milli(text: &str) -> Option<i128> {
    let split = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Nanos are the finest that there is.
    let nanos: i128 = format!("{whole}{fraction:0<9}")
        .get(..whole.len() + 9)?
        .parse()
        .ok()?;
    let scale: i128 = match suffix {
        "n" => return Some(nanos.div_euclid(1_000_000_000_000_000)),
        "u" => return Some(nanos.div_euclid(1_000_000_000_000)),
        "m" => return Some(nanos.div_euclid(1_000_000_000)),
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    nanos.checked_mul(scale).map(|value| value.div_euclid(1_000_000))
}

/// `value` counted in `divisor`s, rounded up, as the downward API shows it.
pub(crate) fn divided(value: &str, divisor: &str) -> Option<String> {
    let (value, divisor) = (milli(value)?, milli(divisor)?);
    if divisor <= 0 {
        return None;
    }
    Some((value + divisor - 1).div_euclid(divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_divided_and_rounded_up() {
        for (value, divisor, shown) in [
            ("2", "1", "2"),
            ("1500m", "1", "2"),
            ("0.5", "1m", "500"),
            ("1Gi", "1", "1073741824"),
            ("1Gi", "1Mi", "1024"),
            ("128M", "1", "128000000"),
        ] {
            assert_eq!(
                divided(value, divisor).as_deref(),
                Some(shown),
                "{value} in {divisor}"
            );
        }
        assert_eq!(divided("much", "1"), None);
        assert_eq!(divided("1", "0"), None);
    }
}
