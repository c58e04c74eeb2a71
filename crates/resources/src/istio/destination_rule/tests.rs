//! What the validation of a DestinationRule says, and where.

use crate::yaml;

fn problems(spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {{name: a, namespace: shop}}\nspec: {spec}"
    );
    let read = yaml::read(&text);
    read.problems
        .iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect()
}

#[test]
fn every_field_of_the_reference_is_known() {
    let found = problems(
        "{host: b, exportTo: [.], workloadSelector: {matchLabels: {a: b}}, subsets: [{name: v1, labels: {version: '1'}}],
          trafficPolicy: {
            loadBalancer: {consistentHash: {httpCookie: {name: c, path: /, ttl: 0s, attributes: [{name: a, value: b}]},
                             maglev: {tableSize: 65537}},
                           localityLbSetting: {distribute: [{from: a/*, to: {b/*: 100}}], enabled: true},
                           warmup: {duration: 1m, minimumPercent: 10, aggression: 1.5}},
            connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, idleTimeout: 0s, maxConnectionDuration: 1h,
                                   tcpKeepalive: {probes: 1, time: 1s, interval: 1s}},
                             http: {http1MaxPendingRequests: 1, http2MaxRequests: 1, maxRequestsPerConnection: 1,
                                    maxRetries: 1, idleTimeout: 1s, h2UpgradePolicy: UPGRADE, useClientProtocol: false,
                                    maxConcurrentStreams: 1, http2KeepAlive: {interval: 1s, timeout: 1s}}},
            outlierDetection: {consecutive5xxErrors: 1, consecutiveGatewayErrors: 1, interval: 1s,
                               splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1,
                               baseEjectionTime: 1s, maxEjectionPercent: 1, minHealthPercent: 1,
                               outlierDetectionHttpErrorCodes: [503]},
            tls: {mode: SIMPLE, sni: a, subjectAltNames: [a], caCertificates: system},
            portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}],
            proxyProtocol: {version: V2}, retryBudget: {percent: 20, minRetryConcurrency: 3, budgetInterval: 1s}}}",
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn subset_names_must_be_unique_labels() {
    assert_eq!(
        problems("{host: b, subsets: [{name: v1}, {name: v1}, {name: V_2}]}"),
        [
            "spec.subsets[1].name: duplicate subset names: v1",
            "spec.subsets[2].name: invalid subset name \"V_2\": must be a DNS label: lower-case letters, digits and '-', at most 63",
        ]
    );
}

#[test]
fn an_empty_policy_and_a_wrong_algorithm_are_refused() {
    assert_eq!(
        problems("{host: b, trafficPolicy: {}}"),
        ["spec.trafficPolicy: traffic policy must have at least one field"]
    );
    let found = problems("{host: b, trafficPolicy: {loadBalancer: {simple: RANDOMLY}}}");
    assert!(
        found[0].starts_with("spec.trafficPolicy.loadBalancer.simple: unknown variant `RANDOMLY`"),
        "{found:?}"
    );
}
