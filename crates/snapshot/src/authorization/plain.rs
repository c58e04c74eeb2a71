//! The definition of what rules say: every policy in turn, every expression by an engine. Slow; tests and the fuzzer
//! hold the compiled form against it.

use serde_json::Value;

use super::{
    Condition, HeaderCondition, HeaderTest, MetadataMatch, Pattern, Rules, Source, Subject, Target,
    TextMatch, ValueMatch, Verdict, compile_template,
};
use crate::route::compile_regex;

impl Rules {
    /// What the rules say of a subject, by their definition. What cannot be compiled never matches.
    pub fn judge_plainly(&self, subject: &Subject<'_>) -> Verdict<'_> {
        let holds = |policy: &super::Policy| {
            let target = |is: &Target| target(is, subject);
            let source = |is: &Source| source(is, subject);
            policy.permissions.iter().any(|one| one.holds(&target))
                && policy.principals.iter().any(|one| one.holds(&source))
        };
        let first = self.policies.iter().find(|(_, policy)| holds(policy));
        Verdict {
            allowed: self.action.allows(first.is_some()),
            policy: first.map(|(name, _)| name.as_str()),
        }
    }
}

impl<T> Condition<T> {
    /// Whether it holds, given which simple conditions do.
    fn holds(&self, simple: &dyn Fn(&T) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.holds(simple)),
            Self::OneOf(some) => some.iter().any(|one| one.holds(simple)),
            Self::Not(one) => !one.holds(simple),
            Self::Is(one) => simple(one),
        }
    }
}

fn target(is: &Target, subject: &Subject<'_>) -> bool {
    let port = u32::from(subject.destination.port());
    match is {
        Target::Header(condition) => header(condition, subject),
        Target::Path(condition) => path(condition, subject),
        Target::PathTemplate(template) => subject.request.is_some_and(|request| {
            compile_template(template).is_ok_and(|template| template.is_match(request.path().as_bytes()))
        }),
        Target::Address(subnet) => subnet.contains(subject.destination.ip()),
        Target::Port(wanted) => port == u32::from(*wanted),
        Target::Ports(first, end) => (*first..*end).contains(&port),
        Target::ServerName(condition) => text(condition, subject.server_name),
        Target::Metadata(condition) => metadata(condition, subject),
    }
}

fn source(is: &Source, subject: &Subject<'_>) -> bool {
    match is {
        Source::Authenticated(None) => subject.identity.is_some(),
        Source::Authenticated(Some(condition)) | Source::Told(condition) => {
            subject.identity.is_some_and(|identity| text(condition, identity))
        }
        Source::DirectAddress(subnet) | Source::ConnectionAddress(subnet) => subnet.contains(subject.peer),
        Source::Address(subnet) => subnet.contains(subject.client),
        Source::Header(condition) => header(condition, subject),
        Source::Path(condition) => path(condition, subject),
        Source::Metadata(condition) => metadata(condition, subject),
    }
}

fn path(condition: &TextMatch, subject: &Subject<'_>) -> bool {
    subject
        .request
        .is_some_and(|request| !request.path().is_empty() && text(condition, request.path()))
}

fn text(condition: &TextMatch, text: &str) -> bool {
    let fold = |text: &str| match condition.ignore_case {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    match &condition.pattern {
        Pattern::Exact(wanted) => fold(text) == fold(wanted),
        Pattern::Prefix(wanted) => fold(text).starts_with(&fold(wanted)),
        Pattern::Suffix(wanted) => fold(text).ends_with(&fold(wanted)),
        Pattern::Contains(wanted) => fold(text).contains(&fold(wanted)),
        Pattern::Regex(pattern) => compile_regex(pattern).is_ok_and(|regex| regex.is_match(text.as_bytes())),
    }
}

fn header(condition: &HeaderCondition, subject: &Subject<'_>) -> bool {
    let Some(request) = subject.request else {
        return false;
    };
    let mut values = Vec::new();
    request.header(&condition.name, &mut |value| values.push(value.to_owned()));
    if values.is_empty() && condition.missing_is_empty {
        values.push(String::new());
    }
    let holds = match &condition.test {
        HeaderTest::Present => !values.is_empty(),
        HeaderTest::Text(wanted) => values.iter().any(|value| text(wanted, value)),
        HeaderTest::Range(first, end) => values.iter().any(|value| {
            value
                .trim()
                .parse()
                .is_ok_and(|number: i64| (*first..*end).contains(&number))
        }),
    };
    // A value that is not there is neither like something nor unlike it.
    match (&condition.test, values.is_empty()) {
        (HeaderTest::Text(_) | HeaderTest::Range(..), true) => false,
        _ => holds != condition.invert,
    }
}

fn metadata(condition: &MetadataMatch, subject: &Subject<'_>) -> bool {
    let found = subject.metadata(&condition.filter, &condition.path);
    value(&condition.value, found.as_deref()) != condition.invert
}

fn value(condition: &ValueMatch, found: Option<&Value>) -> bool {
    match (condition, found) {
        (ValueMatch::Null, Some(Value::Null)) => true,
        (ValueMatch::Number(wanted), Some(Value::Number(number))) => number.as_f64() == Some(*wanted),
        (ValueMatch::Numbers(first, end), Some(Value::Number(number))) => number
            .as_f64()
            .is_some_and(|number| (*first..*end).contains(&number)),
        (ValueMatch::Text(condition), Some(Value::String(found))) => text(condition, found),
        (ValueMatch::Bool(wanted), Some(Value::Bool(found))) => wanted == found,
        (ValueMatch::Present(wanted), found) => *wanted && found.is_some(),
        (ValueMatch::Member(condition), Some(Value::Array(members))) => {
            members.iter().any(|member| value(condition, Some(member)))
        }
        (ValueMatch::OneOf(conditions), found) => conditions.iter().any(|one| value(one, found)),
        _ => false,
    }
}
