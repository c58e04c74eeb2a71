//! The compiled table against the rules of Envoy, and against a naive model that reads like them.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Default)]
struct Request {
    method: String,
    path: String,
    authority: String,
    headers: Vec<(String, String)>,
}

impl RequestView for Request {
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
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .for_each(|(_, value)| each(value));
    }
}

fn get(path: &str) -> Request {
    Request {
        method: "GET".into(),
        path: path.into(),
        authority: "backend".into(),
        headers: Vec::new(),
    }
}

fn with_headers(headers: &[(&str, &str)]) -> Request {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    Request { headers, ..get("/") }
}

fn respond(status: u16, matches: RouteMatch) -> Route {
    let action = Action::Respond(DirectResponse {
        status,
        body: String::new(),
    });
    Route {
        matches,
        ..Route::new(action)
    }
}

/// Domains, and the conditions of one route each.
type HostOf<'a> = (&'a [&'a str], Vec<RouteMatch>);

fn table(hosts: &[HostOf<'_>]) -> (CompiledTable, Vec<RouteProblem>) {
    let hosts = hosts
        .iter()
        .enumerate()
        .map(|(number, (domains, matches))| VirtualHost {
            name: format!("host-{number}"),
            without_attempt_count: false,
            domains: domains.iter().map(|domain| domain.to_string()).collect(),
            routes: matches
                .iter()
                .map(|matches| respond(200, matches.clone()))
                .collect(),
        });
    CompiledTable::new(Arc::new(RouteTable {
        match_ports: false,
        name: "80".into(),
        hosts: hosts.collect(),
    }))
}

fn takes(matches: RouteMatch, request: &Request) -> bool {
    table(&[(&["*"], vec![matches])]).0.find(request).is_some()
}

fn header(name: &str, value: Option<StringMatch>, invert: bool) -> RouteMatch {
    RouteMatch {
        headers: vec![HeaderMatch {
            name: name.into(),
            value,
            invert,
        }],
        ..RouteMatch::default()
    }
}

fn path(path: StringMatch) -> RouteMatch {
    RouteMatch {
        path: Some(path),
        ..RouteMatch::default()
    }
}

#[test]
fn domains_are_tried_exact_then_longest_suffix_then_longest_prefix_then_any() {
    let domains: &[&[&str]] = &[
        &["*"],
        &["shop.*"],
        &["*.com"],
        &["*.shop.com"],
        &["a.shop.com"],
        &["shop.e*"],
    ];
    let hosts: Vec<_> = domains.iter().map(|domains| (*domains, vec![])).collect();
    let (table, problems) = table(&hosts);
    assert_eq!(problems, []);
    for (authority, host) in [
        ("a.shop.com", 4),
        ("A.Shop.COM:8080", 4),
        ("b.shop.com", 3),
        (".shop.com", 2),
        ("shop.com", 2),
        ("shop.org", 1),
        ("shop.eu", 5),
        ("[::1]:80", 0),
        ("", 0),
    ] {
        assert_eq!(table.find_host(authority), Some(host), "{authority}");
    }
}

#[test]
fn a_domain_stays_with_the_first_host_that_claims_it() {
    let (table, problems) = table(&[(&["a"], vec![]), (&["A", "b"], vec![])]);
    assert_eq!((table.find_host("a"), table.find_host("b")), (Some(0), Some(1)));
    assert_eq!(
        problems[0].to_string(),
        r#"route table 80, host host-1: domain "A" belongs to an earlier host"#
    );
}

#[test]
fn path_conditions_do_not_see_the_query() {
    assert!(takes(path(StringMatch::Exact("/a".into())), &get("/a?b=c")));
    assert!(!takes(path(StringMatch::Exact("/a".into())), &get("/ab")));
    assert!(takes(path(StringMatch::Prefix("/a".into())), &get("/ab")));
    assert!(takes(path(StringMatch::Regex("/a|/ab".into())), &get("/ab?c")));
    assert!(!takes(path(StringMatch::Regex("/a".into())), &get("/ab")));
}

#[test]
fn case_of_a_path_is_ignored_on_request_but_never_for_regular_expressions() {
    let ignoring = |path| RouteMatch {
        path: Some(path),
        ignore_path_case: true,
        ..RouteMatch::default()
    };
    assert!(takes(ignoring(StringMatch::Exact("/A".into())), &get("/a")));
    assert!(takes(ignoring(StringMatch::Prefix("/A".into())), &get("/ab")));
    assert!(!takes(ignoring(StringMatch::Prefix("/Ä".into())), &get("/")));
    assert!(!takes(ignoring(StringMatch::Regex("/A".into())), &get("/a")));
}

#[test]
fn each_value_of_a_repeated_header_is_judged_by_itself() {
    let request = with_headers(&[("x", ""), ("x", "1"), ("x", "2")]);
    let exactly = |text: &str| Some(StringMatch::Exact(text.into()));
    assert!(takes(header("X", exactly("2"), false), &request));
    assert!(!takes(header("x", exactly(",1,2"), false), &request));
    assert!(!takes(header("x", exactly("2"), true), &request));
    assert!(takes(header("x", exactly("3"), true), &request));
}

#[test]
fn an_absent_header_satisfies_inverted_conditions_as_empty_text() {
    let none = with_headers(&[]);
    assert!(!takes(header("x", None, false), &none));
    assert!(takes(header("x", None, true), &none));
    assert!(!takes(
        header("x", Some(StringMatch::Exact(String::new())), false),
        &none
    ));
    assert!(takes(
        header("x", Some(StringMatch::Exact("1".into())), true),
        &none
    ));
    assert!(!takes(
        header("x", Some(StringMatch::Regex(".*".into())), true),
        &none
    ));
    assert!(!takes(
        header("x", Some(StringMatch::Exact("1".into())), true),
        &with_headers(&[("x", "1")])
    ));
}

#[test]
fn pseudo_headers_are_headers() {
    assert!(takes(
        header(":method", Some(StringMatch::Exact("GET".into())), false),
        &get("/")
    ));
    assert!(takes(
        header(":authority", Some(StringMatch::Prefix("back".into())), false),
        &get("/")
    ));
    assert!(takes(
        header("host", Some(StringMatch::Prefix("back".into())), false),
        &get("/")
    ));
    assert!(!takes(
        header(":scheme", Some(StringMatch::Exact("https".into())), false),
        &get("/")
    ));
}

#[test]
fn the_first_query_parameter_of_a_name_counts() {
    let query = |value: Option<&str>| RouteMatch {
        query: vec![QueryMatch {
            name: "v".into(),
            value: value.map(|text| StringMatch::Exact(text.into())),
        }],
        ..RouteMatch::default()
    };
    assert!(takes(query(Some("1")), &get("/?a=b&v=1&v=2")));
    assert!(!takes(query(Some("2")), &get("/?v=1&v=2")));
    assert!(takes(query(None), &get("/?v")));
    assert!(takes(query(Some("")), &get("/?v#x")));
    assert!(!takes(query(None), &get("/?V=1")));
}

#[test]
fn a_bad_regular_expression_is_named_and_never_matches() {
    for pattern in ["(", "a)|(b", "(?x)a#", "(a{1000}){1000}"] {
        let matches = vec![path(StringMatch::Regex(pattern.into())), RouteMatch::default()];
        let (table, problems) = table(&[(&["*"], matches)]);
        assert_eq!(table.find(&get("/a")).unwrap().route_position, 1, "{pattern}");
        assert_eq!(problems.len(), 1, "{pattern}");
        assert!(
            problems[0]
                .to_string()
                .contains("host host-0, route 0: path: regular expression")
        );
    }
}

#[test]
fn classes_are_ascii_as_in_re2_and_may_be_repeated_often() {
    assert!(takes(
        path(StringMatch::Regex(r"/\w{1,200}/[^/]{1,200}/\d+".into())),
        &get("/a_b/x.y/12")
    ));
    assert!(!takes(path(StringMatch::Regex(r"/\d".into())), &get("/٣")));
    assert!(takes(
        path(StringMatch::Regex(r"/\p{Greek}.*é".into())),
        &get("/αxé")
    ));
}

#[test]
fn weights_are_shares_and_zero_receives_nothing() {
    let weighted = |weights: &[u32]| -> Vec<Weighted> {
        weights
            .iter()
            .map(|weight| Weighted::new(weight.to_string().into(), *weight))
            .collect()
    };
    let targets = weighted(&[90, 0, 10]);
    let count = |wanted| {
        (0..1000)
            .filter(|random| pick(&targets, *random).unwrap().weight == wanted)
            .count()
    };
    assert_eq!((count(90), count(0), count(10)), (900, 0, 100));
    assert_eq!(pick(&weighted(&[0, 0]), 7), None);
    assert_eq!(pick(&[], 7), None);
    assert_eq!(
        pick(&weighted(&[u32::MAX, u32::MAX]), u64::MAX).unwrap().weight,
        u32::MAX
    );
}

/// The rule for hosts as one would explain it to a person: rank every domain that fits, take the best.
fn naive_host(hosts: &[Vec<String>], authority: &str) -> Option<usize> {
    let authority = authority.to_lowercase();
    let name = authority.split(':').next().unwrap_or("");
    let rank = |domain: &str| match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(""), _) => Some((0, 0)),
        (Some(suffix), _) => {
            (name.ends_with(suffix) && name.len() > suffix.len()).then_some((2, suffix.len()))
        }
        (_, Some(prefix)) => {
            (name.starts_with(prefix) && name.len() > prefix.len()).then_some((1, prefix.len()))
        }
        _ => (name == domain).then_some((3, 0)),
    };
    let all = hosts
        .iter()
        .enumerate()
        .flat_map(|(host, domains)| domains.iter().map(move |d| (host, d)));
    all.filter_map(|(host, domain)| Some((rank(domain)?, std::cmp::Reverse(host))))
        .max()
        .map(|(_, host)| host.0)
}

