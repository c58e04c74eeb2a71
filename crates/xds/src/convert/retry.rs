//! Retries ⇄ `config.route.v3.RetryPolicy`.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use pb::retry_policy::retry_host_predicate::ConfigType;
use pb::retry_policy::{RetryBackOff, RetryHostPredicate, RetryPriority, retry_priority};
use snapshot::{BackOff, Retry};

use super::proto::{duration, number, pack, refuse, to_duration, unpack};
use crate::rejected::Reason;

const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
const PREVIOUS_PRIORITIES: &str = "envoy.retry_priorities.previous_priorities";
/// After how many tries Istio lets Envoy look elsewhere.
const PRIORITY_UPDATE_FREQUENCY: i32 = 2;
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
        retry_priority: retry.remote_localities.then(previous_priorities),
        retry_back_off: back_off_to_proto(retry.back_off),
        ..Default::default()
    }
}

pub(super) fn from_proto(message: pb::RetryPolicy) -> Result<Retry, Reason> {
    refuse!(
        message,
        "RetryPolicy",
        [
            per_try_idle_timeout,
            retry_options_predicates,
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
        remote_localities: message
            .retry_priority
            .as_ref()
            .map_or(Ok(false), check_priorities)?,
        back_off: message
            .retry_back_off
            .map_or(Ok(BackOff::default()), back_off_from_proto)?,
    })
}

fn previous_priorities() -> RetryPriority {
    let config = PreviousPrioritiesConfig {
        update_frequency: PRIORITY_UPDATE_FREQUENCY,
    };
    RetryPriority {
        name: PREVIOUS_PRIORITIES.into(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack(config))),
    }
}

fn check_priorities(message: &RetryPriority) -> Result<bool, Reason> {
    let field = "RetryPolicy.retry_priority";
    let Some(retry_priority::ConfigType::TypedConfig(any)) = &message.config_type else {
        return Err(Reason::missing(field));
    };
    let config: PreviousPrioritiesConfig = unpack(any, field)?;
    if config.update_frequency != PRIORITY_UPDATE_FREQUENCY {
        return Err(Reason::unsupported(
            "PreviousPrioritiesConfig.update_frequency other than 2",
        ));
    }
    Ok(true)
}

/// Absent where it is Envoy's default.
fn back_off_to_proto(back_off: BackOff) -> Option<RetryBackOff> {
    (back_off != BackOff::default()).then(|| RetryBackOff {
        base_interval: duration(back_off.base),
        max_interval: (back_off != BackOff::from(back_off.base))
            .then(|| duration(back_off.longest))
            .flatten(),
    })
}

fn back_off_from_proto(message: RetryBackOff) -> Result<BackOff, Reason> {
    let field = "RetryBackOff.base_interval";
    let base = message.base_interval.ok_or_else(|| Reason::missing(field))?;
    let mut back_off = BackOff::from(to_duration(base, field)?);
    if let Some(longest) = message.max_interval {
        let field = "RetryBackOff.max_interval";
        back_off.longest = to_duration(longest, field)?;
        if back_off.longest < back_off.base {
            return Err(Reason::new(field, "is less than base_interval"));
        }
    }
    Ok(back_off)
}

fn conditions(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|condition| !condition.is_empty())
        .map(String::from)
        .collect()
}
