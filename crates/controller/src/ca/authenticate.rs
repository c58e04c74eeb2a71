//! Who calls: whoever has a projected service account token with audience `istio-ca`, judged by the API server
//! (TokenReview); or else shows a certificate of the mesh, which the handshake has judged. Both are judged with each
//! call: a certificate may have run out since the handshake.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::clock;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};
use identity::tls::PeerCertificate;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{Api, PostParams};

use tokio::sync::Semaphore;

use crate::grpc::Peer;
use crate::webhook::LiveSettings;

const AUDIENCE: &str = "istio-ca";
const DEADLINE: Duration = Duration::from_secs(10);
/// Reviews at once, and callers that wait for theirs: when all proxies of a large mesh come back at the same time, the
/// API server is not overrun. Those beyond are told to try again.
const REVIEWS: usize = 64;
const WAITING: usize = 4096;
/// No token of Kubernetes comes near this.
const LONGEST: usize = 16 << 10;

/// A workload that has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub namespace: String,
    pub service_account: String,
    /// The pod that the token is bound to, if it is bound to one.
    pub pod: Option<String>,
    /// When the certificate runs out that is the only proof; what is given for it is worth nothing after that.
    pub until: Option<SystemTime>,
}

impl Caller {
    /// `shop/cart-0`; without a pod `shop/sa:cart`, which no pod can be called.
    pub fn name(&self) -> String {
        match &self.pod {
            Some(pod) => format!("{}/{pod}", self.namespace),
            None => format!("{}/sa:{}", self.namespace, self.service_account),
        }
    }

    /// Who a certificate of the mesh is for; `None` for one of another trust domain.
    fn of_certificate(certificate: &PeerCertificate, trust_domain: &str) -> Option<Self> {
        let id = certificate
            .spiffe_id()
            .filter(|id| id.trust_domain() == trust_domain)?;
        Some(Self {
            namespace: id.namespace().to_owned(),
            service_account: id.service_account().to_owned(),
            pod: None,
            until: Some(certificate.expires),
        })
    }
}

/// Why a caller is not believed. The texts go back to it, and say nothing about tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    #[error("no bearer token in the authorization header")]
    NoToken,
    #[error("the certificate has expired")]
    Expired,
    #[error("the token is not accepted: {0}")]
    Refused(String),
    #[error("the token belongs to {0:?}, which is not a service account")]
    NotAServiceAccount(String),
    #[error("not to be judged now: {0}")]
    Unavailable(String),
}

impl From<Unauthenticated> for tonic::Status {
    fn from(reason: Unauthenticated) -> Self {
        match reason {
            Unauthenticated::Unavailable(_) => Self::unavailable(reason.to_string()),
            Unauthenticated::NoToken
            | Unauthenticated::Expired
            | Unauthenticated::Refused(_)
            | Unauthenticated::NotAServiceAccount(_) => Self::unauthenticated(reason.to_string()),
        }
    }
}

/// Judges callers.
#[derive(Clone)]
pub(crate) struct Authenticator {
    reviews: Api<TokenReview>,
    settings: LiveSettings,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Authenticator {
    pub(crate) fn new(client: kube::Client, settings: LiveSettings) -> Self {
        Self {
            reviews: Api::all(client),
            settings,
            turns: Arc::new(Semaphore::new(REVIEWS)),
            places: Arc::new(Semaphore::new(WAITING)),
        }
    }

    /// The caller behind a request. A connection over which somebody has proven who it is may stay.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Caller, Unauthenticated> {
        let peer = extensions.get::<Peer>();
        let caller = self
            .authenticate(headers, peer.and_then(Peer::certificate))
            .await?;
        if let Some(peer) = peer {
            peer.prove();
        }
        Ok(caller)
    }

    /// The caller behind a request's connection and headers.
    ///
    /// # Errors
    /// Why it is not believed; [`Unauthenticated::Unavailable`] may pass when tried again.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Caller, Unauthenticated> {
        let Some(trust_domain) = self.settings.load().trust_domain.clone() else {
            return Err(Unauthenticated::Unavailable(
                "the settings of the mesh are not read yet".to_owned(),
            ));
        };
        let known = certificate.and_then(|certificate| Caller::of_certificate(certificate, &trust_domain));
        match known {
            // A token says more: which pod it is.
            Some(known) if bearer(headers).is_err() => {
                match known.until.is_some_and(|until| until > clock::wall()) {
                    true => Ok(known),
                    false => Err(Unauthenticated::Expired),
                }
            }
            _ => self.review(headers).await,
        }
    }

    async fn review(&self, headers: &HeaderMap) -> Result<Caller, Unauthenticated> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: bearer(headers)?.to_owned(),
            },
            ..TokenReview::default()
        };
        let place = self.places.try_acquire();
        let _place =
            place.map_err(|_| Unauthenticated::Unavailable("too many callers at once".to_owned()))?;
        let parameters = PostParams::default();
        let work = async {
            let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
            self.reviews.create(&parameters, &review).await
        };
        let answer = clock::timeout(DEADLINE, work).await;
        let answer = answer.map_err(|_| Unauthenticated::Unavailable("no answer in time".to_owned()))?;
        let answer = answer.map_err(|error| Unauthenticated::Unavailable(reason(&error)))?;
        caller(&answer.status.unwrap_or_default())
    }
}

