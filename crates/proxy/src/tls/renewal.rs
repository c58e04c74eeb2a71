//! Keeps this proxy's certificate young and its trust up to date.
//!
//! The key is made here and never leaves: the authority sees a request with the public half. A certificate is renewed
//! at half of its life, give or take a little so that a mesh does not renew in one moment, and soon after another root
//! signs. While the authority cannot be reached the old certificate serves on; tries become rarer, but never so rare
//! that its end could be missed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::clock::{self, Due};
use identity::{Bundle, Keypair, PrivateKey};
use tokio::sync::watch;
use xds::secrets::{SPREAD, Trusted};
use xds::transport::certificates::{self, CertificateRequest};

use super::files::Stamp;
use super::workload::Workload;
use crate::settings::Certificates;

/// How often mounted files are looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(2);
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// When what is renewed. Times are passed in.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    failures: u32,
    /// Certificates in a row that were not of the root that signs by what the controller told.
    former: u32,
    expires: Option<SystemTime>,
}

impl Schedule {
    /// A certificate came; how long it is left in peace. `share`, from 0 to 1, is chance.
    pub(crate) fn received(
        &mut self,
        expires: SystemTime,
        now: SystemTime,
        like: &Certificates,
        share: f64,
    ) -> Duration {
        self.failures = 0;
        self.expires = Some(expires);
        let life = expires.duration_since(now).unwrap_or_default();
        let part = (1.0 - like.grace) + like.jitter * (2.0 * share - 1.0);
        life.mul_f64(part.clamp(0.0, 0.95)).max(FIRST)
    }

    /// None came; how long until the next try: twice as long each time, but at most a quarter of what is left.
    pub(crate) fn failed(&mut self, now: SystemTime, share: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let left = self.expires.and_then(|expires| expires.duration_since(now).ok());
        let most = left.map_or(LONGEST, |left| (left / 4).max(FIRST));
        whole.mul_f64(0.5 + 0.5 * share.clamp(0.0, 1.0)).min(most)
    }

    /// It is of a former root, of a replica of the controller that has not followed yet; how long until another try:
    /// twice as long each time.
    pub(crate) fn received_former(&mut self, share: f64) -> Duration {
        let whole = SPREAD.saturating_mul(1 << self.former.min(16));
        self.former = self.former.saturating_add(1);
        whole.mul_f64(1.0 + share.clamp(0.0, 1.0))
    }

    /// Another root signs; how long until the certificate is renewed.
    pub(crate) fn other_signer(&self, now: SystemTime, share: f64) -> Duration {
        let left = self.expires.and_then(|expires| expires.duration_since(now).ok());
        let most = left.map_or(SPREAD, |left| (left / 4).min(SPREAD));
        most.mul_f64(share.clamp(0.0, 1.0))
    }
}

/// Asks the authority for certificates.
pub(crate) struct Renewal {
    pub(crate) workload: Workload,
    pub(crate) like: Certificates,
    /// How to reach the authority, and what proves who we are.
    pub(crate) authority: xds::transport::Settings,
    /// Who we hope to be; the authority decides.
    pub(crate) name: String,
    /// Told by the controller whom to believe, which is in force already. Here it says who signs.
    pub(crate) told: watch::Receiver<Option<Arc<Trusted>>>,
}

impl Renewal {
    /// Keeps renewing for ever.
    pub(crate) async fn keep(mut self) {
        let mut schedule = Schedule::default();
        let mut due = Due::after(Duration::ZERO);
        loop {
            tokio::select! {
                () = due.come() => due = Due::after(self.renew(&mut schedule).await),
                Ok(()) = self.told.changed() => {
                    self.told.mark_unchanged();
                    if self.has_former_root() {
                        let wait = schedule.other_signer(clock::wall(), rand::random());
                        due = due.min(Due::after(wait));
                    }
                }
            }
        }
    }

    async fn renew(&self, schedule: &mut Schedule) -> Duration {
        match self.ask().await {
            Ok(expires) => {
                let wait = schedule.received(expires, clock::wall(), &self.like, rand::random());
                let wait = match self.has_former_root() {
                    true => wait.min(schedule.received_former(rand::random())),
                    false => {
                        schedule.former = 0;
                        wait
                    }
                };
                tracing::info!(target: "tls", identity = %self.workload.uri(), ?wait, "certificate received");
                wait
            }
            Err(error) => {
                let wait = schedule.failed(clock::wall(), rand::random());
                tracing::warn!(target: "tls", %error, ?wait, "no certificate: what there is serves on");
                wait
            }
        }
    }

