//! Policies and calls made of bytes: the compiled form of rules decides as their definition does, whatever they say.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use snapshot::authorization::{
    CompiledRules, Condition, HeaderCondition, HeaderTest, JWT_METADATA, JWT_PAYLOAD, MetadataMatch, Pattern,
    Policy, RequestFacts, RuleAction, Rules, Source, Subject, Target, TextMatch, ValueMatch,
};
use snapshot::route::RequestView;

/// Deepest condition.
const DEPTH: u8 = 4;
/// Texts that mean something to each other; the fuzzer adds its own.
const WORDS: [&str; 20] = [
    "",
    "/",
    "/a",
    "/a/b",
    "/a/*",
    "/a/**",
    "a.b",
    "A.b",
    "spiffe://td/ns/a/sa/x",
    "spiffe://td/ns/b/sa/x",
    ".*/ns/a/.*",
    "spiffe://.+/ns/a/(.+/|)sa/x(/.+)?",
    ".+",
    "spiffe://.*/sa/x",
    "/ns/a/",
    "GET",
    // A slash that ends one namespace begins the next. New words come last: in the corpus they are numbers.
    "spiffe://td/ns/ns/sa/x",
    ".*/ns/sa/.*",
    ".*/ns/ns/.*",
    "/ns/ns/sa/",
];

