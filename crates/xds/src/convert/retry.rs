//! Retries ⇄ `config.route.v3.RetryPolicy`.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use pb::retry_policy::RetryHostPredicate;
use pb::retry_policy::retry_host_predicate::ConfigType;
use snapshot::Retry;

use super::proto::{duration, number, pack, refuse, to_duration};
use crate::rejected::Reason;

const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
/// How often Istio lets Envoy look for a host that was not tried yet.
const HOST_SELECTION_ATTEMPTS: i64 = 5;

pub(super) fn to_proto(retry: &Retry) -> pb::RetryPolicy {
    let predicates = retry.avoid_previous_hosts.then(|| RetryHostPredicate {
        name: PREVIOUS_HOSTS.into(),
        config_type: Some(ConfigType::TypedConfig(pack(PreviousHostsPredicate {}))),
    });
    pb::RetryPolicy {
        retry_on: retry.on.join(","),
        num_retries: number(retry.attempts),
        per_try_timeout: retry.per_try_timeout.and_then(duration),
        retriable_status_codes: retry.status_codes.iter().copied().map(u32::from).collect(),
        host_selection_retry_max_attempts: if retry.avoid_previous_hosts {
            HOST_SELECTION_ATTEMPTS
        } else {
            0
        },
        retry_host_predicate: predicates.into_iter().collect(),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: pb::RetryPolicy) -> Result<Retry, Reason> {
    refuse!(
        message,
        "RetryPolicy",
        [
            per_try_idle_timeout,
            retry_priority,
            retry_options_predicates,
            retry_back_off,
            rate_limited_retry_back_off,
            retriable_headers,
            retriable_request_headers,
            refresh_cluster_on_retry,
        ]
    );
    if let Some(other) = message
        .retry_host_predicate
        .iter()
        .find(|predicate| predicate.name != PREVIOUS_HOSTS)
    {
        return Err(Reason::unsupported(format!(
            "RetryPolicy.retry_host_predicate {:?}",
            other.name
        )));
    }
    let status_codes = message.retriable_status_codes.into_iter().map(|code| {
        u16::try_from(code).map_err(|_| Reason::new("RetryPolicy.retriable_status_codes", "is no status"))
    });
    Ok(Retry {
        attempts: message.num_retries.map_or(1, |value| value.value),
        on: conditions(&message.retry_on),
        status_codes: status_codes.collect::<Result<_, _>>()?,
        per_try_timeout: message
            .per_try_timeout
            .map(|value| to_duration(value, "RetryPolicy.per_try_timeout"))
            .transpose()?,
        avoid_previous_hosts: !message.retry_host_predicate.is_empty(),
    })
}

fn conditions(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|condition| !condition.is_empty())
        .map(String::from)
        .collect()
}
