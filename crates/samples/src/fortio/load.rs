//! `fortio load`: connections that call at a rate or as fast as they can, for a time or a number of calls.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::connection::{Connection, Opened, Target};
use super::histogram::Histogram;
use super::options::Options;
use super::report;

/// What came of all calls.
pub(super) struct Results {
    pub(super) times: Histogram,
    pub(super) failures: Histogram,
    pub(super) head_sizes: Histogram,
    pub(super) sizes: Histogram,
    /// Calls by status; −1 for those without an answer.
    pub(super) statuses: BTreeMap<i32, u64>,
    /// By connection: sockets that were opened.
    pub(super) opened: Vec<Vec<Opened>>,
    pub(super) took: Duration,
}

/// Failures that are told one by one; the rest is in the counts.
const MOST_TOLD: u64 = 10;
/// Sizes are counted in this unit, as fortio does.
const SIZE_UNIT: f64 = 1.0;

impl Results {
    fn new(resolution: f64) -> Self {
        Self {
            times: Histogram::new(resolution),
            failures: Histogram::new(resolution),
            head_sizes: Histogram::new(SIZE_UNIT),
            sizes: Histogram::new(SIZE_UNIT),
            statuses: BTreeMap::new(),
            opened: Vec::new(),
            took: Duration::ZERO,
        }
    }

    fn merge(&mut self, other: Self) {
        self.times.merge(&other.times);
        self.failures.merge(&other.failures);
        self.head_sizes.merge(&other.head_sizes);
        self.sizes.merge(&other.sizes);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.opened.extend(other.opened);
    }
}

/// `fortio curl URL`: one call, printed.
pub(super) fn once(options: &Options) -> anyhow::Result<ExitCode> {
    let target = Target::new(options)?;
    let outcome = crate::block_on(async { Connection::default().call(&target).await })?;
    let mut out = std::io::stdout();
    out.write_all(outcome.head.as_bytes())?;
    out.write_all(&outcome.body)?;
    Ok(if outcome.status == 200 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let target = Rc::new(Target::new(options)?);
    print!("{}", report::beginning(options));
    let results = crate::block_on(LocalSet::new().run_until(all(options, target)))?;
    print!("{}", report::end(options, &results));
    Ok(ExitCode::SUCCESS)
}

async fn all(options: &Options, target: Rc<Target>) -> anyhow::Result<Results> {
    let (tell, told) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let begin = Instant::now();
    let mut connections = JoinSet::new();
    for number in 0..options.connections {
        let work = one(options.clone(), target.clone(), number, told.clone());
        connections.spawn_local(work);
    }
    let mut results: BTreeMap<usize, Results> = BTreeMap::new();
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                Some(Ok((number, of_one))) => { results.insert(number, of_one); }
                Some(Err(error)) => return Err(error.into()),
                None => break,
            },
            _ = terminate.recv() => { tell.send_replace(true); }
            _ = interrupt.recv() => { tell.send_replace(true); }
        }
    }
    let mut sum = Results::new(options.resolution);
    results.into_values().for_each(|of_one| sum.merge(of_one));
    sum.took = begin.elapsed();
    Ok(sum)
}

/// Calls that connection `number` makes: an equal share, the first ones take what is left.
fn share(calls: u64, connections: usize, number: usize) -> u64 {
    let (connections, number) = (connections as u64, number as u64);
    calls / connections + u64::from(number < calls % connections)
}

async fn one(
    options: Options,
    target: Rc<Target>,
    number: usize,
    told: watch::Receiver<bool>,
) -> (usize, Results) {
    let mut results = Results::new(options.resolution);
    let mut connection = Connection::default();
    let begin = Instant::now();
    let most = options
        .calls
        .map_or(u64::MAX, |calls| share(calls, options.connections, number));
    let pause = (options.rate > 0.0).then(|| options.connections as f64 / options.rate);
    let mut calls: u64 = 0;
    while calls < most && !*told.borrow() {
        if let Some(pause) = pause {
            let due = Duration::try_from_secs_f64(pause * calls as f64).unwrap_or(options.lasts);
            if options.calls.is_none() && due >= options.lasts {
                break;
            }
            if wait(begin + due, told.clone()).await {
                break;
            }
        }
        if options.calls.is_none() && begin.elapsed() >= options.lasts {
            break;
        }
        call(&mut connection, &target, &mut results).await;
        calls += 1;
    }
    results.opened = vec![connection.opened];
    (number, results)
}

/// Waits for a moment; whether it is time to stop instead.
async fn wait(moment: Instant, mut told: watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        stopped = told.wait_for(|told| *told) => stopped.is_ok(),
        () = tokio::time::sleep_until(moment.into()) => false,
    }
}

async fn call(connection: &mut Connection, target: &Target, results: &mut Results) {
    let begin = Instant::now();
    let outcome = connection.call(target).await;
    let took = begin.elapsed().as_secs_f64();
    results.times.record(took);
    let (status, head, body) = match &outcome {
        Ok(outcome) => (i32::from(outcome.status), outcome.head.len(), outcome.body.len()),
        Err(error) => {
            if results.statuses.get(&-1).copied().unwrap_or_default() < MOST_TOLD {
                eprintln!("call failed: {error:#}");
            }
            (-1, 0, 0)
        }
    };
    *results.statuses.entry(status).or_default() += 1;
    if status != 200 {
        results.failures.record(took);
    }
    // fortio counts the head of good answers only.
    results
        .head_sizes
        .record(if status == 200 { head as f64 } else { 0.0 });
    results.sizes.record((head + body) as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_shared_out_without_rest() {
        assert_eq!(
            (0..3).map(|number| share(20, 3, number)).collect::<Vec<_>>(),
            [7, 7, 6]
        );
        assert_eq!((0..4).map(|number| share(2, 4, number)).sum::<u64>(), 2);
    }
}
