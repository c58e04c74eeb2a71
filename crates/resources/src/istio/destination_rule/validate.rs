//! What Istio's webhook says about a DestinationRule by itself.

use std::collections::BTreeSet;

use super::{
    ClientTls, ConnectionPool, ConsistentHash, DestinationRule, H2UpgradePolicy, LoadBalancer,
    LocalityLoadBalancer, OutlierDetection, TlsMode, TrafficPolicy,
};
use crate::istio::report::{NOT_A_LABEL, Report, is_dns_label};
use crate::{Key, Kind, Problem};

impl DestinationRule {
    /// What is wrong with the object by itself.
    pub fn validate(&self) -> Vec<Problem> {
        let (meta, spec) = (&self.metadata, &self.spec);
        let mut report = Report::new(Key::new(Kind::DestinationRule, &meta.namespace, &meta.name));
        report.host("spec.host", &spec.host);
        policy(&mut report, "spec.trafficPolicy", spec.traffic_policy.as_ref());
        let mut names = BTreeSet::new();
        for (index, subset) in spec.subsets.iter().enumerate() {
            let field = format!("spec.subsets[{index}]");
            if !is_dns_label(&subset.name) {
                report.error(
                    &format!("{field}.name"),
                    format!("invalid subset name {:?}: {NOT_A_LABEL}", subset.name),
                );
            } else if !names.insert(&subset.name) {
                report.error(
                    &format!("{field}.name"),
                    format!("duplicate subset names: {}", subset.name),
                );
            }
            for (key, value) in &subset.labels {
                if !is_label_name(key) || !(value.is_empty() || is_qualified(value)) {
                    report.error(
                        &format!("{field}.labels"),
                        format!("invalid label {key}={value:?}"),
                    );
                }
            }
            policy(
                &mut report,
                &format!("{field}.trafficPolicy"),
                subset.traffic_policy.as_ref(),
            );
        }
        report.export_to(&spec.export_to);
        let own = |target: &String| target == "." || *target == meta.namespace;
        if spec.workload_selector.is_some() && !spec.export_to.iter().all(own) {
            report.error(
                "spec.exportTo",
                "a rule with workloadSelector can only be exported to its own namespace",
            );
        }
        report.into_problems()
    }
}

/// The part of a label key after its prefix, or a label value.
fn is_qualified(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_label_name(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("prefix", key));
    is_qualified(name) && prefix.split('.').all(is_dns_label)
}

fn policy(report: &mut Report, field: &str, policy: Option<&TrafficPolicy>) {
    let Some(policy) = policy else { return };
    if *policy == TrafficPolicy::default() {
        report.error(field, "traffic policy must have at least one field");
    }
    let outlier = policy.outlier_detection.as_ref();
    load_balancer(
        report,
        &format!("{field}.loadBalancer"),
        policy.load_balancer.as_ref(),
        outlier.is_some(),
    );
    connection_pool(
        report,
        &format!("{field}.connectionPool"),
        policy.connection_pool.as_ref(),
    );
    outlier_detection(report, &format!("{field}.outlierDetection"), outlier);
    client_tls(report, &format!("{field}.tls"), policy.tls.as_ref());
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let field = format!("{field}.portLevelSettings[{index}]");
        match port.port {
            Some(port) => report.port(&format!("{field}.port.number"), port.number),
            None => report.error(&format!("{field}.port"), "port level policy must have a port"),
        }
        let outlier = port.outlier_detection.as_ref();
        load_balancer(
            report,
            &format!("{field}.loadBalancer"),
            port.load_balancer.as_ref(),
            outlier.is_some(),
        );
        connection_pool(
            report,
            &format!("{field}.connectionPool"),
            port.connection_pool.as_ref(),
        );
        outlier_detection(report, &format!("{field}.outlierDetection"), outlier);
        client_tls(report, &format!("{field}.tls"), port.tls.as_ref());
    }
    if let Some(tunnel) = &policy.tunnel {
        let field = format!("{field}.tunnel");
        if policy.proxy_protocol.is_some() {
            report.error(&field, "tunnel must not be used with proxyProtocol");
        }
        if !["", "CONNECT", "POST"].contains(&tunnel.protocol.as_str()) {
            report.error(
                &format!("{field}.protocol"),
                "tunnel protocol must be \"CONNECT\" or \"POST\"",
            );
        }
        report.host(&format!("{field}.targetHost"), &tunnel.target_host);
        report.port(&format!("{field}.targetPort"), tunnel.target_port);
    }
    if let Some(budget) = &policy.retry_budget {
        report.percent(&format!("{field}.retryBudget.percent"), budget.percent);
    }
}

