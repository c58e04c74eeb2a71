//! Root certificates that are believed, in an order that means something: the first one's authority signs now, the
//! others are believed still, or already.
//!
//! A value of [`Bundle`] has at least one certificate, each once, and all of them can be read.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use crate::{Error, pem, tls};

/// More roots than any rotation needs, or the federation of a mesh.
const MOST: usize = 64;
/// Of the text.
const LONGEST: usize = 1 << 20;

/// Root certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    roots: Vec<CertificateDer<'static>>,
    pem: String,
}

impl Bundle {
    /// Reads certificates; those that come again are dropped.
    ///
    /// # Errors
    /// When there is none, one cannot be read, or there are too many.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST {
            return Err(Error::malformed("bundle of root certificates", "it is too long"));
        }
        let mut roots: Vec<CertificateDer<'static>> = Vec::new();
        for root in pem::decode_chain(text)? {
            read(&root)?;
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        if roots.len() > MOST {
            return Err(Error::malformed(
                "bundle of root certificates",
                format!("{} are too many", roots.len()),
            ));
        }
        Ok(Self::of(roots))
    }

    fn of(roots: Vec<CertificateDer<'static>>) -> Self {
        let pem = pem::encode_chain(&roots);
        Self { roots, pem }
    }

    /// The certificates in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// These, and behind them the other's that are not among them.
    #[must_use]
    pub fn followed_by(&self, others: &Self) -> Self {
        let new = others.roots.iter().filter(|root| !self.roots.contains(root));
        Self::of(self.roots.iter().chain(new).cloned().collect())
    }

    /// These without the other's; unchanged when none would be left.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let left: Vec<_> = self
            .roots
            .iter()
            .filter(|root| !others.roots.contains(root))
            .cloned()
            .collect();
        match left.is_empty() {
            true => self.clone(),
            false => Self::of(left),
        }
    }

    /// The same with the root first that `chain` (in PEM, its last certificate nearest to the root) leads to; as they
    /// are when it leads to none of them.
    ///
    /// # Errors
    /// When the chain cannot be read.
    pub fn led_by(&self, chain: &str) -> Result<Self, Error> {
        let chain = pem::decode_chain(chain)?;
        let last = chain
            .last()
            .ok_or_else(|| Error::malformed("certificate", "the chain is empty"))?;
        let issuer = read(last)?.issuer().as_raw().to_vec();
        let mut roots = self.roots.clone();
        // A chain may end in the root itself, and roots may share their name.
        let position = roots.iter().position(|root| root == last).or_else(|| {
            let named =
                |root: &CertificateDer<'_>| read(root).is_ok_and(|root| root.subject().as_raw() == issuer);
            roots.iter().position(named)
        });
        if let Some(position) = position {
            roots[..=position].rotate_right(1);
        }
        Ok(Self::of(roots))
    }

    /// Whether all of the other's are among these.
    pub fn covers(&self, others: &Self) -> bool {
        others.roots.iter().all(|root| self.roots.contains(root))
    }

    /// The fingerprint of the root whose authority signs now.
    pub fn signer(&self) -> String {
        tls::fingerprint(&self.roots[0])
    }

    /// Fingerprints of all.
    pub fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.roots.iter().map(|root| tls::fingerprint(root))
    }
}

fn read<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    x509_parser::parse_x509_certificate(certificate)
        .map(|(_, read)| read)
        .map_err(|error| Error::malformed("certificate", error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Authority;

    fn bundle() -> Bundle {
        let authority = Authority::generate("test", Duration::from_secs(60), crate::now()).unwrap();
        Bundle::from_pem(authority.root_pem()).unwrap()
    }

    #[test]
    fn the_first_root_signs_and_none_comes_twice() {
        let (one, two) = (bundle(), bundle());
        let both = one.followed_by(&two);
        assert_eq!(both.signer(), one.signer());
        assert_eq!(both.fingerprints().count(), 2);
        assert_eq!(both.followed_by(&one), both);
        let twice = format!("{}{}", both.pem(), one.pem());
        assert_eq!(Bundle::from_pem(&twice).unwrap(), both);
        assert!(both.covers(&two) && !one.covers(&two));
    }

    #[test]
    fn the_root_that_a_chain_leads_to_can_be_put_first() {
        let make = |name| Authority::generate(name, Duration::from_secs(60), crate::now()).unwrap();
        let (one, two) = (make("one"), make("two"));
        let both = Bundle::from_pem(&format!("{}{}", one.root_pem(), two.root_pem())).unwrap();
        let leaf = two
            .issue_workload(&["spiffe://a/ns/b/sa/c"], Duration::from_secs(9), crate::now())
            .unwrap();
        for chain in [leaf.chain_pem(), two.certificate_pem()] {
            let led = both.led_by(&chain).unwrap();
            assert_eq!(led.pem(), format!("{}{}", two.root_pem(), one.root_pem()));
        }
        assert_eq!(both.led_by(&make("three").certificate_pem()).unwrap(), both);
    }

    #[test]
    fn the_last_root_cannot_be_taken_away() {
        let (one, two) = (bundle(), bundle());
        assert_eq!(one.followed_by(&two).without(&one), two);
        assert_eq!(one.without(&one), one);
    }

    #[test]
    fn what_holds_no_certificate_is_refused() {
        let nonsense = pem::encode("CERTIFICATE", b"nonsense");
        for text in ["", "hello", &nonsense, &"x".repeat(LONGEST + 1)] {
            assert!(Bundle::from_pem(text).is_err());
        }
    }
}
