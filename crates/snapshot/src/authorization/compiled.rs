//! Rules in the form that answers: conditions compiled and in the order of their cost, policies found through an index
//! of what they ask for, so that those that cannot hold cost nothing.

use std::fmt;
use std::net::IpAddr;

use regex::bytes::Regex;
use serde_json::Value;

use super::index::Index;
use super::text::Text;
use super::{
    Condition, HeaderCondition, HeaderTest, MetadataMatch, Policy, RuleAction, Rules, Source, Subject,
    Target, ValueMatch, Verdict, compile_template, template,
};
use crate::Subnet;

/// Rules, compiled.
#[derive(Clone, Debug)]
pub struct CompiledRules {
    action: RuleAction,
    /// In the order of their names.
    names: Vec<Box<str>>,
    policies: Vec<Node>,
    index: Index,
}

/// A policy that cannot work. One that allows something then allows nothing, any other holds for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// Its name.
    pub policy: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "policy {}: {}", self.policy, self.reason)
    }
}

/// A condition, ready to run. `All` of none holds, `OneOf` none does not.
#[derive(Clone, Debug)]
pub(super) enum Node {
    All(Vec<Node>),
    OneOf(Vec<Node>),
    Not(Box<Node>),
    Is(Leaf),
}

/// Compiles a simple condition.
type Compile<'c, T> = dyn Fn(&T) -> Result<Leaf, String> + 'c;

/// A simple condition, ready to run.
#[derive(Clone, Debug)]
pub(super) enum Leaf {
    Header(Header),
    Path(Text),
    /// With what it begins with.
    Template(Box<str>, Regex),
    DestinationAddress(Subnet),
    /// From the first up to but without the last.
    DestinationPort(u32, u32),
    ServerName(Text),
    Metadata(Metadata),
    Authenticated,
    Identity(Text),
    Peer(Subnet),
    Client(Subnet),
}

/// A condition on a header, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) name: Box<str>,
    pub(super) test: Test,
    pub(super) invert: bool,
    missing_is_empty: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Present,
    Text(Text),
    Range(i64, i64),
}

/// A condition on metadata, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    filter: Box<str>,
    path: Box<[String]>,
    value: ValueTest,
    invert: bool,
}

#[derive(Clone, Debug)]
enum ValueTest {
    Null,
    Number(f64),
    Numbers(f64, f64),
    Text(Text),
    Bool(bool),
    Present(bool),
    Member(Box<ValueTest>),
    OneOf(Vec<ValueTest>),
}

impl CompiledRules {
    /// Compiles rules, and says which policies cannot work.
    pub fn new(rules: &Rules) -> (Self, Vec<PolicyProblem>) {
        let mut problems = Vec::new();
        let mut policies = Vec::with_capacity(rules.policies.len());
        for (name, policy) in &rules.policies {
            policies.push(Node::of_policy(policy).unwrap_or_else(|reason| {
                problems.push(PolicyProblem {
                    policy: name.clone(),
                    reason,
                });
                match rules.action {
                    RuleAction::Allow => Node::OneOf(Vec::new()),
                    RuleAction::Deny | RuleAction::Log => Node::All(Vec::new()),
                }
            }));
        }
        let compiled = Self {
            action: rules.action,
            names: rules.policies.keys().map(|name| name.as_str().into()).collect(),
            index: Index::new(&policies),
            policies,
        };
        (compiled, problems)
    }

    /// What follows when a policy holds.
    pub fn action(&self) -> RuleAction {
        self.action
    }

    /// What the rules say of a subject.
    pub fn judge(&self, subject: &Subject<'_>) -> Verdict<'_> {
        let first = self.first(subject);
        Verdict {
            allowed: self.action.allows(first.is_some()),
            policy: first.and_then(|first| self.names.get(first)).map(AsRef::as_ref),
        }
    }

    /// How many policies are looked at for a subject that none of them holds for.
    #[cfg(test)]
    pub(super) fn looked_at(&self, subject: &Subject<'_>) -> usize {
        let mut count = 0;
        self.index.candidates(subject, &mut |list| count += list.len());
        count
    }

    /// The first policy that holds. Each list of candidates is in order, so that one that comes after what was found
    /// already ends its list.
    fn first(&self, subject: &Subject<'_>) -> Option<usize> {
        let mut first = usize::MAX;
        self.index.candidates(subject, &mut |list| {
            for number in list {
                let number = *number as usize;
                if number >= first {
                    break;
                }
                if self.policies[number].holds(subject) {
                    first = number;
                    break;
                }
            }
        });
        (first != usize::MAX).then_some(first)
    }
}

impl Node {
    fn of_policy(policy: &Policy) -> Result<Self, String> {
        let permissions = policy
            .permissions
            .iter()
            .map(|one| Self::new(one, &Leaf::of_target));
        let principals = policy
            .principals
            .iter()
            .map(|one| Self::new(one, &Leaf::of_source));
        Ok(Self::all(vec![
            Self::one_of(permissions.collect::<Result<_, _>>()?),
            Self::one_of(principals.collect::<Result<_, _>>()?),
        ]))
    }

