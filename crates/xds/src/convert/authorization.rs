//! Who may do what ⇄ `config.rbac.v3.RBAC`, as the HTTP filter and as the network filter, configured as Istio does.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::{CidrRange, TypedExtensionConfig};
use envoy_types::pb::envoy::config::rbac::v3 as pb;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3 as http;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as network;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3::{DoubleRange, Int32Range, Int64Range};
use matcher::string_matcher::MatchPattern;
use matcher::value_matcher::{MatchPattern as ValuePattern, NullMatch};
use pb::permission::Rule;
use pb::principal::{Authenticated, Identifier};
use route::header_matcher::HeaderMatchSpecifier;
use snapshot::Subnet;
use snapshot::authorization::{
    Authorization, Condition, HeaderCondition, HeaderTest, MetadataMatch, Pattern, Permission, Policy,
    Principal, RuleAction, Rules, Source, Target, TextMatch, ValueMatch, compile_template,
};

use super::proto::{number, pack, refuse, unpack};
use crate::rejected::Reason;

pub(super) const HTTP_FILTER: &str = "envoy.filters.http.rbac";
pub(super) const NETWORK_FILTER: &str = "envoy.filters.network.rbac";
/// What Istio calls the extension that matches templates; Envoy looks at its type alone.
const TEMPLATE: &str = "uri-template";
/// The state in which a waypoint finds who called.
const PEER_PRINCIPAL: &str = "io.istio.peer_principal";

pub(super) fn http_to_proto(filter: &Authorization) -> http::Rbac {
    http::Rbac {
        rules: filter.rules.as_ref().map(rules_to_proto),
        rules_stat_prefix: filter.stat_prefix.clone(),
        shadow_rules: filter.shadow.as_ref().map(rules_to_proto),
        shadow_rules_stat_prefix: filter.shadow_prefix.clone(),
        ..Default::default()
    }
}

pub(super) fn http_from_proto(message: http::Rbac) -> Result<Authorization, Reason> {
    refuse!(message, "RBAC", [matcher, shadow_matcher]);
    Ok(Authorization {
        rules: message.rules.map(rules_from_proto).transpose()?,
        shadow: message.shadow_rules.map(rules_from_proto).transpose()?,
        shadow_prefix: message.shadow_rules_stat_prefix,
        stat_prefix: message.rules_stat_prefix,
    })
}

pub(super) fn network_to_proto(filter: &Authorization) -> network::Rbac {
    network::Rbac {
        rules: filter.rules.as_ref().map(rules_to_proto),
        shadow_rules: filter.shadow.as_ref().map(rules_to_proto),
        shadow_rules_stat_prefix: filter.shadow_prefix.clone(),
        stat_prefix: filter.stat_prefix.clone(),
        ..Default::default()
    }
}

/// What was decided at the beginning of a connection holds to its end: nothing that rules ask for changes, so that
/// `enforcement_type` makes no difference.
pub(super) fn network_from_proto(message: network::Rbac) -> Result<Authorization, Reason> {
    refuse!(message, "RBAC", [matcher, shadow_matcher, delay_deny]);
    Ok(Authorization {
        rules: message.rules.map(rules_from_proto).transpose()?,
        shadow: message.shadow_rules.map(rules_from_proto).transpose()?,
        shadow_prefix: message.shadow_rules_stat_prefix,
        stat_prefix: message.stat_prefix,
    })
}

fn rules_to_proto(rules: &Rules) -> pb::Rbac {
    let action = match rules.action {
        RuleAction::Allow => pb::rbac::Action::Allow,
        RuleAction::Deny => pb::rbac::Action::Deny,
        RuleAction::Log => pb::rbac::Action::Log,
    };
    let policies: HashMap<_, _> = rules
        .policies
        .iter()
        .map(|(name, policy)| (name.clone(), policy_to_proto(policy)))
        .collect();
    pb::Rbac {
        action: action.into(),
        policies,
        ..Default::default()
    }
}

