//! The life of one proxy's stream: who it is, what it should have, and the conversation until it has it.

use std::time::Duration;

use daemon::Drain;
use daemon::clock::{self, Instant};
use tonic::Status;
use xds::message::{Request, Response};
use xds::transport::Session;
use xds::{Kind, Server};

use super::status::Registered;
use super::{Caller, Peer, Pusher, World};
use crate::ca::secrets::Keys;

/// For the first message after the stream is open.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// For a message to leave; a proxy that takes none for so long is gone.
const SEND: Duration = Duration::from_secs(60);
/// For the questions that a push should raise.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves a stream until it ends. An error is told to the proxy.
pub(super) async fn serve(
    pusher: &Pusher,
    mut session: Session,
    caller: &Caller,
    mut drain: Drain,
) -> Result<(), Status> {
    let first = clock::timeout(INTRODUCTION, session.requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the first request did not come in time"))??;
    let Some(first) = first else { return Ok(()) };
    let peer = Peer::of(first.introduction().as_ref())
        .map_err(|refused| Status::invalid_argument(refused.to_string()))?;
    let peer = peer
        .confirm(caller)
        .map_err(|refused| Status::permission_denied(refused.to_string()))?;
    let world = pusher.worlds.borrow().clone();
    let checked = world.map_or(Ok(()), |world| peer.check_account(caller, &world.mesh));
    checked.map_err(|refused| Status::permission_denied(refused.to_string()))?;
    tracing::info!(target: "ads", proxy = peer.id, "connected");
    let mut stream = Stream::new(pusher.clone(), peer, caller);
    stream.take(&first);
    loop {
        stream.adopt_latest();
        stream.send_what_is_due(&session).await?;
        tokio::select! {
            message = session.requests.message() => match message? {
                Some(request) => stream.take(&request),
                None => break,
            },
            () = changed(&mut stream.keys) => {}
            changed = stream.pusher.worlds.changed() => if changed.is_err() { break },
            () = until(stream.patience) => stream.give_up_waiting(),
            () = drain.wait() => return Err(Status::unavailable("the controller is stopping")),
        }
    }
    tracing::info!(target: "ads", proxy = stream.peer.id, "disconnected");
    Ok(())
}

/// Becomes ready when keys or roots have changed.
async fn changed(keys: &mut Option<Keys>) {
    match keys {
        Some(keys) => keys.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What is known of the conversation.
struct Stream {
    pusher: Pusher,
    peer: Peer,
    registered: Option<Registered>,
    server: Server,
    keys: Option<Keys>,
    world: Option<World>,
    /// The picture that the proxy does not have yet.
    converging: bool,
    patience: Option<Instant>,
    pushed: Option<Instant>,
}

impl Stream {
    fn new(pusher: Pusher, peer: Peer, caller: &Caller) -> Self {
        let registered = Some(pusher.connections.add(peer.clone(), caller.name()));
        pusher.metrics.set_connected(pusher.connections.count());
        Self {
            keys: pusher
                .signer
                .clone()
                .map(|signer| Keys::new(signer, caller.clone())),
            pusher,
            peer,
            registered,
            server: Server::new(),
            world: None,
            converging: false,
            patience: None,
            pushed: None,
        }
    }

    /// Takes over the latest picture, if there is a newer one.
    fn adopt_latest(&mut self) {
        let latest = self.pusher.worlds.borrow_and_update().clone();
        let Some(latest) = latest else { return };
        if self
            .world
            .as_ref()
            .is_some_and(|world| world.number == latest.number)
        {
            return;
        }
        let before = self.server.target().cloned();
        let target = self.pusher.cache.encoded(&latest, &self.peer, before.as_deref());
        self.server.update(target.clone());
        self.converging = true;
        self.update(|connection| {
            connection.world = latest.number;
            connection.target = Some(target);
        });
        self.world = Some(latest);
    }

    fn take(&mut self, request: &Request) {
        if let Some(keys) = &mut self.keys {
            keys.take(request);
        }
        let Some(answer) = self.server.request(request) else {
            return;
        };
        for rejected in &answer.rejected {
            self.pusher.metrics.rejected(answer.kind);
            tracing::warn!(target: "ads", proxy = self.peer.id, %rejected, "a proxy refuses a resource");
        }
        if let Some(pushed) = self.pushed.take() {
            self.pusher.metrics.pushed(answer.kind, clock::now() - pushed);
        }
        let nonce = request.response_nonce.as_str();
        self.update(|connection| connection.answered(answer.kind, nonce, &answer.rejected));
    }

    async fn send_what_is_due(&mut self, session: &Session) -> Result<(), Status> {
        if let Some(keys) = &mut self.keys {
            keys.adopt();
        }
        while let Some(response) = self.next_response() {
            let sent = clock::timeout(SEND, session.responses.send(Ok(response))).await;
            match sent {
                Ok(Ok(())) => {}
                // The proxy closed the stream; the next read says so too.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Status::deadline_exceeded("the proxy takes no messages")),
            }
        }
        self.patience = match self.server.waits() {
            true => self.patience.or_else(|| Some(clock::now() + PATIENCE)),
            false => None,
        };
        self.note_sync();
        Ok(())
    }

    /// Keys first: listeners wait for them.
    fn next_response(&mut self) -> Option<Response> {
        if let Some(secrets) = self.keys.as_mut().and_then(Keys::poll) {
            return Some(secrets);
        }
        let response = self.server.poll()?;
        self.note_sent(&response);
        Some(response)
    }

    fn give_up_waiting(&mut self) {
        self.patience = None;
        self.server.give_up_waiting();
    }

    fn note_sent(&mut self, response: &Response) {
        self.pushed = Some(clock::now());
        if let Some(kind) = Kind::from_type_url(&response.type_url) {
            let nonce = response.nonce.clone();
            self.update(|connection| connection.exchange_mut(kind).sent = nonce);
        }
    }

    fn note_sync(&mut self) {
        let states = Kind::ALL.map(|kind| (kind, self.server.serves(kind), self.server.in_sync_for(kind)));
        let roots = self.keys.as_ref().and_then(Keys::acknowledged);
        self.update(|connection| {
            connection.roots = roots;
            for (kind, served, in_sync) in states {
                let exchange = connection.exchange_mut(kind);
                (exchange.served, exchange.in_sync) = (served, in_sync);
            }
        });
        // A proxy has a picture once it asked for listeners, its last question, and has them all.
        let complete = self.server.serves(Kind::Listener) && self.server.in_sync();
        if let (true, true, Some(world)) = (self.converging, complete, &self.world) {
            self.converging = false;
            self.pusher.metrics.converged(clock::now() - world.changed);
        }
    }

    fn update(&self, change: impl FnOnce(&mut super::status::Connection)) {
        if let Some(registered) = &self.registered {
            registered.update(change);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.registered = None;
        self.pusher.metrics.set_connected(self.pusher.connections.count());
    }
}
