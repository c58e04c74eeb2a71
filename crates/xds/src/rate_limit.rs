//! What a server of limits is asked and what it answers, in `envoy.service.ratelimit.v3`. Both ends: our proxy asks,
//! and the controller answers ours and Envoys.
//!
//! Plain data on our side: neither the proxy nor the controller knows protobuf.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto>

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3 as common;
use envoy_types::pb::envoy::service::ratelimit::v3 as pb;
use envoy_types::pb::envoy::r#type::v3::RateLimitUnit;
use envoy_types::pb::google::protobuf as wire;
use pb::rate_limit_response::rate_limit::Unit;
use pb::rate_limit_response::{Code, DescriptorStatus};
use prost::Message;

/// The service.
pub const SERVICE: &str = "envoy.service.ratelimit.v3.RateLimitService";
/// Its method.
pub const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A unit's seconds, as the question and as the answer number it.
const UNITS: [(u64, RateLimitUnit, Unit); 6] = [
    (1, RateLimitUnit::Second, Unit::Second),
    (60, RateLimitUnit::Minute, Unit::Minute),
    (3600, RateLimitUnit::Hour, Unit::Hour),
    (86_400, RateLimitUnit::Day, Unit::Day),
    (2_592_000, RateLimitUnit::Month, Unit::Month),
    (31_536_000, RateLimitUnit::Year, Unit::Year),
];

const WEEK: u64 = 604_800;

/// What a server is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Under what it shall count.
    pub domain: String,
    /// What it shall count; each is judged by itself.
    pub descriptors: Vec<Descriptor>,
}

/// What one limit counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Keys and values; all of them together tell callers apart.
    pub entries: Vec<(String, String)>,
    /// What the request takes; `None` is 1.
    pub cost: Option<u64>,
    /// Requests, and the interval in which they may come, where the caller knows better than the server.
    pub stated: Option<(u32, Duration)>,
}

/// What a server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The request goes beyond a limit.
    pub over: bool,
    /// One for each descriptor, in order.
    pub statuses: Vec<Status>,
    /// Fields for the response.
    pub response_fields: Vec<(String, String)>,
    /// Fields for the request, if it passes.
    pub request_fields: Vec<(String, String)>,
    /// Body of a refusal.
    pub body: Bytes,
}

/// What became of one descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It goes beyond its limit.
    pub over: bool,
    /// Requests and interval; `None` where no limit is for it.
    pub rate: Option<(u32, Duration)>,
    /// What is left.
    pub remaining: u32,
    /// Time until all is there again.
    pub reset: Duration,
}

impl Question {
    /// As it goes over the wire.
    pub fn encode(&self) -> Vec<u8> {
        self.to_proto().encode_to_vec()
    }

    fn to_proto(&self) -> pb::RateLimitRequest {
        pb::RateLimitRequest {
            domain: self.domain.clone(),
            descriptors: self.descriptors.iter().map(descriptor_to_proto).collect(),
            hits_addend: 0,
        }
    }

    /// Reads what somebody asks. A cost that is stated for all is that of each that has none of its own.
    pub(crate) fn from_proto(message: pb::RateLimitRequest) -> Self {
        let cost = (message.hits_addend != 0).then(|| message.hits_addend.into());
        Self {
            domain: message.domain,
            descriptors: message
                .descriptors
                .into_iter()
                .map(|descriptor| descriptor_from_proto(descriptor, cost))
                .collect(),
        }
    }
}

