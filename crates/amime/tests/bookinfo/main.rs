//! Istio's walk through Bookinfo with real kubectl, `curl` from the host and a browser: all to v1, by user, half and
//! half, all to v3. And every other sample in the mesh. Needs kubectl, curl and Chromium.
#![allow(clippy::unwrap_used, reason = "a test")]

mod browser;
#[path = "../harness/mod.rs"]
mod harness;
mod host;
mod others;

use std::time::{Duration, Instant};

use browser::{STAR_RED, screenshot};
use harness::{Local, assert_share, wait};
use host::{Forwarded, Kubectl, Visitor};

const NAMESPACE: &str = "bookinfo";
const LIMIT: Duration = Duration::from_secs(20);
const DEPLOYMENTS: [&str; 6] = [
    "details-v1",
    "ratings-v1",
    "reviews-v1",
    "reviews-v2",
    "reviews-v3",
    "productpage-v1",
];

#[test]
fn bookinfo_is_walked_through_as_istio_tells_it() {
    let local = Local::up(&[]);
    let kubectl = Kubectl::new(&local, NAMESPACE);
    deploy(&local, &kubectl);
    let forwarded = Forwarded::start(&kubectl, "service/productpage", 9080);
    let page = forwarded.url("/productpage");
    let (anybody, jason) = (Visitor::new(), Visitor::new());
    every_version_answers(&anybody, &page);

    kubectl.apply("bookinfo/destination-rules.yaml");
    kubectl.apply("bookinfo/virtual-service-all-v1.yaml");
    all_to_v1(&anybody, &page);
    let plain = screenshot(&page, "bookinfo-v1.png");
    assert_eq!(plain.pixels_like(STAR_RED), 0, "v1 has no stars");

    kubectl.apply("bookinfo/virtual-service-reviews-test-v2.yaml");
    jason.sign_in(&forwarded.url("/login"), "jason");
    by_user(&anybody, &jason, &page);
    delay_for_jason(&local, &kubectl, &anybody, &jason, &page);
    signed_out(&jason, &forwarded, &page);

    kubectl.apply("bookinfo/virtual-service-reviews-50-v3.yaml");
    half_and_half(&anybody, &page);
    kubectl.apply("bookinfo/virtual-service-reviews-v3.yaml");
    all_to_v3(&anybody, &page);
    let stars = screenshot(&page, "bookinfo-v3.png");
    assert!(stars.pixels_like(STAR_RED) > 500, "nine red stars are to be seen");
}

/// Six pods with their sidecars; a pod among them sees the page.
fn deploy(local: &Local, kubectl: &Kubectl<'_>) {
    kubectl.ok(&["create", "namespace", NAMESPACE]);
    kubectl.ok(&["label", "namespace", NAMESPACE, "istio-injection=enabled"]);
    kubectl.apply("bookinfo/bookinfo.yaml");
    for name in DEPLOYMENTS {
        local.wait_for_deployment(NAMESPACE, name);
    }
    let pods = kubectl.ok(&["get", "pods"]);
    assert_eq!(pods.matches("2/2").count(), DEPLOYMENTS.len(), "{pods}");
    let words = [
        "exec",
        "deploy/ratings-v1",
        "-c",
        "ratings",
        "--",
        "curl",
        "-sS",
        "productpage:9080/productpage",
    ];
    let page = kubectl.ok(&words);
    assert!(
        page.contains("<title>Simple Bookstore App</title>"),
        "{page:.300}"
    );
}

/// The version of reviews behind a page, if it says one.
fn version(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("Reviews served by: <code>reviews-")?;
    rest.get(..2)
}

/// Pages in a row; each was served by that version.
fn assert_all(visitor: &Visitor, page: &str, expected: &str, stars: usize) {
    for _ in 0..10 {
        let found = visitor.get(page);
        assert_eq!(version(&found), Some(expected), "{found}");
        assert_eq!(
            found.matches("\"glyphicon glyphicon-star\"").count(),
            stars,
            "{found}"
        );
    }
}

/// Until a rule has arrived at productpage's sidecar: five pages in a row by that version.
fn wait_for_version(visitor: &Visitor, page: &str, expected: &str) {
    wait(&format!("reviews {expected}"), LIMIT, || {
        (0..5)
            .all(|_| version(&visitor.get(page)) == Some(expected))
            .then_some(())
    });
}

fn every_version_answers(anybody: &Visitor, page: &str) {
    for expected in ["v1", "v2", "v3"] {
        wait(&format!("a page with reviews {expected}"), LIMIT, || {
            (version(&anybody.get(page)) == Some(expected)).then_some(())
        });
    }
}

fn all_to_v1(anybody: &Visitor, page: &str) {
    wait_for_version(anybody, page, "v1");
    assert_all(anybody, page, "v1", 0);
}

fn by_user(anybody: &Visitor, jason: &Visitor, page: &str) {
    wait_for_version(jason, page, "v2");
    assert_all(jason, page, "v2", 9);
    let found = jason.get(page);
    assert!(
        found.contains("text-black-500") && found.contains(">jason<"),
        "{found}"
    );
    assert_all(anybody, page, "v1", 0);
}

/// 7 s for jason's ratings are too much for his page, and nobody else notices. As long as the mesh can't delay, it has
/// to say so on the rule.
fn delay_for_jason(local: &Local, kubectl: &Kubectl<'_>, anybody: &Visitor, jason: &Visitor, page: &str) {
    kubectl.apply("bookinfo/virtual-service-ratings-test-delay.yaml");
    let told = wait("the delay, or an event that there is none", LIMIT, || {
        let events = local.events(NAMESPACE, "ratings");
        if events
            .iter()
            .any(|(reason, message)| reason == "NotSupportedYet" && message.contains("fault"))
        {
            return Some(true);
        }
        jason
            .get(page)
            .contains("Error fetching product reviews")
            .then_some(false)
    });
    if told {
        assert_all(jason, page, "v2", 9);
    } else {
        let begin = Instant::now();
        let found = jason.get(page);
        assert!(
            begin.elapsed() >= Duration::from_secs(6),
            "reviews were asked twice, 3 s each"
        );
        assert!(
            found.contains("Sorry, product reviews are currently unavailable for this book."),
            "{found}"
        );
    }
    assert_all(anybody, page, "v1", 0);
    kubectl.apply("bookinfo/virtual-service-all-v1.yaml");
}

fn signed_out(jason: &Visitor, forwarded: &Forwarded, page: &str) {
    jason.get(&forwarded.url("/logout"));
    wait_for_version(jason, page, "v1");
    assert!(jason.get(page).contains("Sign in"));
}

fn half_and_half(anybody: &Visitor, page: &str) {
    const PAGES: usize = 200;
    wait("reviews v3", LIMIT, || {
        (version(&anybody.get(page)) == Some("v3")).then_some(())
    });
    let pages = anybody.get(&format!("{page}?[1-{PAGES}]"));
    let count = |version: &str| {
        pages
            .matches(&format!("served by: <code>reviews-{version}-"))
            .count()
    };
    assert_eq!(count("v1") + count("v3"), PAGES, "every page has reviews");
    assert_share(count("v3"), PAGES, 0.5);
}

fn all_to_v3(anybody: &Visitor, page: &str) {
    wait_for_version(anybody, page, "v3");
    assert_all(anybody, page, "v3", 9);
    assert!(anybody.get(page).contains("text-red-500"));
}
