//! Whether an authority can be put to use: what it signs is tried on those who will judge it, before anybody depends
//! on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::{CertificateDer, UnixTime};

use super::Authority;
use crate::{Error, pem, tls};

/// What an authority is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate that signs.
    Certificate,
    /// The certificates between it and the root.
    Chain,
    /// The roots.
    Roots,
    /// The lists of revoked certificates.
    Revoked,
}

/// Why an authority cannot be put to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// What is at fault.
    pub part: Part,
    /// What is wrong with it.
    pub reason: String,
}

impl Unusable {
    fn new(part: Part, reason: impl std::fmt::Display) -> Self {
        Self {
            part,
            reason: reason.to_string(),
        }
    }
}

impl Authority {
    /// Signs for nobody, and judges that as workloads will: against the roots that have not run out, and the lists.
    ///
    /// # Errors
    /// What workloads would not believe.
    pub fn check(&self, revoked: Option<&str>, now: SystemTime) -> Result<(), Unusable> {
        in_force(&self.own.chain[0], now).map_err(|reason| Unusable::new(Part::Certificate, reason))?;
        for between in &self.intermediates {
            in_force(between, now).map_err(|reason| Unusable::new(Part::Chain, reason))?;
        }
        let roots = self
            .roots_in_force(now)
            .map_err(|error| Unusable::new(Part::Roots, error))?;
        if roots.is_empty() {
            return Err(Unusable::new(Part::Roots, "all of its certificates have expired"));
        }
        let leaf = self
            .issue_workload(&["spiffe://test/ns/test/sa/test"], Duration::from_secs(60), now)
            .map_err(|error| Unusable::new(Part::Certificate, error))?;
        judge(&leaf.chain, &roots, None, now).map_err(|error| {
            Unusable::new(
                Part::Chain,
                format!("what it signs does not lead to a root that is valid now ({error})"),
            )
        })?;
        let in_use = tls::check_trust(&self.roots, revoked);
        in_use
            .and_then(|()| judge(&leaf.chain, &roots, revoked, now))
            .map_err(|error| Unusable::new(Part::Revoked, error))
    }

    /// Those who judge do not look at a root's own validity; Envoy does.
    fn roots_in_force(&self, now: SystemTime) -> Result<String, Error> {
        let mut roots = pem::decode_chain(&self.roots)?;
        roots.retain(|root| in_force(root, now).is_ok());
        Ok(pem::encode_chain(&roots))
    }
}

fn judge(
    chain: &[CertificateDer<'_>],
    roots: &str,
    revoked: Option<&str>,
    now: SystemTime,
) -> Result<(), Error> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(since);
    tls::mesh_clients(roots, revoked).judge(chain, now)?;
    tls::mesh_servers(roots, revoked).judge(chain, now)
}

/// Whether a certificate is valid at that time.
fn in_force(certificate: &CertificateDer<'_>, now: SystemTime) -> Result<(), String> {
    let facts =
        tls::PeerCertificate::of(std::slice::from_ref(certificate)).map_err(|error| error.to_string())?;
    if facts.expires <= now {
        return Err("it has expired".to_owned());
    }
    match facts.begins > now {
        true => Err("it is not valid yet".to_owned()),
        false => Ok(()),
    }
}
