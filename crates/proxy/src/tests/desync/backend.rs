//! A backend that keeps every byte it receives, and answers when it believes to have a request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use daemon::{Tasks, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::world::PATIENCE;
use super::case::{self, Case};
use super::dialect::{self, DIALECTS, Dialect};

/// The backend.
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    _tasks: Tasks,
}

#[derive(Default)]
struct State {
    connections: Mutex<Vec<Recorded>>,
    script: Mutex<Script>,
    closed: AtomicUsize,
}

/// One connection.
#[derive(Default)]
struct Recorded {
    bytes: Vec<u8>,
    closed: bool,
    /// Where the bytes of the current case begin.
    mark: usize,
    /// It has switched protocols: from there on the bytes are not HTTP.
    opaque: Option<usize>,
}

/// What the current case has the backend say.
#[derive(Default)]
struct Script {
    upstream: Option<Vec<u8>>,
    hangs_up: bool,
}

impl Recorder {
    pub(super) async fn start(dialect: &'static Dialect) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tasks, state) = (
            listener.local_addr().unwrap(),
            Tasks::new(),
            Arc::<State>::default(),
        );
        let (owner, shared) = (tasks.clone(), state.clone());
        tasks.spawn("recorder", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                owner.spawn("recorder connection", async move {
                    let index = state.open();
                    let _ = converse(stream, &state, index, dialect).await;
                    state.connections.lock().unwrap()[index].closed = true;
                    state.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    /// Begins a case.
    pub(super) fn expect(&self, case: &Case) {
        for connection in self.state.connections.lock().unwrap().iter_mut() {
            connection.mark = connection.bytes.len();
        }
        *self.state.script.lock().unwrap() = Script {
            upstream: case.upstream.as_deref().map(case::bytes),
            hangs_up: case.hangs_up,
        };
    }

    /// Waits until the proxy has given up every connection on which a request is not complete.
    pub(super) async fn settled(&self) -> Result<(), String> {
        let settle = async {
            while self.open_and_incomplete() {
                clock::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        let waited = clock::timeout(PATIENCE, settle).await;
        waited.map_err(|_| "a connection with half a request stays open".to_owned())
    }

    fn open_and_incomplete(&self) -> bool {
        self.state.connections.lock().unwrap().iter().any(|connection| {
            let reading = dialect::requests(connection.current(), &DIALECTS[0]);
            !connection.closed && reading.is_ok_and(|reading| reading.begun.is_some())
        })
    }

    /// Reads all bytes of the case in every dialect. How many requests have begun.
    pub(super) fn verdict(&self, case: &Case, expected: &[String]) -> Result<usize, String> {
        let connections = self.state.connections.lock().unwrap();
        let mut begun = 0;
        for dialect in DIALECTS {
            let (mut requests, mut partly) = (Vec::new(), Vec::new());
            for connection in connections.iter() {
                let reading = dialect::requests(connection.current(), dialect)
                    .map_err(|why| format!("read by `{}`: {why} in {}", dialect.name, connection.text()))?;
                requests.extend(reading.requests);
                partly.extend(reading.begun);
            }
            // Of a request that a client gives up, as much may have left as happened to be sent.
            let known = partly
                .iter()
                .all(|part| case.partly.as_ref().is_some_and(|known| known.starts_with(part)));
            if requests != expected || partly.len() > 1 || !known {
                let name = dialect.name;
                return Err(format!(
                    "read by `{name}`, the backend has {requests:?} and a part of {partly:?}"
                ));
            }
            begun = requests.len() + partly.len();
        }
        let all: String = connections.iter().map(Recorded::text).collect();
        for text in &case.present {
            if !all.contains(&text.replace("\\r\\n", "\r\n")) {
                return Err(format!("the backend has not seen {text:?} in {all:?}"));
            }
        }
        for text in &case.absent {
            if all.contains(text) {
                return Err(format!("the backend has seen {text:?} in {all:?}"));
            }
        }
        Ok(begun)
    }
}

impl State {
    fn open(&self) -> usize {
        let mut connections = self.connections.lock().unwrap();
        connections.push(Recorded::default());
        connections.len() - 1
    }
}

impl Recorded {
    /// The bytes of the current case.
    fn current(&self) -> &[u8] {
        &self.bytes[self.mark..self.opaque.unwrap_or(self.bytes.len()).max(self.mark)]
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[self.mark..]).into_owned()
    }
}

async fn converse(
    mut stream: TcpStream,
    state: &State,
    index: usize,
    dialect: &Dialect,
) -> std::io::Result<()> {
    let mut answered = 0;
    let mut chunk = Vec::with_capacity(16 * 1024);
    while stream.read_buf(&mut chunk).await? > 0 {
        let requests = {
            let mut connections = state.connections.lock().unwrap();
            let connection = &mut connections[index];
            connection.bytes.append(&mut chunk);
            if connection.opaque.is_some() {
                continue;
            }
            match dialect::requests(&connection.bytes, dialect) {
                Ok(reading) => reading.requests,
                Err(_) => return Ok(()),
            }
        };
        for request in &requests[answered..] {
            answered += 1;
            let (scripted, hangs_up) = {
                let mut script = state.script.lock().unwrap();
                (script.upstream.take(), std::mem::take(&mut script.hangs_up))
            };
            if scripted
                .as_ref()
                .is_some_and(|bytes| bytes.starts_with(b"HTTP/1.1 101"))
            {
                let mut connections = state.connections.lock().unwrap();
                let end = connections[index].bytes.len();
                connections[index].opaque = Some(end);
            }
            let head = request.starts_with("HEAD ");
            stream
                .write_all(&scripted.unwrap_or_else(|| echo(request, head)))
                .await?;
            if hangs_up {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Says which request this is the answer to.
fn echo(request: &str, head: bool) -> Vec<u8> {
    let body = if head { "" } else { request };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        request.len()
    )
    .into_bytes()
}
