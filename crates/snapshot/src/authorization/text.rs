//! Conditions on text, ready to run. Expressions of the shapes that Istio writes need no engine for expressions: a
//! comparison takes nanoseconds where an engine takes a hundred of them.

use regex::bytes::Regex;

use super::{Pattern, TextMatch};
use crate::route::compile_regex;

/// A condition on text.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    ExactOfAnyCase(Box<str>),
    PrefixOfAnyCase(Box<str>),
    SuffixOfAnyCase(Box<str>),
    ContainsOfAnyCase(Box<str>),
    /// `.+`.
    Something,
    /// Texts with `.*` between them.
    Pieces(Box<[Box<str>]>),
    /// An account of a namespace, in any trust domain.
    Account(Account),
    Regex(Regex),
}

/// `spiffe://ANY/ns/NAMESPACE/sa/ACCOUNT`, with more between the namespace and the account, or behind it, allowed.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// `/ns/NAMESPACE/`.
    namespace: Box<str>,
    /// `sa/ACCOUNT`.
    account: Box<str>,
}

impl Text {
    /// The error says why it cannot be compiled.
    pub(super) fn new(condition: &TextMatch) -> Result<Self, String> {
        let any_case = condition.ignore_case;
        Ok(match &condition.pattern {
            Pattern::Exact(text) if any_case => Self::ExactOfAnyCase(text.as_str().into()),
            Pattern::Prefix(text) if any_case => Self::PrefixOfAnyCase(text.as_str().into()),
            Pattern::Suffix(text) if any_case => Self::SuffixOfAnyCase(text.as_str().into()),
            Pattern::Contains(text) if any_case => Self::ContainsOfAnyCase(text.as_str().into()),
            Pattern::Exact(text) => Self::Exact(text.as_str().into()),
            Pattern::Prefix(text) => Self::Prefix(text.as_str().into()),
            Pattern::Suffix(text) => Self::Suffix(text.as_str().into()),
            Pattern::Contains(text) => Self::Contains(text.as_str().into()),
            Pattern::Regex(pattern) => Self::of_regex(pattern)?,
        })
    }

    fn of_regex(pattern: &str) -> Result<Self, String> {
        // Compiled in any case: what is no expression is refused, whatever it looks like.
        let regex =
            compile_regex(pattern).map_err(|error| format!("regular expression {pattern:?}: {error}"))?;
        Ok(if pattern == ".+" {
            Self::Something
        } else if let Some(account) = Account::read(pattern) {
            Self::Account(account)
        } else if let Some(pieces) = pieces(pattern) {
            Self::Pieces(pieces)
        } else {
            Self::Regex(regex)
        })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => text == &**wanted,
            Self::Prefix(wanted) => text.starts_with(&**wanted),
            Self::Suffix(wanted) => text.ends_with(&**wanted),
            Self::Contains(wanted) => text.contains(&**wanted),
            Self::ExactOfAnyCase(wanted) => text.eq_ignore_ascii_case(wanted),
            Self::PrefixOfAnyCase(wanted) => same(text.as_bytes().get(..wanted.len()), wanted),
            Self::SuffixOfAnyCase(wanted) => {
                let start = text.len().checked_sub(wanted.len());
                same(start.and_then(|start| text.as_bytes().get(start..)), wanted)
            }
            Self::ContainsOfAnyCase(wanted) => {
                // No window is of length zero.
                wanted.is_empty()
                    || text
                        .as_bytes()
                        .windows(wanted.len())
                        .any(|part| same(Some(part), wanted))
            }
            Self::Something => !text.is_empty() && !text.contains('\n'),
            Self::Pieces(pieces) => !text.contains('\n') && in_order(pieces, text),
            Self::Account(account) => !text.contains('\n') && account.matches(text),
            Self::Regex(regex) => regex.is_match(text.as_bytes()),
        }
    }

    /// A namespace that each matching identity has in it, as `/ns/NAMESPACE/`.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Prefix(text) | Self::Suffix(text) | Self::Contains(text) => namespace_in(text),
            Self::Pieces(pieces) => pieces.iter().find_map(|piece| namespace_in(piece)),
            Self::Account(account) => namespace_in(&account.namespace),
            _ => None,
        }
    }
}

fn namespace_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(NAMESPACE)?;
    let (namespace, _) = rest.split_once('/')?;
    (!namespace.is_empty()).then_some(namespace)
}

/// What stands before the namespace in an identity.
pub(super) const NAMESPACE: &str = "/ns/";

fn same(part: Option<&[u8]>, wanted: &str) -> bool {
    part.is_some_and(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether text begins with the first piece, ends with the last, and has the others between them in their order.
fn in_order(pieces: &[Box<str>], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return false;
    };
    let Some(mut rest) = text
        .strip_prefix(&**first)
        .and_then(|rest| rest.strip_suffix(&**last))
    else {
        return false;
    };
    middle.iter().all(|piece| {
        let found = rest.find(&**piece);
        rest = &rest[found.map_or(0, |found| found + piece.len())..];
        found.is_some()
    })
}

/// The texts of an expression that is nothing but texts with `.*` between them.
fn pieces(pattern: &str) -> Option<Box<[Box<str>]>> {
    let mut pieces = vec![String::new()];
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '.' => {
                (rest.next() == Some('*')).then_some(())?;
                pieces.push(String::new());
            }
            _ => pieces.last_mut()?.push(literal(letter, &mut rest)?),
        }
    }
    // A quantifier behind `.*` is a letter that is none; it was refused above.
    (pieces.len() > 1).then(|| pieces.into_iter().map(String::into_boxed_str).collect())
}

