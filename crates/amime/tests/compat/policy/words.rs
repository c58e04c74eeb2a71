//! The small alphabet that policies and requests are made of, and texts that fit a pattern, or nearly.
//!
//! Few words, so that policies and requests meet; each list has its odd ones.

use rand::RngExt;
use rand::rngs::StdRng;

/// The address of who calls from outside of the mesh; the suite puts it in.
pub(super) const OUTSIDE: &str = "$ADDRESS(shop/outside)";

pub(super) const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/shop/sa/default",
    "cluster.local/ns/far/sa/default",
    "cluster.local/ns/shop/*",
    "cluster.local/ns/sho*",
    "*/sa/default",
    "*",
    "cluster.local/ns/far/sa/defaul",
    "other.domain/ns/shop/sa/default",
    "spiffe://cluster.local/ns/shop/sa/default",
];
pub(super) const NAMESPACES: &[&str] = &["shop", "far", "sh*", "*ar", "*", "sho"];
pub(super) const SERVICE_ACCOUNTS: &[&str] = &["default", "shop/default", "far/default", "far/other"];
pub(super) const TRUST_DOMAINS: &[&str] = &["cluster.local", "cluster*", "*.local", "other.domain", "*"];
pub(super) const BLOCKS: &[&str] = &[
    OUTSIDE,
    "10.0.0.0/8",
    "192.0.2.0/24",
    "192.0.2.7",
    "0.0.0.0/0",
    "2001:db8::/32",
];
pub(super) const REQUEST_PRINCIPALS: &[&str] = &[
    "https://issuer.example/alice",
    "https://issuer.example/*",
    "*/alice",
    "*",
    "https://other.example/alice",
];
pub(super) const HOSTS: &[&str] = &[
    "guarded:9090",
    "guarded.shop:9090",
    "GUARDED:9090",
    "guarded",
    "guarded:*",
    "guard*",
    "*.shop:9090",
    "*:9090",
    "*",
    "other",
];
pub(super) const METHODS: &[&str] = &["GET", "POST", "G*", "*T", "*", "get", "DELETE"];
pub(super) const PATHS: &[&str] = &[
    "/",
    "/api",
    "/api/*",
    "/api*",
    "*/items",
    "*",
    "/API",
    "/api/v1/items",
    "/api/{*}/items",
    "/api/{**}",
    "/{*}/items",
    "/api/v1/{*}",
    "/a%2Fb",
    "/api/v1;v=1",
];
pub(super) const PORTS: &[&str] = &["9090", "9091", "9093", "80"];
pub(super) const TEAMS: &[&str] = &["red", "blue", "re*", "*ue", "*", "red,blue", "RED"];
pub(super) const CLAIMS: &[&str] = &["admin", "adm*", "*min", "reader", "*", "admin reader"];

/// Paths that are not in their normal form, or nearly something else.
pub(super) const ODD_PATHS: &[&str] = &[
    "/api/../items",
    "/api//items",
    "//api",
    "/api/./v1",
    "/api/%2e%2e/items",
    "/%61pi",
    "/a%2Fb",
    "/a%2fb",
    "/a/b",
    "/api\\v1",
    "/api/v1;v=1",
    "/api/v1;v=1/items",
    "/api?x=/items",
    "/api/v1/items?",
    "/api/v1/items/",
    "/api/",
    "/api%20",
    "/api%00",
    "/api/{*}/items",
    "/api/v1%2Fitems",
    "/API",
];
pub(super) const TEAM_VALUES: &[&str] = &["red", "blue", "green", "RED", "red,blue", ""];

/// One of them.
pub(super) fn one<'a, T: ?Sized>(random: &mut StdRng, words: &[&'a T]) -> &'a T {
    words[random.random_range(0..words.len())]
}

/// So many different ones, at most.
pub(super) fn some<'a>(random: &mut StdRng, words: &[&'a str], most: usize) -> Vec<&'a str> {
    let mut chosen: Vec<&str> = Vec::new();
    for _ in 0..random.random_range(1..=most) {
        let word = one(random, words);
        if !chosen.contains(&word) {
            chosen.push(word);
        }
    }
    chosen
}

/// In so many of a hundred.
pub(super) fn chance(random: &mut StdRng, percent: u32) -> bool {
    random.random_range(0..100) < percent
}

/// A text that a pattern takes, and sometimes one that it just does not.
pub(super) fn near(random: &mut StdRng, pattern: &str) -> String {
    let text = fitting(random, pattern);
    if chance(random, 70) {
        return text;
    }
    match random.random_range(0..4) {
        0 => format!("{text}x"),
        1 => text[..text.char_indices().last().map_or(0, |(at, _)| at)].to_owned(),
        2 => text.to_uppercase(),
        _ => format!("{text}/"),
    }
}

fn fitting(random: &mut StdRng, pattern: &str) -> String {
    let more = one(random, &["", "v1", "v1/items"]);
    if pattern.contains('{') {
        let deep = one(random, &["v1", "v1/v2", "v1/items"]);
        return pattern.replace("{**}", deep).replace("{*}", "v1");
    }
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(""), _) => one(random, &["/", "/api", "red"]).to_owned(),
        (Some(begin), _) => format!("{begin}{more}"),
        (_, Some(end)) => format!("{}{end}", one(random, &["", "/api", "/api/v1"])),
        _ => pattern.to_owned(),
    }
}
