//! Who is attached to a container, on the supervisor's side: everybody sees the output, anybody may write the input.
//!
//! A client that takes nothing holds the program up for [`PATIENCE`] once, and then it is no client any more.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use daemon::{Tasks, clock};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use super::attach::Piece;
use crate::api::node_link::OutputStream;

/// How long the program waits for a client whose queue is full.
const PATIENCE: Duration = Duration::from_secs(2);
/// For clients to take the last output.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pieces that wait for one client, of 64 KiB at most.
const QUEUE: usize = 16;
/// Clients at once.
const MOST: usize = 32;

/// What clients send to the program.
#[derive(Debug)]
pub(super) enum Fed {
    Bytes(Bytes),
    Size(u16, u16),
    /// A client that could write has no more, or has gone.
    End,
}

/// One client's queue of output.
type Listener = mpsc::Sender<(OutputStream, Bytes)>;
type Listeners = Mutex<Vec<Listener>>;

pub(super) struct Audience {
    listeners: Arc<Listeners>,
    /// To whom input goes; none where the container has no standard input.
    input: Option<mpsc::Sender<Fed>>,
    exit: watch::Sender<Option<i32>>,
    /// Closed when the last client has been told everything.
    served: (mpsc::Sender<()>, mpsc::Receiver<()>),
    tasks: Tasks,
}

impl Audience {
    pub(super) fn new(input: Option<mpsc::Sender<Fed>>) -> Self {
        Self {
            listeners: Arc::default(),
            input,
            exit: watch::Sender::new(None),
            served: mpsc::channel(1),
            tasks: Tasks::new(),
        }
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a client in. One too many finds its socket closed.
    pub(super) fn admit(&self, socket: OwnedFd, stdin: bool) -> io::Result<()> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(socket)?.into_split();
        let (listener, output) = mpsc::channel(QUEUE);
        {
            let mut listeners = self.listeners();
            listeners.retain(|listener| !listener.is_closed());
            if listeners.len() >= MOST {
                return Ok(());
            }
            listeners.push(listener);
        }
        let input = self.input.clone().filter(|_| stdin);
        let (exit, served) = (self.exit.subscribe(), self.served.0.clone());
        self.tasks.spawn("attached client", async move {
            tokio::select! {
                () = show(writer, output, exit) => {}
                () = hear(reader, input.clone()) => {}
            }
            if let Some(input) = input {
                let _ = input.send(Fed::End).await;
            }
            drop(served);
        });
        Ok(())
    }

    /// Shows output to everybody.
    pub(super) async fn tell(&self, stream: OutputStream, bytes: &[u8]) {
        let listeners = self.listeners().clone();
        if listeners.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(bytes);
        for listener in listeners {
            let telling = listener.send((stream, bytes.clone()));
            if !matches!(clock::timeout(PATIENCE, telling).await, Ok(Ok(()))) {
                self.listeners().retain(|other| !other.same_channel(&listener));
            }
        }
    }

    /// The program has ended and written its last: waits until everybody knows, for some time.
    pub(super) async fn dismiss(self, code: i32) {
        self.exit.send_replace(Some(code));
        self.listeners().clear();
        let (sender, mut served) = self.served;
        drop(sender);
        let _ = clock::timeout(FAREWELL, served.recv()).await;
    }
}

/// Output, and at the end the exit code.
async fn show(
    mut writer: OwnedWriteHalf,
    mut output: mpsc::Receiver<(OutputStream, Bytes)>,
    exit: watch::Receiver<Option<i32>>,
) {
    while let Some((stream, bytes)) = output.recv().await {
        if writer
            .write_all(&Piece::Output(stream, bytes).encode())
            .await
            .is_err()
        {
            return;
        }
    }
    // Without a code it is the client that was given up.
    let code = *exit.borrow();
    if let Some(code) = code {
        let _ = writer.write_all(&Piece::Exit(code).encode()).await;
    }
}

/// Ends when the client goes.
async fn hear(mut reader: OwnedReadHalf, input: Option<mpsc::Sender<Fed>>) {
    while let Some(piece) = Piece::receive(&mut reader).await {
        let fed = match piece {
            Piece::Input(bytes) => Fed::Bytes(bytes),
            Piece::EndOfInput => Fed::End,
            Piece::Size(columns, rows) => Fed::Size(columns, rows),
            Piece::Output(..) | Piece::Exit(_) => return,
        };
        if let Some(input) = &input {
            // A program that reads no more does not mind.
            let _ = input.send(fed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(audience: &Audience, stdin: bool) -> UnixStream {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        audience.admit(theirs.into(), stdin).unwrap();
        UnixStream::from_std(ours).unwrap()
    }

    #[tokio::test]
    async fn everybody_sees_the_output_and_the_end() {
        let audience = Audience::new(None);
        let mut clients = [admitted(&audience, true), admitted(&audience, false)];
        audience.tell(OutputStream::Stderr, b"hello").await;
        let dismissed = audience.dismiss(3);
        let seen = async {
            for client in &mut clients {
                let hello = Piece::Output(OutputStream::Stderr, Bytes::from_static(b"hello"));
                assert_eq!(Piece::receive(client).await, Some(hello));
                assert_eq!(Piece::receive(client).await, Some(Piece::Exit(3)));
            }
        };
        tokio::join!(dismissed, seen);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let audience = Audience::new(None);
        let (_stuck, mut good) = (admitted(&audience, false), admitted(&audience, false));
        let reading = async {
            let mut count = 0;
            while let Some(Piece::Output(_, bytes)) = Piece::receive(&mut good).await {
                count += bytes.len();
            }
            count
        };
        let writing = async {
            for _ in 0..100 {
                audience.tell(OutputStream::Stdout, &[0; 64 << 10]).await;
            }
            assert_eq!(audience.listeners().len(), 1);
            audience.dismiss(0).await;
        };
        let (count, ()) = tokio::join!(reading, writing);
        assert_eq!(count, 100 * (64 << 10));
    }

    #[tokio::test]
    async fn the_end_of_a_client_with_input_is_told() {
        let (input, mut fed) = mpsc::channel(8);
        let audience = Audience::new(Some(input));
        let mut client = admitted(&audience, true);
        client
            .write_all(&Piece::Input(Bytes::from_static(b"x")).encode())
            .await
            .unwrap();
        assert!(matches!(fed.recv().await, Some(Fed::Bytes(bytes)) if bytes == "x"));
        drop(client);
        assert!(matches!(fed.recv().await, Some(Fed::End)));
        let watcher = admitted(&audience, false);
        drop(watcher);
        audience.dismiss(0).await;
        assert!(fed.recv().await.is_none(), "who cannot write ends nothing");
    }
}
