//! One value of a policy becomes one condition, with the same matchers that Istio's own control plane writes.

use resources::istio::authorization_policy::Attribute;
use snapshot::Subnet;
use snapshot::authorization::{
    Condition, HeaderCondition, JWT_METADATA, JWT_PAYLOAD, MetadataMatch, Pattern, Permission, Principal,
    Source, Target, TextMatch, ValueMatch, check_template,
};

const SPIFFE: &str = "spiffe://";

/// A value that means nothing; the webhook refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaningless;

/// `*`, `prefix*`, `*suffix`, or the text itself.
fn text(value: &str) -> TextMatch {
    let pattern = if value == "*" {
        Pattern::Regex(".+".to_owned())
    } else if let Some(suffix) = value.strip_prefix('*') {
        Pattern::Suffix(suffix.to_owned())
    } else if let Some(prefix) = value.strip_suffix('*') {
        Pattern::Prefix(prefix.to_owned())
    } else {
        Pattern::Exact(value.to_owned())
    };
    pattern.into()
}

/// A header, where a star alone asks for its presence.
fn header(name: &str, value: &str, ignore_case: bool) -> HeaderCondition {
    if value == "*" {
        return HeaderCondition::present(name);
    }
    let text = TextMatch {
        ignore_case,
        ..text(value)
    };
    HeaderCondition::text(name, text)
}

/// As Go quotes text for regular expressions: no more than RE2 asks for.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

fn identity(pattern: Pattern) -> Principal {
    Condition::Is(Source::Authenticated(Some(pattern.into())))
}

/// `cluster.local/ns/shop/sa/web`.
pub(super) fn principal(value: &str) -> Principal {
    identity(if value == "*" {
        Pattern::Regex(".+".to_owned())
    } else if let Some(suffix) = value.strip_prefix('*') {
        Pattern::Regex(format!("{SPIFFE}.*{}", quoted(suffix)))
    } else if let Some(prefix) = value.strip_suffix('*') {
        Pattern::Prefix(format!("{SPIFFE}{prefix}"))
    } else {
        Pattern::Exact(format!("{SPIFFE}{value}"))
    })
}

/// Stars may be anywhere.
pub(super) fn namespace(value: &str) -> Principal {
    let pieces: Vec<String> = value.split('*').map(quoted).collect();
    identity(Pattern::Regex(format!(".*/ns/{}/.*", pieces.join(".*"))))
}

/// `namespace/account`, or an account of the policy's own namespace.
pub(super) fn service_account(own: &str, value: &str) -> Principal {
    let (namespace, account) = value.split_once('/').unwrap_or((own, value));
    let (namespace, account) = (quoted(namespace), quoted(account));
    identity(Pattern::Regex(format!(
        "{SPIFFE}.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"
    )))
}

pub(super) fn trust_domain(value: &str) -> Principal {
    identity(match value.split_once('*') {
        _ if value == "*" => Pattern::Prefix(SPIFFE.to_owned()),
        None => Pattern::Prefix(format!("{SPIFFE}{value}/")),
        Some((start, end)) => Pattern::Regex(format!("{SPIFFE}{}[^/]*{}/.*", quoted(start), quoted(end))),
    })
}

pub(super) fn source_ip(value: &str) -> Result<Principal, Meaningless> {
    subnet(value).map(|subnet| Condition::Is(Source::DirectAddress(subnet)))
}

pub(super) fn remote_ip(value: &str) -> Result<Principal, Meaningless> {
    subnet(value).map(|subnet| Condition::Is(Source::Address(subnet)))
}

fn subnet(value: &str) -> Result<Subnet, Meaningless> {
    value.parse().map_err(|_| Meaningless)
}

pub(super) fn request_header(bracketed: &str, value: &str) -> Result<Principal, Meaningless> {
    let name = within_brackets(bracketed).ok_or(Meaningless)?;
    Ok(Condition::Is(Source::Header(header(name, value, false))))
}

fn within_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// Issuer, slash and subject. The issuer may have slashes of its own.
pub(super) fn request_principals(values: &[String]) -> Principal {
    let mut each: Vec<_> = values.iter().map(|value| request_principal(value)).collect();
    match each.len() {
        1 => each.remove(0),
        _ => Condition::OneOf(each),
    }
}

