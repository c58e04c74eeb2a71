//! The compiled form against the definition, over random rules and subjects; and the cases worth a name.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::route::RequestView;

/// A request of a test.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: String,
    authority: String,
    headers: Vec<(&'static str, String)>,
}

impl RequestView for Asked {
    fn method(&self) -> &str {
        self.method
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

/// Everything about a call.
#[derive(Clone, Debug)]
struct Call {
    request: Option<Asked>,
    identity: Option<String>,
    peer: u8,
    client: u8,
    port: u16,
    server_name: &'static str,
    claims: Option<Value>,
    findings: Found,
}

/// What a filter named `other` left.
#[derive(Clone, Debug, Default)]
struct Found(Value);

impl Findings for Found {
    fn find(&self, filter: &str, path: &[String]) -> Option<Cow<'_, Value>> {
        let facts = Some(&self.0).filter(|_| filter == "other")?;
        let found = path
            .iter()
            .try_fold(facts, |value, name| value.get(name.as_str()));
        found.map(Cow::Borrowed)
    }
}

impl Call {
    fn subject(&self) -> Subject<'_> {
        Subject {
            request: self.request.as_ref().map(|request| RequestFacts::new(request)),
            identity: self.identity.as_deref(),
            peer: [10, 0, 0, self.peer].into(),
            client: [10, 0, 1, self.client].into(),
            destination: ([10, 0, 2, 1], self.port).into(),
            server_name: self.server_name,
            claims: self.claims.as_ref(),
            findings: Some(&self.findings),
        }
    }
}

const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/A", "*"];
const IDENTITIES: [&str; 8] = [
    "spiffe://td/ns/a/sa/x",
    "spiffe://td/ns/b/sa/x",
    "spiffe://td2/ns/a/sa/y",
    "spiffe://td/ns/a/ns/b/sa/x",
    "spiffe://td/ns/ns/sa/x",
    "spiffe://td/ns/ns/ns/a/sa/x",
    "spiffe://td",
    "",
];
const HOSTS: [&str; 4] = ["a.b", "A.b", "a.b:80", ""];

fn pick<T: Clone + std::fmt::Debug + 'static>(from: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(from)
}

fn text(words: &'static [&'static str], expressions: &'static [&'static str]) -> BoxedStrategy<TextMatch> {
    let word = move || pick(words).prop_map(str::to_owned);
    let pattern = prop_oneof![
        4 => word().prop_map(Pattern::Exact),
        2 => word().prop_map(Pattern::Prefix),
        1 => word().prop_map(Pattern::Suffix),
        1 => word().prop_map(Pattern::Contains),
        1 => pick(expressions).prop_map(|expression| Pattern::Regex(expression.to_owned())),
    ];
    (pattern, prop::bool::weighted(0.2))
        .prop_map(|(pattern, ignore_case)| TextMatch { pattern, ignore_case })
        .boxed()
}

fn path() -> BoxedStrategy<TextMatch> {
    text(&PATHS, &["/a.*", ".+", "/[ab]"])
}

fn header() -> impl Strategy<Value = HeaderCondition> {
    let text = text(&["", "a", "GET", "a.b", "A.B", "5"], &[".+", "a|b"]);
    let test = prop_oneof![
        1 => Just(HeaderTest::Present),
        4 => text.prop_map(HeaderTest::Text),
        1 => Just(HeaderTest::Range(3, 6)),
    ];
    let name = pick(&["x-a", "x-b", ":method", ":authority", "host", ":path"]);
    (name, test, any::<bool>(), any::<bool>()).prop_map(|(name, test, invert, missing_is_empty)| {
        HeaderCondition {
            name: name.to_owned(),
            test,
            invert,
            missing_is_empty,
        }
    })
}

fn metadata() -> impl Strategy<Value = MetadataMatch> {
    let text = || text(&["", "a", "b"], &[".+", "a|b"]);
    let value = prop_oneof![
        text().prop_map(ValueMatch::Text),
        text().prop_map(|text| ValueMatch::Member(Box::new(ValueMatch::Text(text)))),
        text().prop_map(|text| ValueMatch::OneOf(vec![ValueMatch::Null, ValueMatch::Text(text)])),
        any::<bool>().prop_map(ValueMatch::Present),
        Just(ValueMatch::Number(1.0)),
        Just(ValueMatch::Numbers(1.0, 3.0)),
        Just(ValueMatch::Bool(true)),
    ];
    let place = (
        pick(&["payload", "other"]),
        pick(&["iss", "aud", "nested", "none"]),
    );
    (pick(&[JWT_METADATA, "other"]), place, value, any::<bool>()).prop_map(
        |(filter, place, value, invert)| MetadataMatch {
            filter: filter.to_owned(),
            path: vec![place.0.to_owned(), place.1.to_owned()],
            value,
            invert,
        },
    )
}