/// Errors of the client may quote the request, which holds the token; a status of the API server does not.
fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        _ => "the API server is not reached".to_owned(),
    }
}

/// The token that a caller shows.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Unauthenticated> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = value
        .and_then(|value| value.split_once(' '))
        .ok_or(Unauthenticated::NoToken)?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= LONGEST;
    if fits {
        Ok(token)
    } else {
        Err(Unauthenticated::NoToken)
    }
}

fn caller(status: &TokenReviewStatus) -> Result<Caller, Unauthenticated> {
    if status.authenticated != Some(true) {
        let reason = status.error.clone().filter(|reason| !reason.is_empty());
        return Err(Unauthenticated::Refused(
            reason.unwrap_or_else(|| "not authenticated".to_owned()),
        ));
    }
    // An API server that does not know audiences answers without them, for any token.
    if !status
        .audiences
        .iter()
        .flatten()
        .any(|audience| audience == AUDIENCE)
    {
        return Err(Unauthenticated::Refused(format!(
            "it is not meant for {AUDIENCE}"
        )));
    }
    let user = status.user.clone().unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let Some((namespace, service_account)) = account else {
        return Err(Unauthenticated::NotAServiceAccount(name));
    };
    let extra = user.extra.unwrap_or_default();
    let pod = extra
        .get("authentication.kubernetes.io/pod-name")
        .and_then(|values| values.first());
    Ok(Caller {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: pod.cloned(),
        until: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judge(status: Value) -> Result<Caller, Unauthenticated> {
        caller(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn a_service_account_with_the_right_audience_is_a_caller() {
        let found = judge(json!({
            "authenticated": true, "audiences": ["istio-ca"],
            "user": {"username": "system:serviceaccount:shop:cart",
                     "extra": {"authentication.kubernetes.io/pod-name": ["cart-0"]}},
        }));
        let expected = Caller {
            namespace: "shop".into(),
            service_account: "cart".into(),
            pod: Some("cart-0".into()),
            until: None,
        };
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn everybody_else_is_refused() {
        let account = json!({"username": "system:serviceaccount:shop:cart"});
        for (status, expected) in [
            (json!({}), Unauthenticated::Refused("not authenticated".into())),
            (
                json!({"authenticated": false, "error": "expired"}),
                Unauthenticated::Refused("expired".into()),
            ),
            (
                json!({"authenticated": true, "user": account}),
                Unauthenticated::Refused("it is not meant for istio-ca".into()),
            ),
            (
                json!({"authenticated": true, "audiences": ["other"], "user": account}),
                Unauthenticated::Refused("it is not meant for istio-ca".into()),
            ),
            (
                json!({"authenticated": true, "audiences": ["istio-ca"], "user": {"username": "admin"}}),
                Unauthenticated::NotAServiceAccount("admin".into()),
            ),
        ] {
            assert_eq!(judge(status.clone()), Err(expected), "{status}");
        }
    }

    #[test]
    fn only_a_bearer_token_counts() {
        let headers = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&headers("Bearer abc")), Ok("abc"));
        assert_eq!(bearer(&headers("bearer abc")), Ok("abc"));
        let long = format!("Bearer {}", "x".repeat(LONGEST + 1));
        for value in ["Basic abc", "Bearer ", "abc", &long] {
            assert_eq!(bearer(&headers(value)), Err(Unauthenticated::NoToken));
        }
        assert_eq!(bearer(&HeaderMap::new()), Err(Unauthenticated::NoToken));
    }

    #[tokio::test]
    async fn the_api_server_is_asked_for_our_audience() {
        let client = crate::fake_api::client(|_, path, mut body| {
            assert!(
                path.ends_with("/apis/authentication.k8s.io/v1/tokenreviews"),
                "{path}"
            );
            assert_eq!(body["spec"], json!({"audiences": ["istio-ca"], "token": "abc"}));
            body["status"] = json!({"authenticated": true, "audiences": ["istio-ca"],
                                    "user": {"username": "system:serviceaccount:shop:cart"}});
            (201, body)
        });
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer abc".parse().unwrap())]);
        let authenticator = Authenticator::new(client, crate::live::known());
        let caller = authenticator.authenticate(&headers, None).await.unwrap();
        assert_eq!(
            (caller.namespace.as_str(), caller.service_account.as_str()),
            ("shop", "cart")
        );
    }

    #[tokio::test]
    async fn a_failing_api_server_is_not_a_refusal() {
        let client =
            crate::fake_api::client(|_, _, _| crate::fake_api::failure(500, "InternalError", "broken"));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer abc".parse().unwrap())]);
        let authenticator = Authenticator::new(client, crate::live::known());
        let outcome = authenticator.authenticate(&headers, None).await;
        assert_eq!(outcome, Err(Unauthenticated::Unavailable("broken".to_owned())));
        assert_eq!(
            tonic::Status::from(outcome.unwrap_err()).code(),
            tonic::Code::Unavailable
        );
        assert_eq!(
            tonic::Status::from(Unauthenticated::NoToken).code(),
            tonic::Code::Unauthenticated
        );
    }

    #[tokio::test]
    async fn a_certificate_of_this_mesh_is_proof_without_a_token() {
        let client = crate::fake_api::client(|_, _, _| panic!("nobody needs to be asked"));
        let authenticator = Authenticator::new(client, crate::live::known());
        let day = Duration::from_secs(24 * 3600);
        let authority = identity::Authority::generate("test", day, clock::wall()).unwrap();
        for (uri, known) in [
            ("spiffe://cluster.local/ns/shop/sa/cart", true),
            ("spiffe://other/ns/shop/sa/cart", false),
            ("https://cluster.local/", false),
        ] {
            let keypair = authority.issue_workload(&[uri], day, clock::wall()).unwrap();
            let facts = keypair.facts().unwrap();
            let outcome = authenticator.authenticate(&HeaderMap::new(), Some(&facts)).await;
            let name = outcome.map(|caller| caller.name());
            match known {
                true => assert_eq!(name.as_deref(), Ok("shop/sa:cart")),
                false => assert_eq!(name, Err(Unauthenticated::NoToken), "{uri}"),
            }
        }
    }

    #[tokio::test]
    async fn a_certificate_is_proof_only_as_long_as_it_is_valid() {
        let client = crate::fake_api::client(|_, _, _| panic!("nobody needs to be asked"));
        let authenticator = Authenticator::new(client, crate::live::known());
        let (minute, then) = (Duration::from_secs(60), clock::wall() - Duration::from_secs(600));
        let authority = identity::Authority::generate("test", 60 * minute, then).unwrap();
        let uri = "spiffe://cluster.local/ns/shop/sa/cart";
        let judge = async |made: SystemTime| {
            let keypair = authority.issue_workload(&[uri], minute, made).unwrap();
            let facts = keypair.facts().unwrap();
            let outcome = authenticator.authenticate(&HeaderMap::new(), Some(&facts)).await;
            (outcome.map(|caller| caller.until), facts.expires)
        };
        // A connection, or a session that is taken up again, outlives the certificate that was shown.
        assert_eq!(judge(then).await.0, Err(Unauthenticated::Expired));
        let (good, expires) = judge(clock::wall()).await;
        assert_eq!(good, Ok(Some(expires)));
    }

    #[tokio::test]
    async fn nobody_is_judged_before_the_trust_domain_is_known() {
        let client = crate::fake_api::client(|_, _, _| panic!("nobody needs to be asked"));
        let authenticator = Authenticator::new(client, crate::live::initial(false));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer abc".parse().unwrap())]);
        let refused = authenticator.authenticate(&headers, None).await.unwrap_err();
        assert_eq!(tonic::Status::from(refused).code(), tonic::Code::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_beyond_what_the_api_server_can_take_wait_for_a_bounded_time() {
        let client = crate::fake_api::client(|_, _, body| (201, body));
        let authenticator = Authenticator::new(client, crate::live::known());
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer abc".parse().unwrap())]);
        let all = u32::try_from(REVIEWS).unwrap();
        let turns = authenticator.turns.clone().acquire_many_owned(all).await.unwrap();
        let late = authenticator.authenticate(&headers, None).await;
        assert_eq!(
            late,
            Err(Unauthenticated::Unavailable("no answer in time".to_owned()))
        );
        let all = u32::try_from(WAITING).unwrap();
        let places = authenticator
            .places
            .clone()
            .acquire_many_owned(all)
            .await
            .unwrap();
        let many = authenticator.authenticate(&headers, None).await;
        assert_eq!(
            many,
            Err(Unauthenticated::Unavailable(
                "too many callers at once".to_owned()
            ))
        );
        drop((turns, places));
        let judged = authenticator.authenticate(&headers, None).await;
        assert_eq!(
            judged,
            Err(Unauthenticated::Refused("not authenticated".to_owned()))
        );
    }
}
