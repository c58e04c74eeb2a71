//! `cargo xtask test policy [--seed N] [WORD...]`: decisions through our proxy and through stock Envoy, over the same
//! objects: random AuthorizationPolicies with requests near their edges, every kind of token at every kind of rule, and
//! the cases of `tests/compat/policy` that somebody thought of.
//!
//! A third opinion, `model`, says of most random requests what must become of them. What fails is printed as objects
//! and a command, made as small as a few more tries can make it.

mod authorization;
mod external;
mod jwt;
mod limits;
mod model;
mod request;
mod shrink;
mod words;

use std::fmt;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::differences::Difference;
use crate::run::{self, Report};
use crate::table::{self, Case, Feature};
use crate::tokens::ISSUER;
use crate::world::World;
pub(crate) use external::settings as providers;
use request::Request;

/// Sets of policies, and requests for each.
const ROUNDS: u64 = 40;
const REQUESTS: usize = 14;
/// Decisions that a whole run makes at least.
const LEAST: usize = 400;

/// What one world takes at a time.
pub(crate) enum Job {
    /// Cases in the form of the table.
    Cases(Feature),
    /// A random one.
    Round(Round),
}

/// Policies that are in force together, and requests that are made meanwhile.
pub(crate) struct Round {
    place: String,
    policies: Vec<Value>,
    requests: Vec<Request>,
}

/// Everything, or what has one of the words in its name.
pub(crate) fn jobs(seed: u64, wanted: &str) -> Vec<Job> {
    let words: Vec<&str> = wanted.split(',').filter(|word| !word.is_empty()).collect();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    // The long ones first: what is short fills the end.
    let mut jobs: Vec<Job> = table::of_folder("policy", wanted)
        .into_iter()
        .map(Job::Cases)
        .collect();
    let kinds = [
        ("jwt", jwt::cases()),
        ("ext_authz", external::cases()),
        ("rate_limit", limits::cases(seed)),
    ];
    for (kind, cases) in kinds {
        for case in cases
            .into_iter()
            .filter(|case| is_wanted(kind) || is_wanted(&case.name))
        {
            jobs.push(Job::Cases(Feature {
                name: kind.to_owned(),
                cases: vec![case],
            }));
        }
    }
    let rounds = (0..ROUNDS).map(|number| round(seed, number));
    jobs.extend(rounds.filter(|round| is_wanted(&round.place)).map(Job::Round));
    jobs
}

/// The same for the same numbers, whatever else is run.
fn round(seed: u64, number: u64) -> Round {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let policies = authorization::policies(&mut random);
    let requests = (0..REQUESTS)
        .map(|_| request::near_to(&mut random, &policies))
        .collect();
    Round {
        place: format!("policy grid {number} of seed {seed}"),
        policies,
        requests,
    }
}

/// What came of a job.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// Decisions by what Envoy's client got.
    passed: usize,
    refused: usize,
    /// Of the random ones: those of which the model had an opinion.
    foretold: usize,
}

pub(crate) async fn run(world: &mut World, job: &Job, differences: &[Difference]) -> Outcome {
    let mut outcome = Outcome {
        report: Report::default(),
        passed: 0,
        refused: 0,
        foretold: 0,
    };
    match job {
        Job::Cases(feature) => of_cases(world, feature, differences, &mut outcome).await,
        Job::Round(round) => of_round(world, round, differences, &mut outcome).await,
    }
    outcome
}

impl Outcome {
    fn count(&mut self, answers: &[String]) {
        for answer in answers {
            // Of repetitions the name of who answered stands for 200.
            match answer.split(' ').next().map(str::parse::<u16>) {
                Some(Ok(400..)) => self.refused += 1,
                _ => self.passed += 1,
            }
        }
    }
}

async fn of_cases(world: &mut World, feature: &Feature, differences: &[Difference], outcome: &mut Outcome) {
    let mut present = Vec::new();
    for case in &feature.cases {
        let place = format!("policy {}: {}", feature.name, case.name);
        match world.enter(&present, case).await {
            Ok(made) => present = made,
            Err(problem) => {
                present.clear();
                outcome.report.missed(case.calls.len());
                outcome.report.fail(&format!("{place}\n  {problem}"));
                continue;
            }
        }
        for call in &case.calls {
            let looked = run::look(world, call).await;
            outcome.count(&looked.answers);
            if outcome.report.take(&place, call, &looked, differences) {
                let shown = shrink::shown(world, &case.apply, call);
                outcome
                    .report
                    .fail(&format!("{place}\n{}{shown}", looked.verdict));
            }
        }
    }
    if let Err(problem) = world.change(&present, &[]).await {
        outcome
            .report
            .fail(&format!("{}: after it, {problem}", feature.name));
    }
}

