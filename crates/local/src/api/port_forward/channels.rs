//! Port-forwarding over WebSocket channels, one connection per port: channel `2n` carries the data of the n-th port,
//! `2n + 1` an error text; both begin with the port's number in two bytes, little-endian.

use bytes::{BufMut, Bytes, BytesMut};
use daemon::{Tasks, clock};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::super::upgrade::{self, FAREWELL, PING, STUCK, Socket};
use super::pump::{Event, Pod, Pump, What};

/// Serves the connection until all connections are over or the client goes.
pub(super) async fn serve(connection: Upgraded, ports: &[u16], pod: Pod, tasks: Tasks) {
    let (mut sink, mut messages) = upgrade::messages(connection).await.split();
    let (sender, events) = mpsc::channel(16);
    let begin = |(index, port): (u8, &u16)| Pump::start(&pod, *port, index, &sender, &tasks);
    let pumps: Vec<Pump> = (0..).zip(ports).map(begin).collect();
    drop(sender);
    let inputs: Vec<_> = pumps.iter().map(|pump| pump.to_pod.clone()).collect();
    tokio::select! {
        sent = write(&mut sink, ports, &pumps, events) => if sent.is_some() {
            let _ = clock::timeout(FAREWELL, sink.close()).await;
        },
        () = read(&mut messages, inputs) => {}
    }
}

/// Ends when the client has gone. One connection whose pod does not read holds up the others: the client has one
/// connection for all.
async fn read(messages: &mut SplitStream<Socket>, inputs: Vec<Option<mpsc::Sender<Bytes>>>) {
    while let Some(Ok(message)) = messages.next().await {
        match message {
            Message::Binary(_) | Message::Text(_) => {
                let bytes = message.into_data();
                let Some(channel) = bytes.first().copied() else {
                    continue;
                };
                let input = inputs.get(usize::from(channel / 2)).cloned().flatten();
                if let Some(input) = input.filter(|_| channel % 2 == 0) {
                    // A connection that has ended takes nothing any more.
                    let _ = input.send(bytes.slice(1..)).await;
                }
            }
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Ends when all connections have; `None` when the client takes no more.
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    ports: &[u16],
    pumps: &[Pump],
    mut events: mpsc::Receiver<Event<u8>>,
) -> Option<()> {
    for (index, port) in (0..).zip(ports) {
        for channel in [2 * index, 2 * index + 1] {
            send(sink, message(channel, &port.to_le_bytes())).await?;
        }
    }
    let mut left = pumps.len();
    while left > 0 {
        let event = tokio::select! {
            biased;
            event = events.recv() => event?,
            () = clock::sleep(PING) => {
                send(sink, Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        let channel = 2 * event.number;
        match event.what {
            What::Data(bytes) => {
                send(sink, message(channel, &bytes)).await?;
                pumps[usize::from(event.number)].sent();
            }
            // This protocol cannot say that one direction has ended, so that the end of the pod's is the end.
            What::End => left -= 1,
            What::Over => {}
            What::Failed(why) => {
                send(sink, message(channel + 1, why.as_bytes())).await?;
                left -= 1;
            }
        }
    }
    Some(())
}

fn message(channel: u8, content: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(1 + content.len());
    bytes.put_u8(channel);
    bytes.put_slice(content);
    Message::Binary(bytes.freeze())
}

async fn send(sink: &mut SplitSink<Socket, Message>, message: Message) -> Option<()> {
    clock::timeout(STUCK, sink.send(message)).await.ok()?.ok()
}
