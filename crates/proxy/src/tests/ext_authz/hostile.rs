//! What a bad service cannot do: hold requests for ever, break messages, fill memory, or disturb others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use daemon::{Tasks, clock};
use snapshot::ext_authz::{AuthorizationService, ExtAuthz, GrpcService, HttpService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::world::{Backend, PATIENCE, World};
use super::server::{Does, Service};
use super::{GET, ask_http, guarded, over_grpc, over_http};
use crate::http::bounds::{KEPT, SHARE};

const SOON: Duration = Duration::from_millis(200);

fn http_in_time() -> ExtAuthz {
    ask_http(HttpService {
        timeout: Some(SOON),
        ..over_http()
    })
}

fn grpc_in_time() -> ExtAuthz {
    ExtAuthz::new(AuthorizationService::Grpc(GrpcService {
        timeout: Some(SOON),
        ..over_grpc()
    }))
}

/// A server that writes this again and again, as long as somebody reads; says how many bytes were taken.
async fn endless(begin: &'static str, piece: Vec<u8>) -> (std::net::SocketAddr, Arc<AtomicUsize>, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    let taken = Arc::new(AtomicUsize::new(0));
    let (owner, counter) = (tasks.clone(), taken.clone());
    tasks.spawn("endless", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (piece, counter) = (piece.clone(), counter.clone());
            owner.spawn("endless connection", async move {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(begin.as_bytes()).await;
                // At most a gigabyte.
                for _ in 0..(1 << 30) / piece.len() {
                    if stream.write_all(&piece).await.is_err() {
                        return;
                    }
                    counter.fetch_add(piece.len(), Ordering::SeqCst);
                }
            });
        }
    });
    (address, taken, tasks)
}

async fn is_refused(world: &World) -> bool {
    let answer = clock::timeout(PATIENCE, world.call(GET)).await;
    answer.expect("an answer in time").status == 403
}