fn rules_from_proto(message: pb::Rbac) -> Result<Rules, Reason> {
    let action = match message.action() {
        pb::rbac::Action::Allow => RuleAction::Allow,
        pb::rbac::Action::Deny => RuleAction::Deny,
        pb::rbac::Action::Log => RuleAction::Log,
    };
    if i32::from(message.action()) != message.action {
        return Err(Reason::new("RBAC.action", "is none that is known"));
    }
    let policies = message.policies.into_iter();
    Ok(Rules {
        action,
        policies: policies
            .map(|(name, policy)| Ok((name, policy_from_proto(policy)?)))
            .collect::<Result<_, Reason>>()?,
    })
}

fn policy_to_proto(policy: &Policy) -> pb::Policy {
    pb::Policy {
        permissions: policy.permissions.iter().map(permission_to_proto).collect(),
        principals: policy.principals.iter().map(principal_to_proto).collect(),
        ..Default::default()
    }
}

fn policy_from_proto(message: pb::Policy) -> Result<Policy, Reason> {
    refuse!(message, "Policy", [condition, checked_condition]);
    let (permissions, principals) = (message.permissions, message.principals);
    Ok(Policy {
        permissions: some(permissions, permission_from_proto, "Policy.permissions")?,
        principals: some(principals, principal_from_proto, "Policy.principals")?,
    })
}

/// At least one, as Envoy insists.
fn some<M, T>(messages: Vec<M>, read: fn(M) -> Result<T, Reason>, field: &str) -> Result<Vec<T>, Reason> {
    if messages.is_empty() {
        return Err(Reason::missing(field));
    }
    messages.into_iter().map(read).collect()
}

fn permission_to_proto(permission: &Permission) -> pb::Permission {
    let set = |all: &[Permission]| pb::permission::Set {
        rules: all.iter().map(permission_to_proto).collect(),
    };
    let rule = match permission {
        Condition::Any => Rule::Any(true),
        Condition::All(all) => Rule::AndRules(set(all)),
        Condition::OneOf(some) => Rule::OrRules(set(some)),
        Condition::Not(one) => Rule::NotRule(Box::new(permission_to_proto(one))),
        Condition::Is(target) => target_to_proto(target),
    };
    pb::Permission { rule: Some(rule) }
}

fn permission_from_proto(message: pb::Permission) -> Result<Permission, Reason> {
    let set = |set: pb::permission::Set| some(set.rules, permission_from_proto, "Set.rules");
    let target = match message.rule.ok_or_else(|| Reason::missing("Permission.rule"))? {
        Rule::Any(_) => return Ok(Condition::Any),
        Rule::AndRules(all) => return Ok(Condition::All(set(all)?)),
        Rule::OrRules(some) => return Ok(Condition::OneOf(set(some)?)),
        Rule::NotRule(one) => return Ok(Condition::Not(Box::new(permission_from_proto(*one)?))),
        Rule::Header(message) => Target::Header(header_from_proto(message)?),
        Rule::UrlPath(message) => Target::Path(path_from_proto(message)?),
        Rule::UriTemplate(extension) => Target::PathTemplate(template_from_proto(extension)?),
        Rule::DestinationIp(range) => Target::Address(range_from_proto(&range)?),
        Rule::DestinationPort(port) => Target::Port(
            u16::try_from(port).map_err(|_| Reason::new("Permission.destination_port", "is no port"))?,
        ),
        Rule::DestinationPortRange(range) => ports_from_proto(range)?,
        Rule::RequestedServerName(text) => Target::ServerName(text_from_proto(text)?),
        Rule::Metadata(message) => Target::Metadata(metadata_from_proto(message)?),
        Rule::SourcedMetadata(message) => Target::Metadata(sourced_from_proto(message)?),
        Rule::Matcher(_) => return Err(Reason::unsupported("Permission.matcher")),
    };
    Ok(Condition::Is(target))
}

