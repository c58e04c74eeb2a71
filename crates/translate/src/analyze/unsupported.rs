//! Fields that are accepted but not acted upon yet. Each one in use is named, so that nobody relies on it in vain.
//! A field leaves this file in the change that makes it work.

use resources::istio::ALL_GATEWAYS_MESH;
use resources::istio::destination_rule::{
    ClientTls, ConnectionPool, HttpPool, LoadBalancer, OutlierDetection, TcpPool, TlsMode, TrafficPolicy,
};
use resources::istio::virtual_service::{Headers, HttpRedirect, HttpRoute, TcpRoute};
use resources::{Code, DestinationRule, Key, Problem, VirtualService};

use snapshot::HeaderField;

use super::messages;
use crate::headers::is_authority;

const WITHOUT_IT: &str = "traffic is handled as if it were not set";

/// Notes fields in use.
struct Notes<'a> {
    key: &'a Key,
    problems: &'a mut Vec<Problem>,
}

impl Notes<'_> {
    fn note_if(&mut self, used: bool, field: String) {
        self.note_effect_if(used, field, WITHOUT_IT);
    }

    fn note_effect_if(&mut self, used: bool, field: String, what_happens: &str) {
        if used {
            let message = messages::not_supported_yet(&field, what_happens);
            self.problems
                .push(Problem::new(Code::NotSupportedYet, self.key, field, message));
        }
    }
}

pub(super) fn of_virtual_service(key: &Key, object: &VirtualService, problems: &mut Vec<Problem>) {
    let mut notes = Notes { key, problems };
    let spec = &object.spec;
    for (index, gateway) in spec.gateways.iter().enumerate() {
        let effect = "no gateway applies these rules";
        notes.note_effect_if(
            gateway != ALL_GATEWAYS_MESH,
            format!("spec.gateways[{index}]"),
            effect,
        );
    }
    for (index, rule) in spec.http.iter().enumerate() {
        of_http(&mut notes, &format!("spec.http[{index}]"), rule);
    }
    for index in 0..spec.tls.len() {
        notes.note_if(true, format!("spec.tls[{index}]"));
    }
    for (index, rule) in spec.tcp.iter().enumerate() {
        of_tcp(&mut notes, &format!("spec.tcp[{index}]"), rule);
    }
}

fn of_http(notes: &mut Notes<'_>, field: &str, rule: &HttpRoute) {
    let refused = "requests that match are answered with 503";
    // Which port it is asked for makes no difference to the status.
    let unknown = |redirect: &HttpRedirect| crate::routes::redirect(redirect, 0).is_none();
    notes.note_effect_if(
        rule.redirect.as_ref().is_some_and(unknown),
        format!("{field}.redirect.redirectCode"),
        refused,
    );
    of_headers(notes, field, rule.headers.as_ref());
    for (index, target) in rule.route.iter().enumerate() {
        of_headers(notes, &format!("{field}.route[{index}]"), target.headers.as_ref());
    }
    if let Some(retries) = &rule.retries {
        let remote = retries.retry_remote_localities == Some(true);
        notes.note_if(remote, format!("{field}.retries.retryRemoteLocalities"));
    }
    let bytes = rule
        .direct_response
        .as_ref()
        .and_then(|response| response.body.as_ref());
    let bytes = bytes.is_some_and(|body| body.bytes.is_some() && body.text().is_none());
    notes.note_effect_if(
        bytes,
        format!("{field}.directResponse.body.bytes"),
        "a body that is not text is left empty",
    );
    for (index, matches) in rule.matches.iter().enumerate() {
        notes.note_if(
            !matches.stat_prefix.is_empty(),
            format!("{field}.match[{index}].statPrefix"),
        );
        for name in matches.headers.keys().filter(|name| name.starts_with('@')) {
            let effect = "the condition never holds";
            notes.note_effect_if(true, format!("{field}.match[{index}].headers[{name:?}]"), effect);
        }
    }
}

/// Fields that cannot be written.
fn of_headers(notes: &mut Notes<'_>, field: &str, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    for (side, operations) in [("request", &headers.request), ("response", &headers.response)] {
        let Some(operations) = operations else { continue };
        for (kind, fields) in [("set", &operations.set), ("add", &operations.add)] {
            for (name, value) in fields.iter().filter(|(name, _)| !is_authority(name)) {
                if let Err(problem) = HeaderField::new(name, value) {
                    let effect = format!("the header is left out: {problem}");
                    let field = format!("{field}.headers.{side}.{kind}[{name:?}]");
                    notes.note_effect_if(true, field, &effect);
                }
            }
        }
    }
}

fn of_tcp(notes: &mut Notes<'_>, field: &str, rule: &TcpRoute) {
    let weighted = rule.route.iter().filter(|target| target.weight > 0).count() > 1;
    notes.note_effect_if(
        weighted,
        format!("{field}.route"),
        "the target with the largest weight takes everything",
    );
    for (index, matches) in rule.matches.iter().enumerate() {
        notes.note_if(
            !matches.destination_subnets.is_empty(),
            format!("{field}.match[{index}].destinationSubnets"),
        );
    }
}