fn load_balancer(report: &mut Report, field: &str, settings: Option<&LoadBalancer>, has_outlier: bool) {
    let Some(settings) = settings else { return };
    if settings.simple.is_some() && settings.consistent_hash.is_some() {
        report.error(field, "only one of simple and consistentHash may be set");
    }
    if let Some(hash) = &settings.consistent_hash {
        consistent_hash(report, &format!("{field}.consistentHash"), hash);
    }
    if let Some(warmup) = &settings.warmup {
        report.duration(&format!("{field}.warmup.duration"), Some(warmup.duration));
        report.percent(&format!("{field}.warmup.minimumPercent"), warmup.minimum_percent);
        if warmup.aggression.is_some_and(|aggression| aggression <= 0.0) {
            report.error(
                &format!("{field}.warmup.aggression"),
                "aggression must be greater than 0",
            );
        }
    }
    if let Some(locality) = &settings.locality_lb_setting {
        if settings.zone_aware_lb_setting.is_some() {
            report.error(
                field,
                "only one of localityLbSetting and zoneAwareLbSetting may be set",
            );
        }
        locality_settings(
            report,
            &format!("{field}.localityLbSetting"),
            locality,
            has_outlier,
        );
    }
}

fn consistent_hash(report: &mut Report, field: &str, hash: &ConsistentHash) {
    if hash.minimum_ring_size.is_some() && (hash.ring_hash.is_some() || hash.maglev.is_some()) {
        report.error(
            field,
            "only one of minimumRingSize, ringHash and maglev may be set",
        );
    }
    if let Some(size) = hash.maglev.as_ref().and_then(|maglev| maglev.table_size) {
        let prime = size > 1 && (2..).take_while(|n| n * n <= size).all(|n| size % n != 0);
        if size >= 5_000_011 || !prime {
            report.error(
                &format!("{field}.maglev.tableSize"),
                "tableSize must be a prime number less than 5000011",
            );
        }
    }
    if let Some(cookie) = &hash.http_cookie {
        let field = format!("{field}.httpCookie");
        if cookie.name.is_empty() {
            report.error(&format!("{field}.name"), "name required for HttpCookie");
        }
        let mut names = BTreeSet::new();
        if !cookie
            .attributes
            .iter()
            .all(|attribute| !attribute.name.is_empty() && names.insert(&attribute.name))
        {
            report.error(
                &format!("{field}.attributes"),
                "attribute names must be unique and not empty",
            );
        }
    }
}

fn locality_settings(report: &mut Report, field: &str, locality: &LocalityLoadBalancer, has_outlier: bool) {
    if !locality.distribute.is_empty() && !locality.failover.is_empty() {
        report.error(
            field,
            "can not simultaneously specify 'distribute' and 'failover'",
        );
    }
    for (index, distribute) in locality.distribute.iter().enumerate() {
        let field = format!("{field}.distribute[{index}].to");
        let weights = distribute.to.values();
        if weights.clone().any(|weight| !(1..=100).contains(weight)) {
            report.error(&field, "locality weight must be in range 1..100");
        } else if weights.map(|weight| u64::from(*weight)).sum::<u64>() != 100 {
            report.error(&field, "total locality weight must be 100");
        }
    }
    for (index, failover) in locality.failover.iter().enumerate() {
        let field = format!("{field}.failover[{index}]");
        if failover.from == failover.to {
            report.error(
                &field,
                "locality failover settings must specify different regions",
            );
        }
        if [&failover.from, &failover.to]
            .iter()
            .any(|region| region.contains(['*', '/']))
        {
            report.error(&field, "locality failover only names regions, without * or /");
        }
    }
    let fails_over = !locality.failover.is_empty() || !locality.failover_priority.is_empty();
    if fails_over && !has_outlier {
        report.warning(field, "outlier detection policy must be provided for failover");
    }
}

