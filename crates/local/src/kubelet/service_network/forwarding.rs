//! From a socket of the host to an address that only the node reaches.
//!
//! Few at a time, and none for ever: connections and datagram senders are counted, and silent senders are forgotten.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::{Tasks, clock};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at once through one socket.
const CONNECTIONS: usize = 1024;
/// For an endpoint to take a connection.
const DIAL: Duration = Duration::from_secs(10);
/// When no more connections can be accepted (out of descriptors, most likely).
const PAUSE: Duration = Duration::from_millis(100);
/// Senders of datagrams at once through one socket, and how long one may be silent.
const SENDERS: usize = 256;
const SILENCE: Duration = Duration::from_secs(60);
const LONGEST_DATAGRAM: usize = 64 << 10;

/// Forwards connections until `alive` is cancelled; those that run then end too, as the Service is no more.
pub(super) async fn connections(
    listener: TcpListener,
    to: SocketAddrV4,
    alive: CancellationToken,
    tasks: Tasks,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let accepting = async {
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((client, _)) => {
                    let alive = alive.clone();
                    tasks.spawn("host connection", async move {
                        tokio::select! {
                            () = connection(client, to) => {}
                            () = alive.cancelled() => {}
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a socket of the host accepts nothing");
                    clock::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = alive.cancelled() => {}
    }
}

async fn connection(mut client: TcpStream, to: SocketAddrV4) {
    let _ = client.set_nodelay(true);
    match clock::timeout(DIAL, TcpStream::connect(to)).await {
        Ok(Ok(mut endpoint)) => {
            let _ = endpoint.set_nodelay(true);
            // Whoever goes first tells the other; an error is the end of both.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await;
        }
        // Refused: so is the client, who sees a reset instead of an orderly end.
        Ok(Err(_)) | Err(_) => drop(client.set_zero_linger()),
    }
}

type Senders = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Forwards datagrams, and the answers to each sender, until `alive` is cancelled.
pub(super) async fn datagrams(socket: UdpSocket, to: SocketAddrV4, alive: CancellationToken, tasks: Tasks) {
    let (socket, senders) = (Arc::new(socket), Senders::default());
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = alive.cancelled() => return,
        };
        // An error is about an earlier answer: its receiver is gone.
        let Ok((length, from)) = received else { continue };
        let known = lock(&senders).get(&from).cloned();
        let towards = match known {
            Some(known) => known,
            None if lock(&senders).len() >= SENDERS => continue,
            None => {
                let Ok(new) = towards(to).await else { continue };
                let new = Arc::new(new);
                lock(&senders).insert(from, new.clone());
                let (back, endpoint, senders, alive) =
                    (socket.clone(), new.clone(), senders.clone(), alive.clone());
                tasks.spawn("host datagram sender", async move {
                    tokio::select! {
                        () = answers(&endpoint, &back, from) => {}
                        () = alive.cancelled() => {}
                    }
                    lock(&senders).remove(&from);
                });
                new
            }
        };
        let _ = towards.send(&buffer[..length]).await;
    }
}

fn lock(senders: &Senders) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<UdpSocket>>> {
    senders.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn towards(to: SocketAddrV4) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// Ends when nothing has come back for a while.
async fn answers(endpoint: &UdpSocket, back: &UdpSocket, to: SocketAddr) {
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    while let Ok(Ok(length)) = clock::timeout(SILENCE, endpoint.recv(&mut buffer)).await {
        if back.send_to(&buffer[..length], to).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => panic!("loopback of IPv4"),
        }
    }

    #[tokio::test]
    async fn a_connection_goes_on_until_the_service_is_no_more() {
        let (tasks, alive) = (Tasks::new(), CancellationToken::new());
        let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = v4(endpoint.local_addr().unwrap());
        tasks.spawn("test", connections(listener, to, alive.clone(), tasks.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut program, _) = endpoint.accept().await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        program.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
        alive.cancel();
        assert_eq!(program.read(&mut heard).await.unwrap_or_default(), 0);
        drop(client);
    }

    #[tokio::test]
    async fn where_nobody_listens_the_client_is_reset() {
        let (tasks, alive) = (Tasks::new(), CancellationToken::new());
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = v4(free.local_addr().unwrap());
        drop(free);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("test", connections(listener, to, alive.clone(), tasks.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        let error = client.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn answers_to_datagrams_find_their_sender() {
        let (tasks, alive) = (Tasks::new(), CancellationToken::new());
        let endpoint = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let to = v4(endpoint.local_addr().unwrap());
        tasks.spawn("test", datagrams(socket, to, alive.clone(), tasks.clone()));
        let clients = [
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        ];
        for (client, word) in clients.iter().zip(["one", "two"]) {
            client.send_to(word.as_bytes(), address).await.unwrap();
            let mut buffer = [0; 16];
            let (length, from) = endpoint.recv_from(&mut buffer).await.unwrap();
            endpoint.send_to(&buffer[..length], from).await.unwrap();
        }
        for (client, word) in clients.iter().zip(["one", "two"]) {
            let mut buffer = [0; 16];
            let (length, from) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..length], from), (word.as_bytes(), address));
        }
    }
}
