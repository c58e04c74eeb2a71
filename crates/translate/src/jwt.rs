//! RequestAuthentication → the filter of inbound requests. As Istio: the rules of all policies that apply, by issuer;
//! a token, where there is one, must be good, and none is good, too.
//!
//! Each rule has its keys for itself, and each port its filter, so how much the keys of one proxy take is bounded here:
//! whoever has one source named by thousands of rules would otherwise multiply what the controller has fetched once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resources::istio::request_authentication::JwtRule;
use resources::{Key, Kind, RequestAuthentication};
use snapshot::{
    ClaimHeader, HeaderField, HeaderProblem, Jwt, JwtProvider, JwtRequirement, Origin, TokenHeader,
};

use crate::mesh::key_sets::{KeySets, KeySource};
use crate::scope::Scope;

/// Claims that are lists of words wherever they are.
const LISTS: [&str; 2] = ["permission", "scope"];

/// In the place of keys that were never fetched: every token fails. The private key of this point is nobody's: `x` is
/// the SHA-256 of `nobody knows the private key of this point 2`, the first such number that is on the curve.
pub const NOBODYS_KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"0MQkIIbGBGO8C5S0SRcDB7pAPeq3i3m-nIARQK3KPg0","y":"yLlmcxfJGZXBSug8L1j-gkt5VnjeGp2YfwxwSozfF7o"}]}"#;

/// Bytes of the keys in one filter: thousands of usual sets.
const MOST_KEYS: usize = 4 << 20;
/// Bytes of those in the filters of all ports of a proxy.
const MOST_KEYS_OF_PORTS: usize = 32 << 20;

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
    rules(scope).iter().map(origin).collect()
}

/// The rules for whose keys there is no room: tokens of their issuers are refused.
pub fn without_room(scope: &Scope) -> Vec<Origin> {
    let rules = rules(scope);
    let placed = rules.iter().zip(key_sets(scope, &rules));
    placed
        .filter(|(_, keys)| keys.is_none())
        .map(|(placed, _)| origin(placed))
        .collect()
}

fn origin(placed: &Placed<'_>) -> Origin {
    let meta = &placed.policy.metadata;
    let key = Key::new(Kind::RequestAuthentication, &meta.namespace, &meta.name);
    Origin {
        resource: key.path().into(),
        field: format!("spec.jwtRules[{}]", placed.index).into(),
    }
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
    let key_sets = key_sets(scope, &rules).into_iter();
    let key_sets = key_sets.map(|keys| keys.unwrap_or(NOBODYS_KEYS));
    let providers = rules.iter().zip(key_sets);
    let providers = providers.map(|(placed, keys)| provider(placed.rule, keys));
    Some(Arc::new(Jwt {
        providers: names().zip(providers).collect::<BTreeMap<_, _>>(),
        requirement,
        bypass_preflight: true,
    }))
}

fn provider(rule: &JwtRule, key_set: &str) -> JwtProvider {
    let lists: BTreeSet<&str> = rule
        .space_delimited_claims
        .iter()
        .map(String::as_str)
        .chain(LISTS)
        .collect();
    let is_name = |name: &str| !matches!(HeaderField::new(name, ""), Err(HeaderProblem::Name));
    let from_headers = rule.from_headers.iter().filter(|header| is_name(&header.name));
    let from_headers = from_headers.map(|header| TokenHeader {
        name: header.name.to_ascii_lowercase(),
        prefix: header.prefix.clone(),
    });
    // The webhook refuses names that no proxy takes: with one of them, it would take nothing of the listener.
    let told = |name: &str| HeaderField::new(name, "").ok().map(|field| field.name);
    let claim_headers = rule.output_claim_to_headers.iter().filter_map(|output| {
        Some(ClaimHeader {
            header: told(&output.header)?,
            claim: output.claim.clone(),
        })
    });
    JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        key_set: key_set.to_owned(),
        from_headers: from_headers.collect(),
        from_parameters: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        forward: rule.forward_original_token,
        payload_header: told(&rule.output_payload_to_header).unwrap_or_default(),
        claim_headers: claim_headers.collect(),
        space_delimited_claims: lists.into_iter().map(str::to_owned).collect(),
    }
}

