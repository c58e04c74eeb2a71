//! The desync corpus: hostile bytes through the real proxy, and what a backend makes of what comes out.
//!
//! Every case of `requests/*.yaml` and `responses/*.yaml` runs twice, before a backend that reads strictly and
//! before one that reads as leniently as the servers people have. Then all bytes that a backend received are read
//! in every [`dialect`]: all must find the same requests, those that the case lists, and not one more than the
//! proxy has counted. A request behind each case, over the same pooled connection, must get its own answer.

mod backend;
mod case;
mod dialect;

use std::fmt::Write;

use daemon::clock;
use snapshot::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::backend::Recorder;
use self::case::{Case, Then};
use self::dialect::{LENIENT, STRICT};
use super::world::{PATIENCE, World, cluster, forward, host, snapshot};

/// A proxy before a backend that records.
struct Range {
    world: World,
    backend: Recorder,
}

impl Range {
    async fn start(lenient: bool) -> Self {
        let backend = Recorder::start(if lenient { &LENIENT } else { &STRICT }).await;
        let mut target = forward(&[("a", 1)]);
        target.retry = None;
        let hosts = vec![host("*", Action::Forward(target))];
        let world = World::start(snapshot(hosts, vec![(cluster("a"), vec![backend.address])])).await;
        Self { world, backend }
    }

    /// Runs one case; what went wrong, if something did.
    async fn run(&self, case: &Case) -> Result<(), String> {
        let counted = self.counted().await;
        self.backend.expect(case);
        let seen = clock::timeout(PATIENCE, self.converse(case))
            .await
            .map_err(|_| "the connection neither answers nor closes".to_owned())?;
        if seen != case.answer() {
            return Err(format!("the client saw `{seen}`"));
        }
        let after = self.world.call(AFTER).await;
        if (after.status, after.body.as_str()) != (200, "GET /after") {
            return Err(format!("the request after it was answered {after:?}"));
        }
        self.backend.settled().await?;
        let mut expected = case.reaches.clone();
        expected.extend((case.then()? == Then::Keep).then(|| "GET /after".to_owned()));
        expected.push("GET /after".to_owned());
        let begun = self.backend.verdict(case, &expected)?;
        let counted = self.counted().await - counted;
        if begun > counted {
            return Err(format!(
                "{begun} requests reached the backend, {counted} were counted"
            ));
        }
        Ok(())
    }

    /// Sends the bytes and reads to the end of the connection. What came, in the words of [`Case::answer`].
    async fn converse(&self, case: &Case) -> String {
        let mut client = self.world.connect().await;
        let (read, mut write) = client.stream.split();
        let (sent, ends) = (case::bytes(&case.send), case.ends);
        let keeps = case.then() == Ok(Then::Keep);
        let upload = async {
            let _ = write.write_all(&sent).await;
            if ends {
                let _ = write.shutdown().await;
            } else if keeps {
                let _ = write.write_all(AFTER.as_bytes()).await;
            }
            // The writing side stays open: it is the proxy that has to close.
            std::future::pending::<()>().await;
        };
        let download = async {
            let mut read = read;
            let mut all = Vec::new();
            // A reset has the same meaning as an end.
            while matches!(read.read_buf(&mut all).await, Ok(more) if more > 0) {}
            all
        };
        let all = tokio::select! {
            () = upload => unreachable!("it never ends"),
            all = download => all,
        };
        case::describe(&all, case, keeps)
    }

    /// How many requests to the backend the proxy has accounted for.
    async fn counted(&self) -> usize {
        let page = self.world.page("metrics", "/stats/prometheus").await.body;
        let samples = page
            .lines()
            .filter(|line| line.starts_with("envoy_cluster_upstream_rq_total{"));
        let values = samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum::<f64>() as usize
    }
}

const AFTER: &str = "GET /after HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";

async fn run(files: &[(&str, &str)], lenient: bool) {
    let (mut failures, mut count) = (String::new(), 0);
    for (name, text) in files {
        let range = Range::start(lenient).await;
        for case in case::parse(name, text) {
            count += 1;
            if let Err(why) = range.run(&case).await {
                let _ = writeln!(
                    failures,
                    "{name}: {}: {why}\n    wanted `{}`",
                    case.name,
                    case.answer()
                );
            }
        }
    }
    println!("{count} cases of desync, lenient backend: {lenient}");
    assert!(failures.is_empty(), "{failures}");
}

macro_rules! files {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!($path))),*] };
}

const REQUESTS: &[(&str, &str)] = files![
    "requests/both_lengths.yaml",
    "requests/transfer_encoding.yaml",
    "requests/content_length.yaml",
    "requests/lines.yaml",
    "requests/chunks.yaml",
    "requests/host.yaml",
    "requests/request_line.yaml",
    "requests/limits.yaml",
    "requests/pipeline.yaml",
    "requests/connection.yaml",
    "requests/bodiless.yaml",
];

const RESPONSES: &[(&str, &str)] = files![
    "responses/length.yaml",
    "responses/chunks.yaml",
    "responses/head.yaml",
    "responses/order.yaml",
    "responses/bodiless.yaml",
];

#[tokio::test]
async fn hostile_requests_do_not_split_before_a_strict_backend() {
    run(REQUESTS, false).await;
}

#[tokio::test]
async fn hostile_requests_do_not_split_before_a_lenient_backend() {
    run(REQUESTS, true).await;
}

#[tokio::test]
async fn hostile_responses_do_not_reach_another_request() {
    run(RESPONSES, false).await;
}

#[test]
fn the_corpus_is_as_large_as_it_says() {
    let names: Vec<_> = REQUESTS
        .iter()
        .chain(RESPONSES)
        .flat_map(|(file, text)| case::parse(file, text).into_iter().map(|case| case.name))
        .collect();
    let unique: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "names are unique");
    assert!(names.len() >= 200, "{} cases", names.len());
}
