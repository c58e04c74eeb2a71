//! Fetching from servers on loopback that behave, and from those that do not.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const KEYS: &str = r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"},{"kty":"oct","kid":"b","k":"BBBB"}]}"#;
const TURNED: &str = r#"{"keys":[{"kty":"oct","kid":"b","k":"BBBB"},{"kty":"oct","kid":"a","k":"AAAA"}]}"#;
const LIMIT: Duration = Duration::from_secs(20);

/// Answers a connection.
type Behaviour = Arc<dyn Fn(&str) -> String + Send + Sync>;

fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A server whose answers depend on the path.
async fn server(tasks: &Tasks, behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = tasks.clone();
    tasks.spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            own.spawn("answer", answer(stream, behaviour.clone()));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, behaviour: Behaviour) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let text = behaviour(path);
    // A client that has enough does not take the rest.
    let _ = stream.write_all(text.as_bytes()).await;
    if path.starts_with("/hang") {
        std::future::pending::<()>().await;
    }
}

fn settings() -> Settings {
    Settings {
        insecure: true,
        loopback: true,
        ..Settings::default()
    }
}

fn fetcher() -> Fetcher {
    Fetcher::new(&settings())
}

async fn fetched(address: SocketAddr, path: &str) -> Result<String, String> {
    let source = KeySource::Uri(format!("http://{address}{path}"));
    let fetched = fetcher().fetch(&source, LIMIT).await;
    fetched.map_err(|error| error.to_string())
}

fn asked_by(namespaces: &[&str]) -> Demand {
    Demand {
        limit: LIMIT,
        namespaces: namespaces.iter().map(ToString::to_string).collect(),
    }
}

#[tokio::test]
async fn keys_are_fetched_from_where_they_are_or_where_the_issuer_says() {
    let tasks = Tasks::new();
    let own: Arc<Mutex<String>> = Arc::default();
    let named = own.clone();
    let address = server(
        &tasks,
        Arc::new(move |path| match path {
            "/keys" => response("200 OK", "", KEYS),
            "/moved" => response("302 Found", "location: further\r\n", ""),
            "/further" => response("307 Temporary Redirect", "location: /keys\r\n", ""),
            "/i/.well-known/openid-configuration" => {
                let body = format!("{{\"jwks_uri\": \"http://{}/keys\"}}", named.lock().unwrap());
                response("200 OK", "", &body)
            }
            "/none/.well-known/openid-configuration" => response("200 OK", "", "{\"jwks_uri\": 7}"),
            _ => response("404 Not Found", "", "a secret"),
        }),
    )
    .await;
    *own.lock().unwrap() = address.to_string();
    assert_eq!(fetched(address, "/keys").await.as_deref(), Ok(KEYS));
    assert_eq!(fetched(address, "/moved").await.as_deref(), Ok(KEYS));
    assert_eq!(fetched(address, "/").await, Err("status 404".to_owned()));
    let of = |issuer: &str| KeySource::Issuer(format!("http://{address}/{issuer}"));
    let discovered = fetcher().fetch(&of("i/"), LIMIT).await;
    assert_eq!(discovered.ok().as_deref(), Some(KEYS));
    let none = fetcher().fetch(&of("none"), LIMIT).await;
    assert!(matches!(none, Err(FetchError::Discovery)));
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn servers_that_misbehave_are_given_up() {
    let tasks = Tasks::new();
    let address = server(
        &tasks,
        Arc::new(|path| match path {
            "/loop" => response("301 Moved", "location: /loop\r\n", ""),
            "/metadata" => response("302 Found", "location: http://169.254.169.254/latest\r\n", ""),
            "/nowhere" => response("302 Found", "", ""),
            "/file" => response("302 Found", "location: file:///etc/passwd\r\n", ""),
            "/large" => format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n{}",
                "x".repeat(2 << 20)
            ),
            "/endless" => {
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
                    chunk.repeat(40)
                )
            }
            "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{".to_owned(),
            "/bytes" => "no HTTP at all\r\n\r\n".to_owned(),
            _ => String::new(),
        }),
    )
    .await;
    for (path, part) in [
        ("/loop", "redirected more than 10 times"),
        ("/metadata", "connection blocked: 169.254.169.254 is link-local"),
        ("/nowhere", "redirected without a location"),
        ("/file", "is not an http or https address"),
        ("/large", "larger than 1 MiB"),
        ("/endless", "larger than 1 MiB"),
        ("/short", "broke off"),
        ("/bytes", "HTTP: "),
    ] {
        let error = fetched(address, path).await.unwrap_err();
        assert!(error.contains(part), "{path}: {error}");
    }
    let source = KeySource::Uri(format!("http://{address}/hang"));
    let hangs = fetcher().fetch(&source, Duration::from_millis(50)).await;
    assert!(matches!(hangs, Err(FetchError::Timeout(_))));
    tasks.stop(Duration::from_secs(5)).await;
}

