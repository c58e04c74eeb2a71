//! A certificate authority: makes its own root or continues a given one, and signs for servers, clients and workloads.
//!
//! What it signs never outlives the certificates that lead to the root, and a request decides about nothing but its public key.

mod check;

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair as SigningKey, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

pub use check::{Part, Unusable};

use crate::tls::PeerCertificate;
use crate::{CertificateRequest, Error, Keypair, PrivateKey, pem};

/// How far clocks may disagree: certificates are valid from this long before their making.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// Signs certificates. Holds a private key, and so has no `Debug`.
pub struct Authority {
    issuer: Issuer<'static, SigningKey>,
    /// The signing certificate, with its key.
    own: Keypair,
    /// What goes behind every issued certificate so that peers reach the root; empty when we are the root.
    intermediates: Vec<CertificateDer<'static>>,
    roots: String,
    expires: SystemTime,
}

impl Authority {
    /// A new self-signed root with an ECDSA key on P-256.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate(organisation: &str, lifetime: Duration, now: SystemTime) -> Result<Self, Error> {
        let key = PrivateKey::generate()?;
        let mut parameters = parameters(lifetime, now, None)?;
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = parameters.self_signed(&key.signing()?).map_err(Error::signing)?;
        Self::from_pem(&certificate.pem(), &key.key_pem())
    }

    /// Continues a self-signed root.
    ///
    /// # Errors
    /// When the two are malformed, do not belong together, or the certificate may not sign others.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        Self::plugged_in(certificate, key, "", certificate)
    }

    /// Continues an authority that somebody else made, as Istio's Secret `cacerts` holds it: `certificate` signs,
    /// `intermediates` (possibly empty) lead from it to `roots`.
    ///
    /// # Errors
    /// As [`Authority::from_pem`].
    pub fn plugged_in(certificate: &str, key: &str, intermediates: &str, roots: &str) -> Result<Self, Error> {
        let own = Keypair::from_pem(certificate, key)?;
        let signer = own.chain[0].clone();
        let mut expires = signing_expiry(&signer)?;
        let issuer = Issuer::from_ca_cert_der(&signer, own.key.signing()?)
            .map_err(|e| Error::malformed("certificate", e))?;
        let roots_der = pem::decode_chain(roots)?;
        let given = if intermediates.trim().is_empty() {
            Vec::new()
        } else {
            pem::decode_chain(intermediates)?
        };
        // Istio's `cert-chain.pem` usually repeats the signing certificate and may end in the root.
        let mut chain: Vec<_> = Vec::new();
        for certificate in own.chain.iter().chain(&given) {
            if !roots_der.contains(certificate) && !chain.contains(certificate) {
                chain.push(certificate.clone());
            }
        }
        for between in &chain {
            let facts = PeerCertificate::of(std::slice::from_ref(between))?;
            expires = expires.min(facts.expires);
        }
        Ok(Self {
            issuer,
            own,
            intermediates: chain,
            roots: pem::encode_chain(&roots_der),
            expires,
        })
    }

    /// What peers trust.
    pub fn root_pem(&self) -> &str {
        &self.roots
    }

    /// The certificates between what is signed and the root; empty when a root signs.
    pub fn intermediates_pem(&self) -> String {
        pem::encode_chain(&self.intermediates)
    }

    /// The certificate that signs, and those between it and the root.
    pub fn chain_pem(&self) -> String {
        self.certificate_pem() + &self.intermediates_pem()
    }

    /// The certificate that signs.
    pub fn certificate_pem(&self) -> String {
        self.own.chain_pem()
    }

    /// The private key, for the Secret or the file that keeps the authority and nothing else.
    pub fn key_pem(&self) -> String {
        self.own.key.key_pem()
    }

    /// When the first of the certificates that lead to the root runs out: the one that signs, or one between.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// A certificate for a server; each name is a DNS name, an IP address or a URI.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::AuthorityExpired`].
    pub fn issue_server<N: AsRef<str>>(
        &self,
        names: &[N],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Keypair, Error> {
        let mut parameters = self.leaf(lifetime, now)?;
        parameters.subject_alt_names = subject_names(names)?;
        if let Some(first) = names.first() {
            parameters
                .distinguished_name
                .push(DnType::CommonName, first.as_ref());
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&parameters)
    }

    /// A certificate for a client: Kubernetes reads the common name as the user, the organisation as a group.
    /// One organisation, because the library behind it writes each kind of attribute once.
    ///
    /// # Errors
    /// [`Error::AuthorityExpired`].
    pub fn issue_client(
        &self,
        common_name: &str,
        organisation: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Keypair, Error> {
        let mut parameters = self.leaf(lifetime, now)?;
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
        parameters
            .distinguished_name
            .push(DnType::CommonName, common_name);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&parameters)
    }

    /// Signs the public key of a request for `names`, usually one SPIFFE ID. Names that the request asks for count
    /// for nothing: the caller's proven identity decides. Returns the certificate and its intermediates.
    ///
    /// # Errors
    /// When the request is malformed or not signed by its own key; [`Error::BadName`]; [`Error::AuthorityExpired`].
    pub fn sign_csr<N: AsRef<str>>(
        &self,
        request: &str,
        names: &[N],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        let request = CertificateRequest::from_pem(request)?;
        let certificate = self
            .workload(names, lifetime, now)?
            .signed_by(request.public_key(), &self.issuer)
            .map_err(Error::signing)?;
        Ok(self.behind(certificate.into()))
    }

    /// The same with a key made here, for those who cannot make one themselves.
    ///
    /// # Errors
    /// [`Error::BadName`]; [`Error::AuthorityExpired`].
    pub fn issue_workload<N: AsRef<str>>(
        &self,
        names: &[N],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Keypair, Error> {
        self.issue(&self.workload(names, lifetime, now)?)
    }

    /// What workloads show each other, on both ends of their connections.
    fn workload<N: AsRef<str>>(
        &self,
        names: &[N],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<CertificateParams, Error> {
        let mut parameters = self.leaf(lifetime, now)?;
        parameters.subject_alt_names = subject_names(names)?;
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Ok(parameters)
    }

    fn leaf(&self, lifetime: Duration, now: SystemTime) -> Result<CertificateParams, Error> {
        let mut parameters = parameters(lifetime, now, Some(self.expires))?;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        Ok(parameters)
    }

    fn issue(&self, parameters: &CertificateParams) -> Result<Keypair, Error> {
        let key = PrivateKey::generate()?;
        let certificate = parameters
            .signed_by(&key.signing()?, &self.issuer)
            .map_err(Error::signing)?;
        Ok(Keypair {
            chain: self.behind(certificate.into()),
            key,
        })
    }

    fn behind(&self, certificate: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        std::iter::once(certificate)
            .chain(self.intermediates.iter().cloned())
            .collect()
    }
}

/// What every certificate has: validity, cut at `limit`, and a random serial number.
fn parameters(
    lifetime: Duration,
    now: SystemTime,
    limit: Option<SystemTime>,
) -> Result<CertificateParams, Error> {
    if limit.is_some_and(|limit| limit <= now) {
        return Err(Error::AuthorityExpired);
    }
    let wanted = now
        .checked_add(lifetime)
        .ok_or_else(|| Error::signing("the lifetime is beyond the calendar"))?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.not_before = (now - CLOCK_SKEW).into();
    parameters.not_after = limit.map_or(wanted, |limit| limit.min(wanted)).into();
    parameters.serial_number = Some(serial_number()?);
    Ok(parameters)
}

/// 127 random bits: positive in ASN.1's signed integers, as RFC 5280 wants.
fn serial_number() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Error::signing("the system has no randomness to give"))?;
    bytes[0] = bytes[0] & 0x7f | 0x01;
    Ok(SerialNumber::from_slice(&bytes))
}