    fn new<T>(condition: &Condition<T>, leaf: &Compile<'_, T>) -> Result<Self, String> {
        let several = |all: &[Condition<T>]| -> Result<Vec<Self>, String> {
            all.iter().map(|one| Self::new(one, leaf)).collect()
        };
        Ok(match condition {
            Condition::Any => Self::All(Vec::new()),
            Condition::All(all) => Self::all(several(all)?),
            Condition::OneOf(some) => Self::one_of(several(some)?),
            Condition::Not(one) => Self::not(Self::new(one, leaf)?),
            Condition::Is(one) => Self::Is(leaf(one)?),
        })
    }

    /// What is always so is left out, what is cheap comes first.
    fn all(nodes: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node {
                Self::All(inner) => flat.extend(inner),
                Self::OneOf(none) if none.is_empty() => return Self::OneOf(none),
                other => flat.push(other),
            }
        }
        flat.sort_by_key(Self::cost);
        match <[Self; 1]>::try_from(flat) {
            Ok([only]) => only,
            Err(flat) => Self::All(flat),
        }
    }

    fn one_of(nodes: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node {
                Self::OneOf(inner) => flat.extend(inner),
                Self::All(none) if none.is_empty() => return Self::All(none),
                other => flat.push(other),
            }
        }
        flat.sort_by_key(Self::cost);
        match <[Self; 1]>::try_from(flat) {
            Ok([only]) => only,
            Err(flat) => Self::OneOf(flat),
        }
    }

    fn not(node: Self) -> Self {
        match node {
            Self::All(none) if none.is_empty() => Self::OneOf(none),
            Self::OneOf(none) if none.is_empty() => Self::All(none),
            Self::Not(twice) => *twice,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Roughly in nanoseconds; only the order counts.
    fn cost(&self) -> u32 {
        match self {
            Self::All(nodes) | Self::OneOf(nodes) => {
                nodes.iter().fold(1, |sum, node| sum.saturating_add(node.cost()))
            }
            Self::Not(node) => node.cost().saturating_add(1),
            Self::Is(leaf) => leaf.cost(),
        }
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(subject)),
            Self::OneOf(nodes) => nodes.iter().any(|node| node.holds(subject)),
            Self::Not(node) => !node.holds(subject),
            Self::Is(leaf) => leaf.holds(subject),
        }
    }
}

impl Leaf {
    fn of_target(target: &Target) -> Result<Self, String> {
        Ok(match target {
            Target::Header(condition) => Self::Header(Header::new(condition)?),
            Target::Path(condition) => Self::Path(Text::new(condition)?),
            Target::PathTemplate(pattern) => Self::Template(
                template::literal_prefix(pattern).into(),
                compile_template(pattern)?,
            ),
            Target::Address(subnet) => Self::DestinationAddress(*subnet),
            Target::Port(port) => Self::DestinationPort(u32::from(*port), u32::from(*port) + 1),
            Target::Ports(first, end) => Self::DestinationPort(*first, *end),
            Target::ServerName(condition) => Self::ServerName(Text::new(condition)?),
            Target::Metadata(condition) => Self::Metadata(Metadata::new(condition)?),
        })
    }

    fn of_source(source: &Source) -> Result<Self, String> {
        Ok(match source {
            Source::Authenticated(None) => Self::Authenticated,
            Source::Authenticated(Some(condition)) | Source::Told(condition) => {
                Self::Identity(Text::new(condition)?)
            }
            Source::DirectAddress(subnet) | Source::ConnectionAddress(subnet) => Self::Peer(*subnet),
            Source::Address(subnet) => Self::Client(*subnet),
            Source::Header(condition) => Self::Header(Header::new(condition)?),
            Source::Path(condition) => Self::Path(Text::new(condition)?),
            Source::Metadata(condition) => Self::Metadata(Metadata::new(condition)?),
        })
    }

