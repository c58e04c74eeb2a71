//! A snapshot ready to be sent: encoded bodies with content-hash versions.
//!
//! Made once per distinct snapshot and shared by every proxy that gets it; what did not change is taken over
//! from the encoding before. A version depends on content alone, so that a proxy that reconnects, to whichever
//! replica, gets only what differs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use snapshot::{Chain, Cluster, Discovery, Handler, Listener, Named, RouteSource, Set, Snapshot};

use crate::convert::{self, Dialect};
use crate::{Kind, message};

/// Part of every version: raise it when `convert` changes what a proxy would do with the same snapshot.
const REVISION: u8 = 11;

/// One encoded resource.
#[derive(Clone, Debug)]
pub struct Item {
    /// Hash of its content.
    pub version: Arc<str>,
    body: Bytes,
    /// Names that a client will ask for because of it: endpoints of a cluster, route tables of a listener.
    pub(crate) refers: Arc<[Arc<str>]>,
}

/// An encoded snapshot.
#[derive(Clone, Debug)]
pub struct Encoded {
    snapshot: Arc<Snapshot>,
    dialect: Dialect,
    items: [BTreeMap<Arc<str>, Item>; 4],
}

impl Encoded {
    /// Encodes a snapshot, taking over from `before` what is the same in both.
    pub fn new(snapshot: Arc<Snapshot>, dialect: Dialect, before: Option<&Self>) -> Self {
        let before = before.filter(|before| before.dialect == dialect);
        let old = before.map(|before| &*before.snapshot);
        let known = |kind: Kind| before.map(|before| &before.items[kind.index()]);
        let items = [
            encode(
                &snapshot.clusters,
                old.map(|old| &old.clusters),
                known(Kind::Cluster),
                |cluster| {
                    item(
                        cluster,
                        dialect,
                        convert::encode_cluster(cluster, dialect),
                        endpoints_of(cluster),
                    )
                },
            ),
            encode(
                &snapshot.endpoints,
                old.map(|old| &old.endpoints),
                known(Kind::Endpoints),
                |endpoints| {
                    item(
                        endpoints,
                        dialect,
                        convert::encode_endpoints(endpoints),
                        Vec::new(),
                    )
                },
            ),
            encode(
                &snapshot.listeners,
                old.map(|old| &old.listeners),
                known(Kind::Listener),
                |listener| {
                    item(
                        listener,
                        dialect,
                        convert::encode_listener(listener, dialect),
                        tables_of(listener),
                    )
                },
            ),
            encode(
                &snapshot.routes,
                old.map(|old| &old.routes),
                known(Kind::Routes),
                |table| item(table, dialect, convert::encode_routes(table), Vec::new()),
            ),
        ];
        Self {
            snapshot,
            dialect,
            items,
        }
    }

    /// What is encoded here.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Who reads it.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Resources of a kind by name.
    pub fn items(&self, kind: Kind) -> &BTreeMap<Arc<str>, Item> {
        &self.items[kind.index()]
    }

    pub(crate) fn resource(&self, kind: Kind, name: &str) -> Option<message::Resource> {
        let item = self.items(kind).get(name)?;
        Some(message::Resource {
            version: item.version.to_string(),
            name: name.to_owned(),
            body: Some(message::Body {
                type_url: kind.type_url().into(),
                value: item.body.clone(),
            }),
        })
    }
}

fn encode<T: Named + PartialEq>(
    set: &Set<T>,
    old: Option<&Set<T>>,
    known: Option<&BTreeMap<Arc<str>, Item>>,
    make: impl Fn(&T) -> Item,
) -> BTreeMap<Arc<str>, Item> {
    let unchanged = |new: &Arc<T>| {
        let before = old?.get(new.name())?;
        let same = Arc::ptr_eq(before, new) || before == new;
        known?.get_key_value(new.name()).filter(|_| same)
    };
    set.iter()
        .map(|new| match unchanged(new) {
            Some((name, item)) => (name.clone(), item.clone()),
            None => (new.name().into(), make(new)),
        })
        .collect()
}

fn item(content: &impl Serialize, dialect: Dialect, body: Bytes, refers: Vec<Arc<str>>) -> Item {
    Item {
        version: version(content, dialect),
        body,
        refers: refers.into(),
    }
}

fn endpoints_of(cluster: &Cluster) -> Vec<Arc<str>> {
    match cluster.discovery {
        Discovery::Endpoints => vec![cluster.name().into()],
        Discovery::OriginalDestination | Discovery::Nobody => Vec::new(),
    }
}

/// The route tables that a listener names.
pub(crate) fn tables_of(listener: &Listener) -> Vec<Arc<str>> {
    let named = |chain: &Chain| match &chain.handler {
        Handler::Http(http) => match &http.routes {
            RouteSource::Named(name) => Some(name.as_str().into()),
            RouteSource::Inline(_) => None,
        },
        Handler::Tcp(_) => None,
    };
    listener
        .chains
        .iter()
        .chain(&listener.default_chain)
        .filter_map(named)
        .collect()
}

/// The content is hashed as snapshot data and not as encoded bytes, because protobuf maps have no fixed order.
fn version(content: &impl Serialize, dialect: Dialect) -> Arc<str> {
    let mut hash = Fnv::new();
    hash.add(&[REVISION, dialect as u8]);
    serde_json::to_writer(&mut hash, content)
        .expect("snapshot types always serialise, and hashing never fails");
    format!("{:032x}", hash.0).into()
}

/// FNV-1a of 128 bits: the same everywhere and for ever, which `std`'s hashers do not promise.
struct Fnv(u128);

impl Fnv {
    fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn add(&mut self, bytes: &[u8]) {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
}

impl io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_follows_content_and_dialect_and_nothing_else() {
        let version_of = |text: &str, dialect| version(&text.to_owned(), dialect);
        let first = version_of("a", Dialect::Amime);
        assert_eq!(first, version_of("a", Dialect::Amime));
        assert_ne!(first, version_of("b", Dialect::Amime));
        assert_ne!(first, version_of("a", Dialect::Envoy));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        let mut hash = Fnv::new();
        hash.add(b"foobar");
        assert_eq!(hash.0, 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }
}
