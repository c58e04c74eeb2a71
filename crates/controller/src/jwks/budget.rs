//! How much the keys of all sources may take in memory: together, and for each namespace.
//!
//! A set is on the account of one namespace that asks for it; where several do, of one that has room. So a source that
//! two namespaces name is refused only when both have none. What came first stays: a set for which there is no room
//! is not taken, and whoever is to verify with it has nobody's keys, or the last that there was room for.

use std::collections::BTreeMap;

use translate::KeySource;

use super::Entry;

/// Bytes of all sets: hundreds of the largest, tens of thousands of usual ones.
const OF_ALL: usize = 64 << 20;
/// Bytes of those of one namespace.
const OF_ONE_NAMESPACE: usize = 4 << 20;

/// Why a set is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// For any of the namespaces that ask for it.
    #[error("the keys of its namespace take more than {} MiB", OF_ONE_NAMESPACE >> 20)]
    OfNamespace,
    /// For anybody.
    #[error("the keys of all namespaces take more than {} MiB", OF_ALL >> 20)]
    OfAll,
}

/// The namespace on whose account a source may have a set of that size.
pub(super) fn payer(
    entries: &BTreeMap<KeySource, Entry>,
    source: &KeySource,
    size: usize,
) -> Result<Option<String>, NoRoom> {
    let paid = || {
        let others = entries.iter().filter(|(other, _)| *other != source);
        others.filter_map(|(_, entry)| Some((entry.payer.as_ref()?, entry.size())))
    };
    if paid().map(|(_, size)| size).sum::<usize>() + size > OF_ALL {
        return Err(NoRoom::OfAll);
    }
    let Some(entry) = entries.get(source) else {
        return Ok(None);
    };
    let has_room = |namespace: &&String| {
        let own = paid().filter(|(payer, _)| payer == namespace);
        own.map(|(_, size)| size).sum::<usize>() + size <= OF_ONE_NAMESPACE
    };
    let payer = entry.demand.namespaces.iter().find(has_room);
    payer.cloned().map(Some).ok_or(NoRoom::OfNamespace)
}

#[cfg(test)]
mod tests {
    use daemon::clock;
    use translate::{Demand, Fetched};

    use super::*;

    fn entry(namespaces: &[&str], payer: Option<&str>, size: usize) -> Entry {
        Entry {
            demand: Demand {
                namespaces: namespaces.iter().map(ToString::to_string).collect(),
                ..Demand::default()
            },
            payer: payer.map(str::to_owned),
            fetched: Some(Fetched {
                keys: Some("k".repeat(size).into()),
                problem: None,
            }),
            ..Entry::new(clock::now())
        }
    }

    fn source(name: &str) -> KeySource {
        KeySource::Issuer(name.to_owned())
    }

    #[test]
    fn a_namespace_has_its_share_and_a_source_of_two_is_on_the_account_of_one_with_room() {
        let large = entry(&["greedy"], Some("greedy"), OF_ONE_NAMESPACE - 10);
        let entries = BTreeMap::from([
            (source("large"), large),
            (source("own"), entry(&["greedy"], None, 0)),
            (source("both"), entry(&["greedy", "shop"], None, 0)),
        ]);
        assert_eq!(payer(&entries, &source("own"), 10), Ok(Some("greedy".into())));
        assert_eq!(payer(&entries, &source("own"), 11), Err(NoRoom::OfNamespace));
        assert_eq!(payer(&entries, &source("both"), 11), Ok(Some("shop".into())));
        let grown = payer(&entries, &source("large"), OF_ONE_NAMESPACE);
        assert_eq!(grown, Ok(Some("greedy".into())), "it is not counted twice");
    }

    #[test]
    fn all_namespaces_together_have_a_bound() {
        let full = (0..OF_ALL / OF_ONE_NAMESPACE).map(|number| {
            let namespace = format!("n{number}");
            let entry = entry(&[&namespace], Some(&namespace), OF_ONE_NAMESPACE);
            (source(&namespace), entry)
        });
        let mut entries: BTreeMap<_, _> = full.collect();
        entries.insert(source("new"), entry(&["shop"], None, 0));
        assert_eq!(payer(&entries, &source("new"), 1), Err(NoRoom::OfAll));
        entries.remove(&source("n0"));
        assert_eq!(payer(&entries, &source("new"), 1), Ok(Some("shop".into())));
    }
}