fn ports_from_proto(range: Int32Range) -> Result<Target, Reason> {
    let bound = |value: i32| u32::try_from(value).ok().filter(|value| *value <= 65536);
    let bounds = bound(range.start).zip(bound(range.end));
    let (first, end) = bounds
        .filter(|(first, end)| first < end)
        .ok_or_else(|| Reason::new("Permission.destination_port_range", "is no range of ports"))?;
    Ok(Target::Ports(first, end))
}

fn target_to_proto(target: &Target) -> Rule {
    match target {
        Target::Header(condition) => Rule::Header(header_to_proto(condition)),
        Target::Path(condition) => Rule::UrlPath(path_to_proto(condition)),
        Target::PathTemplate(template) => Rule::UriTemplate(TypedExtensionConfig {
            name: TEMPLATE.to_owned(),
            typed_config: Some(pack(UriTemplateMatchConfig {
                path_template: template.clone(),
            })),
        }),
        Target::Address(subnet) => Rule::DestinationIp(range_to_proto(*subnet)),
        Target::Port(port) => Rule::DestinationPort((*port).into()),
        Target::Ports(first, end) => Rule::DestinationPortRange(Int32Range {
            start: i32::try_from(*first).unwrap_or(i32::MAX),
            end: i32::try_from(*end).unwrap_or(i32::MAX),
        }),
        Target::ServerName(condition) => Rule::RequestedServerName(text_to_proto(condition)),
        Target::Metadata(condition) => Rule::Metadata(metadata_to_proto(condition)),
    }
}

fn principal_to_proto(principal: &Principal) -> pb::Principal {
    let set = |all: &[Principal]| pb::principal::Set {
        ids: all.iter().map(principal_to_proto).collect(),
    };
    let identifier = match principal {
        Condition::Any => Identifier::Any(true),
        Condition::All(all) => Identifier::AndIds(set(all)),
        Condition::OneOf(some) => Identifier::OrIds(set(some)),
        Condition::Not(one) => Identifier::NotId(Box::new(principal_to_proto(one))),
        Condition::Is(source) => source_to_proto(source),
    };
    pb::Principal {
        identifier: Some(identifier),
    }
}

fn principal_from_proto(message: pb::Principal) -> Result<Principal, Reason> {
    let set = |set: pb::principal::Set| some(set.ids, principal_from_proto, "Set.ids");
    let missing = || Reason::missing("Principal.identifier");
    let source = match message.identifier.ok_or_else(missing)? {
        Identifier::Any(_) => return Ok(Condition::Any),
        Identifier::AndIds(all) => return Ok(Condition::All(set(all)?)),
        Identifier::OrIds(some) => return Ok(Condition::OneOf(set(some)?)),
        Identifier::NotId(one) => return Ok(Condition::Not(Box::new(principal_from_proto(*one)?))),
        Identifier::Authenticated(message) => {
            Source::Authenticated(message.principal_name.map(text_from_proto).transpose()?)
        }
        Identifier::FilterState(message) => told_from_proto(message)?,
        Identifier::DirectRemoteIp(range) => Source::DirectAddress(range_from_proto(&range)?),
        Identifier::SourceIp(range) => Source::ConnectionAddress(range_from_proto(&range)?),
        Identifier::RemoteIp(range) => Source::Address(range_from_proto(&range)?),
        Identifier::Header(message) => Source::Header(header_from_proto(message)?),
        Identifier::UrlPath(message) => Source::Path(path_from_proto(message)?),
        Identifier::Metadata(message) => Source::Metadata(metadata_from_proto(message)?),
        Identifier::SourcedMetadata(message) => Source::Metadata(sourced_from_proto(message)?),
        Identifier::Custom(_) => return Err(Reason::unsupported("Principal.custom")),
    };
    Ok(Condition::Is(source))
}

