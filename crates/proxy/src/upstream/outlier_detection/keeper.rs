//! Decides who is set aside and who comes back. One task for all clusters; time is passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use daemon::clock::{self, Instant};
use snapshot::{ClusterName, OutlierDetection};
use tokio::sync::{mpsc, watch};

use super::{Failure, Monitor};
use crate::active::Compiled;
use crate::upstream::load_balancing::Balancer;

/// A worker's word that an endpoint failed too often in a row.
#[derive(Debug)]
pub(crate) struct Suspicion {
    pub(crate) cluster: ClusterName,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) failure: Failure,
}

/// The clusters that something is detected in.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    clusters: BTreeMap<ClusterName, Kept>,
}

#[derive(Debug)]
struct Kept {
    balancer: Arc<Balancer>,
    next_look: Instant,
}

/// Keeps endpoints of the Snapshots in force, for ever.
pub(crate) async fn keep(
    mut compiled: watch::Receiver<Option<Arc<Compiled>>>,
    mut suspicions: mpsc::Receiver<Suspicion>,
) {
    let mut keeper = Keeper::default();
    loop {
        if let Some(compiled) = compiled.borrow_and_update().as_deref() {
            keeper.take(compiled.balancers(), clock::now());
        }
        loop {
            let next_look = keeper.next_look();
            let look = async {
                match next_look {
                    Some(at) => clock::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = compiled.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(suspicion) = suspicions.recv() => keeper.suspect(&suspicion, clock::now()),
                () = look => keeper.look(clock::now()),
            }
        }
    }
}

impl Keeper {
    /// Takes up the clusters of a new Snapshot. Whoever was set aside while it was compiled is so in it, too.
    pub(super) fn take<'a>(&mut self, balancers: impl Iterator<Item = &'a Arc<Balancer>>, now: Instant) {
        let mut before = std::mem::take(&mut self.clusters);
        for balancer in balancers {
            let Some(detection) = &balancer.facts.outlier_detection else {
                continue;
            };
            let name = balancer.facts.name.clone();
            let next_look = before
                .remove(&name)
                .map_or(now + detection.interval, |kept| kept.next_look);
            balancer.plan_again(now);
            let balancer = balancer.clone();
            self.clusters.insert(name, Kept { balancer, next_look });
        }
    }

    /// When somebody may come back.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.clusters.values().map(|kept| kept.next_look).min()
    }

    /// Sets an endpoint aside, unless too many are.
    pub(super) fn suspect(&self, suspicion: &Suspicion, now: Instant) {
        let Suspicion {
            cluster,
            monitor,
            failure,
        } = suspicion;
        let Some(Kept { balancer, .. }) = self.clusters.get(cluster) else {
            return;
        };
        let Some(detection) = &balancer.facts.outlier_detection else {
            return;
        };
        let is_known = balancer
            .hosts
            .iter()
            .any(|host| Arc::ptr_eq(&host.monitor, monitor));
        if !is_known || monitor.is_ejected() {
            return;
        }
        let counters = &balancer.counters;
        counters.detected[*failure as usize].fetch_add(1, Relaxed);
        if may_eject(balancer, detection) {
            counters.enforced[*failure as usize].fetch_add(1, Relaxed);
            eject(monitor, detection, now);
            balancer.plan_again(now);
            tracing::info!(%cluster, ?failure, "an endpoint is set aside");
        } else {
            counters.overflow.fetch_add(1, Relaxed);
        }
        monitor.reset(*failure);
    }

    /// Brings back those whose time has passed.
    pub(super) fn look(&mut self, now: Instant) {
        let due = self.clusters.values_mut().filter(|kept| kept.next_look <= now);
        for Kept { balancer, next_look } in due {
            let Some(detection) = &balancer.facts.outlier_detection else {
                continue;
            };
            *next_look = now + detection.interval.max(Duration::from_millis(1));
            for host in &balancer.hosts {
                look_at(&host.monitor, detection, now);
            }
            balancer.plan_again(now);
        }
    }
}

/// Whether one more may be set aside.
fn may_eject(balancer: &Balancer, detection: &OutlierDetection) -> bool {
    let ejected = balancer.ejected();
    let share = (ejected as u64 + 1) * 100;
    share <= u64::from(detection.max_ejection_percent) * balancer.hosts.len() as u64
        || detection.always_eject_one && ejected == 0
}

fn eject(monitor: &Monitor, detection: &OutlierDetection, now: Instant) {
    let mut history = monitor.history();
    history.ejected_at = Some(now);
    let base = detection.base_ejection_time;
    if base.saturating_mul(history.times) < detection.max_ejection_time.saturating_add(base) {
        history.times += 1;
    }
    monitor.set_ejected(true);
}

/// An endpoint that was good for a whole interval has one former ejection forgotten.
fn look_at(monitor: &Monitor, detection: &OutlierDetection, now: Instant) {
    let mut history = monitor.history();
    if monitor.is_ejected() {
        let base = detection.base_ejection_time;
        let time = base
            .saturating_mul(history.times)
            .min(detection.max_ejection_time);
        if history.ejected_at.is_none_or(|at| now - at >= time) {
            for failure in [Failure::Status5xx, Failure::Gateway, Failure::LocalOrigin] {
                monitor.reset(failure);
            }
            history.returned_at = Some(now);
            monitor.set_ejected(false);
        }
    } else if history
        .returned_at
        .is_some_and(|at| now - at >= detection.interval)
    {
        history.times = history.times.saturating_sub(1);
    }
}
