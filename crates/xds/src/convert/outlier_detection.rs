//! When a failing endpoint is set aside ⇄ `Cluster.outlier_detection`, and `HttpProtocolOptions.outlier_detection`
//! for statuses that count as errors.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::common::matcher::v3 as matcher;
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use matcher::match_predicate::{MatchSet, Rule};
use snapshot::OutlierDetection;
use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
use upstream::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};

use super::http;
use super::proto::{duration, is, number, pack, refuse, to_duration, unpack};
use crate::rejected::Reason;

const STATUS: &str = ":status";
const TYPED: &str = "Cluster.typed_extension_protocol_options";

/// How many failures set an endpoint aside, and whether they do at all.
fn threshold(failures: u32) -> (Option<UInt32Value>, Option<UInt32Value>) {
    (number(failures), number(if failures > 0 { 100 } else { 0 }))
}

pub(super) fn to_proto(detection: &OutlierDetection) -> pb::OutlierDetection {
    let (consecutive_5xx, enforcing_consecutive_5xx) = threshold(detection.consecutive_5xx);
    let (gateway, enforcing_gateway) = threshold(detection.consecutive_gateway_failures);
    let (local_origin, enforcing_local_origin) = threshold(detection.consecutive_local_origin_failures);
    let longest = longest(detection.base_ejection_time);
    pb::OutlierDetection {
        consecutive_5xx,
        enforcing_consecutive_5xx,
        consecutive_gateway_failure: gateway,
        enforcing_consecutive_gateway_failure: enforcing_gateway,
        split_external_local_origin_errors: detection.split_local_origin_failures,
        consecutive_local_origin_failure: local_origin,
        enforcing_consecutive_local_origin_failure: enforcing_local_origin,
        interval: duration(detection.interval),
        base_ejection_time: duration(detection.base_ejection_time),
        max_ejection_time: duration(detection.max_ejection_time)
            .filter(|_| detection.max_ejection_time != longest),
        max_ejection_percent: number(detection.max_ejection_percent.into()),
        always_eject_one_host: detection.always_eject_one.then(super::proto::yes).flatten(),
        enforcing_success_rate: number(0),
        enforcing_local_origin_success_rate: number(0),
        ..Default::default()
    }
}

/// Envoy's longest time where none is stated.
fn longest(base: Duration) -> Duration {
    base.max(OutlierDetection::MAX_EJECTION_TIME)
}

pub(super) fn from_proto(
    message: Option<pb::OutlierDetection>,
    options: &HashMap<String, Any>,
) -> Result<Option<OutlierDetection>, Reason> {
    let error_statuses = error_statuses(options)?;
    let Some(message) = message else {
        return Ok(None);
    };
    check_unsupported(&message)?;
    let default = OutlierDetection::default();
    let time =
        |value: Option<_>, default, field| value.map_or(Ok(default), |value| to_duration(value, field));
    let base_ejection_time = time(
        message.base_ejection_time,
        default.base_ejection_time,
        "OutlierDetection.base_ejection_time",
    )?;
    let max_ejection_time = time(
        message.max_ejection_time,
        longest(base_ejection_time),
        "OutlierDetection.max_ejection_time",
    )?;
    if max_ejection_time < base_ejection_time {
        return Err(Reason::new(
            "OutlierDetection.max_ejection_time",
            "is less than base_ejection_time",
        ));
    }
    let percent = message
        .max_ejection_percent
        .map_or(u32::from(default.max_ejection_percent), |value| value.value);
    Ok(Some(OutlierDetection {
        consecutive_5xx: failures(
            message.consecutive_5xx,
            message.enforcing_consecutive_5xx,
            100,
            "OutlierDetection.enforcing_consecutive_5xx",
        )?,
        consecutive_gateway_failures: failures(
            message.consecutive_gateway_failure,
            message.enforcing_consecutive_gateway_failure,
            0,
            "OutlierDetection.enforcing_consecutive_gateway_failure",
        )?,
        consecutive_local_origin_failures: failures(
            message.consecutive_local_origin_failure,
            message.enforcing_consecutive_local_origin_failure,
            100,
            "OutlierDetection.enforcing_consecutive_local_origin_failure",
        )?,
        split_local_origin_failures: message.split_external_local_origin_errors,
        interval: time(message.interval, default.interval, "OutlierDetection.interval")?,
        base_ejection_time,
        max_ejection_time,
        max_ejection_percent: u8::try_from(percent).unwrap_or(100).min(100),
        always_eject_one: is(message.always_eject_one_host, false),
        error_statuses,
    }))
}

