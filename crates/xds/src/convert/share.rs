//! Shares of requests ⇄ `type.v3.FractionalPercent`.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use snapshot::Share;

use super::proto::refuse;
use crate::rejected::Reason;

pub(super) fn to_proto(share: Share) -> FractionalPercent {
    FractionalPercent {
        numerator: share.0,
        denominator: DenominatorType::Million.into(),
    }
}

/// More than all is all, as Envoy has it.
pub(super) fn from_proto(message: FractionalPercent) -> Share {
    let factor = match message.denominator() {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    Share(message.numerator.saturating_mul(factor).min(Share::ALL.0))
}

pub(super) fn runtime_to_proto(share: Share) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(to_proto(share)),
        ..Default::default()
    }
}

/// Nothing stated is `absent`.
pub(super) fn runtime_from_proto(
    message: Option<RuntimeFractionalPercent>,
    absent: Share,
) -> Result<Share, Reason> {
    let Some(message) = message else { return Ok(absent) };
    refuse!(message, "RuntimeFractionalPercent", [runtime_key]);
    Ok(message.default_value.map_or(Share::NONE, from_proto))
}