/// A letter that stands for itself, perhaps behind a backslash.
fn literal(letter: char, rest: &mut std::str::Chars<'_>) -> Option<char> {
    match letter {
        '\\' => rest.next().filter(char::is_ascii_punctuation),
        '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '.' | '\n' => None,
        _ => Some(letter),
    }
}

impl Account {
    /// Reads the one expression that Istio makes for accounts.
    fn read(pattern: &str) -> Option<Self> {
        let inner = pattern.strip_prefix("spiffe://.+/ns/")?.strip_suffix("(/.+)?")?;
        let (namespace, account) = inner.split_once("/(.+/|)sa/")?;
        Some(Self {
            namespace: format!("{NAMESPACE}{}/", unquoted(namespace)?).into(),
            account: format!("sa/{}", unquoted(account)?).into(),
        })
    }

    fn matches(&self, text: &str) -> bool {
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return false;
        };
        // The trust domain is at least one letter. The namespace may come up twice, and share a slash with itself.
        let mut slashes = rest.match_indices('/').filter(|(at, _)| *at > 0);
        slashes.any(|(at, _)| {
            rest[at..]
                .strip_prefix(&*self.namespace)
                .is_some_and(|rest| self.matches_rest(rest))
        })
    }

    /// What follows the namespace.
    fn matches_rest(&self, rest: &str) -> bool {
        let ends = |rest: &str| {
            rest.strip_prefix(&*self.account)
                .is_some_and(|after| after.is_empty() || (after.starts_with('/') && after.len() > 1))
        };
        let mut slashes = rest.match_indices('/').filter(|(at, _)| *at > 0);
        ends(rest) || slashes.any(|(at, _)| ends(&rest[at + 1..]))
    }
}

/// The text that an expression without any meaning but itself stands for.
fn unquoted(pattern: &str) -> Option<String> {
    let (mut text, mut rest) = (String::new(), pattern.chars());
    while let Some(letter) = rest.next() {
        text.push(literal(letter, &mut rest)?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regex(pattern: &str) -> Text {
        Text::new(&Pattern::Regex(pattern.into()).into()).unwrap()
    }

    #[test]
    fn expressions_that_istio_writes_need_no_engine() {
        assert!(matches!(regex(".+"), Text::Something));
        assert!(matches!(regex(".*/ns/shop/.*"), Text::Pieces(_)));
        assert!(matches!(regex(r"spiffe://.*/sa/a\.b"), Text::Pieces(_)));
        assert!(matches!(
            regex("spiffe://.+/ns/shop/(.+/|)sa/web(/.+)?"),
            Text::Account(_)
        ));
        for other in [".*a+", "a.b", ".*.*?", "a|b", "[ab].*", ".*+", r"\d.*", "(?i).*a"] {
            assert!(!matches!(regex(other), Text::Pieces(_)), "{other}");
        }
    }

    #[test]
    fn the_namespace_in_a_condition_is_known() {
        assert_eq!(regex(".*/ns/shop/.*").namespace(), Some("shop"));
        assert_eq!(regex(".*/ns/shop.*/.*").namespace(), None);
        assert_eq!(
            regex("spiffe://.+/ns/shop/(.+/|)sa/web(/.+)?").namespace(),
            Some("shop")
        );
        let prefix = Text::new(&Pattern::Prefix("spiffe://a/ns/b/".into()).into()).unwrap();
        assert_eq!(prefix.namespace(), Some("b"));
    }

    /// Expressions of the known shapes, and texts that come near.
    const PATTERNS: [&str; 10] = [
        ".+",
        ".*",
        ".*/ns/a/.*",
        ".*/ns/sa/.*",
        ".*/ns/a.*/.*",
        r".*/ns/a\.b/.*",
        "spiffe://.*/sa/b",
        "spiffe://.+/ns/a/(.+/|)sa/b(/.+)?",
        "spiffe://.+/ns/ns/(.+/|)sa/ns(/.+)?",
        r"spiffe://.+/ns/a\.b/(.+/|)sa/b\-c(/.+)?",
    ];

    proptest! {
        #[test]
        fn short_ways_agree_with_the_engine(
            pattern in prop::sample::select(&PATTERNS[..]),
            parts in prop::collection::vec(
                prop::sample::select(&["spiffe://", "/", "ns", "/ns/", "a", "sa", "/sa/", "b", "a.b", "b-c", "\n", "x", "é"][..]), 0..12),
        ) {
            let text = parts.concat();
            let expected = compile_regex(pattern).unwrap().is_match(text.as_bytes());
            prop_assert_eq!(regex(pattern).matches(&text), expected, "{} {:?}", pattern, text);
        }

        #[test]
        fn any_case_is_that_of_ascii(text in "[aAbB]{0,4}", wanted in "[aAbB]{0,3}") {
            let (lower, small) = (text.to_ascii_lowercase(), wanted.to_ascii_lowercase());
            let holds = |pattern: Pattern| {
                Text::new(&TextMatch { pattern, ignore_case: true }).unwrap().matches(&text)
            };
            prop_assert_eq!(holds(Pattern::Exact(wanted.clone())), lower == small);
            prop_assert_eq!(holds(Pattern::Prefix(wanted.clone())), lower.starts_with(&small));
            prop_assert_eq!(holds(Pattern::Suffix(wanted.clone())), lower.ends_with(&small));
            prop_assert_eq!(holds(Pattern::Contains(wanted.clone())), lower.contains(&small));
        }
    }
}