fn source_to_proto(source: &Source) -> Identifier {
    match source {
        Source::Authenticated(name) => Identifier::Authenticated(Authenticated {
            principal_name: name.as_ref().map(text_to_proto),
        }),
        Source::Told(name) => Identifier::FilterState(matcher::FilterStateMatcher {
            key: PEER_PRINCIPAL.to_owned(),
            matcher: Some(matcher::filter_state_matcher::Matcher::StringMatch(
                text_to_proto(name),
            )),
        }),
        Source::DirectAddress(subnet) => Identifier::DirectRemoteIp(range_to_proto(*subnet)),
        Source::ConnectionAddress(subnet) => Identifier::SourceIp(range_to_proto(*subnet)),
        Source::Address(subnet) => Identifier::RemoteIp(range_to_proto(*subnet)),
        Source::Header(condition) => Identifier::Header(header_to_proto(condition)),
        Source::Path(condition) => Identifier::UrlPath(path_to_proto(condition)),
        Source::Metadata(condition) => Identifier::Metadata(metadata_to_proto(condition)),
    }
}

fn told_from_proto(message: matcher::FilterStateMatcher) -> Result<Source, Reason> {
    match message.matcher {
        Some(matcher::filter_state_matcher::Matcher::StringMatch(text)) if message.key == PEER_PRINCIPAL => {
            Ok(Source::Told(text_from_proto(text)?))
        }
        _ => Err(Reason::unsupported(format!(
            "Principal.filter_state {:?}",
            message.key
        ))),
    }
}

fn template_from_proto(extension: TypedExtensionConfig) -> Result<String, Reason> {
    let field = "Permission.uri_template";
    let any = extension.typed_config.ok_or_else(|| Reason::missing(field))?;
    let template = unpack::<UriTemplateMatchConfig>(&any, field)?.path_template;
    match compile_template(&template) {
        Ok(_) => Ok(template),
        Err(problem) => Err(Reason::new(field, problem)),
    }
}

fn range_to_proto(subnet: Subnet) -> CidrRange {
    CidrRange {
        address_prefix: subnet.address().to_string(),
        prefix_len: number(subnet.length().into()),
    }
}

/// Left out, the length is zero.
fn range_from_proto(range: &CidrRange) -> Result<Subnet, Reason> {
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    let address = range.address_prefix.parse().ok();
    let length = u8::try_from(length).ok();
    address
        .zip(length)
        .and_then(|(address, length)| Subnet::new(address, length))
        .ok_or_else(|| Reason::new("CidrRange", "is no network"))
}

fn path_to_proto(condition: &TextMatch) -> matcher::PathMatcher {
    matcher::PathMatcher {
        rule: Some(matcher::path_matcher::Rule::Path(text_to_proto(condition))),
    }
}

fn path_from_proto(message: matcher::PathMatcher) -> Result<TextMatch, Reason> {
    match message.rule {
        Some(matcher::path_matcher::Rule::Path(text)) => text_from_proto(text),
        None => Err(Reason::missing("PathMatcher.path")),
    }
}

fn text_to_proto(condition: &TextMatch) -> matcher::StringMatcher {
    let pattern = match &condition.pattern {
        Pattern::Exact(text) => MatchPattern::Exact(text.clone()),
        Pattern::Prefix(text) => MatchPattern::Prefix(text.clone()),
        Pattern::Suffix(text) => MatchPattern::Suffix(text.clone()),
        Pattern::Contains(text) => MatchPattern::Contains(text.clone()),
        Pattern::Regex(regex) => MatchPattern::SafeRegex(matcher::RegexMatcher {
            regex: regex.clone(),
            engine_type: None,
        }),
    };
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: condition.ignore_case,
    }
}