fn subnet() -> impl Strategy<Value = Subnet> {
    pick(&["10.0.0.1", "10.0.1.0/24", "10.0.0.0/30", "0.0.0.0/0", "::/0"])
        .prop_map(|text| text.parse().unwrap())
}

fn tree<T: Clone + std::fmt::Debug + 'static>(leaf: BoxedStrategy<T>) -> BoxedStrategy<Condition<T>> {
    let simple = prop_oneof![1 => Just(Condition::Any), 8 => leaf.prop_map(Condition::Is)];
    simple
        .prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::All),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::OneOf),
                inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            ]
        })
        .boxed()
}

fn permission() -> BoxedStrategy<Permission> {
    let leaf = prop_oneof![
        1 => header().prop_map(Target::Header),
        3 => path().prop_map(Target::Path),
        1 => pick(&["/*/b", "/a/**", "/{x}"]).prop_map(|template| Target::PathTemplate(template.to_owned())),
        1 => subnet().prop_map(Target::Address),
        1 => (80_u16..83).prop_map(Target::Port),
        1 => Just(Target::Ports(80, 82)),
        1 => text(&["", "a.b"], &[".+"]).prop_map(Target::ServerName),
        1 => metadata().prop_map(Target::Metadata),
    ];
    tree(leaf.boxed())
}

fn principal() -> BoxedStrategy<Principal> {
    let identity = || {
        text(
            &[
                "spiffe://td/ns/a/sa/x",
                "spiffe://td/",
                "/ns/b/",
                "/ns/a/sa/x",
                "/ns/ns/",
                "/ns/sa/",
                "",
            ],
            &[
                ".*/ns/a/.*",
                ".*/ns/sa/.*",
                ".*/ns/ns/.*",
                ".*/ns/.*/.*",
                ".+",
                "spiffe://.+/ns/a/(.+/|)sa/x(/.+)?",
                "spiffe://td[^/]*/.*",
            ],
        )
    };
    let leaf = prop_oneof![
        1 => Just(Source::Authenticated(None)),
        4 => identity().prop_map(|text| Source::Authenticated(Some(text))),
        1 => identity().prop_map(Source::Told),
        1 => subnet().prop_map(Source::DirectAddress),
        1 => subnet().prop_map(Source::ConnectionAddress),
        1 => subnet().prop_map(Source::Address),
        1 => header().prop_map(Source::Header),
        1 => path().prop_map(Source::Path),
        1 => metadata().prop_map(Source::Metadata),
    ];
    tree(leaf.boxed())
}

fn rules() -> impl Strategy<Value = Rules> {
    let policy = (
        prop::collection::vec(permission(), 0..3),
        prop::collection::vec(principal(), 0..3),
    )
        .prop_map(|(permissions, principals)| Policy {
            permissions,
            principals,
        });
    let action = pick(&[RuleAction::Allow, RuleAction::Deny, RuleAction::Log]);
    (action, prop::collection::btree_map("[a-z]{1,2}", policy, 0..8))
        .prop_map(|(action, policies)| Rules { action, policies })
}

