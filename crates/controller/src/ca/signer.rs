//! Signs for workloads: with whatever authority stands now, for the identity that the caller has proven and no other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use daemon::clock;
use identity::tls::PeerCertificate;
use identity::{CertificateDer, Keypair, SpiffeId};

use super::authenticate::Caller;
use super::issued::Issued;
use super::standing::{Latest, Standing};
use crate::webhook::LiveSettings;

/// How long certificates of workloads may be valid. Istio: `DEFAULT_WORKLOAD_CERT_TTL`, `MAX_WORKLOAD_CERT_TTL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of those who ask for none.
    pub usual: Duration,
    /// Who asks for more gets nothing.
    pub longest: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            usual: Duration::from_secs(24 * 3600),
            longest: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSigned {
    /// A certificate for another trust domain would be refused by the whole mesh.
    #[error("the settings of the mesh are not read yet")]
    UnknownTrustDomain,
    #[error("the certificate that was shown has expired")]
    Expired,
    #[error(transparent)]
    Refused(#[from] identity::Error),
}

/// Signs. Clones share what they know.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) standing: Latest,
    pub(crate) settings: LiveSettings,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) issued: Issued,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Signer")
            .field("lifetimes", &self.lifetimes)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A certificate for the public key of a request: the certificate, those that lead to the root, and the roots.
    pub(super) fn sign(
        &self,
        caller: &Caller,
        request: &str,
        lifetime: Duration,
    ) -> Result<Vec<String>, NotSigned> {
        let (standing, now) = (self.standing.borrow().clone(), clock::wall());
        let name = self.identity(caller)?;
        let lifetime = no_longer_than(caller, lifetime, now)?;
        let chain = standing.authority.sign_csr(request, &[name], lifetime, now)?;
        self.note(caller, &standing, &chain, now)?;
        let (first, behind) = chain.split_at(1);
        let texts = [
            identity::chain_pem(first),
            identity::chain_pem(behind),
            standing.roots().to_owned(),
        ];
        Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }

    /// A key and its certificate, for a proxy that cannot make its key itself.
    pub(crate) fn issue(&self, caller: &Caller) -> Result<Keypair, NotSigned> {
        let (standing, now) = (self.standing.borrow().clone(), clock::wall());
        let name = self.identity(caller)?;
        let lifetime = no_longer_than(caller, self.lifetimes.usual, now)?;
        let keypair = standing.authority.issue_workload(&[name], lifetime, now)?;
        self.note(caller, &standing, &keypair.chain, now)?;
        Ok(keypair)
    }

    fn identity(&self, caller: &Caller) -> Result<String, NotSigned> {
        let trust_domain = self.settings.load().trust_domain.clone();
        let trust_domain = trust_domain.ok_or(NotSigned::UnknownTrustDomain)?;
        let id = SpiffeId::new(&trust_domain, &caller.namespace, &caller.service_account);
        let id = id.map_err(|malformed| identity::Error::BadName(malformed.to_string()))?;
        Ok(id.to_string())
    }

    fn note(
        &self,
        caller: &Caller,
        standing: &Standing,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), identity::Error> {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let until = seconds(PeerCertificate::of(chain)?.expires);
        self.issued
            .note(caller.name(), standing.signer(), until, seconds(now));
        Ok(())
    }
}

/// Whoever proves itself with a certificate alone gets none that outlives it: a stolen one would renew itself for ever.
fn no_longer_than(caller: &Caller, lifetime: Duration, now: SystemTime) -> Result<Duration, NotSigned> {
    let Some(until) = caller.until else {
        return Ok(lifetime);
    };
    match until.duration_since(now) {
        Ok(left) if !left.is_zero() => Ok(lifetime.min(left)),
        _ => Err(NotSigned::Expired),
    }
}