/// The keys of each rule, in their order; `None` for those that there is no room for.
fn key_sets<'s>(scope: &'s Scope, rules: &[Placed<'s>]) -> Vec<Option<&'s str>> {
    let ports = scope.inbound.len() + scope.modes.ports.len() + 1;
    let mut room = MOST_KEYS.min(MOST_KEYS_OF_PORTS / ports);
    let keys = rules.iter().map(|placed| key_set(placed.rule, &scope.key_sets));
    let kept = keys.map(|keys| {
        let Some(keys) = keys else {
            return Some(NOBODYS_KEYS);
        };
        room = room.checked_sub(keys.len())?;
        Some(keys)
    });
    kept.collect()
}

/// The keys of a rule; `None` if nobody knows them.
fn key_set<'s>(rule: &'s JwtRule, fetched: &'s KeySets) -> Option<&'s str> {
    match KeySource::of(rule) {
        Some(source) => fetched.get(&source)?.keys.as_deref(),
        None => Some(rule.jwks.as_str()).filter(|own| !own.is_empty()),
    }
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

    #[test]
    fn names_of_fields_that_no_proxy_takes_are_left_out() {
        let policies = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: a, namespace: shop}
spec:
  jwtRules:
  - issuer: a
    jwks: A
    outputPayloadToHeader: Host
    fromHeaders: [{name: no name}, {name: X-Token}]
    outputClaimToHeaders: [{header: Connection, claim: a}, {header: X-Sub, claim: sub}]
";
        let mesh = Mesh::of(yaml::read(policies).resources);
        let jwt = filter(&Scope::of(&mesh, &node("cart"))).unwrap();
        let provider = &jwt.providers["origins-0"];
        assert_eq!(provider.payload_header, "");
        let told: Vec<_> = provider.claim_headers.iter().map(|told| &*told.header).collect();
        assert_eq!(told, ["x-sub"]);
        let read: Vec<_> = provider.from_headers.iter().map(|header| &*header.name).collect();
        assert_eq!(read, ["x-token"]);
    }

    /// A proxy of that many ports with 40 rules that name one source with keys of that size.
    fn scope_of_one_source(ports: u16, size: usize) -> Arc<Scope> {
        let uri = "https://keys.example/";
        let rule = format!("{{issuer: a, jwksUri: '{uri}'}}");
        let rules = [rule.as_str(); 40].join(", ");
        let port = |port: u16| format!("{{port: {port}, name: p{port}}}");
        let ports: Vec<String> = (1..=ports).map(port).collect();
        let policies = format!(
            "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: many, namespace: shop}}
spec: {{jwtRules: [{rules}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: cart, namespace: shop}}
spec: {{clusterIP: 10.0.0.1, selector: {{app: cart}}, ports: [{}]}}
",
            ports.join(", ")
        );
        let fetched = Fetched {
            keys: Some("k".repeat(size).into()),
            problem: None,
        };
        let fetched = KeySets::from([(KeySource::Uri(uri.to_owned()), fetched)]);
        let mesh = Mesh::of(yaml::read(&policies).resources).with_key_sets(Arc::new(fetched));
        Scope::of(&mesh, &node("cart"))
    }

    #[test]
    fn rules_that_name_one_source_do_not_multiply_its_keys_without_bound() {
        let kept = |scope: &Scope| {
            let jwt = filter(scope).unwrap();
            let sets = jwt.providers.values().map(|provider| provider.key_set.as_str());
            sets.filter(|keys| *keys != NOBODYS_KEYS).count()
        };
        let few = scope_of_one_source(1, 1000);
        assert_eq!((kept(&few), without_room(&few).len()), (40, 0));
        let large = scope_of_one_source(1, MOST_KEYS / 4);
        assert_eq!((kept(&large), without_room(&large).len()), (4, 36));
        assert_eq!(&*without_room(&large)[0].field, "spec.jwtRules[4]");
        let many_ports = scope_of_one_source(63, MOST_KEYS / 16);
        assert_eq!((kept(&many_ports), without_room(&many_ports).len()), (2, 38));
    }
}
