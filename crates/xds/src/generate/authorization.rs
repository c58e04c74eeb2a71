//! Arbitrary rules of who may do what.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use snapshot::authorization::{
    Authorization, Condition, HeaderCondition, HeaderTest, MetadataMatch, Pattern, Policy, RuleAction, Rules,
    Source, Target, TextMatch, ValueMatch,
};
use snapshot::{NetworkFilter, Subnet};

use super::name;

pub(super) fn authorization() -> BoxedStrategy<Authorization> {
    let prefix = || prop_oneof![Just(String::new()), Just("istio_dry_run_deny_".to_owned())];
    (of(rules()), of(rules()), prefix(), prefix())
        .prop_map(|(rules, shadow, shadow_prefix, stat_prefix)| Authorization {
            rules,
            shadow,
            shadow_prefix,
            stat_prefix,
        })
        .boxed()
}

pub(super) fn network_filter() -> BoxedStrategy<NetworkFilter> {
    authorization()
        .prop_map(|filter| NetworkFilter::Authorization(Arc::new(filter)))
        .boxed()
}

fn rules() -> impl Strategy<Value = Rules> {
    let action = prop_oneof![
        Just(RuleAction::Allow),
        Just(RuleAction::Deny),
        Just(RuleAction::Log)
    ];
    let policy =
        (vec(tree(target()), 1..3), vec(tree(source()), 1..3)).prop_map(|(permissions, principals)| Policy {
            permissions,
            principals,
        });
    (action, btree_map("[a-z\\[\\]-]{1,12}", policy, 0..3))
        .prop_map(|(action, policies)| Rules { action, policies })
}

fn tree<T: Clone + std::fmt::Debug + 'static>(leaf: BoxedStrategy<T>) -> BoxedStrategy<Condition<T>> {
    let simple = prop_oneof![1 => Just(Condition::Any), 6 => leaf.prop_map(Condition::Is)];
    simple
        .prop_recursive(2, 4, 2, |inner| {
            prop_oneof![
                vec(inner.clone(), 1..3).prop_map(Condition::All),
                vec(inner.clone(), 1..3).prop_map(Condition::OneOf),
                inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            ]
        })
        .boxed()
}

fn target() -> BoxedStrategy<Target> {
    prop_oneof![
        header().prop_map(Target::Header),
        text().prop_map(Target::Path),
        prop_oneof!["/[a-z]{1,4}/\\*", "/\\*/[a-z]{1,4}/\\*\\*"].prop_map(Target::PathTemplate),
        subnet().prop_map(Target::Address),
        any::<u16>().prop_map(Target::Port),
        (0..65_535u32).prop_map(|first| Target::Ports(first, first + 1)),
        text().prop_map(Target::ServerName),
        metadata().prop_map(Target::Metadata),
    ]
    .boxed()
}

fn source() -> BoxedStrategy<Source> {
    prop_oneof![
        of(text()).prop_map(Source::Authenticated),
        text().prop_map(Source::Told),
        subnet().prop_map(Source::DirectAddress),
        subnet().prop_map(Source::ConnectionAddress),
        subnet().prop_map(Source::Address),
        header().prop_map(Source::Header),
        text().prop_map(Source::Path),
        metadata().prop_map(Source::Metadata),
    ]
    .boxed()
}

fn text() -> BoxedStrategy<TextMatch> {
    let word = || "[a-z/:.]{1,9}";
    let pattern = prop_oneof![
        word().prop_map(Pattern::Exact),
        word().prop_map(Pattern::Prefix),
        word().prop_map(Pattern::Suffix),
        word().prop_map(Pattern::Contains),
        "[a-z]{1,5}(\\.\\*)?".prop_map(Pattern::Regex),
    ];
    (pattern, any::<bool>())
        .prop_map(|(pattern, ignore_case)| TextMatch { pattern, ignore_case })
        .boxed()
}

fn subnet() -> impl Strategy<Value = Subnet> {
    (any::<IpAddr>(), 0..=32u8)
        .prop_map(|(address, length)| Subnet::new(address, length).expect("short enough for both"))
}

fn header() -> impl Strategy<Value = HeaderCondition> {
    let test = prop_oneof![
        Just(HeaderTest::Present),
        text().prop_map(HeaderTest::Text),
        (-9..9i64, 10..20i64).prop_map(|(start, end)| HeaderTest::Range(start, end)),
    ];
    (name(), test, any::<bool>(), any::<bool>()).prop_map(|(name, test, invert, missing_is_empty)| {
        HeaderCondition {
            name,
            test,
            invert,
            missing_is_empty,
        }
    })
}

fn metadata() -> impl Strategy<Value = MetadataMatch> {
    let value = prop_oneof![
        Just(ValueMatch::Null),
        (-9..9i32).prop_map(|number| ValueMatch::Number(number.into())),
        Just(ValueMatch::Numbers(0.5, 1.5)),
        text().prop_map(ValueMatch::Text),
        any::<bool>().prop_map(ValueMatch::Bool),
        any::<bool>().prop_map(ValueMatch::Present),
    ];
    let value = value.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|inner| ValueMatch::Member(Box::new(inner))),
            vec(inner, 1..3).prop_map(ValueMatch::OneOf),
        ]
    });
    (name(), vec(name(), 1..3), value, any::<bool>()).prop_map(|(filter, path, value, invert)| {
        MetadataMatch {
            filter,
            path,
            value,
            invert,
        }
    })
}