    /// A new key, and a certificate for it. When that ends.
    async fn ask(&self) -> io::Result<SystemTime> {
        let key = PrivateKey::generate().map_err(io::Error::other)?;
        let request = CertificateRequest {
            csr: key.request(&[&self.name]).map_err(io::Error::other)?,
            validity_duration: i64::try_from(self.like.lifetime.as_secs()).unwrap_or(i64::MAX),
            metadata: None,
        };
        let answer = certificates::create(&self.authority, request).await?;
        let (keypair, roots) = read(&answer, key).map_err(io::Error::other)?;
        let expires = keypair.facts().map_err(io::Error::other)?.expires;
        if expires <= clock::wall() {
            return Err(io::Error::other(
                "the authority gave a certificate that has expired",
            ));
        }
        // Who is believed is told by the controller, or says the file; only until then the authority's own word counts.
        if self.workload.now().trusted.is_none() {
            let trusted = Trusted {
                roots: roots.clone(),
                revoked: None,
            };
            self.workload.assume(&Arc::new(trusted));
        }
        self.workload.show(keypair, Some(&roots.signer()));
        Ok(expires)
    }

    /// Whether our certificate leads to another root than the one that signs, by what the controller told.
    fn has_former_root(&self) -> bool {
        let told = self.told.borrow();
        let signer = told.as_ref().map(|trusted| trusted.roots.signer());
        let material = self.workload.now();
        let root = material.own.as_ref().and_then(|own| own.root.as_deref());
        root.is_some() && signer.is_some() && root != signer.as_deref()
    }
}

/// The certificate and those that lead to the root, and the roots.
fn read(answer: &[String], key: PrivateKey) -> Result<(Keypair, Bundle), identity::Error> {
    let (roots, chain) = match answer {
        [chain @ .., roots] if !chain.is_empty() => (roots, chain),
        _ => {
            return Err(identity::Error::Malformed {
                what: "answer of the authority",
                reason: "it has no certificate with roots behind it".to_owned(),
            });
        }
    };
    let roots = Bundle::from_pem(roots)?;
    // A line may be missing at the end of what somebody else wrote.
    Ok((Keypair::with_key(&chain.join("\n"), key)?, roots))
}

/// Follows certificates that somebody else puts into files: whom to believe stands there too, and nowhere else.
pub(crate) async fn follow_files(folder: PathBuf, workload: Workload) {
    let paths = ["cert-chain.pem", "key.pem", "root-cert.pem", "ca-crl.pem"].map(|name| folder.join(name));
    let mut seen = Vec::new();
    loop {
        let stamps: Vec<_> = paths
            .iter()
            .map(|path| Stamp::of(&path.to_string_lossy()))
            .collect();
        if stamps != seen {
            seen = stamps;
            match adopt_files(&paths, &workload) {
                Ok(()) => tracing::info!(target: "tls", identity = %workload.uri(), "certificate read"),
                Err(error) => {
                    tracing::warn!(target: "tls", %error, "mounted certificates cannot be used: what there is serves on");
                }
            }
        }
        clock::sleep(LOOK).await;
    }
}

fn adopt_files(
    [chain, key, roots, revoked]: &[PathBuf; 4],
    workload: &Workload,
) -> Result<(), identity::Error> {
    let keypair = Keypair::load(chain, key)?;
    // An authority that takes nothing back has no list.
    let revoked = match revoked.exists() {
        true => Some(text(revoked)?),
        false => None,
    };
    if let Some(lists) = &revoked {
        identity::tls::check_trust(&text(roots)?, Some(lists))?;
    }
    believe_file(roots, revoked, workload)?;
    workload.show(keypair, None);
    Ok(())
}

/// Follows the file with the roots of the mesh, until the controller itself says whom to believe.
pub(crate) async fn follow_root(
    file: PathBuf,
    workload: Workload,
    told: watch::Receiver<Option<Arc<Trusted>>>,
) {
    let mut seen = None;
    while told.borrow().is_none() {
        let stamp = Some(Stamp::of(&file.to_string_lossy()));
        if stamp != seen {
            seen = stamp;
            if let Err(error) = believe_file(&file, None, &workload) {
                tracing::warn!(target: "tls", %error, "roots of the mesh cannot be read");
            }
        }
        clock::sleep(LOOK).await;
    }
}

fn believe_file(file: &Path, revoked: Option<String>, workload: &Workload) -> Result<(), identity::Error> {
    let roots = Bundle::from_pem(&text(file)?)?;
    workload.assume(&Arc::new(Trusted { roots, revoked }));
    Ok(())
}

