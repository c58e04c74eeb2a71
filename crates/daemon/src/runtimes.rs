//! Threads: one for what administers, and N data workers that share nothing.
//!
//! Every worker is a thread with a runtime of its own; what runs on it stays on it. A worker cannot be replaced
//! while its listeners are bound, so its panic ends the process, loudly, and whoever supervises starts it again.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// `EX_SOFTWARE` of sysexits.h: an internal error, not one of usage or surroundings.
const PANICKED: i32 = 70;

/// Runs `future` to its end on a runtime of this thread.
///
/// # Errors
/// When the system refuses what an event loop needs.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(current_thread()?.block_on(future))
}

/// The same with room for tasks that stay on this thread (`Tasks::spawn_local`).
///
/// # Errors
/// When the system refuses what an event loop needs.
pub fn run_local<F: Future>(future: F) -> io::Result<F::Output> {
    Ok(LocalSet::new().block_on(&current_thread()?, future))
}

/// As many workers as the machine or the cgroup's quota gives processors.
pub fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Running data workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads `NAME-0`, `NAME-1` …, each of which runs what `work` makes for its index to the end.
    ///
    /// # Errors
    /// When the system refuses a thread or an event loop; those already started then end with the process.
    pub fn start<W, F>(name: &str, count: usize, work: W) -> io::Result<Self>
    where
        W: Fn(usize) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (work, runtime, name) = (work.clone(), current_thread()?, format!("{name}-{index}"));
            let body = move || guard(|| LocalSet::new().block_on(&runtime, work(index)), end_process);
            threads.push(Builder::new().name(name).spawn(body)?);
        }
        Ok(Self { threads })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Blocks until all have ended.
    pub fn join(self) {
        for thread in self.threads {
            // A panic has ended the process already.
            let _ = thread.join();
        }
    }
}

fn current_thread() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn guard(work: impl FnOnce(), on_panic: fn()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let thread = std::thread::current();
        tracing::error!(
            worker = thread.name().unwrap_or_default(),
            "a data worker panicked; the process ends, because its connections cannot be served"
        );
        on_panic();
    }
}

#[allow(
    clippy::exit,
    reason = "the one place where a broken invariant ends the process"
)]
fn end_process() {
    std::process::exit(PANICKED);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::Tasks;

    #[test]
    fn every_worker_runs_its_part_on_its_own_thread() {
        let (sender, receiver) = mpsc::channel();
        let workers = Workers::start("data", 3, move |index| {
            let sender = sender.clone();
            async move {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                sender.send((index, name)).unwrap();
            }
        })
        .unwrap();
        assert_eq!(workers.count(), 3);
        workers.join();
        let mut seen: Vec<_> = receiver.iter().collect();
        seen.sort();
        let expected: Vec<_> = (0..3).map(|index| (index, format!("data-{index}"))).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_worker_can_own_tasks_that_are_not_send() {
        static RAN: AtomicUsize = AtomicUsize::new(0);
        run_local(async {
            let (tasks, shared) = (Tasks::new(), std::rc::Rc::new(7));
            tasks.spawn_local("local", async move {
                RAN.store(*shared, Ordering::SeqCst);
            });
            while tasks.count() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .unwrap();
        assert_eq!(RAN.load(Ordering::SeqCst), 7);
    }

    #[test]
    fn a_panic_is_reported() {
        static REPORTED: AtomicBool = AtomicBool::new(false);
        guard(|| panic!("on purpose"), || REPORTED.store(true, Ordering::SeqCst));
        assert!(REPORTED.load(Ordering::SeqCst));
        assert!(parallelism() >= 1);
    }

    #[test]
    fn a_future_gives_its_value_back() {
        assert_eq!(run(async { 42 }).unwrap(), 42);
    }
}