/// Whether failures set an endpoint aside is all or nothing here, not a chance.
fn failures(
    count: Option<UInt32Value>,
    enforcing: Option<UInt32Value>,
    default: u32,
    field: &str,
) -> Result<u32, Reason> {
    match enforcing.map_or(default, |percent| percent.value) {
        0 => Ok(0),
        100 => Ok(count.map_or(5, |count| count.value)),
        _ => Err(Reason::unsupported(format!("{field} other than 0 and 100"))),
    }
}

/// Detection by success rate is on in Envoy unless it is switched off.
fn check_unsupported(message: &pb::OutlierDetection) -> Result<(), Reason> {
    refuse!(
        message,
        "OutlierDetection",
        [max_ejection_time_jitter, monitors, detect_degraded_hosts]
    );
    let is_on = |percent: Option<UInt32Value>, default| percent.map_or(default, |value| value.value) > 0;
    let split = message.split_external_local_origin_errors;
    for (on, field) in [
        (
            is_on(message.enforcing_success_rate, 100),
            "enforcing_success_rate",
        ),
        (
            split && is_on(message.enforcing_local_origin_success_rate, 100),
            "enforcing_local_origin_success_rate",
        ),
        (
            is_on(message.enforcing_failure_percentage, 0),
            "enforcing_failure_percentage",
        ),
        (
            is_on(message.enforcing_failure_percentage_local_origin, 0),
            "enforcing_failure_percentage_local_origin",
        ),
    ] {
        if on {
            return Err(Reason::unsupported(format!(
                "OutlierDetection.{field} other than 0"
            )));
        }
    }
    Ok(())
}

/// Adds the statuses that count as errors to a cluster's HTTP options.
pub(super) fn with_error_statuses(
    mut options: HashMap<String, Any>,
    detection: Option<&OutlierDetection>,
) -> HashMap<String, Any> {
    let statuses = detection.map_or(&[][..], |detection| &detection.error_statuses);
    let mut rules: Vec<_> = statuses.iter().map(|status| status_to_proto(*status)).collect();
    let error_matcher = match rules.len() {
        0 => return options,
        1 => rules.pop(),
        _ => Some(matcher::MatchPredicate {
            rule: Some(Rule::OrMatch(MatchSet { rules })),
        }),
    };
    let known = options.get(http::KEY).map(|any| unpack(any, TYPED));
    let mut message = match known {
        Some(Ok(message)) => message,
        // Without other options, HTTP/1.1 is what Envoy speaks.
        Some(Err(_)) | None => upstream::HttpProtocolOptions {
            upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                ExplicitHttpConfig {
                    protocol_config: Some(ProtocolConfig::HttpProtocolOptions(Default::default())),
                },
            )),
            ..Default::default()
        },
    };
    message.outlier_detection = Some(upstream::http_protocol_options::OutlierDetection { error_matcher });
    options.insert(http::KEY.to_owned(), pack(message));
    options
}

fn status_to_proto(status: u16) -> matcher::MatchPredicate {
    let exact = MatchPattern::Exact(status.to_string());
    let header = HeaderMatcher {
        name: STATUS.into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(exact),
            ..Default::default()
        })),
        ..Default::default()
    };
    matcher::MatchPredicate {
        rule: Some(Rule::HttpResponseHeadersMatch(matcher::HttpHeadersMatch {
            headers: vec![header],
        })),
    }
}

fn error_statuses(options: &HashMap<String, Any>) -> Result<Vec<u16>, Reason> {
    let Some(any) = options.get(http::KEY) else {
        return Ok(Vec::new());
    };
    let message: upstream::HttpProtocolOptions = unpack(any, TYPED)?;
    let matches = message
        .outlier_detection
        .and_then(|detection| detection.error_matcher);
    let rules = match matches.and_then(|matches| matches.rule) {
        None => return Ok(Vec::new()),
        Some(Rule::OrMatch(set)) => set.rules.into_iter().filter_map(|rule| rule.rule).collect(),
        Some(rule) => vec![rule],
    };
    rules.iter().map(status_from_proto).collect()
}

fn status_from_proto(rule: &Rule) -> Result<u16, Reason> {
    let status = || {
        let Rule::HttpResponseHeadersMatch(matches) = rule else {
            return None;
        };
        let [header] = matches.headers.as_slice() else {
            return None;
        };
        let Some(HeaderMatchSpecifier::StringMatch(text)) = &header.header_match_specifier else {
            return None;
        };
        let Some(MatchPattern::Exact(status)) = &text.match_pattern else {
            return None;
        };
        let plain = header.name == STATUS && !header.invert_match && !text.ignore_case;
        plain.then(|| status.parse().ok()).flatten()
    };
    status().ok_or_else(|| {
        Reason::unsupported("HttpProtocolOptions.OutlierDetection.error_matcher other than statuses")
    })
}