fn text(file: &Path) -> Result<String, identity::Error> {
    std::fs::read_to_string(file).map_err(|source| identity::Error::File {
        path: file.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use identity::Authority;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + 500_000 * HOUR
    }

    #[test]
    fn half_of_a_life_is_left_when_it_is_renewed() {
        let mut schedule = Schedule::default();
        let like = Certificates::default();
        let mut wait = |share| {
            schedule
                .received(start() + 24 * HOUR, start(), &like, share)
                .as_secs_f64()
                / 3600.0
        };
        assert!((wait(0.5) - 12.0).abs() < 0.001);
        assert!((wait(0.0) - 11.76).abs() < 0.001);
        assert!((wait(1.0) - 12.24).abs() < 0.001);
    }

    #[test]
    fn a_certificate_that_is_nearly_over_is_no_reason_to_ask_without_a_pause() {
        let wait = Schedule::default().received(start(), start(), &Certificates::default(), 0.5);
        assert_eq!(wait, FIRST);
    }

    #[test]
    fn tries_become_rarer_but_the_end_is_not_missed() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.failed(start(), 1.0), FIRST);
        assert_eq!(schedule.failed(start(), 1.0), 2 * FIRST);
        assert_eq!(
            (0..50).map(|_| schedule.failed(start(), 1.0)).max(),
            Some(LONGEST)
        );
        schedule.received(start() + HOUR, start(), &Certificates::default(), 0.5);
        for _ in 0..50 {
            schedule.failed(start(), 1.0);
        }
        let nearly = start() + HOUR - Duration::from_secs(40);
        assert_eq!(schedule.failed(nearly, 1.0), Duration::from_secs(10));
        assert_eq!(
            schedule.failed(start() + 2 * HOUR, 1.0),
            LONGEST,
            "after its end there is no hurry to be in"
        );
    }

    #[test]
    fn for_another_signer_everybody_renews_soon_and_not_at_once() {
        let mut schedule = Schedule::default();
        schedule.received(start() + HOUR, start(), &Certificates::default(), 0.5);
        assert_eq!(schedule.other_signer(start(), 0.0), Duration::ZERO);
        assert_eq!(schedule.other_signer(start(), 1.0), SPREAD);
        schedule.received(
            start() + Duration::from_secs(8),
            start(),
            &Certificates::default(),
            0.5,
        );
        assert_eq!(schedule.other_signer(start(), 1.0), Duration::from_secs(2));
    }

    #[test]
    fn a_certificate_of_a_former_root_is_soon_replaced_but_not_in_a_loop() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.received_former(0.0), SPREAD);
        assert_eq!(schedule.received_former(1.0), 4 * SPREAD);
        for _ in 0..40 {
            schedule.received_former(0.5);
        }
        assert!(schedule.received_former(0.0) > 24 * HOUR);
    }

    #[test]
    fn an_answer_is_a_chain_and_roots_for_our_own_key() {
        let authority = Authority::generate("test", HOUR, clock::wall()).unwrap();
        let key = PrivateKey::generate().unwrap();
        let request = key.request(&["spiffe://a/ns/b/sa/c"]).unwrap();
        let chain = authority
            .sign_csr(&request, &["spiffe://a/ns/b/sa/c"], HOUR, clock::wall())
            .unwrap();
        let (leaf, roots) = (identity::chain_pem(&chain), authority.root_pem().to_owned());
        let answer = [leaf.trim_end().to_owned(), roots.clone()];
        let (keypair, bundle) = read(&answer, key.clone()).unwrap();
        assert_eq!((keypair.chain, bundle.pem()), (chain, roots.as_str()));
        let others = PrivateKey::generate().unwrap();
        assert!(read(&answer, others).is_err(), "it is for another key");
        for short in [&answer[..0], &answer[..1]] {
            assert!(read(short, key.clone()).is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn mounted_files_are_followed_and_what_is_broken_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let authority = Authority::generate("test", HOUR, clock::wall()).unwrap();
        let write = |name: &str| {
            let keypair = authority.issue_workload(&[name], HOUR, clock::wall()).unwrap();
            keypair.store(&path("cert-chain.pem"), &path("key.pem")).unwrap();
        };
        std::fs::write(path("root-cert.pem"), authority.root_pem()).unwrap();
        write("spiffe://a/ns/b/sa/first");
        let workload = Workload::default();
        let follow = follow_files(folder.path().to_owned(), workload.clone());
        let check = async {
            workload.completed().await;
            assert_eq!(workload.id().unwrap().service_account(), "first");
            std::fs::write(path("key.pem"), "broken").unwrap();
            clock::sleep(LOOK).await;
            assert_eq!(workload.id().unwrap().service_account(), "first");
            write("spiffe://a/ns/b/sa/second-one");
            clock::sleep(2 * LOOK).await;
            assert_eq!(workload.id().unwrap().service_account(), "second-one");
        };
        tokio::select! {
            () = follow => {}
            () = check => {}
        }
    }
}
