//! Goes through the table: objects in, calls through both proxies at the same time, outcomes compared, objects out.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::compare::{self, Ending};
use crate::differences::Difference;
use crate::outcome;
use crate::shares;
use crate::table::{Call, Case, Feature};
use crate::world::{Side, World};

/// A disagreement is looked at again: a push that was acknowledged may need a moment to reach a worker, and the
/// machine may be busy.
pub(crate) const AGAIN: usize = 2;
pub(crate) const MOMENT: Duration = Duration::from_millis(300);
/// Repetitions that tell chance from intent when only the chosen upstream differs.
const MANY: usize = 40;
/// Cases of a whole table that may have to be begun again: more of them is no accident.
const BEGUN_AGAIN: usize = 3;

#[derive(Default)]
pub(crate) struct Report {
    calls: usize,
    requests: usize,
    agreed: usize,
    /// Calls that agreed only when they were asked again, with what was wrong before.
    agreed_later: Vec<String>,
    listed: Vec<(usize, String)>,
    failures: Vec<String>,
    /// What failed in cases that went as they should when they were begun again.
    begun_again: Vec<String>,
    never_seen: Vec<String>,
    took: Duration,
}

impl Report {
    /// Counts a call; whether it failed.
    pub(crate) fn take(
        &mut self,
        place: &str,
        call: &Call,
        looked: &Looked,
        differences: &[Difference],
    ) -> bool {
        self.calls += 1;
        self.requests += call.times();
        let line = || format!("{place} › {}", call.line());
        if looked.verdict.is_agreement() {
            self.agreed += 1;
            let later = looked.first.as_ref();
            self.agreed_later
                .extend(later.map(|first| format!("{}\n{first}", line())));
            return false;
        }
        match looked.verdict.explained_by(place, differences) {
            Some(index) => {
                self.listed.push((index, line()));
                false
            }
            None => true,
        }
    }

    /// Calls that could not be made.
    pub(crate) fn missed(&mut self, calls: usize) {
        self.calls += calls;
    }

    /// Told at once, for a run takes minutes, and again at its end, where it is looked for.
    pub(crate) fn fail(&mut self, what: &str) {
        println!("{what}\n");
        self.failures.push(what.trim_end().to_owned());
    }

