//! Mistakes get the message that Kubernetes or Istio gives, and nothing else is disturbed.

use std::time::Duration;

use crate::harness::{Local, said, wait};

const LIMIT: Duration = Duration::from_secs(20);

fn deployment(name: &str, image: &str, command: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers:\n      - name: app\n        \
         image: {image}\n        command: [{command}]\n"
    )
}

#[test]
fn objects_that_are_wrong_are_refused_by_name_and_the_rest_works() {
    let local = Local::up(&[]);

    let typo = deployment("typo", "curl", "\"true\"").replace("  selector", "  replcas: 2\n  selector");
    let output = local.apply(&typo);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("unknown field \"spec.replcas\""),
        "{}",
        said(&output)
    );

    let broken = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: one}\n---\na: [b\n---\n\
                  kind: ConfigMap\napiVersion: v1\nmetadata: {name: two}\n";
    let output = local.apply(broken);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("configmap/one created"),
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("configmap/two created"),
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains(".yaml:5:"),
        "the line is named: {}",
        said(&output)
    );

    let weight = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: negative}\nspec:\n  \
                  hosts: [a]\n  http:\n  - route:\n    - destination: {host: a}\n      weight: -1\n";
    let output = local.apply(weight);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("weight") && said(&output).contains("VirtualService"),
        "{}",
        said(&output)
    );
}

#[test]
fn programs_that_fail_and_images_that_are_unknown_are_told() {
    let local = Local::up(&[]);
    local.apply(&deployment("exits", "curl", "\"false\""));
    local.apply(
        &deployment("nobody", "registry.example/nobody:1", "\"true\"")
            .replace("        command: [\"true\"]\n", ""),
    );
    wait("CrashLoopBackOff", LIMIT, || {
        local
            .ok(&["get", "pods"])
            .contains("CrashLoopBackOff")
            .then_some(())
    });
    wait("ErrImagePull", LIMIT, || {
        let pods = local.ok(&["get", "pods"]);
        (pods.contains("ErrImagePull") || pods.contains("ImagePullBackOff")).then_some(())
    });
    let pod = local.pod("default", "app=nobody");
    let events = local.events("default", &pod);
    assert!(
        events.iter().any(|(_, message)| message.contains("--image")),
        "{events:?}"
    );
}

#[test]
fn findings_across_objects_become_events() {
    let local = Local::up(&[]);
    let rule = |name: &str, host: &str, subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: [{host}]\n  http:\n  - route:\n    - destination: {{host: {host}{subset}}}\n---\n"
        )
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: there}\nspec:\n  selector: {app: there}\n  \
                   ports: [{port: 80, name: http}]\n---\n";
    let all = [
        service.to_owned(),
        rule("no-subset", "there", ", subset: v9"),
        rule("twice", "there", ""),
        rule("no-host", "nowhere", ""),
    ];
    let output = local.apply(&all.concat());
    assert!(
        output.status.success(),
        "applied without complaint: {}",
        said(&output)
    );
    for (name, word) in [("no-subset", "v9"), ("no-host", "nowhere"), ("twice", "there")] {
        wait(&format!("an event on {name}"), LIMIT, || {
            local
                .events("default", name)
                .iter()
                .any(|(_, message)| message.contains(word))
                .then_some(())
        });
    }
}

#[test]
fn a_webhook_that_is_down_refuses_with_kubernetes_words() {
    let local = Local::up(&[]);
    let webhook = "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\n\
                   metadata: {name: down}\nwebhooks:\n- name: down.example.com\n  admissionReviewVersions: [v1]\n  \
                   sideEffects: None\n  failurePolicy: Fail\n  timeoutSeconds: 2\n  \
                   clientConfig: {url: 'https://127.0.0.1:1/x'}\n  \
                   rules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]\n";
    assert!(local.apply(webhook).status.success());
    let output = local.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: refused}\n");
    assert!(!output.status.success());
    assert!(
        said(&output).contains("failed calling webhook \"down.example.com\""),
        "{}",
        said(&output)
    );
    local.ok(&["delete", "mutatingwebhookconfiguration", "down"]);
    assert!(
        local
            .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: accepted}\n")
            .status
            .success()
    );
}

/// A program that forks without end meets its own limit, one that writes without end that of its log, one that fills
/// its disk that of its volume; and one that ignores SIGTERM is killed when its grace is over.
#[test]
fn programs_that_take_all_they_can_get_are_bounded_and_the_rest_works() {
    let local = Local::up(&[]);
    let pod = |name: &str, script: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
             terminationGracePeriodSeconds: 1\n  volumes: [{{name: m, emptyDir: {{medium: Memory, sizeLimit: 4Mi}}}}]\n  \
             containers:\n  - name: app\n    image: curl\n    volumeMounts: [{{name: m, mountPath: /m}}]\n    \
             command: [sh, -c, \"{script}\"]\n---\n"
        )
    };
    let greedy = [
        pod(
            "forks",
            "i=0; while [ $i -lt 5000 ]; do sleep 60 & i=$((i+1)); done; echo all of them",
        ),
        pod(
            "writes",
            "timeout 5 yes a line that comes again and again and again",
        ),
        pod(
            "fills",
            "dd if=/dev/zero of=/m/x bs=1M count=64 && echo all of it",
        ),
        pod("stays", "trap '' TERM; while :; do sleep 1; done"),
    ];
    assert!(local.apply(&greedy.concat()).status.success());
    for name in ["forks", "fills"] {
        let ended = wait(&format!("the end of {name}"), LIMIT * 3, || {
            let pod = local.get(&["pods", name]);
            (pod["status"]["phase"] == "Failed").then_some(pod)
        });
        let code = &ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
        assert_ne!(*code, 0, "{name}");
    }
    wait("stays to run", LIMIT, || {
        (local.get(&["pods", "stays"])["status"]["phase"] == "Running").then_some(())
    });
    local.ok(&["delete", "pod", "stays"]);
    wait("stays to be killed", LIMIT, || {
        local.get(&["pods", "stays"])["metadata"].is_null().then_some(())
    });
    local.wait_for_deployment("istio-system", "istiod");
}