fn request_principal(value: &str) -> Principal {
    let any = || TextMatch::from(Pattern::Regex(".+".to_owned()));
    let suffix = |text: &str| TextMatch::from(Pattern::Suffix(text.to_owned()));
    let prefix = |text: &str| TextMatch::from(Pattern::Prefix(text.to_owned()));
    let parts = value.rsplit_once('/');
    let (issuer, subject) = match (value, parts) {
        ("*", _) => (any(), any()),
        (_, Some(("*", subject))) => (any(), TextMatch::exact(subject)),
        (_, Some((issuer, subject))) if value.starts_with('*') => {
            (suffix(&issuer[1..]), TextMatch::exact(subject))
        }
        (_, None) if value.starts_with('*') => (any(), suffix(&value[1..])),
        (_, Some((issuer, "*"))) => (TextMatch::exact(issuer), any()),
        (_, Some((issuer, subject))) => match subject.strip_suffix('*') {
            Some(start) => (TextMatch::exact(issuer), prefix(start)),
            None => (TextMatch::exact(issuer), TextMatch::exact(subject)),
        },
        (_, None) => match value.strip_suffix('*') {
            Some(start) => (prefix(start), any()),
            None => (TextMatch::exact(value), TextMatch::exact("")),
        },
    };
    let claim = |name: &str, text: TextMatch| {
        Condition::Is(Source::Metadata(MetadataMatch {
            filter: JWT_METADATA.to_owned(),
            path: vec![JWT_PAYLOAD.to_owned(), name.to_owned()],
            value: ValueMatch::Text(text),
            invert: false,
        }))
    };
    Condition::All(vec![claim("iss", issuer), claim("sub", subject)])
}

/// A claim by its names from the outside in; a text, or a list with such a text.
pub(super) fn claim(names: &[&str], values: &[String]) -> Principal {
    let one = one_of(values.iter().map(|value| ValueMatch::Text(text(value))).collect());
    let path = [JWT_PAYLOAD].iter().chain(names).map(|name| (*name).to_owned());
    Condition::Is(Source::Metadata(MetadataMatch {
        filter: JWT_METADATA.to_owned(),
        path: path.collect(),
        value: ValueMatch::OneOf(vec![ValueMatch::Member(Box::new(one.clone())), one]),
        invert: false,
    }))
}

fn one_of(mut values: Vec<ValueMatch>) -> ValueMatch {
    match values.len() {
        1 => values.remove(0),
        _ => ValueMatch::OneOf(values),
    }
}

/// `[name][inner]`; what is not that is one name, whatever is in it.
pub(super) fn request_claim(bracketed: &str, values: &[String]) -> Result<Principal, Meaningless> {
    let whole = within_brackets(bracketed).ok_or(Meaningless)?;
    let nested: Vec<&str> = whole.split("][").collect();
    let plain = |name: &&str| !name.contains(['[', ']']);
    match nested.iter().all(plain) {
        true => Ok(claim(&nested, values)),
        false => Ok(claim(&[whole], values)),
    }
}

/// `envoy.filters.FILTER[name]`; a value in brackets is a member of a list.
pub(super) fn metadata(key: &str, values: &[String]) -> Result<Permission, Meaningless> {
    let key = key.strip_suffix(']').unwrap_or(key);
    let (filter, name) = key.split_once('[').ok_or(Meaningless)?;
    let value = |value: &String| match within_brackets(value) {
        Some(_) => {
            let inner = value.trim_matches(['[', ']']);
            ValueMatch::Member(Box::new(ValueMatch::Text(text(inner))))
        }
        None => ValueMatch::Text(text(value)),
    };
    Ok(Condition::Is(Target::Metadata(MetadataMatch {
        filter: filter.to_owned(),
        path: vec![name.to_owned()],
        value: one_of(values.iter().map(value).collect()),
        invert: false,
    })))
}

pub(super) fn host(value: &str) -> Permission {
    Condition::Is(Target::Header(header(":authority", value, true)))
}

pub(super) fn method(value: &str) -> Permission {
    Condition::Is(Target::Header(header(":method", value, false)))
}