fn connection_pool(report: &mut Report, field: &str, pool: Option<&ConnectionPool>) {
    let Some(pool) = pool else { return };
    if *pool == ConnectionPool::default() {
        report.error(field, "connection pool must have at least one field");
    }
    let mut at_least_zero = |name: &str, value: Option<i32>| {
        if value.is_some_and(|value| value < 0) {
            report.error(&format!("{field}.{name}"), "must be non-negative");
        }
    };
    let tcp = pool.tcp.clone().unwrap_or_default();
    let http = pool.http.clone().unwrap_or_default();
    at_least_zero("tcp.maxConnections", tcp.max_connections);
    at_least_zero("http.http1MaxPendingRequests", http.http1_max_pending_requests);
    at_least_zero("http.http2MaxRequests", http.http2_max_requests);
    at_least_zero("http.maxRequestsPerConnection", http.max_requests_per_connection);
    at_least_zero("http.maxRetries", http.max_retries);
    at_least_zero("http.maxConcurrentStreams", http.max_concurrent_streams);
    report.duration(&format!("{field}.tcp.connectTimeout"), tcp.connect_timeout);
    report.duration(
        &format!("{field}.tcp.maxConnectionDuration"),
        tcp.max_connection_duration,
    );
    report.duration_or_zero(&format!("{field}.tcp.idleTimeout"), tcp.idle_timeout);
    report.duration(&format!("{field}.http.idleTimeout"), http.idle_timeout);
    if http.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade) && http.use_client_protocol == Some(true) {
        report.error(
            &format!("{field}.http"),
            "use client protocol must not be true when H2UpgradePolicy is UPGRADE",
        );
    }
    if http
        .http2_keep_alive
        .is_some_and(|pings| pings.interval.is_none() || pings.timeout.is_none())
    {
        report.error(
            &format!("{field}.http.http2KeepAlive"),
            "interval and timeout are required",
        );
    }
}

fn outlier_detection(report: &mut Report, field: &str, outlier: Option<&OutlierDetection>) {
    let Some(outlier) = outlier else { return };
    report.duration(&format!("{field}.interval"), outlier.interval);
    report.duration(&format!("{field}.baseEjectionTime"), outlier.base_ejection_time);
    report.percent(
        &format!("{field}.maxEjectionPercent"),
        outlier.max_ejection_percent.map(f64::from),
    );
    report.percent(
        &format!("{field}.minHealthPercent"),
        outlier.min_health_percent.map(f64::from),
    );
    if outlier.consecutive_errors.is_some() {
        report.warning(&format!("{field}.consecutiveErrors"), "outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or consecutive5xxErrors instead");
    }
    if outlier
        .consecutive_local_origin_failures
        .is_some_and(|failures| failures > 0)
        && outlier.split_external_local_origin_errors != Some(true)
    {
        report.error(&format!("{field}.consecutiveLocalOriginFailures"), "outlier detection consecutive local origin failures is specified, but split external local origin errors is set to false");
    }
}

fn client_tls(report: &mut Report, field: &str, tls: Option<&ClientTls>) {
    let Some(tls) = tls else { return };
    let files = [
        &tls.client_certificate,
        &tls.private_key,
        &tls.ca_certificates,
        &tls.ca_crl,
    ];
    let by_secret = !tls.credential_name.is_empty();
    if by_secret && files.iter().any(|file| !file.is_empty()) {
        report.error(
            field,
            "credentialName excludes clientCertificate, privateKey, caCertificates and caCrl",
        );
    }
    if tls.insecure_skip_verify == Some(true)
        && !(tls.ca_certificates.is_empty() && tls.subject_alt_names.is_empty())
    {
        report.error(
            field,
            "insecureSkipVerify excludes caCertificates and subjectAltNames",
        );
    }
    match tls.mode {
        Some(TlsMode::Mutual) if !by_secret => {
            for (name, file) in [
                ("clientCertificate", &tls.client_certificate),
                ("privateKey", &tls.private_key),
            ] {
                if file.is_empty() {
                    report.error(
                        &format!("{field}.{name}"),
                        format!("{name} required for mutual tls"),
                    );
                }
            }
        }
        Some(TlsMode::IstioMutual) if by_secret || files.iter().any(|file| !file.is_empty()) => {
            report.error(
                field,
                "ISTIO_MUTUAL uses the certificates of the mesh; other certificates must not be set",
            );
        }
        Some(TlsMode::Disable | TlsMode::Simple | TlsMode::Mutual | TlsMode::IstioMutual) | None => {}
    }
}
