//! Random limits of scope Local, each with calls in a row: how many of them pass is counted, and the fields of the
//! first and of a refused answer are compared.
//!
//! Limits are per hour, so that no bucket fills while it is looked at.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::words::{chance, one};
use crate::table::{Call, Case, Expect};

const CASES: u64 = 16;

/// The same for the same seed.
pub(super) fn cases(seed: u64) -> Vec<Case> {
    (0..CASES).map(|number| case(seed, number)).collect()
}

fn case(seed: u64, number: u64) -> Case {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(7_919).wrapping_add(number));
    let requests = random.random_range(1..=6_usize);
    let mut limit = json!({"name": "limit", "requests": requests, "unit": "Hour"});
    let mut bucket = requests;
    if chance(&mut random, 30) {
        bucket = random.random_range(1..=requests);
        limit["burst"] = json!(bucket);
    }
    let mut cost = 1;
    if chance(&mut random, 30) {
        cost = random.random_range(1..=bucket);
        limit["cost"] = json!(cost);
    }
    let keyed = chance(&mut random, 60);
    if keyed {
        limit["keys"] = one(
            &mut random,
            &[
                r#"[{"header": "x-tenant"}]"#,
                r#"[{"header": "x-tenant"}, {"attribute": "Method"}]"#,
                r#"[{"queryParameter": "tenant"}]"#,
                r#"[{"attribute": "Path"}]"#,
                r#"[{"header": "x-tenant"}, {"value": "gold"}]"#,
            ],
        )
        .parse()
        .expect("it is JSON");
    }
    if chance(&mut random, 30) {
        limit["match"] = one(
            &mut random,
            &[
                r#"{"path": {"prefix": "/limited"}}"#,
                r#"{"methods": ["GET"]}"#,
                r#"{"headers": {"x-tenant": {"prefix": "t"}}}"#,
            ],
        )
        .parse()
        .expect("it is JSON");
    }
    let mut spec = json!({"selector": {"matchLabels": {"app": "guarded"}}, "limits": [limit]});
    // Envoy's limits have no body of their own, and write older fields only.
    if chance(&mut random, 40) {
        spec["response"] = json!({"status": one(&mut random, &[&400, &403, &429, &500, &503])});
    }
    spec["responseHeaders"] = match chance(&mut random, 50) {
        true => json!(["XRateLimit"]),
        false => json!([]),
    };
    let dry = chance(&mut random, 10);
    spec["limits"][0]["dryRun"] = json!(dry);
    let status = spec["response"]["status"].as_u64().unwrap_or(429).to_string();
    Case {
        name: format!("limit {number} of seed {seed}"),
        apply: vec![json!({
            "apiVersion": "policy.amime.io/v1alpha1", "kind": "RateLimit",
            "metadata": {"name": "limits"}, "spec": spec,
        })],
        calls: calls(if dry { None } else { Some(bucket / cost) }, &status),
        ..Case::default()
    }
}

/// Each tenant is one of its own. `passing` is how many of a bucket pass; `None` is all.
fn calls(passing: Option<usize>, status: &str) -> Vec<Call> {
    const TIMES: usize = 8;
    let many = |tenant: &str| {
        let passed = passing.unwrap_or(TIMES).min(TIMES);
        let counts = [
            ("guarded".to_owned(), passed),
            (status.to_owned(), TIMES - passed),
        ];
        Call {
            repeat: Some(TIMES),
            sequence: true,
            expect: Expect {
                counts: BTreeMap::from(counts),
                ..Expect::default()
            },
            ..call(tenant)
        }
    };
    vec![
        many("t1"),
        call("t1"),
        Call {
            http: Some(json!(2)),
            ..call("t1")
        },
    ]
}

fn call(tenant: &str) -> Call {
    Call {
        get: Some(format!("http://guarded:9090/limited/{tenant}?tenant={tenant}")),
        headers: Map::from_iter([("x-tenant".to_owned(), Value::from(tenant))]),
        from: Some("outside".to_owned()),
        ..Call::default()
    }
}