pub(crate) fn subject_names<N: AsRef<str>>(names: &[N]) -> Result<Vec<SanType>, Error> {
    names.iter().map(|name| subject_name(name.as_ref())).collect()
}

fn subject_name(name: &str) -> Result<SanType, Error> {
    let bad = || Error::BadName(name.to_owned());
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let text = name.try_into().map_err(|_| bad())?;
    Ok(if name.contains("://") {
        SanType::URI(text)
    } else {
        SanType::DnsName(text)
    })
}

/// When `certificate` runs out, if it may sign others at all.
fn signing_expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, Error> {
    let malformed = |reason: &str| Error::malformed("signing certificate", reason);
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| Error::malformed("signing certificate", error))?;
    if !parsed.is_ca() {
        return Err(malformed(
            "it may not sign other certificates (basicConstraints CA is not set)",
        ));
    }
    let usage = parsed.key_usage();
    let usage = usage.map_err(|error| Error::malformed("signing certificate", error))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(malformed(
            "it may not sign other certificates (keyUsage has no keyCertSign)",
        ));
    }
    let mut kinds: Vec<_> = parsed
        .subject()
        .iter_attributes()
        .map(|attribute| attribute.attr_type().to_string())
        .collect();
    kinds.sort();
    // The library that signs keeps one of each kind, and the issuer's name would no longer match.
    if kinds.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(malformed(
            "its subject has two attributes of one kind, which is not supported",
        ));
    }
    let seconds = u64::try_from(parsed.validity().not_after.timestamp())
        .map_err(|_| malformed("it ended before 1970"))?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
