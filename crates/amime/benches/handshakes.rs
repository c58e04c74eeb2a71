//! TLS handshakes with client certificates, as between workloads: full and resumed, in our proxy and in stock Envoy, each
//! with one worker and the same file.
//!
//! Each connection makes a handshake, asks once and ends. Both proxies run all the time, and rounds take turns, so that
//! whatever else the machine does falls on both. What counts is the processor time of the proxy: the clients need the
//! other processor, and more of it than the proxy does. `ENVOY` says where Envoy is.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement run by hand: of real time, over processes"
)]

mod measure;
#[path = "../tests/bootstrap/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use identity::Authority;
use identity::tls::rustls;
use measure::{processor_time, quartiles};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use server::Server;

const ROUNDS: usize = 11;
/// Of one kind at one proxy.
const ROUND: Duration = Duration::from_secs(2);
const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n";

/// What `server` fills in, and where certificates are.
pub(crate) struct Places {
    pub(crate) directory: tempfile::TempDir,
    admin: String,
    front: SocketAddr,
}

impl Places {
    pub(crate) fn get(&self, name: &str) -> &str {
        assert_eq!(name, "PORT_ADMIN", "no other place is asked for");
        &self.admin
    }

    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            admin: free_address().port().to_string(),
            front: free_address(),
        }
    }

    fn bootstrap(&self, certificates: &Path) -> String {
        let (admin, front) = (&self.admin, self.front.port());
        let folder = certificates.display();
        format!(
            r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: front
    address: {{socket_address: {{address: 127.0.0.1, port_value: {front}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{prefix: /}}
                direct_response: {{status: 200}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: '{folder}/cert.pem'}}
              private_key: {{filename: '{folder}/key.pem'}}
            validation_context: {{trusted_ca: {{filename: '{folder}/ca.pem'}}}}
"#
        )
    }
}

/// Free when it was asked for; whoever takes it meanwhile makes the start fail.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A proxy under measurement.
struct Contender {
    name: &'static str,
    server: Server,
    front: SocketAddr,
    /// Microseconds of processor time for each handshake, and handshakes a second as they were seen; full and resumed.
    costs: [Vec<f64>; 2],
    rates: [Vec<f64>; 2],
}

impl Contender {
    fn new(name: &'static str, server: Result<Server, String>, places: &Places) -> Self {
        let mut server = server.unwrap();
        server.wait_ready(places).unwrap();
        Self {
            name,
            server,
            front: places.front,
            costs: [Vec::new(), Vec::new()],
            rates: [Vec::new(), Vec::new()],
        }
    }
}

fn main() {
    identity::install_provider();
    let certificates = tempfile::tempdir().unwrap();
    write_certificates(certificates.path());
    let places = [Places::new(), Places::new()];
    let texts = [0, 1].map(|number| places[number].bootstrap(certificates.path()));
    let mut contenders = [
        Contender::new("amime", Server::amime(&texts[0], &places[0]), &places[0]),
        Contender::new("envoy", Server::envoy(&texts[1], &places[1]), &places[1]),
    ];
    println!("Envoy is {}", measure::envoy().display());
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let (cost, rate) = measure(contender, kind, certificates.path());
                // The first round warms up.
                if round > 0 {
                    let index = usize::from(kind == HandshakeKind::Resumed);
                    contender.costs[index].push(cost);
                    contender.rates[index].push(rate);
                }
            }
        }
    }
    for (index, kind) in ["full", "resumed"].into_iter().enumerate() {
        let mut medians = Vec::new();
        for contender in &contenders {
            let [less, cost, more] = quartiles(contender.costs[index].clone());
            let [_, rate, _] = quartiles(contender.rates[index].clone());
            println!(
                "{kind:8} {}: {cost:6.0} us of processor time each ({less:.0} to {more:.0}), {:5.0} a second of one \
                 processor, {rate:5.0} seen",
                contender.name,
                1e6 / cost
            );
            medians.push(cost);
        }
        println!(
            "{kind:8} ratio to Envoy (target: at least 1): {:.2}",
            medians[1] / medians[0]
        );
    }
}

/// Handshakes of one kind for a while: microseconds for each, and how many a second.
fn measure(contender: &Contender, kind: HandshakeKind, certificates: &Path) -> (f64, f64) {
    let made = AtomicUsize::new(0);
    let pid = contender.server.id();
    let (before, begin) = (processor_time(pid), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let config = client(certificates, kind);
                // The first of a client that resumes is a full one, and not counted; it costs little of a round.
                if kind == HandshakeKind::Resumed {
                    connect(&config, contender.front);
                }
                while begin.elapsed() < ROUND {
                    let found = connect(&config, contender.front);
                    assert_eq!(found, Some(kind), "{} makes the wrong kind", contender.name);
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (took, spent) = (begin.elapsed(), processor_time(pid) - before);
    let count = made.load(Ordering::Relaxed) as f64;
    (spent.as_secs_f64() * 1e6 / count, count / took.as_secs_f64())
}

/// One connection from its beginning to its end.
fn connect(config: &Arc<ClientConfig>, front: SocketAddr) -> Option<HandshakeKind> {
    let socket = TcpStream::connect(front).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("example.org").unwrap();
    let session = ClientConnection::new(config.clone(), name).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    stream.write_all(REQUEST).unwrap();
    // The answer is a head alone; waiting for the other side to close would measure its patience. What resumes the
    // session came before it.
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "the connection ended early");
        answer.extend_from_slice(&piece[..length]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    stream.conn.handshake_kind()
}

fn client(folder: &Path, kind: HandshakeKind) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in chain(&folder.join("ca.pem")) {
        roots.add(root).unwrap();
    }
    let key = PrivateKeyDer::from_pem_file(folder.join("client-key.pem")).unwrap();
    // A group that both take at once: one that Envoy prefers, and has no key for yet, costs it another round trip.
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain(&folder.join("client.pem")), key)
        .unwrap();
    config.resumption = match kind {
        HandshakeKind::Resumed => Resumption::in_memory_sessions(16),
        _ => Resumption::disabled(),
    };
    Arc::new(config)
}

fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn write_certificates(folder: &Path) {
    let now = SystemTime::now();
    let authority = Authority::generate("bench", HOUR, now).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.certificate_pem()).unwrap();
    let server = authority.issue_server(&["example.org"], HOUR, now).unwrap();
    server
        .store(&folder.join("cert.pem"), &folder.join("key.pem"))
        .unwrap();
    let client = authority.issue_client("client", "bench", HOUR, now).unwrap();
    client
        .store(&folder.join("client.pem"), &folder.join("client-key.pem"))
        .unwrap();
}