    fn cost(&self) -> u32 {
        match self {
            Self::Authenticated | Self::DestinationPort(..) => 1,
            Self::DestinationAddress(_) | Self::Peer(_) | Self::Client(_) => 3,
            Self::Identity(text) | Self::Path(text) | Self::ServerName(text) => text.cost(),
            Self::Header(header) => 20 + header.cost(),
            Self::Metadata(_) => 60,
            Self::Template(..) => 120,
        }
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        let within = |subnet: &Subnet, address: IpAddr| subnet.contains(address);
        match self {
            Self::Header(header) => header.holds(subject),
            Self::Path(text) => subject
                .request
                .is_some_and(|request| !request.path().is_empty() && text.matches(request.path())),
            Self::Template(prefix, regex) => subject.request.is_some_and(|request| {
                let path = request.path();
                path.starts_with(&**prefix) && regex.is_match(path.as_bytes())
            }),
            Self::DestinationAddress(subnet) => within(subnet, subject.destination.ip()),
            Self::DestinationPort(first, end) => {
                (*first..*end).contains(&u32::from(subject.destination.port()))
            }
            Self::ServerName(text) => text.matches(subject.server_name),
            Self::Metadata(metadata) => metadata.holds(subject),
            Self::Authenticated => subject.identity.is_some(),
            Self::Identity(text) => subject.identity.is_some_and(|identity| text.matches(identity)),
            Self::Peer(subnet) => within(subnet, subject.peer),
            Self::Client(subnet) => within(subnet, subject.client),
        }
    }
}

impl Text {
    fn cost(&self) -> u32 {
        match self {
            Self::Exact(_) | Self::Prefix(_) | Self::Suffix(_) | Self::Something => 2,
            Self::ExactOfAnyCase(_) | Self::PrefixOfAnyCase(_) | Self::SuffixOfAnyCase(_) => 5,
            Self::Contains(_) | Self::Pieces(_) | Self::Account(_) | Self::ContainsOfAnyCase(_) => 30,
            Self::Regex(_) => 120,
        }
    }
}

impl Header {
    fn new(condition: &HeaderCondition) -> Result<Self, String> {
        Ok(Self {
            name: condition.name.to_ascii_lowercase().into(),
            test: match &condition.test {
                HeaderTest::Present => Test::Present,
                HeaderTest::Text(text) => Test::Text(Text::new(text)?),
                HeaderTest::Range(first, end) => Test::Range(*first, *end),
            },
            invert: condition.invert,
            missing_is_empty: condition.missing_is_empty,
        })
    }

    fn cost(&self) -> u32 {
        match &self.test {
            Test::Present => 1,
            Test::Text(text) => text.cost(),
            Test::Range(..) => 10,
        }
    }

    /// One value has to do. A value that is not there is neither like something nor unlike it.
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let Some(request) = subject.request else {
            return false;
        };
        let (mut there, mut holds) = (false, false);
        request.header(&self.name, &mut |value| {
            there = true;
            holds = holds || self.test.holds(value);
        });
        if !there && self.missing_is_empty {
            (there, holds) = (true, self.test.holds(""));
        }
        match &self.test {
            Test::Present => there != self.invert,
            Test::Text(_) | Test::Range(..) => there && holds != self.invert,
        }
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Present => true,
            Self::Text(text) => text.matches(value),
            Self::Range(first, end) => value
                .trim()
                .parse()
                .is_ok_and(|number: i64| (*first..*end).contains(&number)),
        }
    }
}

impl Metadata {
    fn new(condition: &MetadataMatch) -> Result<Self, String> {
        Ok(Self {
            filter: condition.filter.as_str().into(),
            path: condition.path.clone().into(),
            value: ValueTest::new(&condition.value)?,
            invert: condition.invert,
        })
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        let found = subject.metadata(&self.filter, &self.path);
        self.value.holds(found.as_deref()) != self.invert
    }
}

impl ValueTest {
    fn new(condition: &ValueMatch) -> Result<Self, String> {
        Ok(match condition {
            ValueMatch::Null => Self::Null,
            ValueMatch::Number(number) => Self::Number(*number),
            ValueMatch::Numbers(first, end) => Self::Numbers(*first, *end),
            ValueMatch::Text(text) => Self::Text(Text::new(text)?),
            ValueMatch::Bool(wanted) => Self::Bool(*wanted),
            ValueMatch::Present(wanted) => Self::Present(*wanted),
            ValueMatch::Member(inner) => Self::Member(Box::new(Self::new(inner)?)),
            ValueMatch::OneOf(some) => Self::OneOf(some.iter().map(Self::new).collect::<Result<_, _>>()?),
        })
    }

    fn holds(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::Present(wanted), found) => *wanted && found.is_some(),
            (Self::OneOf(some), found) => some.iter().any(|one| one.holds(found)),
            (Self::Null, Some(Value::Null)) => true,
            (Self::Number(wanted), Some(Value::Number(number))) => number.as_f64() == Some(*wanted),
            (Self::Numbers(first, end), Some(Value::Number(number))) => number
                .as_f64()
                .is_some_and(|number| (*first..*end).contains(&number)),
            (Self::Text(text), Some(Value::String(found))) => text.matches(found),
            (Self::Bool(wanted), Some(Value::Bool(found))) => wanted == found,
            (Self::Member(one), Some(Value::Array(members))) => {
                members.iter().any(|member| one.holds(Some(member)))
            }
            _ => false,
        }
    }
}