/// Bytes as choices; when they are used up, every choice is the first.
struct Choices<'b>(&'b [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn of(&mut self, many: u8) -> u8 {
        self.byte() % many
    }

    fn text(&mut self) -> String {
        let chosen = self.byte();
        if let Some(word) = WORDS.get(usize::from(chosen)) {
            return (*word).to_owned();
        }
        let length = usize::from(chosen % 12).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn pattern(&mut self) -> TextMatch {
        let (kind, text) = (self.of(6), self.text());
        let pattern = match kind {
            0 => Pattern::Exact(text),
            1 => Pattern::Prefix(text),
            2 => Pattern::Suffix(text),
            3 => Pattern::Contains(text),
            // What cannot be compiled is somebody else's business: the proxy never gets it.
            _ => match snapshot::route::compile_regex(&text) {
                Ok(_) => Pattern::Regex(text),
                Err(_) => Pattern::Exact(text),
            },
        };
        TextMatch {
            pattern,
            ignore_case: self.of(4) == 0,
        }
    }

    fn header(&mut self) -> HeaderCondition {
        let names = ["x-a", "x-b", ":method", ":authority", "host"];
        let name = names[usize::from(self.of(5))].to_owned();
        let flags = self.byte();
        HeaderCondition {
            name,
            test: match self.of(5) {
                0 => HeaderTest::Present,
                1 => HeaderTest::Range(i64::from(self.byte()), i64::from(self.byte())),
                _ => HeaderTest::Text(self.pattern()),
            },
            invert: flags & 1 == 1,
            missing_is_empty: flags & 2 == 2,
        }
    }

    fn value(&mut self, depth: u8) -> ValueMatch {
        match self.of(7) {
            0 => ValueMatch::Null,
            1 => ValueMatch::Number(self.byte().into()),
            2 => ValueMatch::Bool(self.of(2) == 0),
            3 => ValueMatch::Present(self.of(2) == 0),
            4 if depth > 0 => ValueMatch::Member(Box::new(self.value(depth - 1))),
            5 if depth > 0 => ValueMatch::OneOf(vec![self.value(depth - 1), self.value(depth - 1)]),
            _ => ValueMatch::Text(self.pattern()),
        }
    }

    fn metadata(&mut self) -> MetadataMatch {
        let names = ["iss", "aud", "none"];
        MetadataMatch {
            filter: JWT_METADATA.to_owned(),
            path: vec![JWT_PAYLOAD.to_owned(), names[usize::from(self.of(3))].to_owned()],
            value: self.value(2),
            invert: self.of(2) == 0,
        }
    }

    fn subnet(&mut self) -> snapshot::Subnet {
        let address = [10, 0, self.of(3), self.of(3)].into();
        snapshot::Subnet::new(address, self.of(33)).expect("short enough")
    }

    fn target(&mut self) -> Target {
        match self.of(8) {
            0 | 1 => Target::Path(self.pattern()),
            2 => Target::Header(self.header()),
            3 => Target::Port(u16::from(self.of(4))),
            4 => Target::Ports(u32::from(self.of(4)), u32::from(self.of(8))),
            5 => Target::ServerName(self.pattern()),
            6 => Target::Address(self.subnet()),
            _ => {
                let template = self.text();
                match snapshot::authorization::compile_template(&template) {
                    Ok(_) => Target::PathTemplate(template),
                    Err(_) => Target::Path(TextMatch::exact(template)),
                }
            }
        }
    }

    fn source(&mut self) -> Source {
        match self.of(8) {
            0 => Source::Authenticated(None),
            1 | 2 => Source::Authenticated(Some(self.pattern())),
            3 => Source::Header(self.header()),
            4 => Source::DirectAddress(self.subnet()),
            5 => Source::Address(self.subnet()),
            6 => Source::Path(self.pattern()),
            _ => Source::Metadata(self.metadata()),
        }
    }

    fn condition<T>(&mut self, depth: u8, leaf: fn(&mut Self) -> T) -> Condition<T> {
        let several = |choices: &mut Self| {
            let count = choices.of(4);
            (0..count).map(|_| choices.condition(depth - 1, leaf)).collect()
        };
        match self.of(8) {
            0 => Condition::Any,
            1 | 2 if depth > 0 => Condition::All(several(self)),
            3 | 4 if depth > 0 => Condition::OneOf(several(self)),
            5 if depth > 0 => Condition::Not(Box::new(self.condition(depth - 1, leaf))),
            _ => Condition::Is(leaf(self)),
        }
    }

    fn rules(&mut self) -> Rules {
        let action = [RuleAction::Allow, RuleAction::Deny, RuleAction::Log][usize::from(self.of(3))];
        let mut policies = BTreeMap::new();
        for number in 0..self.of(9) {
            let permissions = (0..self.of(3))
                .map(|_| self.condition(DEPTH, Self::target))
                .collect();
            let principals = (0..self.of(3))
                .map(|_| self.condition(DEPTH, Self::source))
                .collect();
            policies.insert(
                format!("{number}"),
                Policy {
                    permissions,
                    principals,
                },
            );
        }
        Rules { action, policies }
    }
}

struct Asked {
    method: String,
    path: String,
    authority: String,
    headers: Vec<(&'static str, String)>,
}

impl RequestView for Asked {
    fn method(&self) -> &str {
        &self.method
    }
    fn path_and_query(&self) -> &str {
        &self.path
    }
    fn authority(&self) -> &str {
        &self.authority
    }
    fn scheme(&self) -> &str {
        "http"
    }
    fn header(&self, name: &str, each: &mut dyn FnMut(&str)) {
        let named = self.headers.iter().filter(|(known, _)| *known == name);
        named.for_each(|(_, value)| each(value));
    }
}

/// Rules, and one call that they are asked about.
pub(crate) fn decide_alike(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let rules = choices.rules();
    let asked = Asked {
        method: choices.text(),
        path: choices.text(),
        authority: choices.text(),
        headers: vec![
            ("x-a", choices.text()),
            ("x-a", choices.text()),
            ("x-b", choices.text()),
        ],
    };
    let identity = (choices.of(2) == 1).then(|| choices.text());
    let claims: Value = json!({"iss": choices.text(), "aud": [choices.text(), choices.byte()]});
    let subject = Subject {
        request: (choices.of(4) != 1).then(|| RequestFacts::new(&asked)),
        identity: identity.as_deref(),
        peer: [10, 0, 0, choices.of(3)].into(),
        client: [10, 0, 1, choices.of(3)].into(),
        destination: ([10, 0, 2, 1], u16::from(choices.of(8))).into(),
        server_name: "a.b",
        claims: Some(&claims),
        findings: None,
    };
    let (compiled, problems) = CompiledRules::new(&rules);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(
        compiled.judge(&subject),
        rules.judge_plainly(&subject),
        "{rules:?} {subject:?}"
    );
}
