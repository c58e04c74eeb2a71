//! Audiences: whom a token is for. As Envoy compares them, neither `http://` or `https://` at the beginning nor a slash
//! at the end makes a difference.

use std::collections::BTreeSet;

/// Audiences that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audiences(BTreeSet<String>);

impl Audiences {
    /// These.
    pub fn new<'a>(audiences: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            audiences
                .into_iter()
                .map(|audience| essence(audience).to_owned())
                .collect(),
        )
    }

    /// Whether a token for these may pass. Where none is asked for, every token may, even one for nobody.
    pub fn allow(&self, audiences: &[String]) -> bool {
        self.0.is_empty()
            || audiences
                .iter()
                .any(|audience| self.0.contains(essence(audience)))
    }
}

fn essence(audience: &str) -> &str {
    let rest = audience
        .strip_prefix("http://")
        .or_else(|| audience.strip_prefix("https://"))
        .unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_last_slash_make_no_difference_and_anything_else_does() {
        let allowed = Audiences::new(["https://shop.example/", "cart"]);
        let allow = |audience: &str| allowed.allow(&[audience.to_owned()]);
        for audience in [
            "shop.example",
            "http://shop.example",
            "https://shop.example/",
            "cart",
            "cart/",
            "http://cart",
        ] {
            assert!(allow(audience), "{audience}");
        }
        for audience in [
            "",
            "shop",
            "HTTP://shop.example",
            "shop.example//",
            "ftp://cart",
            "Cart",
        ] {
            assert!(!allow(audience), "{audience}");
        }
    }

    #[test]
    fn one_of_several_is_enough_and_none_asked_for_is_no_condition() {
        let several = ["x".to_owned(), "cart".to_owned()];
        assert!(Audiences::new(["cart"]).allow(&several));
        assert!(!Audiences::new(["cart"]).allow(&[]));
        assert!(Audiences::default().allow(&[]));
    }
}
