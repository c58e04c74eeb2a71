//! What the fuzzer throws bytes at, and `cargo test` replays the corpora of `fuzz/corpus` through.
//!
//! A target is a function of bytes that must neither panic nor break what it says here about its outcome. Not part of
//! the proxy: compiled for tests and under `--cfg fuzzing` only.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::Method;
use identity::jwt::{KeySet, Token};
use identity::tls::PeerCertificate;
use identity::{Authority, Bundle, Keypair};
use tokio::io::AsyncWriteExt;

use crate::http::codec::h1::{Body, BodyEvent, HeadParser};
use crate::http::codec::{Fields, Length, Request, Version, h2};
use crate::http::normalize;
use crate::listen::client_hello::{self, Begun};
use crate::listen::sniff::{self, Protocol};

/// Takes any bytes, and panics where something is wrong.
pub type Target = fn(&[u8]);

/// A target by its name.
pub fn target(name: &str) -> Option<Target> {
    Some(match name {
        "h1_head" => h1_head,
        "h1_body" => h1_body,
        "h2_frames" => h2_frames,
        "hpack" => hpack,
        "path" => path,
        "xds" => xds_decode,
        "sniff" => first_bytes,
        "bootstrap" => bootstrap,
        "client_hello" => hello,
        "csr" => csr,
        "pem" => pem,
        "policy" => crate::policy_fuzzing::decide_alike,
        "jwt" => jwt,
        "jwks" => jwks,
        _ => return None,
    })
}

/// A head is read the same however its bytes arrive, and a message that passes has one length at most.
fn h1_head(bytes: &[u8]) {
    let (mut whole, mut pieces) = (BytesMut::from(bytes), BytesMut::new());
    let once = HeadParser::default().request(&mut whole);
    let mut parser = HeadParser::default();
    let mut found = Ok(None);
    for byte in bytes {
        pieces.extend_from_slice(&[*byte]);
        found = parser.request(&mut pieces);
        if !matches!(found, Ok(None)) {
            break;
        }
    }
    match (once, found) {
        (Ok(Some(once)), Ok(Some(bytewise))) => {
            let (once, bytewise) = (once.message, bytewise.message);
            assert_eq!((&once.method, &once.path), (&bytewise.method, &bytewise.path));
            assert_eq!(
                (&once.authority, once.length),
                (&bytewise.authority, bytewise.length)
            );
            let clean = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            assert!(clean(once.path.as_bytes()) && clean(once.authority.as_bytes()));
            for (name, value) in once.fields.iter() {
                assert!(clean(name.as_bytes()) && clean(value));
                assert!(!matches!(
                    name,
                    "content-length" | "transfer-encoding" | "host" | "connection"
                ));
            }
        }
        (Ok(None), Ok(None)) => {}
        // A refusal may come before the end of the bytes or of the head; which of several reasons it tells depends on
        // what had arrived.
        (Err(_), Err(_) | Ok(None)) | (Ok(None), Err(_)) => {}
        (once, bytewise) => panic!("at once {once:?}, byte by byte {bytewise:?}"),
    }
    let _ = HeadParser::default().response(&mut bytes.into(), &Method::GET);
}

/// A chunked body gives no more than it was given, whatever pieces it comes in; a counted one exactly its length.
fn h1_body(bytes: &[u8]) {
    let (once, end) = chunked(bytes, bytes.len().max(1));
    let (bytewise, bytewise_end) = chunked(bytes, 1);
    assert!(once.len() <= bytes.len());
    if end == Some(true) && bytewise_end == Some(true) {
        assert_eq!(once, bytewise);
    }
    assert_eq!(
        end == Some(false),
        bytewise_end == Some(false),
        "one reader refuses"
    );
}

/// The data, and whether the end was reached: `Some(false)` is a refusal.
fn chunked(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<bool>) {
    let (mut body, mut buffer, mut out) = (Body::chunked(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match body.next(&mut buffer) {
                Ok(Some(BodyEvent::Data(data))) => out.extend_from_slice(&data),
                Ok(Some(BodyEvent::End)) => return (out, Some(true)),
                Ok(None) => break,
                Err(_) => return (out, Some(false)),
            }
        }
    }
    (out, None)
}

