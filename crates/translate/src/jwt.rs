//! RequestAuthentication → the filter of inbound requests. As Istio: the rules of all policies that apply, by issuer;
//! a token, where there is one, must be good, and none is good, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resources::istio::request_authentication::JwtRule;
use resources::{Key, Kind, RequestAuthentication};
use snapshot::{ClaimHeader, Jwt, JwtProvider, JwtRequirement, Origin, TokenHeader};

use crate::mesh::key_sets::{KeySets, KeySource};
use crate::scope::Scope;

/// Claims that are lists of words wherever they are.
const LISTS: [&str; 2] = ["permission", "scope"];

/// In the place of keys that were never fetched: every token fails. The private key of this point is nobody's: `x` is
/// the SHA-256 of `nobody knows the private key of this point 2`, the first such number that is on the curve.
pub const NOBODYS_KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"0MQkIIbGBGO8C5S0SRcDB7pAPeq3i3m-nIARQK3KPg0","y":"yLlmcxfJGZXBSug8L1j-gkt5VnjeGp2YfwxwSozfF7o"}]}"#;

/// A rule, with the place that it has in its policy.
struct Placed<'s> {
    rule: &'s JwtRule,
    policy: &'s RequestAuthentication,
    index: usize,
}

/// All rules that hold, by issuer; of one issuer in the order of the policies.
fn rules(scope: &Scope) -> Vec<Placed<'_>> {
    let policies = scope.request_authentications.iter();
    let mut rules: Vec<Placed<'_>> = policies
        .flat_map(|policy| {
            let rules = policy.object.spec.jwt_rules.iter().enumerate();
            rules.map(|(index, rule)| Placed {
                rule,
                policy: &policy.object,
                index,
            })
        })
        .collect();
    rules.sort_by(|a, b| a.rule.issuer.cmp(&b.rule.issuer));
    rules
}

/// The rule behind each provider `origins-N`, in their order.
pub fn origins(scope: &Scope) -> Vec<Origin> {
    let rules = rules(scope).into_iter();
    rules
        .map(|placed| {
            let meta = &placed.policy.metadata;
            let key = Key::new(Kind::RequestAuthentication, &meta.namespace, &meta.name);
            Origin {
                resource: key.path().into(),
                field: format!("spec.jwtRules[{}]", placed.index).into(),
            }
        })
        .collect()
}

/// What inbound requests of that proxy must meet; `None` if nobody asks for tokens.
pub(crate) fn filter(scope: &Scope) -> Option<Arc<Jwt>> {
    let rules = rules(scope);
    if rules.is_empty() {
        return None;
    }
    let names = || (0..rules.len()).map(|index| format!("origins-{index}"));
    let good = |name| JwtRequirement::Provider(name);
    let good_or_missing = |name| JwtRequirement::Any {
        of: vec![JwtRequirement::Provider(name)],
        or_missing: true,
    };
    let requirement = if rules.len() > 1 {
        // One good token is enough where issuers share a place; where they do not, each must be good or missing.
        let each = JwtRequirement::All(names().map(good_or_missing).collect());
        JwtRequirement::Any {
            of: names().map(good).chain([each]).collect(),
            or_missing: false,
        }
    } else {
        good_or_missing("origins-0".to_owned())
    };
    let providers = rules.iter().map(|placed| provider(placed.rule, &scope.key_sets));
    Some(Arc::new(Jwt {
        providers: names().zip(providers).collect::<BTreeMap<_, _>>(),
        requirement,
        bypass_preflight: true,
    }))
}

fn provider(rule: &JwtRule, fetched: &KeySets) -> JwtProvider {
    let lists: BTreeSet<&str> = rule
        .space_delimited_claims
        .iter()
        .map(String::as_str)
        .chain(LISTS)
        .collect();
    let from_headers = rule.from_headers.iter().map(|header| TokenHeader {
        name: header.name.to_ascii_lowercase(),
        prefix: header.prefix.clone(),
    });
    let claim_headers = rule.output_claim_to_headers.iter().map(|output| ClaimHeader {
        header: output.header.to_ascii_lowercase(),
        claim: output.claim.clone(),
    });
    JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        key_set: key_set(rule, fetched),
        from_headers: from_headers.collect(),
        from_parameters: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        forward: rule.forward_original_token,
        payload_header: rule.output_payload_to_header.to_ascii_lowercase(),
        claim_headers: claim_headers.collect(),
        space_delimited_claims: lists.into_iter().map(str::to_owned).collect(),
    }
}

