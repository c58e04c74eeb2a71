//! Members of clusters that are found by DNS: asks the system's resolver again and again, and puts what it says into
//! each Snapshot that passes.
//!
//! A name that cannot be resolved keeps the addresses that it had. The first Snapshot waits for the first answers,
//! so that no request meets a cluster that is only empty because nobody has asked yet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use daemon::{Tasks, clock};
use snapshot::{Endpoint, Endpoints, Snapshot};
use tokio::sync::{mpsc, watch};
use xds::bootstrap::{Family, Names};

/// Longest wait for one name, and of the first Snapshot for all of them.
const PATIENCE: Duration = Duration::from_secs(5);

type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// Starts to resolve. The receiver holds Snapshots with the members.
pub(crate) fn follow(resources: Snapshots, names: Vec<Names>, tasks: &Tasks) -> Snapshots {
    let (sender, receiver) = watch::channel(None);
    let (answers, arriving) = mpsc::channel(names.len().max(1));
    let waiting = names.len();
    for names in names {
        tasks.spawn("resolve", ask(names, answers.clone()));
    }
    tasks.spawn("resolved", merge(resources, arriving, waiting, sender));
    receiver
}

/// Asks for the names of one cluster until the end. The first answer may be nobody.
async fn ask(names: Names, answers: mpsc::Sender<Endpoints>) {
    let mut known: Vec<Vec<IpAddr>> = vec![Vec::new(); names.hosts.len()];
    let mut told = None;
    loop {
        for (host, known) in names.hosts.iter().zip(&mut known) {
            match resolve(host, names.family).await {
                Ok(addresses) => *known = addresses,
                Err(error) => tracing::debug!(host, error, "cannot resolve"),
            }
        }
        let members = members(&names, &known);
        if told.as_ref() != Some(&members) {
            told = Some(members.clone());
            if answers.send(members).await.is_err() {
                return;
            }
        }
        clock::sleep(names.refresh.max(Duration::from_millis(1))).await;
    }
}

async fn resolve(host: &str, family: Family) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let looked_up = clock::timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await;
    let found = looked_up
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    match chosen(addresses, family) {
        none if none.is_empty() => Err("no address of that family".to_owned()),
        some => Ok(some),
    }
}

/// The addresses that count.
fn chosen(addresses: Vec<IpAddr>, family: Family) -> Vec<IpAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(IpAddr::is_ipv4);
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
        Family::PreferV4 if !v4.is_empty() => v4,
        Family::Auto if v6.is_empty() => v4,
        Family::PreferV4 | Family::Auto => v6,
        Family::All => addresses,
    }
}

/// The members with the addresses of their names.
fn members(names: &Names, known: &[Vec<IpAddr>]) -> Endpoints {
    let mut endpoints = names.endpoints.clone();
    let mut known = known.iter();
    for group in &mut endpoints.localities {
        group.endpoints = std::mem::take(&mut group.endpoints)
            .into_iter()
            .flat_map(|member| {
                let addresses = known.next().map(Vec::as_slice).unwrap_or_default();
                let count = if names.logical { 1 } else { addresses.len() };
                let addresses: Vec<_> = addresses.iter().take(count).copied().collect();
                addresses.into_iter().map(move |address| Endpoint {
                    address: SocketAddr::new(address, member.address.port()),
                    ..member.clone()
                })
            })
            .collect();
    }
    endpoints
}

async fn merge(
    mut resources: Snapshots,
    mut answers: mpsc::Receiver<Endpoints>,
    mut waiting: usize,
    merged: watch::Sender<Option<Arc<Snapshot>>>,
) {
    let mut known = snapshot::Set::<Endpoints>::default();
    let deadline = clock::now() + PATIENCE;
    loop {
        let patience = deadline.saturating_duration_since(clock::now());
        tokio::select! {
            Some(members) = answers.recv() => {
                let first = known.get(members.cluster.as_str()).is_none();
                waiting = waiting.saturating_sub(usize::from(first));
                known.insert(members);
            }
            changed = resources.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = clock::sleep(patience), if waiting > 0 => waiting = 0,
            () = merged.closed() => return,
        }
        let base = resources.borrow_and_update().clone();
        if let Some(base) = base.filter(|_| waiting == 0) {
            let mut next = (*base).clone();
            for members in known.iter() {
                next.endpoints.insert(members.clone());
            }
            merged.send_replace(Some(Arc::new(next)));
        }
    }
}

#[cfg(test)]
mod tests {
    use snapshot::LocalityEndpoints;

    use super::*;

    fn names(hosts: &[&str], logical: bool) -> Names {
        let placeholder = Endpoint::new("0.0.0.0:80".parse().unwrap());
        Names {
            endpoints: Endpoints {
                cluster: "c".into(),
                localities: vec![LocalityEndpoints {
                    endpoints: vec![placeholder; hosts.len()],
                    ..LocalityEndpoints::default()
                }],
            },
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            logical,
            family: Family::Auto,
            refresh: Duration::from_secs(5),
        }
    }

    #[test]
    fn strict_names_give_all_addresses_and_logical_ones_the_first() {
        let known = [
            vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()],
            Vec::new(),
            vec!["127.0.0.3".parse().unwrap()],
        ];
        let addresses = |names: &Names| {
            let members = members(names, &known);
            members
                .iter()
                .map(|member| member.address.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            addresses(&names(&["a", "b", "c"], false)),
            ["127.0.0.1:80", "127.0.0.2:80", "127.0.0.3:80"]
        );
        assert_eq!(addresses(&names(&["a"], true)), ["127.0.0.1:80"]);
    }

    #[test]
    fn families_are_chosen_as_envoy_does() {
        let both: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let pick = |family| {
            chosen(both.clone(), family)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(pick(Family::Auto), ["::1"]);
        assert_eq!(pick(Family::PreferV4), ["127.0.0.1"]);
        assert_eq!(pick(Family::All), ["127.0.0.1", "::1"]);
        assert_eq!(chosen(vec!["127.0.0.1".parse().unwrap()], Family::Auto).len(), 1);
    }

    #[tokio::test]
    async fn the_first_snapshot_has_the_members_in_it() {
        let tasks = Tasks::new();
        let (_base, resources) = watch::channel(Some(Arc::new(Snapshot::default())));
        let mut snapshots = follow(resources, vec![names(&["127.0.0.9"], false)], &tasks);
        let wait = snapshots.wait_for(Option::is_some);
        let first = clock::timeout(PATIENCE * 2, wait)
            .await
            .unwrap()
            .unwrap()
            .clone()
            .unwrap();
        let members = first.endpoints.get("c").unwrap();
        assert_eq!(members.iter().next().unwrap().address.to_string(), "127.0.0.9:80");
    }
}