proptest! {
    #[test]
    fn hosts_are_found_as_the_naive_model_finds_them(
        hosts in prop::collection::vec(prop::collection::vec(r"\*|[ab.]{1,4}|\*[ab.]{1,3}|[ab.]{1,3}\*", 0..4), 0..6),
        authority in "[abAB.]{0,5}(:[0-9]{1,3})?",
    ) {
        let routes: Vec<Vec<&str>> = hosts.iter().map(|d| d.iter().map(String::as_str).collect()).collect();
        let all: Vec<HostOf<'_>> = routes.iter().map(|d| (d.as_slice(), vec![])).collect();
        prop_assert_eq!(table(&all).0.find_host(&authority), naive_host(&hosts, &authority));
    }

    #[test]
    fn the_first_route_whose_prefix_fits_wins(
        prefixes in prop::collection::vec("[ab/]{0,3}", 0..6),
        path_text in "[ab/?]{0,5}",
    ) {
        let matches = prefixes.iter().map(|prefix| path(StringMatch::Prefix(prefix.clone()))).collect();
        let before_query = path_text.split('?').next().unwrap_or("");
        let expected = prefixes.iter().position(|prefix| before_query.starts_with(prefix.as_str()));
        let found = table(&[(&["*"], matches)]).0.find(&get(&path_text)).map(|found| found.route_position);
        prop_assert_eq!(found, expected);
    }
}
