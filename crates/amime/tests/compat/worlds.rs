//! Several worlds at once. Most of a run is waiting for pushes and for delays that the table asks for, so a machine with
//! two cores has time for more than one cluster; each takes the next part of the work when it is done with one.

use std::sync::Mutex;

use crate::world::World;

/// More would make the times of calls depend on each other.
const WORLDS: usize = 3;

/// What came of each job, in no order.
pub(crate) fn share<J: Sync, T: Send>(
    jobs: &[J],
    of_job: impl AsyncFn(&mut World, &J) -> T + Sync,
) -> Vec<T> {
    share_prepared(jobs, async |_| {}, of_job)
}

/// The same, in worlds that something was done to first.
pub(crate) fn share_prepared<J: Sync, T: Send>(
    jobs: &[J],
    prepare: impl AsyncFn(&mut World) + Sync,
    of_job: impl AsyncFn(&mut World, &J) -> T + Sync,
) -> Vec<T> {
    let left = Mutex::new(jobs.iter());
    let done = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..WORLDS.min(jobs.len()) {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let mut world = World::start().await;
                    prepare(&mut world).await;
                    while let Some(job) = next() {
                        let outcome = of_job(&mut world, job).await;
                        done.lock().unwrap().push(outcome);
                    }
                });
            });
        }
    });
    done.into_inner().unwrap()
}
