//! Tokens ⇄ `extensions.filters.http.jwt_authn.v3.JwtAuthentication`, as Istio configures it: keys inline, one rule for
//! every path.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use pb::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use pb::jwt_requirement::RequiresType;
use pb::requirement_rule::RequirementType;
use snapshot::{ClaimHeader, Jwt, JwtProvider, JwtRequirement, TokenHeader};

use super::proto::refuse;
use crate::rejected::Reason;

pub(super) const FILTER: &str = "envoy.filters.http.jwt_authn";

/// Where Istio's authorization looks for the claims.
const PAYLOAD: &str = "payload";

pub(super) fn to_proto(jwt: &Jwt) -> pb::JwtAuthentication {
    let all = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    };
    let rule = pb::RequirementRule {
        r#match: Some(all),
        requirement_type: Some(RequirementType::Requires(requirement_to_proto(&jwt.requirement))),
    };
    let providers = jwt.providers.iter();
    pb::JwtAuthentication {
        providers: providers
            .map(|(name, provider)| (name.clone(), provider_to_proto(provider)))
            .collect(),
        rules: vec![rule],
        bypass_cors_preflight: jwt.bypass_preflight,
        ..Default::default()
    }
}

fn provider_to_proto(provider: &JwtProvider) -> pb::JwtProvider {
    let keys = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(
            provider.key_set.clone(),
        )),
        ..Default::default()
    };
    let headers = provider.from_headers.iter().map(|header| pb::JwtHeader {
        name: header.name.clone(),
        value_prefix: header.prefix.clone(),
    });
    let claims = provider.claim_headers.iter().map(|output| pb::JwtClaimToHeader {
        header_name: output.header.clone(),
        claim_name: output.claim.clone(),
        ..Default::default()
    });
    let lists = &provider.space_delimited_claims;
    pb::JwtProvider {
        issuer: provider.issuer.clone(),
        audiences: provider.audiences.clone(),
        forward: provider.forward,
        from_headers: headers.collect(),
        from_params: provider.from_parameters.clone(),
        from_cookies: provider.from_cookies.clone(),
        forward_payload_header: provider.payload_header.clone(),
        payload_in_metadata: PAYLOAD.to_owned(),
        normalize_payload_in_metadata: (!lists.is_empty()).then(|| NormalizePayload {
            space_delimited_claims: lists.clone(),
        }),
        claim_to_headers: claims.collect(),
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(keys)),
        ..Default::default()
    }
}

fn requirement_to_proto(requirement: &JwtRequirement) -> pb::JwtRequirement {
    let list = |of: &[JwtRequirement]| of.iter().map(requirement_to_proto).collect::<Vec<_>>();
    let requires = match requirement {
        JwtRequirement::Provider(name) => RequiresType::ProviderName(name.clone()),
        JwtRequirement::Any { of, or_missing } => {
            let missing = or_missing.then(|| pb::JwtRequirement {
                requires_type: Some(RequiresType::AllowMissing(Default::default())),
            });
            RequiresType::RequiresAny(pb::JwtRequirementOrList {
                requirements: list(of).into_iter().chain(missing).collect(),
            })
        }
        JwtRequirement::All(of) => RequiresType::RequiresAll(pb::JwtRequirementAndList {
            requirements: list(of),
        }),
    };
    pb::JwtRequirement {
        requires_type: Some(requires),
    }
}

/// `None` where nothing is required of any request.
pub(super) fn from_proto(message: pb::JwtAuthentication) -> Result<Option<Arc<Jwt>>, Reason> {
    refuse!(
        message,
        "JwtAuthentication",
        [filter_state_rules, requirement_map, strip_failure_response]
    );
    let mut rules = message.rules.into_iter();
    let Some(rule) = rules.next() else {
        return Ok(None);
    };
    if rules.next().is_some() || !takes_all(rule.r#match.as_ref()) {
        return Err(Reason::unsupported("JwtAuthentication.rules for some paths only"));
    }
    let required = match rule.requirement_type {
        None => return Ok(None),
        Some(RequirementType::Requires(required)) => required,
        Some(RequirementType::RequirementName(_)) => {
            return Err(Reason::unsupported("RequirementRule.requirement_name"));
        }
    };
    let Some(requirement) = requirement_from_proto(required)? else {
        return Ok(None);
    };
    let providers = providers_from_proto(message.providers)?;
    if let Some(unknown) = requirement
        .providers()
        .into_iter()
        .find(|name| !providers.contains_key(*name))
    {
        return Err(Reason::new(
            "JwtAuthentication.rules",
            format!("require the provider {unknown:?}, which is not configured"),
        ));
    }
    Ok(Some(Arc::new(Jwt {
        providers,
        requirement,
        bypass_preflight: message.bypass_cors_preflight,
    })))
}

fn takes_all(matches: Option<&route::RouteMatch>) -> bool {
    let prefix = |prefix: &str| route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix(prefix.to_owned())),
        ..Default::default()
    };
    matches.is_some_and(|matches| *matches == prefix("/") || *matches == prefix(""))
}

fn providers_from_proto(
    providers: HashMap<String, pb::JwtProvider>,
) -> Result<BTreeMap<String, JwtProvider>, Reason> {
    let providers = providers.into_iter();
    providers
        .map(|(name, provider)| Ok((name, provider_from_proto(provider)?)))
        .collect()
}