/// What the keeper tells, once that holds.
async fn told(keys: &mut Keys, holds: impl Fn(&KeySets) -> bool) -> Arc<KeySets> {
    let sets = keys.fetched.wait_for(|sets| holds(sets));
    let sets = clock::timeout(LIMIT, sets).await.expect("in time").unwrap();
    sets.clone()
}

#[tokio::test]
async fn the_last_good_keys_stay_while_their_source_fails_and_go_when_nobody_wants_them() {
    let tasks = Tasks::new();
    let (_trigger, drain) = daemon::drain::channel();
    let text: Arc<Mutex<&str>> = Arc::new(Mutex::new(KEYS));
    let said = text.clone();
    let address = server(
        &tasks,
        Arc::new(move |_| response("200 OK", "", said.lock().unwrap().as_ref())),
    )
    .await;
    let settings = Settings {
        refresh: Duration::from_millis(20),
        ..settings()
    };
    let mut keys = start(&settings, &Registry::new(), &tasks, drain);
    let source = KeySource::Uri(format!("http://{address}/"));
    keys.wanted
        .send_replace(Wanted::from([(source.clone(), asked_by(&["shop"]))]));
    let first = told(&mut keys, |sets| !sets.is_empty()).await;
    assert_eq!(first[&source].keys.as_deref(), Some(KEYS));
    for bad in ["no keys", "{\"keys\": []}"] {
        *text.lock().unwrap() = bad;
        let failing = told(&mut keys, |sets| {
            sets.get(&source).is_some_and(|one| one.problem.is_some())
        })
        .await;
        assert_eq!(failing[&source].keys.as_deref(), Some(KEYS), "{bad}");
        *text.lock().unwrap() = TURNED;
        let again = told(&mut keys, |sets| {
            sets.get(&source).is_some_and(|one| one.problem.is_none())
        })
        .await;
        assert_eq!(
            again[&source].keys.as_deref(),
            Some(KEYS),
            "another order is no news"
        );
    }
    keys.wanted.send_replace(Wanted::new());
    told(&mut keys, KeySets::is_empty).await;
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_source_that_hangs_holds_up_no_other_one() {
    let tasks = Tasks::new();
    let (_trigger, drain) = daemon::drain::channel();
    let hanging = server(&tasks, Arc::new(|_| String::new())).await;
    let good = server(&tasks, Arc::new(|_| response("200 OK", "", KEYS))).await;
    let mut keys = start(&settings(), &Registry::new(), &tasks, drain);
    let slow = KeySource::Uri(format!("http://{hanging}/hang"));
    let quick = KeySource::Uri(format!("http://{good}/"));
    let unreachable = KeySource::Uri("http://169.254.169.254/".to_owned());
    let wanted = [slow.clone(), quick.clone(), unreachable.clone()];
    let wanted = wanted.map(|source| (source, asked_by(&["shop"])));
    keys.wanted.send_replace(wanted.into());
    let sets = told(&mut keys, |sets| {
        sets.contains_key(&quick) && sets.contains_key(&unreachable)
    })
    .await;
    assert!(sets[&quick].keys.is_some() && !sets.contains_key(&slow));
    let problem = sets[&unreachable].problem.as_deref().unwrap();
    assert_eq!(problem, "connections to its address are not allowed");
    tasks.stop(Duration::from_secs(5)).await;
}

/// Sources at a server that never answers, all of them before `http://127.0.0.1:PORT/keys` in their order.
fn hanging(address: SocketAddr, namespaces: &[&str], each: usize) -> Wanted {
    let sources = namespaces.iter().flat_map(|namespace| {
        let source = move |number| KeySource::Uri(format!("http://{address}/hang/{namespace}/{number}"));
        (0..each).map(move |number| (source(number), asked_by(&[namespace])))
    });
    sources.collect()
}

#[tokio::test(start_paused = true)]
async fn no_namespace_keeps_the_keys_of_another_from_being_fetched() {
    let tasks = Tasks::new();
    let (_trigger, drain) = daemon::drain::channel();
    let good = |path: &str| match path {
        "/keys" => response("200 OK", "", KEYS),
        _ => String::new(),
    };
    let address = server(&tasks, Arc::new(good)).await;
    let mut keys = start(&settings(), &Registry::new(), &tasks, drain);
    let source = KeySource::Uri(format!("http://{address}/keys"));
    let mut wanted = hanging(address, &["greedy"], 3 * AT_ONCE);
    wanted.insert(source.clone(), asked_by(&["greedy", "shop"]));
    let begun = clock::now();
    keys.wanted.send_replace(wanted);
    let sets = told(&mut keys, |sets| sets.contains_key(&source)).await;
    assert!(sets[&source].keys.is_some());
    assert!(clock::now() - begun < LIMIT, "nothing hung up had to end for it");
    tasks.stop(Duration::from_secs(5)).await;
}

/// A keeper that starts nothing by itself.
fn keeper(wanted: &Wanted) -> Keeper {
    let (told, _) = watch::channel(Arc::new(KeySets::new()));
    let mut keeper = Keeper {
        refresh: Duration::from_secs(60),
        fetcher: Arc::new(fetcher()),
        entries: BTreeMap::new(),
        running: BTreeMap::new(),
        turns: BTreeMap::new(),
        told,
        counts: Counts::new(&Registry::new()),
        tasks: Tasks::new(),
    };
    keeper.want(wanted);
    keeper
}

/// Has everything that was taken fail after its time.
async fn fail(keeper: &mut Keeper, taken: Vec<(KeySource, Duration)>) {
    clock::sleep(LIMIT).await;
    for (source, limit) in taken {
        keeper.learn(&source, Err(FetchError::Timeout(limit)));
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_take_turns_however_many_sources_they_name() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let names: Vec<String> = (0..2 * AT_ONCE).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut wanted = hanging(address, &names, AT_ONCE);
    let mut keeper = keeper(&wanted);
    let last = KeySource::Uri("http://z/".to_owned());
    clock::sleep(Duration::from_secs(1)).await;
    wanted.insert(last.clone(), asked_by(&["shop"]));
    keeper.want(&wanted);
    let mut rounds = 0;
    loop {
        let taken = keeper.take_places(clock::now());
        assert_eq!(keeper.running.len(), AT_ONCE);
        if taken.iter().any(|(source, _)| *source == last) {
            break;
        }
        rounds += 1;
        assert!(rounds <= 2, "each of the others has had one place by then");
        fail(&mut keeper, taken).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_namespaces_leave_places_for_all_others_from_the_start() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut wanted = hanging(address, &["a", "b", "c", "d"], AT_ONCE);
    let with = |wanted: &mut Wanted, source: &str, namespace: &str| {
        let source = KeySource::Uri(source.to_owned());
        wanted.insert(source.clone(), asked_by(&[namespace]));
        source
    };
    let first = with(&mut wanted, "http://z/", "shop");
    let mut keeper = keeper(&wanted);
    let taken = keeper.take_places(clock::now());
    assert!(taken.iter().any(|(source, _)| *source == first));
    assert_eq!(taken.len(), AT_ONCE - OF_FIRST_ONES);
    for namespace in ["a", "b", "c", "d"] {
        let of_it = keeper.running.values().filter(|one| *one == namespace);
        assert!(of_it.count() <= OF_ONE_NAMESPACE);
    }
    let later = with(&mut wanted, "http://zz/", "bank");
    keeper.want(&wanted);
    assert_eq!(keeper.take_places(clock::now()), [(later, LIMIT)]);
}

#[tokio::test(start_paused = true)]
async fn of_one_namespace_the_source_that_has_been_due_longest_goes_first() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut wanted = hanging(address, &["a"], 2 * OF_ONE_NAMESPACE);
    let mut keeper = keeper(&wanted);
    let last = KeySource::Uri("http://0/".to_owned());
    clock::sleep(Duration::from_secs(1)).await;
    wanted.insert(last.clone(), asked_by(&["a"]));
    keeper.want(&wanted);
    for round in 0..3 {
        let taken = keeper.take_places(clock::now());
        assert_eq!(taken.len(), OF_ONE_NAMESPACE);
        assert_eq!(taken[0].0 == last, round == 2, "{taken:?}");
        fail(&mut keeper, taken).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_given_up_and_wanted_again_has_one_place() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let wanted = hanging(address, &["a", "b"], 2 * AT_ONCE);
    let mut keeper = keeper(&wanted);
    assert_eq!(keeper.take_places(clock::now()).len(), 2 * OF_ONE_NAMESPACE);
    keeper.want(&Wanted::new());
    keeper.want(&wanted);
    assert_eq!(
        keeper.take_places(clock::now()).len(),
        0,
        "the first ones still run"
    );
}

#[tokio::test(start_paused = true)]
async fn keys_for_which_there_is_no_room_are_not_taken_and_their_namespace_is_told() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut wanted = hanging(address, &["greedy"], 8);
    let shared = KeySource::Issuer("shared".to_owned());
    wanted.insert(shared.clone(), asked_by(&["greedy", "shop"]));
    let mut keeper = keeper(&wanted);
    // Blanks between keys are bytes, too.
    let large = format!("{}{KEYS}", " ".repeat(900 << 10));
    for source in wanted.keys().filter(|source| **source != shared) {
        keeper.learn(source, Ok(large.clone()));
    }
    keeper.learn(&shared, Ok(large.clone()));
    let sets = keeper.told.borrow().clone();
    let kept: Vec<bool> = sets.values().map(|fetched| fetched.keys.is_some()).collect();
    assert_eq!(kept, [true, true, true, true, false, false, false, false, true]);
    let refused = sets.values().find_map(|fetched| fetched.problem.as_deref());
    let told = "there is no room for them: the keys of its namespace take more than 4 MiB";
    assert_eq!(refused, Some(told));
    wanted.insert(shared.clone(), asked_by(&["greedy"]));
    keeper.want(&wanted);
    assert!(
        keeper.told.borrow()[&shared].keys.is_none(),
        "nobody has room any more"
    );
}

#[test]
fn the_key_for_issuers_that_were_never_reached_is_a_key() {
    assert_eq!(KeySet::parse(translate::jwt::NOBODYS_KEYS).unwrap().len(), 1);
}
