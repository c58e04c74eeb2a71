//! `istio.v1.auth.IstioCertificateService`: who is believed gets a certificate for its own identity, whatever else its
//! request says.
//!
//! Codes and texts are Istio's, as its agents print them. Nobody signs for somebody else here: Istio allows that to the
//! proxies of nodes alone.

use std::sync::Arc;
use std::time::Duration;

use daemon::{Drain, Tasks};
use http::{Extensions, HeaderMap};
use tokio::sync::{Semaphore, mpsc};
use tonic::{Code, Status};
use xds::transport::certificates::{Call, CertificateRequest, CertificateResponse};

use super::authenticate::{Authenticator, Caller, Unauthenticated};
use super::signer::{Lifetimes, NotSigned, Signer};

/// Calls that are served at once; the next ones wait.
const AT_ONCE: usize = 64;
/// Letters of a caller's text that are told and logged.
const LETTERS: usize = 256;

/// Serves calls until the drain begins, or nobody can call any more.
pub(crate) async fn run(
    signer: Signer,
    mut calls: mpsc::Receiver<Call<Caller>>,
    tasks: Tasks,
    mut drain: Drain,
) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let call = tokio::select! {
            () = drain.wait() => return,
            call = calls.recv() => match call {
                Some(call) => call,
                None => return,
            },
        };
        let signer = signer.clone();
        tasks.spawn("certificate", async move {
            let outcome = serve(&signer, &call.caller, &call.request);
            if let Err(status) = &outcome {
                tracing::warn!(scope = "ca", code = ?status.code(), reason = status.message(), "no certificate given");
            }
            // The caller may have left.
            let _ = call.reply.send(outcome);
            drop(permit);
        });
    }
}

/// Who calls, before anything of its message is read.
pub(crate) async fn admit(
    authenticator: Authenticator,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Caller, Status> {
    let admitted = authenticator.admit(&headers, &extensions).await;
    admitted.map_err(|reason| refusal(&reason))
}

fn refusal(reason: &Unauthenticated) -> Status {
    tracing::info!(scope = "ca", %reason, "a caller is not believed");
    match reason {
        Unauthenticated::Unavailable(_) => Status::unavailable(reason.to_string()),
        _ => Status::unauthenticated("request authenticate failure"),
    }
}

fn serve(
    signer: &Signer,
    caller: &Caller,
    request: &CertificateRequest,
) -> Result<CertificateResponse, Status> {
    let impersonated = cut(request.stated("ImpersonatedIdentity"));
    if !impersonated.is_empty() {
        tracing::warn!(
            scope = "ca",
            caller = caller.name(),
            impersonated,
            "impersonation is not allowed"
        );
        return Err(Status::unauthenticated(
            "request impersonation authentication failure",
        ));
    }
    // `CertSigner` names one of Kubernetes' signers; Istio's own authority does not look at it either.
    let lifetime = lifetime(request.validity_duration, signer.lifetimes)?;
    let cert_chain = signer.sign(caller, &request.csr, lifetime).map_err(|error| {
        let code = match error {
            NotSigned::UnknownTrustDomain => Code::Unavailable,
            NotSigned::Expired => Code::Unauthenticated,
            NotSigned::Refused(identity::Error::Malformed { .. } | identity::Error::BadName(_)) => {
                Code::InvalidArgument
            }
            NotSigned::Refused(_) => Code::Internal,
        };
        let reason = error.to_string();
        Status::new(code, format!("CSR signing error ({})", cut(&reason)))
    })?;
    tracing::debug!(
        scope = "ca",
        caller = caller.name(),
        ?lifetime,
        "certificate given"
    );
    Ok(CertificateResponse { cert_chain })
}

/// The beginning of a text that a caller chose, or may have chosen a part of.
pub(crate) fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(LETTERS);
    end.map_or(text, |(end, _)| &text[..end])
}

/// What is asked for; nothing, or less, leaves it to us.
fn lifetime(asked: i64, lifetimes: Lifetimes) -> Result<Duration, Status> {
    let asked = match u64::try_from(asked) {
        Ok(seconds @ 1..) => Duration::from_secs(seconds),
        Ok(0) | Err(_) => return Ok(lifetimes.usual),
    };
    match asked <= lifetimes.longest {
        true => Ok(asked),
        false => Err(Status::invalid_argument(format!(
            "CSR signing error (requested TTL {} is greater than the max allowed TTL {})",
            go(asked),
            go(lifetimes.longest)
        ))),
    }
}