async fn of_round(world: &mut World, round: &Round, differences: &[Difference], outcome: &mut Outcome) {
    let mut tries = shrink::Tries::begin(world, &round.policies).await;
    if let Some(problem) = tries.problem() {
        outcome.report.missed(round.requests.len());
        let shown = shrink::as_yaml(world, &objects(&round.policies));
        outcome
            .report
            .fail(&format!("{}\n  {problem}\n{shown}", round.place));
        return;
    }
    let mut shrunk = 0;
    for request in &round.requests {
        let call = expected(&round.policies, request);
        outcome.foretold += usize::from(call.expect.status.is_some());
        let looked = run::look(world, &call).await;
        outcome.count(&looked.answers);
        if outcome.report.take(&round.place, &call, &looked, differences) {
            // What fails in one round often fails for one reason.
            let (policies, request) = if shrunk < 1 {
                shrunk += 1;
                tries.shrink(world, &round.policies, request).await
            } else {
                (round.policies.clone(), request.clone())
            };
            let shown = shrink::shown(world, &objects(&policies), &expected(&policies, &request));
            outcome
                .report
                .fail(&format!("{}\n{}{shown}", round.place, looked.verdict));
        }
    }
    if let Err(problem) = tries.end(world).await {
        outcome
            .report
            .fail(&format!("{}: after it, {problem}", round.place));
    }
}

/// A request of which the model says how it must end.
fn expected(policies: &[Value], request: &Request) -> table::Call {
    let facts = request.facts(authorization::reads_tokens(policies));
    // What is no path is refused before any policy is asked.
    let foretold = model::passes(policies, &facts).filter(|_| !request.path.contains("%00"));
    request.call(foretold.map(|passes| if passes { 200 } else { 403 }))
}

/// The policies, and what accepts tokens if they read those.
fn objects(policies: &[Value]) -> Vec<Value> {
    let mut objects = policies.to_vec();
    if authorization::reads_tokens(policies) {
        objects.push(json!({
            "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
            "metadata": {"name": "tokens", "namespace": "shop"},
            "spec": {"jwtRules": [{"issuer": ISSUER, "jwks": "$JWKS(es256)"}]},
        }));
    }
    objects
}

/// Each side's clients call each side's server over mutual TLS, which the rest of the table does without; nothing is kept
/// open, so that what is in force is asked each time.
pub(crate) async fn prepare(world: &mut World) {
    let mutual_tls = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "PERMISSIVE"}},
    });
    let old = [mutual_tls.clone()];
    world.change(&old, &[mutual_tls]).await.unwrap();
    world.change(&[], &pairs()).await.unwrap();
}

fn pairs() -> Vec<Value> {
    let host = "guarded.shop.svc.cluster.local";
    let route = json!([{"destination": {"host": host, "subset": "twin"}}]);
    let rules = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "pairs", "namespace": "shop"},
        "spec": {"hosts": [host], "http": [{"route": route, "retries": {"attempts": 0}}], "tcp": [{"route": route}]},
    });
    let of_side = |namespace: &str, side: &str| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": format!("pairs-{side}"), "namespace": namespace},
            "spec": {
                "host": host, "exportTo": ["."], "workloadSelector": {"matchLabels": {"side": side}},
                "trafficPolicy": {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}},
                "subsets": [{"name": "twin", "labels": {"side": side}}],
            },
        })
    };
    let mut all = vec![rules];
    for namespace in ["shop", "far"] {
        all.extend(["amime", "envoy"].map(|side| of_side(namespace, side)));
    }
    all
}

/// The whole of a run.
pub(crate) struct Whole {
    pub(crate) report: Report,
    passed: usize,
    refused: usize,
    foretold: usize,
}

impl Whole {
    pub(crate) fn of(outcomes: Vec<Outcome>, differences: &[Difference], took: std::time::Duration) -> Self {
        let sum = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum();
        let (passed, refused, foretold) = (
            sum(|outcome| outcome.passed),
            sum(|outcome| outcome.refused),
            sum(|outcome| outcome.foretold),
        );
        let reports = outcomes.into_iter().map(|outcome| outcome.report).collect();
        Self {
            report: Report::together(reports, differences, took),
            passed,
            refused,
            foretold,
        }
    }

    /// A whole run decides enough, and neither way nearly always.
    pub(crate) fn is_worth_it(&self) -> bool {
        let all = self.passed + self.refused;
        all >= LEAST && self.passed * 5 >= all && self.refused * 5 >= all
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.report)?;
        write!(
            formatter,
            "policy: {} decisions: {} passed, {} refused; {} were foretold by the model",
            self.passed + self.refused,
            self.passed,
            self.refused,
            self.foretold
        )
    }
}

/// The cases of which a seed consists do not hang on what else is wanted.
#[test]
fn one_round_alone_is_the_same_as_among_all() {
    let names = |wanted: &str| -> Vec<String> {
        let rounds = jobs(5, wanted).into_iter().filter_map(|job| match job {
            Job::Round(round) => Some(format!(
                "{} {:?} {:?}",
                round.place, round.policies, round.requests
            )),
            Job::Cases(_) => None,
        });
        rounds.collect()
    };
    let alone = names("grid 17 ");
    assert_eq!(alone.len(), 1);
    assert!(names("").contains(&alone[0]));
    let cases: Vec<Case> = jwt::cases();
    assert!(cases.iter().map(|case| case.calls.len()).sum::<usize>() + 40 * REQUESTS > LEAST);
}
