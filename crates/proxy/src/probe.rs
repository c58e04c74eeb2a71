//! Tests once, at start, that the proxy's own connections are not captured.
//!
//! Where a mark exempts them, the proxy must be allowed to set it. Then the proxy connects to an address that nobody has. If its exemption works, nothing comes of it; if not, the
//! connection turns up at its own listener, which recognises the original destination. Without this test, every
//! forwarded connection would come back to the proxy for ever.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use daemon::clock;
use tokio::sync::watch;

use crate::settings::Capture;
use crate::upstream::connect::{Way, connect, may_mark};

/// TEST-NET-1 (RFC 5737), and the port of the discard protocol.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9));
/// A captured connection is established at once.
const PATIENCE: Duration = Duration::from_millis(300);
/// And accepted as soon as the workers have started. Only where somebody else answers for everybody is it waited for.
const ACCEPTED: Duration = Duration::from_secs(2);

/// Whether the probe has turned up at a listener of this proxy.
#[derive(Debug)]
pub(crate) struct Probe(watch::Sender<bool>);

impl Default for Probe {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Probe {
    /// A listener has met a connection to `destination`. Whether it is the probe, which goes no further.
    pub(crate) fn recognises(&self, destination: SocketAddr) -> bool {
        let ours = destination == ADDRESS;
        if ours {
            self.0.send_replace(true);
        }
        ours
    }

    /// Tests the exemption, when capture is in force. The listeners must be open.
    ///
    /// # Errors
    /// Why the proxy must not serve.
    pub(crate) async fn run(&self, capture: Capture) -> Result<(), String> {
        if !capture.in_force {
            return Ok(());
        }
        may_mark_at_all(capture)?;
        let way = Way {
            source: None,
            mark: capture.mark,
            timeout: PATIENCE,
            keepalive: None,
        };
        let connected = connect(ADDRESS, way).await;
        let mut turned_up = self.0.subscribe();
        if connected.is_err() && !*turned_up.borrow() {
            return Ok(());
        }
        match clock::timeout(ACCEPTED, turned_up.wait_for(|seen| *seen)).await {
            Ok(_) => Err(reason(capture)),
            // Somebody else answers for everybody; it is not us.
            Err(_) => Ok(()),
        }
    }
}

/// Whether the proxy may do what exempts its connections. Without that it reaches nobody, the controller included.
///
/// # Errors
/// Why the proxy must not serve.
fn may_mark_at_all(capture: Capture) -> Result<(), String> {
    let Some(mark) = capture.mark else { return Ok(()) };
    may_mark(mark).map_err(|error| {
        format!("the proxy may not set mark {mark} on its connections ({error}): it needs the capability NET_ADMIN")
    })
}

fn reason(capture: Capture) -> String {
    let exemption = match capture.mark {
        Some(mark) => format!("mark {mark} on its connections"),
        None => "its user".to_owned(),
    };
    format!("the proxy's own connections are captured: {exemption} is not exempt from redirection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_capture_there_is_nothing_to_test() {
        assert_eq!(Probe::default().run(Capture::default()).await, Ok(()));
    }

    #[test]
    fn a_proxy_that_may_not_mark_its_connections_says_what_it_needs() {
        let marked = Capture {
            in_force: true,
            mark: Some(1337),
        };
        // Whether it may depends on who runs this test.
        match may_mark(1337) {
            Ok(()) => assert_eq!(may_mark_at_all(marked), Ok(())),
            Err(_) => assert!(may_mark_at_all(marked).unwrap_err().contains("NET_ADMIN")),
        }
        assert_eq!(may_mark_at_all(Capture::default()), Ok(()));
    }

    #[test]
    fn a_listener_recognises_the_probe_and_nothing_else() {
        let probe = Probe::default();
        assert!(!probe.recognises("192.0.2.1:80".parse().unwrap()));
        assert!(!*probe.0.borrow());
        assert!(probe.recognises(ADDRESS));
        assert!(*probe.0.borrow());
    }
}