fn text_from_proto(message: matcher::StringMatcher) -> Result<TextMatch, Reason> {
    let pattern = match message.match_pattern {
        Some(MatchPattern::Exact(text)) => Pattern::Exact(text),
        Some(MatchPattern::Prefix(text)) => Pattern::Prefix(text),
        Some(MatchPattern::Suffix(text)) => Pattern::Suffix(text),
        Some(MatchPattern::Contains(text)) => Pattern::Contains(text),
        Some(MatchPattern::SafeRegex(message)) => regex_from_proto(message)?,
        Some(MatchPattern::Custom(_)) => return Err(Reason::unsupported("StringMatcher.custom")),
        None => return Err(Reason::missing("StringMatcher.match_pattern")),
    };
    Ok(TextMatch {
        pattern,
        ignore_case: message.ignore_case,
    })
}

/// Compiled once here, so that a bad expression is refused by name and the proxy never meets one.
fn regex_from_proto(message: matcher::RegexMatcher) -> Result<Pattern, Reason> {
    match snapshot::route::compile_regex(&message.regex) {
        Ok(_) => Ok(Pattern::Regex(message.regex)),
        Err(problem) => Err(Reason::new("StringMatcher.safe_regex", problem)),
    }
}

fn header_to_proto(condition: &HeaderCondition) -> route::HeaderMatcher {
    let specifier = match &condition.test {
        HeaderTest::Present => HeaderMatchSpecifier::PresentMatch(true),
        HeaderTest::Text(text) => HeaderMatchSpecifier::StringMatch(text_to_proto(text)),
        HeaderTest::Range(start, end) => HeaderMatchSpecifier::RangeMatch(Int64Range {
            start: *start,
            end: *end,
        }),
    };
    route::HeaderMatcher {
        name: condition.name.clone(),
        invert_match: condition.invert,
        treat_missing_header_as_empty: condition.missing_is_empty,
        header_match_specifier: Some(specifier),
    }
}

fn header_from_proto(message: route::HeaderMatcher) -> Result<HeaderCondition, Reason> {
    let text = |pattern: Pattern| HeaderTest::Text(pattern.into());
    let (test, inverted) = match message.header_match_specifier {
        None | Some(HeaderMatchSpecifier::PresentMatch(true)) => (HeaderTest::Present, false),
        Some(HeaderMatchSpecifier::PresentMatch(false)) => (HeaderTest::Present, true),
        Some(HeaderMatchSpecifier::StringMatch(message)) => {
            (HeaderTest::Text(text_from_proto(message)?), false)
        }
        Some(HeaderMatchSpecifier::ExactMatch(value)) => (text(Pattern::Exact(value)), false),
        Some(HeaderMatchSpecifier::PrefixMatch(value)) => (text(Pattern::Prefix(value)), false),
        Some(HeaderMatchSpecifier::SuffixMatch(value)) => (text(Pattern::Suffix(value)), false),
        Some(HeaderMatchSpecifier::ContainsMatch(value)) => (text(Pattern::Contains(value)), false),
        Some(HeaderMatchSpecifier::SafeRegexMatch(message)) => (text(regex_from_proto(message)?), false),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => (HeaderTest::Range(range.start, range.end), false),
    };
    Ok(HeaderCondition {
        name: message.name.to_ascii_lowercase(),
        test,
        invert: message.invert_match != inverted,
        missing_is_empty: message.treat_missing_header_as_empty,
    })
}

fn metadata_to_proto(condition: &MetadataMatch) -> matcher::MetadataMatcher {
    use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    let path = condition.path.iter().map(|key| PathSegment {
        segment: Some(Segment::Key(key.clone())),
    });
    matcher::MetadataMatcher {
        filter: condition.filter.clone(),
        path: path.collect(),
        value: Some(value_to_proto(&condition.value)),
        invert: condition.invert,
    }
}

