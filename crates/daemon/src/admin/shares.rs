//! How many connections each address has, so that none takes all that there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by address.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Shares>,
    address: IpAddr,
}

impl Shares {
    /// So many for each.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
        })
    }

    /// A place for another connection of that address, if it has one left.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share {
            of: self.clone(),
            address,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.of.open();
        let left = open.get(&self.address).map_or(0, |count| count - 1);
        match left {
            0 => drop(open.remove(&self.address)),
            left => drop(open.insert(self.address, left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_nothing_is_kept_of_who_has_left() {
        let shares = Shares::new(2);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        let places: Vec<_> = (0..3).filter_map(|_| shares.take(one)).collect();
        assert_eq!(places.len(), 2);
        assert!(shares.take(other).is_some());
        drop(places);
        assert!(shares.take(one).is_some());
        assert!(shares.open().is_empty());
    }
}