/// A template that a proxy could not read would cost it everything that it is told along with it.
pub(super) fn path(value: &str) -> Result<Permission, Meaningless> {
    if !value.contains("{*}") && !value.contains("{**}") {
        return Ok(Condition::Is(Target::Path(text(value))));
    }
    let template = value.replace("{*}", "*").replace("{**}", "**");
    match check_template(&template) {
        Ok(()) => Ok(Condition::Is(Target::PathTemplate(template))),
        Err(_) => Err(Meaningless),
    }
}

pub(super) fn port(value: &str) -> Result<Permission, Meaningless> {
    let port = value.parse().map_err(|_| Meaningless)?;
    Ok(Condition::Is(Target::Port(port)))
}

pub(super) fn destination_ip(value: &str) -> Result<Permission, Meaningless> {
    subnet(value).map(|subnet| Condition::Is(Target::Address(subnet)))
}

pub(super) fn server_name(value: &str) -> Permission {
    Condition::Is(Target::ServerName(text(value)))
}

/// Whether an attribute is asked of the destination; all others are asked of the source.
pub(super) fn is_of_target(attribute: Attribute<'_>) -> bool {
    matches!(
        attribute,
        Attribute::DestinationIp
            | Attribute::DestinationPort
            | Attribute::ConnectionSni
            | Attribute::Metadata(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_identity(principal: &Principal) -> &Pattern {
        match principal {
            Condition::Is(Source::Authenticated(Some(text))) => &text.pattern,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn identities_are_matched_with_the_expressions_of_istio() {
        let regex = |text: &str| Pattern::Regex(text.to_owned());
        let prefix = |text: &str| Pattern::Prefix(text.to_owned());
        for (condition, pattern) in [
            (principal("*"), regex(".+")),
            (principal("*/sa/a.b"), regex(r"spiffe://.*/sa/a\.b")),
            (principal("td/ns/*"), prefix("spiffe://td/ns/")),
            (namespace("a-b"), regex(".*/ns/a-b/.*")),
            (namespace("a*b*"), regex(".*/ns/a.*b.*/.*")),
            (
                service_account("shop", "web"),
                regex("spiffe://.+/ns/shop/(.+/|)sa/web(/.+)?"),
            ),
            (
                service_account("shop", "far/web"),
                regex("spiffe://.+/ns/far/(.+/|)sa/web(/.+)?"),
            ),
            (trust_domain("*"), prefix("spiffe://")),
            (trust_domain("td"), prefix("spiffe://td/")),
            (trust_domain("*.td"), regex(r"spiffe://[^/]*\.td/.*")),
        ] {
            assert_eq!(of_identity(&condition), &pattern);
        }
    }

    #[test]
    fn issuer_and_subject_are_parted_at_the_last_slash() {
        let parts = |value: &str| match request_principal(value) {
            Condition::All(claims) => claims
                .into_iter()
                .map(|claim| match claim {
                    Condition::Is(Source::Metadata(MetadataMatch {
                        value: ValueMatch::Text(text),
                        ..
                    })) => text.pattern,
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let exact = |text: &str| Pattern::Exact(text.to_owned());
        let any = || Pattern::Regex(".+".to_owned());
        assert_eq!(parts("https://a/b"), [exact("https://a"), exact("b")]);
        assert_eq!(parts("*"), [any(), any()]);
        assert_eq!(parts("*/b"), [any(), exact("b")]);
        assert_eq!(parts("*a/b"), [Pattern::Suffix("a".into()), exact("b")]);
        assert_eq!(parts("*b"), [any(), Pattern::Suffix("b".into())]);
        assert_eq!(parts("a/*"), [exact("a"), any()]);
        assert_eq!(parts("a/b*"), [exact("a"), Pattern::Prefix("b".into())]);
        assert_eq!(parts("a*"), [Pattern::Prefix("a".into()), any()]);
        assert_eq!(parts("a"), [exact("a"), exact("")]);
    }

    #[test]
    fn claims_may_be_nested() {
        let path = |key: &str| match request_claim(key, &["x".to_owned()]) {
            Ok(Condition::Is(Source::Metadata(found))) => found.path.join(" "),
            other => panic!("{other:?}"),
        };
        assert_eq!(path("[iss]"), "payload iss");
        assert_eq!(path("[a][b.c]"), "payload a b.c");
        assert_eq!(path("[a[b]]"), "payload a[b]");
        assert_eq!(request_claim("iss", &[]), Err(Meaningless));
    }
}
