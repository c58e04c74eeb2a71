//! A proxy that asks an authority for its certificate, over a socket: at its start, after an outage, and when another
//! root signs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemon::{Tasks, clock};
use identity::{Authority, Bundle};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use xds::secrets::Trusted;
use xds::transport::Settings;
use xds::transport::certificates::{Call, CertificateResponse, CertificateService};

use super::transport::{HOUR, now};
use super::world::PATIENCE;
use crate::Workload;
use crate::settings::Certificates;
use crate::tls::renewal::Renewal;

const NAME: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// An authority that gives everybody the same name, while it works.
struct Server {
    address: SocketAddr,
    works: Arc<AtomicBool>,
    signer: watch::Sender<Arc<Authority>>,
    tasks: Tasks,
}

impl Server {
    async fn start(authority: Arc<Authority>, lifetime: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (calls, mut asked) = mpsc::channel::<Call<()>>(4);
        let server = Self {
            address: listener.local_addr().unwrap(),
            works: Arc::new(AtomicBool::new(true)),
            signer: watch::Sender::new(authority),
            tasks: Tasks::new(),
        };
        let (works, signer) = (server.works.clone(), server.signer.subscribe());
        server.tasks.spawn("authority", async move {
            while let Some(call) = asked.recv().await {
                let authority = signer.borrow().clone();
                let csr = &call.request.csr;
                let answer = match works.load(Ordering::SeqCst) {
                    false => Err(Status::unavailable("not now")),
                    true => Ok(CertificateResponse {
                        cert_chain: vec![
                            identity::chain_pem(&authority.sign_csr(csr, &[NAME], lifetime, now()).unwrap()),
                            authority.root_pem().to_owned(),
                        ],
                    }),
                };
                let _ = call.reply.send(answer);
            }
        });
        let serve = tonic::transport::Server::builder()
            .add_service(CertificateService::new(|_, _| std::future::ready(Ok(())), calls))
            .serve_with_incoming(TcpListenerStream::new(listener));
        server.tasks.spawn("grpc", async { serve.await.unwrap() });
        server
    }

    fn renewal(&self, workload: &Workload, told: watch::Receiver<Option<Arc<Trusted>>>) -> Renewal {
        Renewal {
            workload: workload.clone(),
            like: Certificates::default(),
            authority: Settings {
                address: self.address.to_string(),
                server_name: "istiod".into(),
                trust: None,
                token: None,
                mark: None,
                node: xds::Node::default(),
                whole: false,
            },
            name: NAME.into(),
            told,
        }
    }
}

fn trusted(authorities: &[&Authority]) -> Option<Arc<Trusted>> {
    let pem: String = authorities.iter().map(|authority| authority.root_pem()).collect();
    Some(Arc::new(Trusted {
        roots: Bundle::from_pem(&pem).unwrap(),
        revoked: None,
    }))
}

fn authority(name: &str) -> Arc<Authority> {
    Arc::new(Authority::generate(name, HOUR, now()).unwrap())
}

/// Waits until the certificate leads to that authority.
async fn leads_to(workload: &Workload, authority: &Authority) {
    let wanted = Bundle::from_pem(authority.root_pem()).unwrap().signer();
    let leads = || {
        let material = workload.now();
        material
            .own
            .as_ref()
            .is_some_and(|own| own.root.as_deref() == Some(&wanted))
    };
    let wait = async {
        while !leads() {
            clock::sleep(Duration::from_millis(20)).await;
        }
    };
    clock::timeout(PATIENCE, wait)
        .await
        .expect("a certificate in time");
}

#[tokio::test]
async fn a_certificate_is_asked_for_until_there_is_one() {
    let root = authority("root");
    let server = Server::start(root.clone(), HOUR).await;
    server.works.store(false, Ordering::SeqCst);
    let workload = Workload::default();
    let (_tell, told) = watch::channel(None);
    server
        .tasks
        .spawn("renewal", server.renewal(&workload, told).keep());
    let early = clock::timeout(Duration::from_millis(300), workload.completed()).await;
    assert!(early.is_err(), "nobody gave a certificate");
    server.works.store(true, Ordering::SeqCst);
    clock::timeout(PATIENCE, workload.completed()).await.unwrap();
    assert_eq!(workload.id().unwrap().to_string(), NAME);
    server.tasks.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_young_life_is_renewed_at_its_half_and_an_outage_leaves_the_old_certificate() {
    let root = authority("root");
    let server = Server::start(root.clone(), Duration::from_secs(2)).await;
    let workload = Workload::default();
    let (_tell, told) = watch::channel(None);
    server
        .tasks
        .spawn("renewal", server.renewal(&workload, told).keep());
    clock::timeout(PATIENCE, workload.completed()).await.unwrap();
    let first = workload.now().number;
    let renewed = async {
        while workload.now().number == first {
            clock::sleep(Duration::from_millis(20)).await;
        }
    };
    clock::timeout(Duration::from_secs(5), renewed)
        .await
        .expect("a renewal in time");
    server.works.store(false, Ordering::SeqCst);
    clock::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        workload.id().unwrap().to_string(),
        NAME,
        "what there is serves on"
    );
    server.tasks.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn another_signer_is_a_reason_to_renew_and_another_root_alone_is_not() {
    let (old, new) = (authority("old"), authority("new"));
    // Of eight seconds a renewal for another signer uses two.
    let server = Server::start(old.clone(), Duration::from_secs(8)).await;
    let workload = Workload::default();
    let (tell, told) = watch::channel(None);
    server
        .tasks
        .spawn("renewal", server.renewal(&workload, told).keep());
    leads_to(&workload, &old).await;
    let before = workload.now().own.as_ref().unwrap().keypair.chain.clone();
    let tell = |authorities: &[&Authority]| {
        let trusted = trusted(authorities);
        workload.believe(trusted.as_ref().unwrap());
        tell.send_replace(trusted);
    };
    tell(&[&old, &new]);
    assert_eq!(workload.now().own.as_ref().unwrap().keypair.chain, before);
    server.signer.send_replace(new.clone());
    tell(&[&new, &old]);
    leads_to(&workload, &new).await;
    assert_eq!(
        workload.now().trusted,
        trusted(&[&new, &old]),
        "the controller's word stands"
    );
    server.tasks.stop(Duration::ZERO).await;
}