pub(super) fn of_destination_rule(key: &Key, object: &DestinationRule, problems: &mut Vec<Problem>) {
    let mut notes = Notes { key, problems };
    let top = object
        .spec
        .traffic_policy
        .iter()
        .map(|policy| ("spec.trafficPolicy".to_owned(), policy));
    let subsets = object
        .spec
        .subsets
        .iter()
        .enumerate()
        .filter_map(|(index, subset)| {
            Some((
                format!("spec.subsets[{index}].trafficPolicy"),
                subset.traffic_policy.as_ref()?,
            ))
        });
    for (field, policy) in top.chain(subsets) {
        of_policy(&mut notes, &field, policy);
    }
}

fn of_policy(notes: &mut Notes<'_>, field: &str, policy: &TrafficPolicy) {
    of_blocks(
        notes,
        field,
        &Blocks {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        },
    );
    notes.note_if(policy.tunnel.is_some(), format!("{field}.tunnel"));
    notes.note_if(policy.proxy_protocol.is_some(), format!("{field}.proxyProtocol"));
    notes.note_if(policy.retry_budget.is_some(), format!("{field}.retryBudget"));
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        of_blocks(
            notes,
            &format!("{field}.portLevelSettings[{index}]"),
            &Blocks {
                load_balancer: port.load_balancer.as_ref(),
                connection_pool: port.connection_pool.as_ref(),
                outlier_detection: port.outlier_detection.as_ref(),
                tls: port.tls.as_ref(),
            },
        );
    }
}

/// What a policy and the settings of a port have in common.
struct Blocks<'a> {
    load_balancer: Option<&'a LoadBalancer>,
    connection_pool: Option<&'a ConnectionPool>,
    outlier_detection: Option<&'a OutlierDetection>,
    tls: Option<&'a ClientTls>,
}

fn of_blocks(notes: &mut Notes<'_>, field: &str, blocks: &Blocks<'_>) {
    if let Some(balancer) = blocks.load_balancer {
        let field = format!("{field}.loadBalancer");
        notes.note_if(
            balancer.consistent_hash.is_some(),
            format!("{field}.consistentHash"),
        );
        notes.note_if(
            balancer.locality_lb_setting.is_some(),
            format!("{field}.localityLbSetting"),
        );
        notes.note_if(
            balancer.zone_aware_lb_setting.is_some(),
            format!("{field}.zoneAwareLbSetting"),
        );
        notes.note_if(balancer.warmup.is_some(), format!("{field}.warmup"));
        notes.note_if(
            balancer.warmup_duration_secs.is_some(),
            format!("{field}.warmupDurationSecs"),
        );
    }
    if let Some(pool) = blocks.connection_pool {
        of_tcp_pool(notes, &format!("{field}.connectionPool.tcp"), pool.tcp.as_ref());
        of_http_pool(notes, &format!("{field}.connectionPool.http"), pool.http.as_ref());
    }
    notes.note_if(
        blocks.outlier_detection.is_some(),
        format!("{field}.outlierDetection"),
    );
    // Without TLS is how traffic goes today, so asking for that is no disappointment.
    let tls = blocks.tls.is_some_and(|tls| tls.mode != Some(TlsMode::Disable));
    notes.note_effect_if(tls, format!("{field}.tls"), "connections are not encrypted");
}

fn of_tcp_pool(notes: &mut Notes<'_>, field: &str, pool: Option<&TcpPool>) {
    let Some(pool) = pool else { return };
    notes.note_if(pool.max_connections.is_some(), format!("{field}.maxConnections"));
    notes.note_if(pool.tcp_keepalive.is_some(), format!("{field}.tcpKeepalive"));
    notes.note_if(
        pool.max_connection_duration.is_some(),
        format!("{field}.maxConnectionDuration"),
    );
    notes.note_if(pool.idle_timeout.is_some(), format!("{field}.idleTimeout"));
}

fn of_http_pool(notes: &mut Notes<'_>, field: &str, pool: Option<&HttpPool>) {
    let Some(pool) = pool else { return };
    notes.note_if(
        pool.http1_max_pending_requests.is_some(),
        format!("{field}.http1MaxPendingRequests"),
    );
    notes.note_if(
        pool.http2_max_requests.is_some(),
        format!("{field}.http2MaxRequests"),
    );
    notes.note_if(
        pool.max_requests_per_connection.is_some(),
        format!("{field}.maxRequestsPerConnection"),
    );
    notes.note_if(pool.max_retries.is_some(), format!("{field}.maxRetries"));
    notes.note_if(pool.idle_timeout.is_some(), format!("{field}.idleTimeout"));
    notes.note_if(
        pool.h2_upgrade_policy.is_some(),
        format!("{field}.h2UpgradePolicy"),
    );
    notes.note_if(
        pool.use_client_protocol.is_some(),
        format!("{field}.useClientProtocol"),
    );
    notes.note_if(
        pool.max_concurrent_streams.is_some(),
        format!("{field}.maxConcurrentStreams"),
    );
    notes.note_if(pool.http2_keep_alive.is_some(), format!("{field}.http2KeepAlive"));
}
