//! Several worlds at once. Most of a run is waiting for pushes and for delays that the table asks for, so a machine with
//! two cores has time for more than one cluster; each takes the next file of the table when it is done with one.

use std::sync::Mutex;

use crate::table::Feature;
use crate::world::World;

/// More would make the times of calls depend on each other.
const WORLDS: usize = 3;

/// What came of each file, in no order.
pub(crate) fn share<T: Send>(
    features: &[Feature],
    of_feature: impl AsyncFn(&mut World, &Feature) -> T + Sync,
) -> Vec<T> {
    let left = Mutex::new(features.iter());
    let done = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..WORLDS.min(features.len()) {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let mut world = World::start().await;
                    while let Some(feature) = next() {
                        let outcome = of_feature(&mut world, feature).await;
                        done.lock().unwrap().push(outcome);
                    }
                });
            });
        }
    });
    done.into_inner().unwrap()
}