#[tokio::test]
async fn a_service_that_hangs_or_breaks_off_refuses_in_time() {
    let backend = Backend::saying("hi").await;
    let (hanging, _, _tasks) = endless("", vec![b' '; 0x10000]).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaking = Backend::start(|_| String::new()).await;
    for service in [silent.local_addr().unwrap(), breaking.address, hanging] {
        let world = World::start(guarded(&backend, service, http_in_time())).await;
        assert!(is_refused(&world).await);
    }
    let hangs = Service::start(|_| Does::Hangs).await;
    let resets = Service::start(|_| Does::Resets).await;
    let fails = Service::start(|_| Does::Fails(14)).await;
    for service in [
        hangs.address,
        resets.address,
        fails.address,
        silent.local_addr().unwrap(),
    ] {
        let world = World::start(guarded(&backend, service, grpc_in_time())).await;
        assert!(is_refused(&world).await);
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_long_before_a_gigabyte() {
    let backend = Backend::saying("hi").await;
    let patient = || ask_http(over_http());
    let fields = b"x-filler: 0123456789012345678901234567890123456789\r\n".repeat(100);
    let body = vec![b'x'; 0x10000];
    for (begin, piece) in [
        ("HTTP/1.1 200 OK\r\n", fields),
        (
            "HTTP/1.1 403 No\r\ncontent-length: 1073741824\r\n\r\n",
            body.clone(),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", body),
    ] {
        let (service, taken, _tasks) = endless(begin, piece).await;
        let world = World::start(guarded(&backend, service, patient())).await;
        assert!(is_refused(&world).await, "{begin}");
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken < 64 << 20, "{begin}: {taken} bytes were taken");
    }
    let long = Service::start(|_| Does::Sends(vec![0; 8 << 20])).await;
    let world = World::start(guarded(&backend, long.address, super::ask_grpc())).await;
    assert!(is_refused(&world).await);
}

#[tokio::test]
async fn bytes_that_are_no_answer_refuse() {
    let backend = Backend::saying("hi").await;
    for bytes in [
        &b""[..],
        b"\0\0\0\0\x05",
        b"\0\0\0\0\x01\xff",
        b"\x01\0\0\0\x02\x08\0",
        b"\0\xff\xff\xff\xff",
        b"\0\0\0\0\0\0\0\0\0\0",
    ] {
        let service = Service::start(move |_| Does::Sends(bytes.to_vec())).await;
        let world = World::start(guarded(&backend, service.address, grpc_in_time())).await;
        assert!(is_refused(&world).await, "{bytes:?}");
    }
    let nonsense = Backend::start(|_| "SSH-2.0-OpenSSH\r\n\r\n".to_owned()).await;
    let world = World::start(guarded(&backend, nonsense.address, http_in_time())).await;
    assert!(is_refused(&world).await);
}

#[tokio::test]
async fn a_service_that_hangs_holds_up_nobody_else() {
    let backend = Backend::saying("hi").await;
    let service = Service::start(|question| {
        let attributes = question.attributes.unwrap();
        let http = attributes.request.unwrap().http.unwrap();
        match http.path.as_str() {
            "/slow" => Does::Hangs,
            _ => Does::Answers(Box::default()),
        }
    })
    .await;
    let world = World::start(guarded(&backend, service.address, super::ask_grpc())).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut client = world.connect().await;
        client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
        slow.push(client);
    }
    let mut client = world.connect().await;
    for _ in 0..20 {
        assert_eq!(client.call(GET).await.body, "hi");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_service_thinks_is_waited_for_no_longer() {
    let backend = Backend::saying("hi").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(guarded(
        &backend,
        silent.local_addr().unwrap(),
        ask_http(over_http()),
    ))
    .await;
    let mut client = world.connect().await;
    client.send(GET).await;
    let (mut asked, _) = silent.accept().await.unwrap();
    let mut question = [0; 8];
    asked.read_exact(&mut question).await.unwrap();
    drop(client);
    // The proxy gives the question up.
    let mut rest = Vec::new();
    let end = clock::timeout(PATIENCE, asked.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the connection to the service stays open");
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_waited_for_and_one_that_stops_disturbs_nobody() {
    let backend = Backend::start(|request| super::super::world::ok(&request[request.len() - 4..])).await;
    let service = Backend::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let filter = ExtAuthz {
        body: Some(snapshot::ext_authz::CheckedBody {
            most: 64,
            partial: false,
            as_bytes: false,
        }),
        ..ask_http(over_http())
    };
    let world = World::start(guarded(&backend, service.address, filter)).await;
    let mut stopped = world.connect().await;
    stopped
        .send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n1")
        .await;
    let mut slow = world.connect().await;
    slow.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
        .await;
    for byte in ["1", "2", "3"] {
        slow.send(byte).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(service.requests(), 0, "nobody is asked before the body is there");
    assert_eq!(slow.call("4").await.body, "1234");
    assert_eq!((service.requests(), backend.requests()), (1, 1));
}

/// An answer that is there is read in this time.
const MOMENT: Duration = Duration::from_millis(5);

/// A service that wants to see whole bodies, of any length.
fn sees_bodies() -> ExtAuthz {
    ExtAuthz {
        body: Some(snapshot::ext_authz::CheckedBody {
            most: u32::MAX,
            partial: false,
            as_bytes: false,
        }),
        ..ask_http(over_http())
    }
}

fn post(length: usize, body: usize) -> String {
    let body = "x".repeat(body);
    format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn who_finds_no_room_is_told_so_and_not_that_its_body_is_too_large() {
    let backend = Backend::saying("hi").await;
    let service = Backend::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let world = World::start(guarded(&backend, service.address, sees_bodies())).await;
    let mut greedy = Vec::new();
    let held = SHARE / 4 * 3;
    for _ in 0..KEPT / held {
        let mut client = world.connect().await;
        // They never end, and take much of what they may.
        client.send(&post(2 * SHARE, held)).await;
        greedy.push(client);
    }
    // More than what they leave.
    let innocent = post(SHARE / 2, SHARE / 2);
    // Whoever comes last finds no room: mostly the innocent one, sometimes one of the greedy.
    let refused = async {
        loop {
            let answer = world.call(&innocent).await;
            if answer.status != 200 {
                return answer;
            }
            for client in &mut greedy {
                if let Ok(answer) = clock::timeout(MOMENT, client.answer(false)).await {
                    return answer;
                }
            }
        }
    };
    let answer = clock::timeout(PATIENCE * 6, refused)
        .await
        .expect("all room is taken");
    assert_eq!((answer.status, answer.body.as_str()), (503, "envoy overloaded"));
    assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
    drop(greedy);
    let served = async { while world.call(&innocent).await.status != 200 {} };
    clock::timeout(PATIENCE, served)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn one_request_takes_no_more_than_its_share() {
    let backend = Backend::saying("hi").await;
    let service = Backend::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let world = World::start(guarded(&backend, service.address, sees_bodies())).await;
    let answer = world.call(&post(2 * SHARE, SHARE + SHARE / 64)).await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "Payload Too Large"));
}