/// Frames behind a preface and SETTINGS: every request that comes out can be said in HTTP/1.1.
fn h2_frames(bytes: &[u8]) {
    let mut all = h2::PREFACE.to_vec();
    all.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    all.extend_from_slice(bytes);
    serve(&all);
}

/// A field block in one HEADERS frame.
fn hpack(bytes: &[u8]) {
    let block = &bytes[..bytes.len().min(16_000)];
    let mut frame = u32::try_from(block.len()).expect("bounded").to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[1, 5, 0, 0, 0, 1]);
    frame.extend_from_slice(block);
    h2_frames(&frame);
}

fn serve(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let _ = client.write_all(&bytes[..bytes.len().min(1 << 19)]).await;
        let _ = client.shutdown().await;
        let Ok(mut connection) = h2::accept(server, None).await else {
            return;
        };
        let resets = std::rc::Rc::default();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let Ok((request, _body)) = h2::request_from(request, &resets) else {
                continue;
            };
            check(&request);
            let _ = respond.send_response(http::Response::<()>::default(), true);
        }
    });
}

fn check(request: &Request) {
    let clean = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    assert!(clean(request.path.as_bytes()) && !request.path.contains(' '));
    assert!(clean(request.authority.as_bytes()) && !request.authority.contains(['/', '@', ' ']));
    for (name, value) in request.fields.iter() {
        assert!(clean(name.as_bytes()) && clean(value) && !name.starts_with(':'));
        assert!(!matches!(
            name,
            "content-length" | "transfer-encoding" | "host" | "connection"
        ));
    }
}

/// A normal path is normal: it has no dot segments, and a second pass changes nothing.
fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut request = Request {
        method: Method::GET,
        path: format!("/{text}"),
        authority: String::new(),
        scheme: "http",
        fields: Fields::default(),
        length: Length::Empty,
        upgrade: None,
        version: Version::Http1,
    };
    let options = snapshot::HttpOptions::default();
    if normalize::request(&mut request, &options).is_err() {
        return;
    }
    let once = request.path.clone();
    let path = once.split('?').next().unwrap_or_default();
    assert!(path.starts_with('/') && !path.contains('\\'), "{once}");
    assert!(
        !path
            .split('/')
            .any(|segment| matches!(segment.split(';').next(), Some("." | ".."))),
        "{once}"
    );
    normalize::request(&mut request, &options).expect("what is normal is accepted");
    assert_eq!(request.path, once, "normal once, normal for ever");
}

/// A resource from the control plane: the first byte chooses its kind. What is understood can be said again.
fn xds_decode(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    let kinds = [
        xds::Kind::Cluster,
        xds::Kind::Endpoints,
        xds::Kind::Listener,
        xds::Kind::Routes,
    ];
    let _ = xds::convert::decode(kinds[usize::from(*kind) % kinds.len()], "a", body);
}

/// An Envoy bootstrap file: understood, or refused by name.
fn bootstrap(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(problems) = xds::bootstrap::decode(text)
    {
        assert!(!problems.is_empty(), "a refusal says why");
    }
}

/// Keys that nobody can sign with: `x` of the point is the hash of a sentence.
const NOBODYS_KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"0MQkIIbGBGO8C5S0SRcDB7pAPeq3i3m-nIARQK3KPg0","y":"yLlmcxfJGZXBSug8L1j-gkt5VnjeGp2YfwxwSozfF7o"}]}"#;

/// A token: read or refused, and never believed without a signature.
fn jwt(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(token) = Token::parse(text) else {
        return;
    };
    assert!(token.payload_text.len() < text.len() && token.payload.len() < text.len());
    let keys = KeySet::parse(NOBODYS_KEYS).expect("a key set");
    assert!(keys.verify(&token).is_err(), "signed by nobody");
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let _ = token.check_times(now, identity::jwt::CLOCK_SKEW);
}

