//! ServiceAccount tokens: signed claims that say whose they are, for whom, until when, and with which pod they end.
//!
//! A token is good while its ServiceAccount and its pod exist under the uids in it.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use identity::token::Signer;
use serde_json::{Value, json};

use super::{User, time};
use crate::store::{Key, Store};

/// Who issues; also the audience of tokens that are meant for the API server.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How long the token of a deleted pod is still good, so that the pod can end in order.
const AFTER_DELETION: Duration = Duration::from_secs(60);

/// Signs and checks.
pub struct Tokens(Signer);

/// What a token is to say.
#[derive(Debug)]
pub struct Request<'a> {
    pub service_account: &'a Value,
    /// The pod that holds it.
    pub pod: Option<&'a Value>,
    pub audiences: Vec<String>,
    pub lifetime: Duration,
}

/// Whom a good token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub user: User,
    /// Those of the asked audiences that the token is for.
    pub audiences: Vec<String>,
}

impl Tokens {
    pub fn new(signer: Signer) -> Self {
        Self(signer)
    }

    /// The public key, as `/openid/v1/jwks` shows it.
    pub fn key_set(&self) -> Value {
        self.0.key_set()
    }

    /// A signed token and when it ends.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(
        &self,
        request: &Request<'_>,
        now: SystemTime,
        id: &str,
    ) -> Result<(String, SystemTime), identity::Error> {
        let namespace = text(&request.service_account["metadata"]["namespace"]);
        let name = text(&request.service_account["metadata"]["name"]);
        let expires = now + request.lifetime;
        let mut bound = json!({
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": request.service_account["metadata"]["uid"]},
        });
        if let Some(pod) = request.pod {
            bound["pod"] = json!({"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]});
            if let Some(node) = pod["spec"]["nodeName"].as_str() {
                bound["node"] = json!({"name": node});
            }
        }
        let claims = json!({
            "iss": ISSUER,
            "sub": user_name(&namespace, &name),
            "aud": request.audiences,
            "iat": seconds(now),
            "nbf": seconds(now),
            "exp": seconds(expires),
            "jti": id,
            "kubernetes.io": bound,
        });
        Ok((self.0.sign(&claims)?, expires))
    }

    /// Whom the token speaks for towards one of the audiences (none: the API server).
    ///
    /// # Errors
    /// Why it is not believed, for TokenReview's `status.error`.
    pub fn check(
        &self,
        store: &Store,
        token: &str,
        audiences: &[String],
        now: SystemTime,
    ) -> Result<Proven, String> {
        let claims = self.0.verify(token, now).map_err(|refused| refused.to_string())?;
        if claims["iss"] != ISSUER {
            return Err("the token has another issuer".to_owned());
        }
        let default = [ISSUER.to_owned()];
        let asked = if audiences.is_empty() {
            &default[..]
        } else {
            audiences
        };
        let has: Vec<&str> = match &claims["aud"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let audiences: Vec<String> = asked
            .iter()
            .filter(|one| has.contains(&one.as_str()))
            .cloned()
            .collect();
        if audiences.is_empty() {
            return Err(format!(
                "token audiences {has:?} is invalid for the target audiences {asked:?}"
            ));
        }
        let user = user(store, &claims, now)?;
        Ok(Proven { user, audiences })
    }
}

/// `system:serviceaccount:NAMESPACE:NAME`.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups of every ServiceAccount of a namespace.
pub fn groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}

fn user(store: &Store, claims: &Value, now: SystemTime) -> Result<User, String> {
    let bound = &claims["kubernetes.io"];
    let namespace = text(&bound["namespace"]);
    let name = text(&bound["serviceaccount"]["name"]);
    let uid = text(&bound["serviceaccount"]["uid"]);
    still_there(
        store,
        ("serviceaccounts", &namespace),
        &bound["serviceaccount"],
        now,
    )?;
    let mut extra = BTreeMap::from([(
        "authentication.kubernetes.io/credential-id",
        format!("JTI={}", text(&claims["jti"])),
    )]);
    if bound["pod"].is_object() {
        still_there(store, ("pods", &namespace), &bound["pod"], now)?;
        extra.insert(
            "authentication.kubernetes.io/pod-name",
            text(&bound["pod"]["name"]),
        );
        extra.insert("authentication.kubernetes.io/pod-uid", text(&bound["pod"]["uid"]));
    }
    if bound["node"].is_object() {
        extra.insert(
            "authentication.kubernetes.io/node-name",
            text(&bound["node"]["name"]),
        );
    }
    Ok(User {
        name: user_name(&namespace, &name),
        uid,
        groups: groups(&namespace)
            .into_iter()
            .chain(["system:authenticated".to_owned()])
            .collect(),
        extra: extra
            .into_iter()
            .map(|(key, value)| (key.to_owned(), vec![value]))
            .collect(),
    })
}

/// Whether the object that a token is bound to exists, under the same uid, and has not been gone for long.
fn still_there(
    store: &Store,
    (collection, namespace): (&str, &str),
    bound: &Value,
    now: SystemTime,
) -> Result<(), String> {
    let name = text(&bound["name"]);
    let key = Key {
        collection: collection.to_owned(),
        namespace: namespace.to_owned(),
        name: name.clone(),
    };
    let object = store
        .get(&key)
        .filter(|object| object["metadata"]["uid"] == bound["uid"])
        .ok_or_else(|| format!("{collection} {namespace}/{name} of the token no longer exists"))?;
    match object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(time::parse)
    {
        Some(ended) if ended + AFTER_DELETION < now => Err(format!(
            "{collection} {namespace}/{name} of the token has been deleted"
        )),
        _ => Ok(()),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