fn descriptor_to_proto(descriptor: &Descriptor) -> common::RateLimitDescriptor {
    let entries = descriptor.entries.iter();
    common::RateLimitDescriptor {
        entries: entries
            .map(|(key, value)| common::rate_limit_descriptor::Entry {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        limit: descriptor.stated.and_then(|(requests, interval)| {
            let (_, unit, _) = unit(interval)?;
            Some(common::rate_limit_descriptor::RateLimitOverride {
                requests_per_unit: requests,
                unit: unit.into(),
            })
        }),
        hits_addend: descriptor.cost.map(|value| wire::UInt64Value { value }),
        ..Default::default()
    }
}

fn descriptor_from_proto(message: common::RateLimitDescriptor, cost: Option<u64>) -> Descriptor {
    let stated = message.limit.and_then(|limit| {
        let known = UNITS.iter().find(|(_, unit, _)| *unit == limit.unit());
        known.map(|(seconds, ..)| (limit.requests_per_unit, Duration::from_secs(*seconds)))
    });
    Descriptor {
        entries: message
            .entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect(),
        cost: message.hits_addend.map(|cost| cost.value).or(cost),
        stated,
    }
}

fn unit(interval: Duration) -> Option<(u64, RateLimitUnit, Unit)> {
    UNITS
        .into_iter()
        .find(|(seconds, ..)| Duration::from_secs(*seconds) == interval)
}

impl Verdict {
    /// Reads what a server answers.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        let message = pb::RateLimitResponse::decode(bytes)?;
        let fields =
            |values: Vec<HeaderValue>| values.into_iter().map(|field| (field.key, field.value)).collect();
        Ok(Self {
            over: message.overall_code() == Code::OverLimit,
            statuses: message.statuses.iter().map(status_from_proto).collect(),
            response_fields: fields(message.response_headers_to_add),
            request_fields: fields(message.request_headers_to_add),
            body: message.raw_body.into(),
        })
    }

    pub(crate) fn to_proto(&self) -> pb::RateLimitResponse {
        let fields = |fields: &[(String, String)]| {
            fields
                .iter()
                .map(|(key, value)| HeaderValue {
                    key: key.clone(),
                    value: value.clone(),
                    ..Default::default()
                })
                .collect()
        };
        pb::RateLimitResponse {
            overall_code: code(self.over).into(),
            statuses: self.statuses.iter().map(status_to_proto).collect(),
            response_headers_to_add: fields(&self.response_fields),
            request_headers_to_add: fields(&self.request_fields),
            raw_body: self.body.to_vec(),
            ..Default::default()
        }
    }
}

fn code(over: bool) -> Code {
    match over {
        true => Code::OverLimit,
        false => Code::Ok,
    }
}

fn status_to_proto(status: &Status) -> DescriptorStatus {
    let limit = status.rate.map(|(requests, interval)| {
        let known = unit(interval).map_or(Unit::Unknown, |(_, _, unit)| unit);
        pb::rate_limit_response::RateLimit {
            requests_per_unit: requests,
            unit: known.into(),
            ..Default::default()
        }
    });
    DescriptorStatus {
        code: code(status.over).into(),
        current_limit: limit,
        limit_remaining: status.remaining,
        duration_until_reset: Some(wire::Duration {
            seconds: i64::try_from(status.reset.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(status.reset.subsec_nanos()).expect("less than 10^9"),
        }),
        ..Default::default()
    }
}

/// Of times that make no sense, nothing is believed.
fn status_from_proto(message: &DescriptorStatus) -> Status {
    let rate = message.current_limit.as_ref().and_then(|limit| {
        let known = UNITS.iter().find(|(_, _, unit)| *unit == limit.unit());
        let seconds = match limit.unit() {
            // Nobody can ask for it.
            Unit::Week => Some(WEEK),
            _ => known.map(|(seconds, ..)| *seconds),
        };
        seconds.map(|seconds| (limit.requests_per_unit, Duration::from_secs(seconds)))
    });
    let reset = message.duration_until_reset.unwrap_or_default();
    Status {
        over: message.code() == Code::OverLimit,
        rate,
        remaining: message.limit_remaining,
        reset: Duration::new(
            u64::try_from(reset.seconds).unwrap_or_default(),
            u32::try_from(reset.nanos).unwrap_or_default().min(999_999_999),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            domain: "shop/backend".into(),
            descriptors: vec![
                Descriptor {
                    entries: vec![
                        ("limit".into(), "each".into()),
                        ("header:x-user".into(), "bob".into()),
                    ],
                    cost: None,
                    stated: None,
                },
                Descriptor {
                    entries: vec![("limit".into(), "all".into())],
                    cost: Some(5),
                    stated: Some((10, Duration::from_secs(3600))),
                },
            ],
        }
    }

    #[test]
    fn a_question_arrives_as_it_was_asked() {
        let message = pb::RateLimitRequest::decode(question().encode().as_slice()).unwrap();
        assert_eq!(Question::from_proto(message), question());
    }

    #[test]
    fn a_limit_of_a_week_is_understood() {
        let mut message = DescriptorStatus::default();
        let limit = message.current_limit.insert(Default::default());
        limit.requests_per_unit = 7;
        limit.set_unit(Unit::Week);
        let rate = status_from_proto(&message).rate;
        assert_eq!(rate, Some((7, Duration::from_secs(7 * 86_400))));
    }

    #[test]
    fn a_cost_of_all_is_that_of_each_without_its_own() {
        let mut message = question().to_proto();
        message.hits_addend = 3;
        let costs: Vec<_> = Question::from_proto(message)
            .descriptors
            .iter()
            .map(|descriptor| descriptor.cost)
            .collect();
        assert_eq!(costs, [Some(3), Some(5)]);
    }

    #[test]
    fn a_verdict_arrives_as_it_was_given() {
        let verdict = Verdict {
            over: true,
            statuses: vec![
                Status {
                    over: true,
                    rate: Some((60, Duration::from_secs(60))),
                    remaining: 0,
                    reset: Duration::from_millis(1500),
                },
                Status::default(),
            ],
            response_fields: vec![("x-a".into(), "b".into())],
            request_fields: vec![("x-c".into(), "d".into())],
            body: Bytes::from_static(b"busy"),
        };
        let bytes = verdict.to_proto().encode_to_vec();
        assert_eq!(Verdict::decode(&bytes).unwrap(), verdict);
        assert!(Verdict::decode(b"\xff\xff\xff").is_err());
    }
}
