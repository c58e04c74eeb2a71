//! Who calls this workload, and how: one line for each client, its identity or address, for `amime mtls report`.
//!
//! Counted by each worker in plain numbers, once a connection. Bounded: when there are too many clients, those that have
//! gone are forgotten, who called in plain text last; if that is not enough, new ones are counted together, so that an
//! attacker with many addresses costs no memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use snapshot::Direction;

use crate::listen::accept::Ends;
use crate::tls::peer::Peer;

/// Most clients of one worker that are told apart.
const MOST: usize = 2048;

/// A client of this workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Caller {
    /// `None` for the clients that came after the bound.
    pub(crate) address: Option<IpAddr>,
    /// The port that it calls.
    pub(crate) port: u16,
    /// Who it is and who it was shown that we are, if its certificate said so; `None` in plain text.
    pub(crate) identities: Option<Identities>,
    /// TLS without a certificate of the client's.
    pub(crate) encrypted: bool,
}

/// The client's, and the one that it was shown.
type Identities = (Arc<str>, Arc<str>);

/// Its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) opened: u64,
    pub(crate) open: u64,
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Callers(Rc<RefCell<Counts>>);

type Counts = BTreeMap<Caller, Count>;

/// A connection; it is open until this is dropped.
#[derive(Debug)]
pub(crate) struct Connected {
    callers: Rc<RefCell<Counts>>,
    caller: Caller,
}

impl Callers {
    /// Counts a connection, if it is one to this workload.
    pub(crate) fn connected(&self, ends: Ends, peer: Option<&Arc<Peer>>) -> Option<Connected> {
        if ends.direction != Direction::Inbound {
            return None;
        }
        let mut caller = Caller {
            address: Some(ends.peer.ip().to_canonical()),
            port: ends.destination.port(),
            identities: peer.map(|peer| (peer.uri.as_str().into(), peer.own.clone())),
            encrypted: ends.encrypted,
        };
        let mut callers = self.0.borrow_mut();
        if callers.len() >= MOST && !callers.contains_key(&caller) {
            make_room(&mut callers);
        }
        if callers.len() >= MOST && !callers.contains_key(&caller) {
            caller = caller.nameless();
        }
        let count = callers.entry(caller.clone()).or_default();
        count.opened += 1;
        count.open += 1;
        Some(Connected {
            callers: self.0.clone(),
            caller,
        })
    }

    /// Everything counted so far.
    pub(crate) fn report(&self) -> Vec<(Caller, Count)> {
        let callers = self.0.borrow();
        callers
            .iter()
            .map(|(caller, count)| (caller.clone(), *count))
            .collect()
    }
}

impl Caller {
    /// One of the crowd, of whom no more is known than how they call.
    fn nameless(self) -> Self {
        Self {
            address: None,
            port: 0,
            identities: self.identities.map(|_| Identities::default()),
            encrypted: self.encrypted,
        }
    }
}

/// Forgets clients that have gone: those with an identity first, for who calls in plain text is looked for longest.
fn make_room(callers: &mut Counts) {
    callers.retain(|caller, count| count.open > 0 || caller.identities.is_none());
    if callers.len() >= MOST {
        callers.retain(|_, count| count.open > 0);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(count) = self.callers.borrow_mut().get_mut(&self.caller) {
            count.open -= 1;
        }
    }
}

/// All workers' numbers together; `own` is who we are now.
pub(crate) fn page<'a>(reports: impl Iterator<Item = &'a (Caller, Count)>, own: &str) -> serde_json::Value {
    let mut merged = BTreeMap::<&Caller, Count>::new();
    for (caller, count) in reports {
        let sum = merged.entry(caller).or_default();
        sum.opened += count.opened;
        sum.open += count.open;
    }
    let line = |(caller, count): (&Caller, Count)| {
        let (client, own) = match &caller.identities {
            Some((client, shown)) if !client.is_empty() => (Some(&**client), &**shown),
            Some(_) | None => (None, own),
        };
        serde_json::json!({
            "client": caller.address,
            "port": caller.port,
            "security": match (&caller.identities, caller.encrypted) {
                (Some(_), _) => "mutual_tls",
                (None, true) => "tls",
                (None, false) => "none",
            },
            "clientIdentity": client,
            "identity": own,
            "opened": count.opened,
            "open": count.open,
        })
    };
    merged.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, direction: Direction) -> Ends {
        Ends {
            peer: client.parse().unwrap(),
            destination: "10.0.0.1:9090".parse().unwrap(),
            direction,
            connection: 0,
            encrypted: false,
        }
    }

    #[test]
    fn clients_of_the_workload_are_counted_while_they_are_connected() {
        let callers = Callers::default();
        let first = callers.connected(ends("10.0.0.7:1", Direction::Inbound), None);
        let second = callers.connected(ends("10.0.0.7:2", Direction::Inbound), None);
        assert!(
            callers
                .connected(ends("10.0.0.7:3", Direction::Outbound), None)
                .is_none()
        );
        drop(first);
        let page = page(callers.report().iter(), "spiffe://a/ns/b/sa/own");
        assert_eq!(page[0]["client"], "10.0.0.7");
        assert_eq!((&page[0]["opened"], &page[0]["open"]), (&2.into(), &1.into()));
        assert_eq!(
            (&page[0]["security"], &page[0]["port"]),
            (&"none".into(), &9090.into())
        );
        assert_eq!(page[0]["identity"], "spiffe://a/ns/b/sa/own");
        drop(second);
    }

    /// That many clients connect; who keeps what is returned stays connected.
    fn crowd(callers: &Callers, many: usize) -> Vec<Connected> {
        let connect = |number: usize| {
            let address = format!("10.{}.{}.{}:1", number >> 16, number >> 8 & 255, number & 255);
            callers.connected(ends(&address, Direction::Inbound), None)
        };
        (0..many).filter_map(connect).collect()
    }

    #[test]
    fn clients_that_have_gone_make_room_for_others() {
        let callers = Callers::default();
        drop(crowd(&callers, MOST));
        let here = callers.connected(ends("10.9.9.9:1", Direction::Inbound), None);
        let report = callers.report();
        assert_eq!(report.len(), 1, "the others have gone");
        assert_eq!(report[0].0.address, Some("10.9.9.9".parse().unwrap()));
        drop(here);
    }

    #[test]
    fn clients_are_bounded() {
        let callers = Callers::default();
        let _connected = crowd(&callers, MOST + 100);
        let report = callers.report();
        assert_eq!(report.len(), MOST + 1);
        assert!(
            report
                .iter()
                .any(|(caller, count)| caller.address.is_none() && count.opened == 100)
        );
    }
}