/// A key set: usable or refused, with a bound on its keys; and what is in it is not printed.
fn jwks(bytes: &[u8]) {
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA";
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(keys) = KeySet::parse(text) {
        assert!((1..=identity::jwt::MOST_KEYS).contains(&keys.len()));
        let token = Token::parse(TOKEN).expect("a token");
        assert!(keys.verify(&token).is_err(), "a signature of three bytes");
    }
}

/// More bytes never change what the first ones said.
fn first_bytes(bytes: &[u8]) {
    let mut known = None;
    for length in 0..=bytes.len().min(300) {
        let now = sniff::classify(&bytes[..length]);
        assert!(known.is_none() || now == known);
        known = now;
    }
    // The guard of opaque streams lets nothing through that would have been read as HTTP.
    let could_be = sniff::could_be_request(bytes, true);
    assert!(could_be.is_some());
    assert!(known.is_none_or(|known| known == Protocol::Other) || could_be == Some(true));
}

/// However a ClientHello arrives, it says the same, and more bytes never change that.
fn hello(bytes: &[u8]) {
    let mut known = Begun::Unfinished;
    let steps = (0..=bytes.len()).filter(|length| *length < 64 || length % 97 == 0 || *length == bytes.len());
    for length in steps {
        let now = client_hello::read(&bytes[..length]);
        assert!(known == Begun::Unfinished || now == known);
        known = now;
    }
    if let Begun::Tls(hello) = known {
        assert!(hello.server_name.len() <= 255);
        assert_eq!(hello.server_name, hello.server_name.to_ascii_lowercase());
    }
}

/// A request for a certificate is believed only if its own key has signed it, and gets nothing of what it asks for.
fn csr(bytes: &[u8]) {
    const CALLER: &str = "spiffe://cluster.local/ns/shop/sa/cart";
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let hour = Duration::from_secs(3600);
    let authority = AUTHORITY.get_or_init(|| Authority::generate("fuzz", hour, now).expect("randomness"));
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(chain) = authority.sign_csr(text, &[CALLER], hour, now) {
        let facts = PeerCertificate::of(&chain).expect("what was signed can be read");
        assert_eq!(
            (facts.uris.as_slice(), facts.subject.as_str()),
            ([CALLER.to_owned()].as_slice(), "")
        );
        assert!(facts.dns_names.is_empty() && facts.addresses.is_empty());
    }
}

/// Keys, certificates and lists in PEM: read, or refused.
fn pem(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(bundle) = Bundle::from_pem(text) {
        let again = Bundle::from_pem(bundle.pem()).expect("what was written can be read");
        assert_eq!(again, bundle);
        let _ = bundle.led_by(text).map(|led| assert!(led.covers(&bundle)));
    }
    let _ = Keypair::from_pem(text, text).map(|keypair| keypair.facts().map(drop));
    let _ = Authority::plugged_in(text, text, text, text);
    let _ = identity::tls::check_trust(text, Some(text));
}

#[cfg(test)]
mod tests {
    /// The corpora lie beside the fuzzer.
    const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");

    #[test]
    fn every_input_of_the_corpora_is_still_harmless() {
        for name in [
            "h1_head",
            "h1_body",
            "h2_frames",
            "hpack",
            "path",
            "xds",
            "sniff",
            "bootstrap",
            "client_hello",
            "csr",
            "pem",
            "policy",
            "jwt",
            "jwks",
        ] {
            let target = super::target(name).expect("a target");
            let files = std::fs::read_dir(format!("{CORPUS}/{name}"))
                .expect("a corpus")
                .flatten();
            let inputs: Vec<_> = files
                .map(|file| std::fs::read(file.path()).expect("a file"))
                .collect();
            assert!(!inputs.is_empty(), "{name} has seeds");
            inputs.iter().for_each(|input| target(input));
        }
    }
}
