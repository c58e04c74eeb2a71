//! The other samples in the mesh, each asked from a pod with a sidecar.

use std::time::Duration;

use crate::harness::{Local, wait};
use crate::host::Kubectl;

const NAMESPACE: &str = "samples";
const LIMIT: Duration = Duration::from_secs(20);

/// Files of the examples, and the Deployments in them.
const SAMPLES: [(&str, &[&str]); 7] = [
    ("curl/curl.yaml", &["curl"]),
    ("httpbin/httpbin.yaml", &["httpbin"]),
    ("helloworld/helloworld.yaml", &["helloworld-v1", "helloworld-v2"]),
    ("tcp-echo/tcp-echo.yaml", &["tcp-echo-v1", "tcp-echo-v2"]),
    ("ext-authz/ext-authz.yaml", &["ext-authz"]),
    ("fortio/fortio.yaml", &["fortio"]),
    ("echo-basic/echo-basic.yaml", &["echo"]),
];

#[test]
fn every_sample_answers_in_the_mesh() {
    let local = Local::up(&[]);
    let kubectl = Kubectl::new(&local, NAMESPACE);
    kubectl.ok(&["create", "namespace", NAMESPACE]);
    kubectl.ok(&["label", "namespace", NAMESPACE, "istio-injection=enabled"]);
    SAMPLES.iter().for_each(|(file, _)| kubectl.apply(file));
    for name in SAMPLES.iter().flat_map(|(_, deployments)| *deployments) {
        local.wait_for_deployment(NAMESPACE, name);
    }
    let from_curl =
        |words: &[&str]| kubectl.ok(&[&["exec", "deploy/curl", "-c", "curl", "--"], words].concat());

    let headers = from_curl(&["curl", "-sS", "http://httpbin:8000/headers"]);
    assert!(
        headers.contains("\"X-Request-Id\"") && headers.contains("httpbin:8000"),
        "{headers}"
    );
    let code = from_curl(&[
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://httpbin:8000/status/418",
    ]);
    assert_eq!(code, "418");
    let told = from_curl(&["curl", "-sSL", "http://httpbin:8000/redirect/3"]);
    assert!(told.contains("http://httpbin:8000/get"), "{told}");
    for version in ["v1", "v2"] {
        wait(&format!("helloworld {version}"), LIMIT, || {
            let told = from_curl(&["curl", "-sS", "http://helloworld:5000/hello"]);
            told.starts_with(&format!(
                "Hello version: {version}, instance: helloworld-{version}-"
            ))
            .then_some(())
        });
    }
    let told = from_curl(&["sh", "-c", "(echo world; sleep 1) | nc tcp-echo 9000"]);
    assert!(matches!(told.trim(), "one world" | "two world"), "{told}");
    let decided = |value: &str| {
        let header = format!("x-ext-authz: {value}");
        from_curl(&[
            "curl",
            "-sS",
            "-i",
            "-H",
            &header,
            "http://ext-authz:8000/some/path",
        ])
    };
    assert!(decided("allow").contains("x-ext-authz-check-result: allowed"));
    let denied = decided("deny");
    assert!(
        denied.contains(" 403 ") && denied.contains("denied by ext_authz for not found header"),
        "{denied}"
    );
    let told = from_curl(&["curl", "-sS", "http://echo:8080/some/path?a=1"]);
    for part in [
        "\"path\": \"/some/path?a=1\"",
        "\"namespace\": \"samples\"",
        "\"pod\": \"echo-",
        "\"service\": \"echo\"",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let load = [
        "/usr/bin/fortio",
        "load",
        "-c",
        "2",
        "-qps",
        "0",
        "-n",
        "20",
        "-loglevel",
        "Warning",
    ];
    let words = [
        &["exec", "deploy/fortio", "-c", "fortio", "--"],
        &load[..],
        &["http://httpbin:8000/get"],
    ]
    .concat();
    let told = kubectl.ok(&words);
    assert!(told.contains("Code 200 : 20 (100.0 %)"), "{told}");
    assert!(
        told.contains("Sockets used: 2 (for perfect keepalive, would be 2)"),
        "{told}"
    );
}
