//! The article by `amime apply`, and changes of its rules under load.

use std::time::Duration;

use crate::harness::{Local, NAMESPACE, article, assert_share, said, versions, wait};

fn apply(local: &Local, name: &str) {
    local.ok(&["apply", "-f", article(name).to_str().unwrap()]);
}

/// A mesh with both versions of the backend and the client, all ready; the client's pod.
fn both_versions() -> (Local, String) {
    let local = Local::up(&[]);
    for name in [
        "01-namespace.yaml",
        "02-backend-0.yaml",
        "03-service.yaml",
        "04-client.yaml",
    ] {
        apply(&local, name);
    }
    apply(&local, "05-backend-0-and-1.yaml");
    for name in ["backend-0", "backend-1", "client-0"] {
        local.wait_for_deployment(NAMESPACE, name);
    }
    let client = local.pod(NAMESPACE, "app=client");
    (local, client)
}

fn call(local: &Local, client: &str, requests: usize) -> (usize, usize) {
    let url = format!("http://backend:9090/?[1-{requests}]");
    let printed = local.exec(
        NAMESPACE,
        client,
        "client",
        &["curl", "-sS", "-m", "10", "-w", "\\n", &url],
    );
    let (v0, v1) = versions(&printed);
    assert_eq!(
        v0 + v1,
        requests,
        "every request is answered by a version: {printed:.300}"
    );
    (v0, v1)
}

/// Waits until the rule has arrived: twenty answers in a row that fit.
fn wait_for_rule(local: &Local, client: &str, fits: impl Fn((usize, usize)) -> bool) {
    wait("the rule to arrive", Duration::from_secs(10), || {
        fits(call(local, client, 20)).then_some(())
    });
}

#[test]
fn traffic_goes_where_the_rules_send_it() {
    let (local, client) = both_versions();
    let pods = local.ok(&["get", "pods", "-n", NAMESPACE]);
    assert_eq!(pods.matches("2/2").count(), 3, "{pods}");
    let (v0, v1) = call(&local, &client, 1000);
    assert!(
        v0 > 0 && v1 > 0,
        "both versions answer without a rule: {v0} and {v1}"
    );

    apply(&local, "06-all-to-v0.yaml");
    wait_for_rule(&local, &client, |(_, v1)| v1 == 0);
    assert_eq!(call(&local, &client, 500), (500, 0));

    apply(&local, "07-all-to-v1.yaml");
    wait_for_rule(&local, &client, |(v0, _)| v0 == 0);
    assert_eq!(call(&local, &client, 500), (0, 500));

    apply(&local, "08-v0-90-v1-10.yaml");
    wait_for_rule(&local, &client, |(v0, _)| v0 > 0);
    let (_, v1) = call(&local, &client, 3000);
    assert_share(v1, 3000, 0.1);

    let table = local.ok(&["get", "virtualservices", "-n", NAMESPACE]);
    assert!(table.starts_with(
        "VIRTUAL-SERVICE NAME   GATEWAYS   HOSTS     #HTTP   #TCP   NAMESPACE            AGE\n"
    ));
    let log = local.ok(&["logs", &client, "-n", NAMESPACE, "-c", "client"]);
    assert!(log.contains("Hello, World!, version: "), "{log}");
    let metrics = local.exec(
        NAMESPACE,
        &client,
        "client",
        &["curl", "-sS", "http://127.0.0.1:15090/stats/prometheus"],
    );
    assert!(metrics.contains("istio_requests_total{"), "{metrics:.500}");
}

/// What 1,600 requests at 200 a second print while `change` happens.
fn load_during(local: &Local, client: &str, change: impl FnOnce()) -> String {
    let words = [
        "curl",
        "-sS",
        "-m",
        "5",
        "--rate",
        "200/s",
        "-w",
        "\\n%{http_code}\\n",
        "http://backend:9090/?[1-1600]",
    ];
    std::thread::scope(|scope| {
        let load = scope.spawn(|| local.exec(NAMESPACE, client, "client", &words));
        change();
        load.join().unwrap()
    })
}

fn assert_all_succeeded(load: &str) {
    assert_eq!(
        load.lines().filter(|line| *line == "200").count(),
        1600,
        "{load:.300}"
    );
}

#[test]
fn rules_that_change_under_load_fail_no_request() {
    let (local, client) = both_versions();
    let load = load_during(&local, &client, || {
        for name in [
            "06-all-to-v0.yaml",
            "07-all-to-v1.yaml",
            "08-v0-90-v1-10.yaml",
            "06-all-to-v0.yaml",
        ] {
            apply(&local, name);
            wait_for_rule(&local, &client, |_| true);
        }
    });
    assert_all_succeeded(&load);
}

#[test]
fn pods_that_are_replaced_under_load_fail_no_request() {
    let (local, client) = both_versions();
    let before = local.pod(NAMESPACE, "app=backend,version=0");
    let load = load_during(&local, &client, || {
        let text = std::fs::read_to_string(article("05-backend-0-and-1.yaml")).unwrap();
        let changed = local.apply(&text.replace("playground-echo-go:master", "playground-echo-go:next"));
        assert!(changed.status.success(), "{}", said(&changed));
        wait("the old pod to go", Duration::from_secs(30), || {
            local
                .events(NAMESPACE, &before)
                .iter()
                .any(|(reason, _)| reason == "Killing")
                .then_some(())
        });
    });
    assert_all_succeeded(&load);
}