fn call() -> impl Strategy<Value = Call> {
    let value = || pick(&["", "a", "b", "5", "a,b"]).prop_map(str::to_owned);
    let headers = prop::collection::vec((pick(&["x-a", "x-b"]), value()), 0..3);
    let path = (pick(&PATHS), pick(&["", "?a", "#b"])).prop_map(|(path, query)| format!("{path}{query}"));
    let request =
        (pick(&["GET", "POST"]), path, pick(&HOSTS), headers).prop_map(|(method, path, host, headers)| {
            Asked {
                method,
                path,
                authority: host.to_owned(),
                headers,
            }
        });
    let claims = prop_oneof![
        Just(json!({"iss": "a", "aud": ["a", "b"], "nested": {"x": 1}})),
        Just(json!({"iss": 1, "aud": "a", "nested": true})),
        Just(json!({"iss": null})),
    ];
    (
        prop::option::weighted(0.8, request),
        prop::option::of(pick(&IDENTITIES).prop_map(str::to_owned)),
        (0_u8..5, 0_u8..5, 79_u16..84),
        pick(&["", "a.b"]),
        prop::option::of(claims),
    )
        .prop_map(
            |(request, identity, (peer, client, port), server_name, claims)| Call {
                request,
                identity,
                peer,
                client,
                port,
                server_name,
                // Filters leave what they like.
                findings: Found(json!({"other": claims})),
                claims,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_compiled_form_decides_as_the_definition_does(rules in rules(), calls in prop::collection::vec(call(), 1..8)) {
        let (compiled, problems) = CompiledRules::new(&rules);
        prop_assert!(problems.is_empty());
        for call in calls {
            let subject = call.subject();
            prop_assert_eq!(compiled.judge(&subject), rules.judge_plainly(&subject), "{:?}", call);
        }
    }
}

fn get(path: &str) -> Call {
    Call {
        request: Some(Asked {
            method: "GET",
            path: path.to_owned(),
            authority: "a.b".to_owned(),
            headers: Vec::new(),
        }),
        identity: Some(IDENTITIES[0].to_owned()),
        peer: 1,
        client: 1,
        port: 80,
        server_name: "",
        claims: None,
        findings: Found::default(),
    }
}

fn on_path(pattern: Pattern) -> Policy {
    Policy {
        permissions: vec![Condition::Is(Target::Path(pattern.into()))],
        principals: vec![Condition::Any],
    }
}

#[test]
fn of_several_policies_that_hold_the_first_by_name_is_told() {
    let policies = [
        ("b", on_path(Pattern::Exact("/a/b".into()))),
        ("a", on_path(Pattern::Prefix("/a".into()))),
        ("c", on_path(Pattern::Prefix("/".into()))),
    ];
    let policies = policies.map(|(name, policy)| (name.to_owned(), policy)).into();
    let (compiled, _) = CompiledRules::new(&Rules {
        action: RuleAction::Deny,
        policies,
    });
    let verdict = |path: &str| compiled.judge(&get(path).subject()).policy.map(str::to_owned);
    assert_eq!(verdict("/a/b"), Some("a".into()));
    assert_eq!(verdict("/b"), Some("c".into()));
    assert_eq!(verdict("*"), None);
}

#[test]
fn rules_without_policies_allow_nothing_or_deny_nothing() {
    let judge = |action| {
        let rules = Rules {
            action,
            policies: BTreeMap::new(),
        };
        CompiledRules::new(&rules).0.judge(&get("/").subject()).allowed
    };
    assert!(!judge(RuleAction::Allow) && judge(RuleAction::Deny) && judge(RuleAction::Log));
}

#[test]
fn a_policy_that_cannot_be_compiled_never_opens_a_door() {
    let policies: BTreeMap<_, _> = [("a".to_owned(), on_path(Pattern::Regex("(".into())))].into();
    for (action, allowed) in [(RuleAction::Allow, false), (RuleAction::Deny, false)] {
        let rules = Rules {
            action,
            policies: policies.clone(),
        };
        let (compiled, problems) = CompiledRules::new(&rules);
        assert_eq!(problems.len(), 1);
        assert_eq!(compiled.judge(&get("/").subject()).allowed, allowed);
    }
}

#[test]
fn never_is_never() {
    let rules = Rules {
        action: RuleAction::Allow,
        policies: [("a".to_owned(), Policy::never())].into(),
    };
    let (compiled, _) = CompiledRules::new(&rules);
    assert_eq!(compiled.judge(&get("/").subject()).policy, None);
}

#[test]
fn a_slash_that_ends_one_namespace_begins_the_next() {
    let deny = |pattern: &str| {
        let identity = Source::Authenticated(Some(Pattern::Regex(pattern.to_owned()).into()));
        let policy = Policy {
            permissions: vec![Condition::Any],
            principals: vec![Condition::Is(identity)],
        };
        Rules {
            action: RuleAction::Deny,
            policies: [("a".to_owned(), policy)].into(),
        }
    };
    let mut call = get("/");
    for (pattern, identity, allowed) in [
        (".*/ns/sa/.*", "spiffe://td/ns/ns/sa/web", false),
        (".*/ns/ns/.*", "spiffe://td/ns/ns/sa/web", false),
        (".*/ns/a/.*", "spiffe://td/ns/ns/ns/a/sa/web", false),
        (".*/ns/a/.*", "spiffe://td/ns//ns/a/sa/web", false),
        (".*/ns/web/.*", "spiffe://td/ns/ns/sa/web", true),
    ] {
        call.identity = Some(identity.to_owned());
        let rules = deny(pattern);
        let (compiled, _) = CompiledRules::new(&rules);
        assert_eq!(
            compiled.judge(&call.subject()).allowed,
            allowed,
            "{pattern} {identity}"
        );
        assert_eq!(rules.judge_plainly(&call.subject()).allowed, allowed);
    }
}

/// A thousand policies that are alike in everything but who may do what.
fn thousand(policy: impl Fn(usize) -> Policy) -> CompiledRules {
    let policies = (0..1000).map(|number| (format!("{number:04}"), policy(number)));
    let rules = Rules {
        action: RuleAction::Allow,
        policies: policies.collect(),
    };
    CompiledRules::new(&rules).0
}

#[test]
fn policies_that_cannot_hold_are_not_looked_at() {
    let identity = |pattern: Pattern| Condition::Is(Source::Authenticated(Some(pattern.into())));
    let method = || {
        Condition::Is(Target::Header(HeaderCondition::text(
            ":method",
            TextMatch::exact("PUT"),
        )))
    };
    let path = |pattern: Pattern| Condition::Is(Target::Path(pattern.into()));
    // All ask for a method; twenty groups ask for a namespace each.
    let of_namespaces = thousand(|number| Policy {
        permissions: vec![Condition::All(vec![method(), path(Pattern::Prefix("/".into()))])],
        principals: vec![Condition::All(vec![Condition::OneOf(vec![identity(
            Pattern::Regex(format!(".*/ns/{}/.*", number % 20)),
        )])])],
    });
    let mut call = get("/x");
    call.identity = Some("spiffe://td/ns/7/sa/x".into());
    assert_eq!(of_namespaces.looked_at(&call.subject()), 50);
    // Each asks for a path of its own, and all for the same identity.
    let of_paths = thousand(|number| Policy {
        permissions: vec![
            path(Pattern::Exact(format!("/{number}"))),
            path(Pattern::Prefix(format!("/{number}/"))),
        ],
        principals: vec![identity(Pattern::Exact("spiffe://td/ns/7/sa/x".into()))],
    });
    let looked_at = |path: &str| {
        let mut call = get(path);
        call.identity = Some("spiffe://td/ns/7/sa/x".into());
        of_paths.looked_at(&call.subject())
    };
    assert_eq!((looked_at("/17"), looked_at("/17/x"), looked_at("/x")), (1, 1, 0));
    // Ports, hosts and headers are found, too.
    let of_hosts = thousand(|number| Policy {
        permissions: vec![Condition::Is(Target::Header(HeaderCondition {
            test: HeaderTest::Text(TextMatch {
                pattern: Pattern::Exact(format!("H{number}.example")),
                ignore_case: true,
            }),
            ..HeaderCondition::present(":authority")
        }))],
        principals: vec![Condition::Any],
    });
    let mut call = get("/");
    call.request.as_mut().unwrap().authority = "h3.EXAMPLE".into();
    assert_eq!(of_hosts.looked_at(&call.subject()), 1);
}

#[test]
fn rules_know_what_other_filters_found_out() {
    let call = Call {
        findings: Found(json!({"k": "v", "list": ["a", "b"]})),
        claims: Some(json!({"iss": "x"})),
        ..get("/")
    };
    let told = |filter: &str, name: &str| {
        let path = [name.to_owned()];
        call.subject().metadata(filter, &path).map(Cow::into_owned)
    };
    assert_eq!(told("other", "k"), Some(json!("v")));
    assert_eq!(told("other", "list"), Some(json!(["a", "b"])));
    assert_eq!((told("other", "none"), told("another", "k")), (None, None));
    assert_eq!(
        told(JWT_METADATA, JWT_PAYLOAD),
        Some(json!({"iss": "x"})),
        "tokens go before"
    );
}
