//! Fields that are accepted but not acted upon yet. Each one in use is named, so that nobody relies on it in vain.
//! A field leaves this file in the change that makes it work.

use resources::istio::ALL_GATEWAYS_MESH;
use resources::istio::destination_rule::{ClientTls, ConsistentHash, LoadBalancer, TrafficPolicy};
use resources::istio::virtual_service::{Headers, HttpRedirect, HttpRoute};
use resources::{Code, DestinationRule, Key, Problem, RequestAuthentication, VirtualService};

use snapshot::{HeaderField, LoadBalancing};

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
    for (index, rule) in spec.tcp.iter().enumerate() {
        for (position, condition) in rule.matches.iter().enumerate() {
            notes.note_effect_if(
                !condition.source_subnet.is_empty(),
                format!("spec.tcp[{index}].match[{position}].sourceSubnet"),
                "connections match wherever they come from, as in Istio",
            );
        }
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
        for (position, gateway) in matches.gateways.iter().enumerate() {
            notes.note_effect_if(
                gateway != ALL_GATEWAYS_MESH,
                format!("{field}.match[{index}].gateways[{position}]"),
                "no gateway applies this condition",
            );
        }
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

pub(super) fn of_request_authentication(
    key: &Key,
    object: &RequestAuthentication,
    problems: &mut Vec<Problem>,
) {
    let mut notes = Notes { key, problems };
    let effect = "it is for gateways and waypoints, of which there is none: no sidecar applies this policy";
    let spec = &object.spec;
    notes.note_effect_if(spec.target_ref.is_some(), "spec.targetRef".to_owned(), effect);
    for index in 0..spec.target_refs.len() {
        notes.note_effect_if(true, format!("spec.targetRefs[{index}]"), effect);
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
            tls: policy.tls.as_ref(),
        },
    );
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        of_blocks(
            notes,
            &format!("{field}.portLevelSettings[{index}]"),
            &Blocks {
                load_balancer: port.load_balancer.as_ref(),
                tls: port.tls.as_ref(),
            },
        );
    }
}

/// What a policy and the settings of a port have in common.
struct Blocks<'a> {
    load_balancer: Option<&'a LoadBalancer>,
    tls: Option<&'a ClientTls>,
}

fn of_blocks(notes: &mut Notes<'_>, field: &str, blocks: &Blocks<'_>) {
    if let Some(balancer) = blocks.load_balancer {
        let field = format!("{field}.loadBalancer");
        let hash = balancer.consistent_hash.as_ref();
        of_sizes(notes, &format!("{field}.consistentHash"), hash);
        notes.note_effect_if(
            balancer.zone_aware_lb_setting.is_some(),
            format!("{field}.zoneAwareLbSetting"),
            "the regions go one after the other, but zones of a region share evenly",
        );
    }
    if let Some(tls) = blocks.tls {
        of_tls(notes, &format!("{field}.tls"), tls);
    }
}

/// Sizes that are brought into bounds.
fn of_sizes(notes: &mut Notes<'_>, field: &str, hash: Option<&ConsistentHash>) {
    let Some(hash) = hash else { return };
    let in_ring = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size);
    for (size, name) in [
        (in_ring, "ringHash.minimumRingSize"),
        (hash.minimum_ring_size, "minimumRingSize"),
    ] {
        let effect = "a ring has no more than 1048576 points for that";
        notes.note_effect_if(
            size.is_some_and(|size| size > LoadBalancing::LARGEST_RING),
            format!("{field}.{name}"),
            effect,
        );
    }
    let table = hash.maglev.as_ref().and_then(|maglev| maglev.table_size);
    notes.note_effect_if(
        table.is_some_and(|size| size > 0 && !LoadBalancing::can_be_maglev(size)),
        format!("{field}.maglev.tableSize"),
        "the table has 65537 places, because that is no prime number up to 5000011",
    );
}

fn of_tls(notes: &mut Notes<'_>, field: &str, tls: &ClientTls) {
    notes.note_effect_if(
        !tls.credential_name.is_empty(),
        format!("{field}.credentialName"),
        "connections are not encrypted",
    );
}