/// Metadata of routes is nobody's here.
fn sourced_from_proto(message: pb::SourcedMetadata) -> Result<MetadataMatch, Reason> {
    if message.metadata_source() != pb::MetadataSource::Dynamic {
        return Err(Reason::unsupported("SourcedMetadata.metadata_source"));
    }
    let inner = message.metadata_matcher;
    metadata_from_proto(inner.ok_or_else(|| Reason::missing("SourcedMetadata.metadata_matcher"))?)
}

fn metadata_from_proto(message: matcher::MetadataMatcher) -> Result<MetadataMatch, Reason> {
    use matcher::metadata_matcher::path_segment::Segment;
    let path = message.path.into_iter().map(|segment| match segment.segment {
        Some(Segment::Key(key)) => Ok(key),
        None => Err(Reason::missing("MetadataMatcher.path")),
    });
    let value = message
        .value
        .ok_or_else(|| Reason::missing("MetadataMatcher.value"))?;
    Ok(MetadataMatch {
        filter: message.filter,
        path: path.collect::<Result<_, _>>()?,
        value: value_from_proto(value)?,
        invert: message.invert,
    })
}

fn value_to_proto(condition: &ValueMatch) -> matcher::ValueMatcher {
    use matcher::double_matcher::MatchPattern as Number;
    let double = |pattern| {
        ValuePattern::DoubleMatch(matcher::DoubleMatcher {
            match_pattern: Some(pattern),
        })
    };
    let pattern = match condition {
        ValueMatch::Null => ValuePattern::NullMatch(NullMatch {}),
        ValueMatch::Number(exact) => double(Number::Exact(*exact)),
        ValueMatch::Numbers(start, end) => double(Number::Range(DoubleRange {
            start: *start,
            end: *end,
        })),
        ValueMatch::Text(text) => ValuePattern::StringMatch(text_to_proto(text)),
        ValueMatch::Bool(wanted) => ValuePattern::BoolMatch(*wanted),
        ValueMatch::Present(wanted) => ValuePattern::PresentMatch(*wanted),
        ValueMatch::Member(one) => ValuePattern::ListMatch(Box::new(matcher::ListMatcher {
            match_pattern: Some(matcher::list_matcher::MatchPattern::OneOf(Box::new(
                value_to_proto(one),
            ))),
        })),
        ValueMatch::OneOf(some) => ValuePattern::OrMatch(matcher::OrMatcher {
            value_matchers: some.iter().map(value_to_proto).collect(),
        }),
    };
    matcher::ValueMatcher {
        match_pattern: Some(pattern),
    }
}

fn value_from_proto(message: matcher::ValueMatcher) -> Result<ValueMatch, Reason> {
    use matcher::double_matcher::MatchPattern as Number;
    let missing = || Reason::missing("ValueMatcher.match_pattern");
    Ok(match message.match_pattern.ok_or_else(missing)? {
        ValuePattern::NullMatch(_) => ValueMatch::Null,
        ValuePattern::DoubleMatch(number) => match number.match_pattern {
            Some(Number::Exact(exact)) => ValueMatch::Number(exact),
            Some(Number::Range(range)) => ValueMatch::Numbers(range.start, range.end),
            None => return Err(Reason::missing("DoubleMatcher.match_pattern")),
        },
        ValuePattern::StringMatch(text) => ValueMatch::Text(text_from_proto(text)?),
        ValuePattern::BoolMatch(wanted) => ValueMatch::Bool(wanted),
        ValuePattern::PresentMatch(wanted) => ValueMatch::Present(wanted),
        ValuePattern::ListMatch(list) => match list.match_pattern {
            Some(matcher::list_matcher::MatchPattern::OneOf(one)) => {
                ValueMatch::Member(Box::new(value_from_proto(*one)?))
            }
            None => return Err(Reason::missing("ListMatcher.match_pattern")),
        },
        ValuePattern::OrMatch(or) => ValueMatch::OneOf(some(
            or.value_matchers,
            value_from_proto,
            "OrMatcher.value_matchers",
        )?),
    })
}
