//! Attached clients, as the node sees them: what is spoken with the supervisor, and how a client gets there.
//!
//! Pieces: a kind, a length (four bytes, big-endian), that many bytes. A client that leaves changes nothing for the
//! program, but that its standard input may end (`stdinOnce`).

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use daemon::Tasks;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Signals, blocking};
use crate::api::node_link::{Exec, OutputStream};

/// Larger ones make no sense: both sides read 64 KiB at most.
const LARGEST: usize = 1 << 20;

/// A container that clients may attach to.
#[derive(Clone, Debug)]
pub(crate) struct Attachable {
    pub(crate) signals: Arc<Mutex<Signals>>,
    /// Somebody may write to it.
    pub(crate) stdin: bool,
}

/// One message between node and supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Input(Bytes),
    EndOfInput,
    /// Columns and rows.
    Size(u16, u16),
    Output(OutputStream, Bytes),
    /// The program has ended, with this code.
    Exit(i32),
}

impl Piece {
    pub(super) fn encode(&self) -> Bytes {
        let (kind, content): (u8, &[u8]) = match self {
            Self::Input(bytes) => (0, bytes),
            Self::Output(OutputStream::Stdout, bytes) => (1, bytes),
            Self::Output(OutputStream::Stderr, bytes) => (2, bytes),
            Self::EndOfInput => (3, &[]),
            Self::Size(columns, rows) => {
                let ([a, b], [c, d]) = (columns.to_be_bytes(), rows.to_be_bytes());
                (4, &[a, b, c, d])
            }
            Self::Exit(code) => (5, &code.to_be_bytes()),
        };
        let mut out = BytesMut::with_capacity(5 + content.len());
        out.put_u8(kind);
        out.put_u32(u32::try_from(content.len()).expect("pieces are short"));
        out.put_slice(content);
        out.freeze()
    }

    /// The next piece; `None` at the end, or when it makes no sense. Not to be dropped half-way.
    pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let kind = from.read_u8().await.ok()?;
        let length = usize::try_from(from.read_u32().await.ok()?).ok()?;
        let mut content = vec![0; (length <= LARGEST).then_some(length)?];
        from.read_exact(&mut content).await.ok()?;
        Some(match (kind, content.as_slice()) {
            (0, _) => Self::Input(content.into()),
            (1, _) => Self::Output(OutputStream::Stdout, content.into()),
            (2, _) => Self::Output(OutputStream::Stderr, content.into()),
            (3, []) => Self::EndOfInput,
            (4, &[a, b, c, d]) => Self::Size(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            (5, code) => Self::Exit(i32::from_be_bytes(code.try_into().ok()?)),
            _ => return None,
        })
    }
}

/// Attaches a client: it sees what the program writes from now on.
pub(crate) async fn start(to: &Attachable, stdin: bool, tasks: &Tasks) -> io::Result<Exec> {
    let (ours, theirs) = UnixStream::pair()?;
    let stdin = stdin && to.stdin;
    to.signals.lock().await.attach(&blocking(theirs)?, stdin).await?;
    let (mut reader, mut writer) = ours.into_split();
    let (input, mut from_client) = mpsc::channel::<Bytes>(16);
    let (to_client, output) = mpsc::channel(16);
    let (resize, mut sizes) = mpsc::channel(4);
    let (ended, exit) = oneshot::channel();
    let client = to_client.clone();
    let send = async move {
        let (mut typing, mut sizing) = (true, true);
        while typing || sizing {
            let piece = tokio::select! {
                size = sizes.recv(), if sizing => match size {
                    Some((columns, rows)) => Piece::Size(columns, rows),
                    None => { sizing = false; continue }
                },
                bytes = from_client.recv(), if typing => match bytes {
                    Some(bytes) => Piece::Input(bytes),
                    None => { typing = false; Piece::EndOfInput }
                },
            };
            if writer.write_all(&piece.encode()).await.is_err() {
                break;
            }
        }
        // The supervisor would take the end of the socket for the client's.
        client.closed().await;
    };
    let receive = async move {
        while let Some(piece) = Piece::receive(&mut reader).await {
            match piece {
                Piece::Output(stream, bytes) => {
                    if to_client.send((stream, bytes)).await.is_err() {
                        return;
                    }
                }
                Piece::Exit(code) => {
                    let _ = ended.send(code);
                    return;
                }
                Piece::Input(_) | Piece::EndOfInput | Piece::Size(..) => return,
            }
        }
    };
    tasks.spawn("attached client", async move {
        tokio::select! {
            () = send => {}
            () = receive => {}
        }
    });
    Ok(Exec {
        stdin: stdin.then_some(input),
        output,
        resize,
        exit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_arrive_as_they_were_sent() {
        let pieces = [
            Piece::Input(Bytes::from_static(b"in")),
            Piece::Output(OutputStream::Stdout, Bytes::from_static(b"out")),
            Piece::Output(OutputStream::Stderr, Bytes::new()),
            Piece::EndOfInput,
            Piece::Size(132, 43),
            Piece::Exit(-1),
        ];
        let stream = pieces.iter().map(Piece::encode).collect::<Vec<_>>().concat();
        let mut stream = stream.as_slice();
        for piece in pieces {
            assert_eq!(Piece::receive(&mut stream).await, Some(piece));
        }
        assert_eq!(Piece::receive(&mut stream).await, None);
    }

    #[tokio::test]
    async fn a_piece_that_makes_no_sense_ends_the_conversation() {
        for nonsense in [
            &[9, 0, 0, 0, 0][..],
            &[4, 0, 0, 0, 1, 7],
            &[0, 0xff, 0, 0, 0],
            &[1, 0],
        ] {
            let mut stream = nonsense;
            assert_eq!(Piece::receive(&mut stream).await, None, "{nonsense:?}");
        }
    }
}