fn provider_from_proto(message: pb::JwtProvider) -> Result<JwtProvider, Reason> {
    refuse!(
        message,
        "JwtProvider",
        [
            subjects,
            require_expiration,
            max_lifetime,
            pad_forward_payload_header,
            header_in_metadata,
            failed_status_in_metadata,
            clock_skew_seconds,
            clear_route_cache,
        ]
    );
    if !matches!(message.payload_in_metadata.as_str(), "" | PAYLOAD) {
        return Err(Reason::unsupported("JwtProvider.payload_in_metadata"));
    }
    let from_headers = message.from_headers.into_iter().map(|header| {
        Ok(TokenHeader {
            name: field_name(&header.name, "JwtHeader.name")?,
            prefix: header.value_prefix,
        })
    });
    let claim_headers = message.claim_to_headers.into_iter().map(|output| {
        refuse!(output, "JwtClaimToHeader", [claim_path]);
        Ok(ClaimHeader {
            header: output_name(&output.header_name, "JwtClaimToHeader.header_name")?,
            claim: output.claim_name,
        })
    });
    let payload_header = match message.forward_payload_header.as_str() {
        "" => String::new(),
        name => output_name(name, "JwtProvider.forward_payload_header")?,
    };
    Ok(JwtProvider {
        issuer: message.issuer,
        audiences: message.audiences,
        key_set: key_set(message.jwks_source_specifier)?,
        from_headers: from_headers.collect::<Result<_, Reason>>()?,
        from_parameters: message.from_params,
        from_cookies: message.from_cookies,
        forward: message.forward,
        payload_header,
        claim_headers: claim_headers.collect::<Result<_, Reason>>()?,
        space_delimited_claims: message
            .normalize_payload_in_metadata
            .map(|normal| normal.space_delimited_claims)
            .unwrap_or_default(),
    })
}

fn key_set(source: Option<JwksSourceSpecifier>) -> Result<String, Reason> {
    use core::data_source::Specifier;
    let source = match source {
        Some(JwksSourceSpecifier::LocalJwks(source)) => source,
        Some(JwksSourceSpecifier::RemoteJwks(_)) => {
            return Err(Reason::unsupported("JwtProvider.remote_jwks"));
        }
        None => return Err(Reason::missing("JwtProvider.local_jwks")),
    };
    match source.specifier {
        Some(Specifier::InlineString(text)) => Ok(text),
        Some(Specifier::InlineBytes(bytes)) => {
            String::from_utf8(bytes).map_err(|_| Reason::new("DataSource.inline_bytes", "is no text"))
        }
        Some(Specifier::Filename(_)) => Err(Reason::unsupported("DataSource.filename")),
        Some(Specifier::EnvironmentVariable(_)) => {
            Err(Reason::unsupported("DataSource.environment_variable"))
        }
        None => Err(Reason::missing("DataSource.specifier")),
    }
}

/// Names of fields are in lower case here.
fn field_name(name: &str, field: &'static str) -> Result<String, Reason> {
    match ::http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err(Reason::new(field, format!("{name:?} is no name of a header"))),
    }
}

/// What a token says never frames a message.
fn output_name(name: &str, field: &'static str) -> Result<String, Reason> {
    let name = field_name(name, field)?;
    match snapshot::frames_messages(&name) {
        true => Err(Reason::new(
            field,
            format!("{name:?}: the proxy frames messages itself"),
        )),
        false => Ok(name),
    }
}

/// `None` where nothing is required.
fn requirement_from_proto(message: pb::JwtRequirement) -> Result<Option<JwtRequirement>, Reason> {
    let alone = || Reason::unsupported("JwtRequirement.allow_missing without a provider");
    Ok(Some(match message.requires_type {
        None => return Ok(None),
        Some(RequiresType::ProviderName(name)) => JwtRequirement::Provider(name),
        Some(RequiresType::RequiresAny(list)) => {
            let is_missing =
                |one: &pb::JwtRequirement| matches!(one.requires_type, Some(RequiresType::AllowMissing(_)));
            let or_missing = list.requirements.iter().any(is_missing);
            let others = list.requirements.into_iter().filter(|one| !is_missing(one));
            let of = requirements(others)?;
            if of.is_empty() {
                return Err(alone());
            }
            JwtRequirement::Any { of, or_missing }
        }
        Some(RequiresType::RequiresAll(list)) => JwtRequirement::All(requirements(list.requirements)?),
        Some(RequiresType::AllowMissing(_)) => return Err(alone()),
        Some(RequiresType::ProviderAndAudiences(_)) => {
            return Err(Reason::unsupported("JwtRequirement.provider_and_audiences"));
        }
        Some(RequiresType::AllowMissingOrFailed(_)) => {
            return Err(Reason::unsupported("JwtRequirement.allow_missing_or_failed"));
        }
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
            return Err(Reason::unsupported(
                "JwtRequirement.extract_only_without_validation",
            ));
        }
    }))
}

fn requirements(
    messages: impl IntoIterator<Item = pb::JwtRequirement>,
) -> Result<Vec<JwtRequirement>, Reason> {
    let one = |message| {
        requirement_from_proto(message)?.ok_or_else(|| Reason::missing("JwtRequirement.requires_type"))
    };
    messages.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_go_into_no_header_that_frames_messages() {
        let keys = core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString("{}".to_owned())),
            ..Default::default()
        };
        let provider = |payload: &str, claim: &str| pb::JwtProvider {
            forward_payload_header: payload.to_owned(),
            claim_to_headers: vec![pb::JwtClaimToHeader {
                header_name: claim.to_owned(),
                claim_name: "sub".to_owned(),
                ..Default::default()
            }],
            jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(keys.clone())),
            ..Default::default()
        };
        assert!(provider_from_proto(provider("x-payload", "x-sub")).is_ok());
        for name in [
            "Content-Length",
            "transfer-encoding",
            "connection",
            "host",
            "TE",
            "upgrade",
            ":path",
        ] {
            assert!(provider_from_proto(provider(name, "x-sub")).is_err(), "{name}");
            assert!(
                provider_from_proto(provider("x-payload", name)).is_err(),
                "{name}"
            );
        }
    }
}