    /// All of a table in one; what is listed and was not seen is known only then.
    pub(crate) fn together(parts: Vec<Self>, differences: &[Difference], took: Duration) -> Self {
        let mut whole = Self {
            took,
            ..Self::default()
        };
        for part in parts {
            whole.add(part);
        }
        whole.listed.sort();
        let is_seen = |index: usize| whole.listed.iter().any(|(seen, _)| *seen == index);
        let unseen = differences
            .iter()
            .enumerate()
            .filter(|(index, _)| !is_seen(*index));
        whole.never_seen = unseen
            .map(|(_, difference)| difference.r#where.join(", "))
            .collect();
        whole
    }

    fn add(&mut self, part: Self) {
        self.calls += part.calls;
        self.requests += part.requests;
        self.agreed += part.agreed;
        self.agreed_later.extend(part.agreed_later);
        self.listed.extend(part.listed);
        self.failures.extend(part.failures);
        self.begun_again.extend(part.begun_again);
    }

    /// Listed differences that were not seen count when the whole table was run.
    pub(crate) fn passed(&self, whole: bool) -> bool {
        self.failures.is_empty()
            && self.begun_again.len() <= BEGUN_AGAIN
            && (!whole || self.never_seen.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in &self.listed {
            writeln!(formatter, "listed difference {}: {line}", index + 1)?;
        }
        for line in &self.never_seen {
            writeln!(formatter, "listed, but no such difference was seen: {line}")?;
        }
        for line in &self.agreed_later {
            write!(formatter, "agreed when asked again: {line}")?;
        }
        for what in &self.begun_again {
            writeln!(
                formatter,
                "went as it should when the case was begun again: {what}"
            )?;
        }
        for what in &self.failures {
            writeln!(formatter, "failed: {what}")?;
        }
        let used: std::collections::BTreeSet<usize> = self.listed.iter().map(|(index, _)| *index).collect();
        write!(
            formatter,
            "compat: {} calls ({} requests through each proxy) in {} s: {} agreements ({} when asked again), \
             {} listed differences in {} calls, {} failures",
            self.calls,
            self.requests,
            self.took.as_secs(),
            self.agreed,
            self.agreed_later.len(),
            used.len(),
            self.listed.len(),
            self.failures.len()
        )
    }
}

/// One file, in a world where nothing of another is left.
pub(crate) async fn feature(world: &mut World, feature: &Feature, differences: &[Difference]) -> Report {
    let mut report = Report::default();
    let mut present = Vec::new();
    for case in &feature.cases {
        let place = format!("{}: {}", feature.name, case.name);
        report.add(with_a_second_chance(world, &place, case, differences, &mut present).await);
    }
    leave(world, &feature.name, &mut present, &mut report).await;
    println!(
        "{:24} {:4} calls, {} failures",
        feature.name,
        report.calls,
        report.failures.len()
    );
    report
}

/// A case that fails is begun once more in an empty world: a moment of a busy machine may have spoilt what a breaker, a
/// bucket or an ejection had counted, and asking again does not make that good.
async fn with_a_second_chance(
    world: &mut World,
    place: &str,
    case: &Case,
    differences: &[Difference],
    present: &mut Vec<Value>,
) -> Report {
    let first = of_case(world, place, case, differences, present).await;
    if first.failures.is_empty() {
        return first;
    }
    let mut second = Report::default();
    leave(world, place, present, &mut second).await;
    second.add(of_case(world, place, case, differences, present).await);
    if second.failures.is_empty() {
        second.begun_again.push(first.failures.join("\n"));
    }
    second
}

async fn leave(world: &mut World, place: &str, present: &mut Vec<Value>, report: &mut Report) {
    if let Err(problem) = world.change(&std::mem::take(present), &[]).await {
        report.fail(&format!("{place}: after it, {problem}"));
    }
}

/// A case in the place of what is `present`, which is then what it has put in.
async fn of_case(
    world: &mut World,
    place: &str,
    case: &Case,
    differences: &[Difference],
    present: &mut Vec<Value>,
) -> Report {
    let mut report = Report::default();
    match world.enter(&std::mem::take(present), case).await {
        Ok(made) => *present = made,
        Err(problem) => {
            report.missed(case.calls.len());
            report.fail(&format!("{place}\n  {problem}"));
            return report;
        }
    }
    for call in &case.calls {
        let looked = look(world, call).await;
        if report.take(place, call, &looked, differences) {
            report.fail(&format!("{place}\n  {}\n{}", call.line(), looked.verdict));
        }
    }
    report
}

/// A call that was made until its verdict is one that counts.
pub(crate) struct Looked {
    pub(crate) verdict: Verdict,
    /// What Envoy's client got: a status, or a word for each repetition.
    pub(crate) answers: Vec<String>,
    /// What it was at first, when it had to be made again.
    first: Option<Verdict>,
}

/// Makes a call through both, again when they disagree.
pub(crate) async fn look(world: &mut World, call: &Call) -> Looked {
    let (mut again, mut before, mut first) = (0, None, None::<Verdict>);
    loop {
        let (verdict, answers) = judge(world, call).await;
        // The same twice will be the same a third time.
        if verdict.is_agreement() || again == AGAIN || before.as_ref() == Some(&verdict) {
            return Looked {
                // Only the first time is untouched by the times before, where requests are counted.
                verdict: first
                    .clone()
                    .filter(|_| !verdict.is_agreement())
                    .unwrap_or(verdict),
                answers,
                first,
            };
        }
        first.get_or_insert_with(|| verdict.clone());
        before = Some(verdict);
        again += 1;
        sleep(MOMENT).await;
    }
}

/// What is wrong with a call.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    problems: Vec<String>,
    differs: Vec<[String; 3]>,
}

impl Verdict {
    pub(crate) fn is_agreement(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn explained_by(&self, place: &str, differences: &[Difference]) -> Option<usize> {
        if !self.problems.is_empty() {
            return None;
        }
        let fields: Vec<&str> = self.differs.iter().map(|[name, ..]| name.as_str()).collect();
        differences
            .iter()
            .position(|difference| difference.explains(place, &fields))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(formatter, "    {problem}")?;
        }
        for [name, amime, envoy] in &self.differs {
            let indent = " ".repeat(name.len());
            writeln!(
                formatter,
                "    {name}  amime: {amime}\n    {indent}  envoy: {envoy}"
            )?;
        }
        Ok(())
    }
}

async fn judge(world: &mut World, call: &Call) -> (Verdict, Vec<String>) {
    let (amime, envoy) = perform(world, call).await;
    let answers = match &envoy {
        Ending::Once(outcome, _) => outcome.get("status").cloned().into_iter().collect(),
        Ending::Many(words) => words.clone(),
    };
    let mut problems = Vec::new();
    for (side, ending) in [(Side::Amime, &amime), (Side::Envoy, &envoy)] {
        let unmet = compare::unmet(&call.expect, ending);
        problems.extend(unmet.into_iter().map(|line| format!("{}: {line}", side.name())));
    }
    let mut differs = compare::differences(call, &amime, &envoy);
    let chance = |[name, one, other]: &[String; 3]| {
        name == "upstream"
            && outcome::application(one.trim_matches('"')) == outcome::application(other.trim_matches('"'))
    };
    if differs.len() > 1 {
        differs.retain(|difference| !chance(difference));
    }
    // Nothing but the choice among several: that may be chance.
    if matches!(differs.as_slice(), [[name, ..]] if name == "upstream") {
        let many = Call {
            repeat: Some(MANY),
            parallel: None,
            ..call.clone()
        };
        if let (Ending::Many(one), Ending::Many(other)) = perform(world, &many).await
            && shares::alike(&one, &other)
        {
            differs.clear();
        }
    }
    (Verdict { problems, differs }, answers)
}

async fn perform(world: &mut World, call: &Call) -> (Ending, Ending) {
    // Both sides get the same token.
    let call = &call.with_tokens();
    let number = world.next_call();
    world.logs.forget();
    let calls = Side::BOTH.map(|side| prepared(world, call, side, number));
    let told = match call.from.as_deref() {
        Some("outside") => [
            world.outside.call(&calls[0]).await,
            world.outside.call(&calls[1]).await,
        ],
        from => {
            let (amime, envoy) = world.pair(from.unwrap_or("shop"));
            tokio::join!(amime.call(&calls[0]), envoy.call(&calls[1])).into()
        }
    };
    let mut arrived = world.arrivals().await;
    // Mirrored requests and tries that were given up may still be on their way.
    for _ in 0..10 {
        let count = |side| of_side(&arrived, side, number).len();
        let expected = call
            .expect
            .arrivals
            .is_none_or(|wanted| Side::BOTH.iter().all(|side| count(*side) >= wanted));
        if call.times() > 1 || expected && count(Side::Amime) == count(Side::Envoy) {
            break;
        }
        sleep(MOMENT / 6).await;
        arrived.extend(world.arrivals().await);
    }
    let mut endings = [0, 1].map(|index| ending(&told[index], &of_side(&arrived, Side::BOTH[index], number)));
    if is_marked(call) {
        let logged = world.logs.about(&Side::BOTH.map(|side| mark(side, number))).await;
        for (ending, logged) in endings.iter_mut().zip(logged) {
            if let Ending::Once(outcome, _) = ending {
                outcome.extend(logged);
            }
        }
    }
    endings.into()
}

/// Whether what proxies write about a call can be found by its mark.
fn is_marked(call: &Call) -> bool {
    let (verb, target) = call.what();
    call.times() == 1
        && match verb {
            "tcp" | "tls" => false,
            "raw" => target.contains("$MARK"),
            _ => !target.starts_with("https"),
        }
}

/// The same through our proxy alone.
pub(crate) async fn through_amime(world: &mut World, call: &Call) -> Ending {
    let call = &call.with_tokens();
    let number = world.next_call();
    let prepared = prepared(world, call, Side::Amime, number);
    let told = match call.from.as_deref() {
        Some("outside") => world.outside.call(&prepared).await,
        from => world.pair(from.unwrap_or("shop")).0.call(&prepared).await,
    };
    if call.expect.arrivals.is_some() {
        // What is mirrored may still be on its way.
        sleep(MOMENT / 2).await;
    }
    let arrived = world.arrivals().await;
    let mut ending = ending(&told, &of_side(&arrived, Side::Amime, number));
    if let Ending::Once(outcome, _) = &mut ending {
        let names: Vec<_> = call.expect.log.keys().map(|name| format!("log.{name}")).collect();
        outcome.extend(world.logs.of_amime(&mark(Side::Amime, number), &names).await);
    }
    ending
}

fn mark(side: Side, number: usize) -> String {
    format!("{}-{number}", side.name())
}

fn of_side(arrived: &[Value], side: Side, number: usize) -> Vec<&Value> {
    let mark = mark(side, number);
    arrived
        .iter()
        .filter(|record| record["call"] == mark.as_str())
        .collect()
}

fn ending(told: &Value, arrived: &[&Value]) -> Ending {
    match told["sequence"].as_array() {
        Some(words) => Ending::Many(
            words
                .iter()
                .map(|word| word.as_str().unwrap_or_default().to_owned())
                .collect(),
        ),
        None => Ending::Once(
            outcome::of(told, arrived),
            told["ms"].as_u64().unwrap_or_default(),
        ),
    }
}

/// A call of the table in the caller's words.
fn prepared(world: &World, call: &Call, side: Side, number: usize) -> Value {
    let (verb, target) = call.what();
    let mark = mark(side, number);
    let kind = match verb {
        "grpc" => "grpc",
        "tcp" | "tls" => "tcp",
        "raw" => "raw",
        "websocket" | "CONNECT" => "upgrade",
        _ => "http",
    };
    let (secure, rest) = match target.split_once("://") {
        Some((scheme, rest)) if kind != "raw" => (matches!(scheme, "https" | "wss"), rest),
        _ => (verb == "tls", target),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) if kind != "raw" => rest.split_at(at),
        _ => (rest, "/"),
    };
    let named = call.headers.iter().flat_map(|(name, value)| match value {
        Value::Array(values) => values.iter().map(|value| (name.clone(), text(value))).collect(),
        value => vec![(name.clone(), text(value))],
    });
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let mut headers: Vec<(String, String)> = named.collect();
    let host = headers
        .iter()
        .find(|(name, _)| is_host(name))
        .map(|(_, value)| value.clone());
    headers.retain(|(name, _)| !is_host(name));
    if matches!(kind, "http" | "grpc" | "upgrade") {
        headers.push(("x-call".to_owned(), mark.clone()));
    }
    if verb == "websocket" {
        headers.extend(
            [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
    }
    let method = match verb {
        "websocket" => "GET",
        "grpc" => "POST",
        method => method,
    };
    let default = if secure { "443" } else { "80" };
    let address = call.dial.clone().unwrap_or_else(|| {
        if kind == "raw" {
            "backend:9090".into()
        } else {
            authority.to_owned()
        }
    });
    let address = if address.contains(':') {
        address
    } else {
        format!("{address}:{default}")
    };
    let address = dialled(world, call, &address, side);
    let body = if kind == "raw" {
        target.replace("$MARK", &mark)
    } else {
        call.body.clone().unwrap_or_default()
    };
    let sni = call
        .sni
        .clone()
        .or_else(|| Some(authority.split(':').next()?.to_owned()))
        .filter(|_| secure);
    json!({
        "kind": kind,
        "address": address,
        "sni": sni,
        "http": call.http.as_ref().map(text).unwrap_or_default(),
        "method": method,
        "authority": host.unwrap_or_else(|| authority.to_owned()),
        "target": if method == "CONNECT" { authority } else { path },
        "headers": headers,
        "body": body,
        "send": call.send,
        "client_first": call.client_first,
        "repeat": call.repeat.unwrap_or(1),
        "parallel": call.parallel.unwrap_or(1),
        "one_connection": call.one_connection,
        "pause_ms": call.pause,
        "deadline_ms": call.deadline.unwrap_or(15_000),
    })
}

/// `guarded` from outside is the pod behind that side's proxy.
fn dialled(world: &World, call: &Call, address: &str, side: Side) -> String {
    match (call.from.as_deref(), address.split_once(':')) {
        (Some("outside"), Some(("guarded", port))) => {
            format!(
                "{}:{port}",
                world.address(&format!("shop/guarded-{}", side.name()))
            )
        }
        _ => address.to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
