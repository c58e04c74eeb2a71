//! Which container, which lines, in whose words; and that lines flow and end.

use std::time::{Duration, UNIX_EPOCH};

use daemon::Tasks;

use super::super::node_link::{NodeRequest, NodeRequests};
use super::*;

fn pod(containers: &[&str], init: &[&str]) -> Value {
    let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    json!({"metadata": {"name": "y", "namespace": "n"},
        "spec": {"nodeName": "local", "containers": named(containers), "initContainers": named(init)}})
}

fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    query.iter().map(own).collect()
}

fn read(query: &[(&str, &str)]) -> Result<LogOptions, Status> {
    options("y", &pairs(query), UNIX_EPOCH + Duration::from_secs(1000))
}

#[test]
fn the_container_is_chosen_as_kubernetes_does() {
    let why = |containers: &[&str], init: &[&str], wanted| {
        let status = container(&pod(containers, init), wanted).unwrap_err();
        assert_eq!((status.code, status.reason), (400, "BadRequest"));
        status.message
    };
    let found = |wanted| container(&pod(&["a", "b"], &["i"]), wanted).unwrap().container;
    assert_eq!(container(&pod(&["a"], &["i"]), None).unwrap().container, "a");
    assert_eq!(
        (found(Some("b")), found(Some("i"))),
        ("b".to_owned(), "i".to_owned())
    );
    assert_eq!(why(&["a"], &[], Some("x")), "container x is not valid for pod y");
    assert_eq!(
        why(&["a", "b"], &[], None),
        "a container name must be specified for pod y, choose one of: [a b]"
    );
    assert_eq!(
        why(&["a", "b"], &["i", "j"], None),
        "a container name must be specified for pod y, choose one of: [a b] or one of the init containers: [i j]"
    );
    assert_eq!(
        why(&[], &[], None),
        "a container name must be specified for pod y"
    );
}

#[test]
fn every_option_reaches_the_node() {
    let query = [
        ("follow", "true"),
        ("previous", "1"),
        ("timestamps", "false"),
        ("tailLines", "0"),
        ("sinceSeconds", "90"),
        ("limitBytes", "5"),
    ];
    let options = read(&query).unwrap();
    assert!(options.follow && options.previous && !options.timestamps);
    assert_eq!((options.tail_lines, options.limit_bytes), (Some(0), Some(5)));
    assert_eq!(options.since, Some(UNIX_EPOCH + Duration::from_secs(910)));
    let options = read(&[("sinceTime", "1970-01-01T01:00:01+01:00"), ("timestamps", "")]).unwrap();
    assert_eq!(options.since, Some(UNIX_EPOCH + Duration::from_secs(1)));
    assert!(options.timestamps && !options.follow);
    let options = read(&[]).unwrap();
    assert_eq!(
        (options.since, options.tail_lines, options.limit_bytes),
        (None, None, None)
    );
}

#[test]
fn wrong_options_are_named() {
    for (query, code, message) in [
        (
            &[("tailLines", "-1")][..],
            422,
            "PodLogOptions \"y\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            &[("limitBytes", "0")],
            422,
            "PodLogOptions \"y\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        ),
        (
            &[("sinceSeconds", "1"), ("sinceTime", "2026-11-22T20:25:06Z")],
            422,
            "PodLogOptions \"y\" is invalid: sinceSeconds: Forbidden: at most one of `sinceTime` or `sinceSeconds` \
             may be specified",
        ),
        (
            &[("tailLines", "ten")],
            400,
            "strconv.ParseInt: parsing \"ten\": invalid syntax",
        ),
        (
            &[("sinceTime", "now")],
            400,
            "parsing time \"now\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"now\"",
        ),
        (
            &[("stream", "Stderr")],
            422,
            "PodLogOptions \"y\" is invalid: stream: Unsupported value: \"Stderr\": supported values: \"All\"",
        ),
    ] {
        let status = read(query).unwrap_err();
        assert_eq!((status.code, &*status.message), (code, message));
    }
}

/// A node that logs one line more each time that it is asked to, through the channel that it hands out.
async fn answer(mut requests: NodeRequests, to: mpsc::Sender<mpsc::Sender<Bytes>>) {
    while let Some(NodeRequest::Log { of, reply, .. }) = requests.recv().await {
        if of.container == "waiting" {
            let why = "container \"waiting\" in pod \"y\" is waiting to start: ContainerCreating";
            let _ = reply.send(Err(Status::bad_request(why)));
            continue;
        }
        let (lines, log) = mpsc::channel(1);
        let _ = reply.send(Ok(log));
        to.send(lines).await.unwrap();
    }
}

#[tokio::test]
async fn lines_flow_one_by_one_until_the_log_ends_or_the_server_drains() {
    let (link, requests) = NodeLink::new();
    let (to, mut logs) = mpsc::channel(1);
    let tasks = Tasks::new();
    tasks.spawn("node", answer(requests, to));
    let (trigger, drain) = daemon::drain::channel();
    let pod = pod(&["a"], &["waiting"]);

    let response = log(&pod, &[], &link, drain.clone()).await.unwrap();
    assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
    let (mut body, lines) = (response.into_body(), logs.recv().await.unwrap());
    for line in ["one\n", "two\n"] {
        lines.send(line.into()).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), line);
    }
    drop(lines);
    assert!(body.frame().await.is_none());

    let response = log(&pod, &[], &link, drain.clone()).await.unwrap();
    let lines = logs.recv().await.unwrap();
    drop(response);
    lines.closed().await;

    let mut body = log(&pod, &[], &link, drain.clone()).await.unwrap().into_body();
    let lines = logs.recv().await.unwrap();
    lines.send("last\n".into()).await.unwrap();
    trigger.begin();
    assert!(body.frame().await.is_some());
    assert!(body.frame().await.is_none());

    let waiting = log(&pod, &pairs(&[("container", "waiting")]), &link, drain).await;
    assert!(
        waiting
            .unwrap_err()
            .message
            .ends_with("is waiting to start: ContainerCreating")
    );
}

#[tokio::test]
async fn a_pod_without_a_node_has_an_empty_log() {
    let (link, _requests) = NodeLink::new();
    let (_trigger, drain) = daemon::drain::channel();
    let mut pod = pod(&["a"], &[]);
    pod["spec"]["nodeName"] = Value::Null;
    let response = log(&pod, &[], &link, drain).await.unwrap();
    assert!(response.into_body().frame().await.is_none());
}