fn key_set(rule: &JwtRule, fetched: &KeySets) -> String {
    let Some(source) = KeySource::of(rule) else {
        return match rule.jwks.as_str() {
            "" => NOBODYS_KEYS.to_owned(),
            own => own.to_owned(),
        };
    };
    let keys = fetched.get(&source).and_then(|fetched| fetched.keys.as_deref());
    keys.unwrap_or(NOBODYS_KEYS).to_owned()
}

#[cfg(test)]
mod tests {
    use resources::yaml;

    use super::*;
    use crate::mesh::key_sets::Fetched;
    use crate::{Mesh, Node, Role, Scope};

    const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: mesh, namespace: istio-system}
spec: {jwtRules: [{issuer: c, jwks: C}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  jwtRules:
  - {issuer: b, jwksUri: 'https://b.example/keys', fromHeaders: [{name: X-Token, prefix: 'T '}], spaceDelimitedClaims: [roles]}
  - {issuer: a, outputClaimToHeaders: [{header: X-Sub, claim: sub}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: gateway, namespace: shop}
spec: {targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}, jwtRules: [{issuer: d, jwks: D}]}
";

    fn node(app: &str) -> Node {
        Node {
            namespace: "shop".into(),
            labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            role: Role::Sidecar,
            ..Node::default()
        }
    }

    fn mesh() -> Mesh {
        Mesh::of(yaml::read(POLICIES).resources)
    }

    #[test]
    fn all_rules_that_apply_are_merged_by_issuer() {
        let jwt = filter(&Scope::of(&mesh(), &node("cart"))).unwrap();
        let issuers: Vec<&str> = jwt.providers.values().map(|one| one.issuer.as_str()).collect();
        assert_eq!(issuers, ["a", "b", "c"]);
        let JwtRequirement::Any {
            of,
            or_missing: false,
        } = &jwt.requirement
        else {
            panic!("{:?}", jwt.requirement)
        };
        assert_eq!(of.len(), 4);
        assert_eq!(of[1], JwtRequirement::Provider("origins-1".into()));
        let second = &jwt.providers["origins-1"];
        assert_eq!(second.space_delimited_claims, ["permission", "roles", "scope"]);
        assert_eq!(
            (
                second.from_headers[0].name.as_str(),
                second.from_headers[0].prefix.as_str()
            ),
            ("x-token", "T ")
        );
        assert_eq!(jwt.providers["origins-0"].claim_headers[0].header, "x-sub");
        let origins = origins(&Scope::of(&mesh(), &node("cart")));
        let origins: Vec<String> = origins
            .iter()
            .map(|origin| format!("{} {}", origin.resource, origin.field))
            .collect();
        assert_eq!(
            origins,
            [
                "/apis/security.istio.io/v1/namespaces/shop/request-authentication/cart spec.jwtRules[1]",
                "/apis/security.istio.io/v1/namespaces/shop/request-authentication/cart spec.jwtRules[0]",
                "/apis/security.istio.io/v1/namespaces/istio-system/request-authentication/mesh spec.jwtRules[0]",
            ]
        );
    }

    #[test]
    fn one_rule_asks_for_a_good_token_or_none() {
        let jwt = filter(&Scope::of(&mesh(), &node("other"))).unwrap();
        assert_eq!(
            jwt.requirement,
            JwtRequirement::Any {
                of: vec![JwtRequirement::Provider("origins-0".into())],
                or_missing: true
            }
        );
        assert_eq!(jwt.providers["origins-0"].key_set, "C");
        assert!(filter(&Scope::of(&Mesh::default(), &node("cart"))).is_none());
    }

    #[test]
    fn keys_that_were_never_fetched_are_nobodys_and_fetched_ones_make_another_scope() {
        let (before, node) = (mesh(), node("cart"));
        let uri = KeySource::Uri("https://b.example/keys".into());
        let keys_of = |mesh: &Mesh| {
            let jwt = filter(&Scope::of(mesh, &node)).unwrap();
            jwt.providers["origins-1"].key_set.clone()
        };
        assert_eq!(keys_of(&before), NOBODYS_KEYS);
        let fetched = |keys: Option<&str>| {
            let fetched = Fetched {
                keys: keys.map(Into::into),
                problem: None,
            };
            before.with_key_sets(Arc::new(KeySets::from([(uri.clone(), fetched)])))
        };
        assert_eq!(keys_of(&fetched(None)), NOBODYS_KEYS);
        assert_eq!(keys_of(&fetched(Some("K"))), "K");
        let hash = |mesh: &Mesh| Scope::of(mesh, &node).hash();
        assert_ne!(hash(&before), hash(&fetched(Some("K"))));
        assert_ne!(hash(&fetched(Some("L"))), hash(&fetched(Some("K"))));
        assert_eq!(hash(&fetched(Some("K"))), hash(&fetched(Some("K"))));
    }
}