/// As Go prints durations: `2160h0m0s`.
fn go(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use identity::tls::PeerCertificate;
    use identity::{Authority, Bundle, Keypair, PrivateKey};
    use serde_json::json;
    use tokio::sync::watch;
    use xds::transport::certificates::CertificateRequest;

    use super::super::authenticate::Caller;
    use super::super::standing::{Source, Standing};
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> std::time::SystemTime {
        daemon::clock::wall()
    }

    fn caller() -> Caller {
        Caller {
            namespace: "shop".into(),
            service_account: "cart".into(),
            pod: Some("cart-0".into()),
            until: None,
        }
    }

    fn signer(standing: Standing) -> Signer {
        Signer {
            standing: watch::channel(Arc::new(standing)).1,
            settings: crate::live::known(),
            lifetimes: Lifetimes::default(),
            issued: super::super::issued::Issued::default(),
        }
    }

    fn own() -> Standing {
        let authority = Authority::generate("cluster.local", 400 * DAY, now()).unwrap();
        Standing::new(authority, Source::Own).unwrap()
    }

    fn asking(name: &str) -> (PrivateKey, CertificateRequest) {
        let key = PrivateKey::generate().unwrap();
        let request = CertificateRequest {
            csr: key.request(&[name]).unwrap(),
            ..CertificateRequest::default()
        };
        (key, request)
    }

    fn facts(chain: &[String], key: &PrivateKey) -> PeerCertificate {
        Keypair::from_pem(&chain[0], &key.key_pem())
            .unwrap()
            .facts()
            .unwrap()
    }

    #[test]
    fn a_request_for_somebody_elses_identity_gets_the_callers_own() {
        let (key, request) = asking("spiffe://cluster.local/ns/kube-system/sa/admin");
        let answer = serve(&signer(own()), &caller(), &request).unwrap();
        let facts = facts(&answer.cert_chain, &key);
        assert_eq!(facts.uris, ["spiffe://cluster.local/ns/shop/sa/cart"]);
        assert_eq!((facts.common_name, facts.subject.as_str()), (None, ""));
    }

    #[test]
    fn the_chain_begins_with_the_certificate_and_ends_with_the_roots() {
        let signer = signer(own());
        let (key, request) = asking("x");
        let answer = serve(&signer, &caller(), &request).unwrap();
        let roots = signer.standing.borrow().roots().to_owned();
        assert_eq!(answer.cert_chain.len(), 2);
        assert_eq!(answer.cert_chain[1], roots);
        let expires = facts(&answer.cert_chain, &key).expires;
        let left = expires.duration_since(now()).unwrap();
        assert!(left <= DAY && left > DAY - Duration::from_secs(60), "{left:?}");
        let root = signer.issued.valid(0)["shop/cart-0"].root.clone();
        assert_eq!(root, Bundle::from_pem(&roots).unwrap().signer());
    }

    #[test]
    fn more_than_the_longest_lifetime_is_an_error_and_not_less() {
        let lifetimes = Lifetimes::default();
        assert_eq!(lifetime(0, lifetimes).unwrap(), DAY);
        assert_eq!(lifetime(-1, lifetimes).unwrap(), DAY);
        assert_eq!(lifetime(60, lifetimes).unwrap(), Duration::from_secs(60));
        let refused = lifetime(90 * 24 * 3600 + 1, lifetimes).unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (
                Code::InvalidArgument,
                "CSR signing error (requested TTL 2160h0m1s is greater than the max allowed TTL 2160h0m0s)"
            )
        );
    }

    #[test]
    fn what_is_no_request_and_who_would_be_somebody_else_is_refused() {
        let (_, good) = asking("x");
        let with = |name: &str, value: &str| good.clone().stating(name, value);
        let broken = CertificateRequest {
            csr: "hello".into(),
            ..good.clone()
        };
        for (request, code) in [
            (broken, Code::InvalidArgument),
            (
                with("ImpersonatedIdentity", "spiffe://cluster.local/ns/a/sa/b"),
                Code::Unauthenticated,
            ),
        ] {
            let refused = serve(&signer(own()), &caller(), &request).unwrap_err();
            assert_eq!(refused.code(), code, "{}", refused.message());
        }
        // As Istio's own authority, which signs with what it has.
        let named = with("CertSigner", "issuers.example/other");
        assert!(serve(&signer(own()), &caller(), &named).is_ok());
    }

    #[test]
    fn a_certificate_for_a_certificate_does_not_outlive_it() {
        let signer = signer(own());
        let (key, request) = asking("x");
        let until = now() + Duration::from_secs(600);
        let shown = |until| Caller {
            until: Some(until),
            ..caller()
        };
        let answer = serve(&signer, &shown(until), &request).unwrap();
        assert!(facts(&answer.cert_chain, &key).expires <= until);
        assert!(signer.issue(&shown(until)).unwrap().facts().unwrap().expires <= until);
        let refused = serve(&signer, &shown(now()), &request).unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(signer.issue(&shown(now())).is_err());
    }

    #[test]
    fn nobody_is_signed_for_before_the_trust_domain_is_known() {
        let signer = Signer {
            settings: crate::live::initial(false),
            ..signer(own())
        };
        let refused = serve(&signer, &caller(), &asking("x").1).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(signer.issue(&caller()).is_err());
    }

    #[test]
    fn what_a_caller_says_is_repeated_only_in_part() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"ä".repeat(LETTERS + 1)), "ä".repeat(LETTERS));
    }

    #[tokio::test]
    async fn nobody_without_proof_gets_a_certificate() {
        let client = crate::fake_api::client(|_, _, mut body| {
            body["status"] = json!({"authenticated": false, "error": "expired"});
            (201, body)
        });
        let authenticator = Authenticator::new(client, crate::live::known());
        for headers in [
            HeaderMap::new(),
            HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer abc".parse().unwrap())]),
        ] {
            let refused = admit(authenticator.clone(), headers, Extensions::new())
                .await
                .unwrap_err();
            assert_eq!(
                (refused.code(), refused.message()),
                (Code::Unauthenticated, "request authenticate failure")
            );
        }
    }
}
