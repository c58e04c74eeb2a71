//! Asking a running container again and again how it is.

use std::time::Duration;

use daemon::clock;

use super::Life;
use super::happen::{Happening, What};
use crate::kubelet::probes::ask::Question;
use crate::kubelet::probes::{Counter, Purpose, Schedule};

impl Life {
    /// Begins the container's probes for these purposes; they end with its run.
    pub(super) fn watch_over(&self, position: usize, purposes: &[Purpose]) {
        let Some(running) = self.running.get(&position) else {
            return;
        };
        let spec = &self.members[position].spec;
        let address = self.facts.address.clone().unwrap_or_default();
        for purpose in purposes.iter().copied() {
            let probe = match purpose {
                Purpose::Startup => &spec.startup_probe,
                Purpose::Readiness => &spec.readiness_probe,
                Purpose::Liveness => &spec.liveness_probe,
            };
            let Some(probe) = probe else { continue };
            let schedule = Schedule::of(probe);
            let question = Question::of_probe(probe, spec, &address);
            let (target, tell) = (self.target(position), self.tell.clone());
            let (alive, run) = (running.alive.clone(), running.run);
            let asking = async move {
                clock::sleep(schedule.initial_delay).await;
                let mut counter = Counter::default();
                loop {
                    let begun = clock::now();
                    let answer = match &question {
                        Ok(question) => within(schedule.timeout, question.ask(&target)).await,
                        Err(why) => Err(why.clone()),
                    };
                    let verdict = counter.count(answer.is_ok(), &schedule);
                    let over = purpose == Purpose::Startup && verdict == Some(true);
                    if answer.is_err() || verdict.is_some() {
                        let what = What::Probed {
                            purpose,
                            answer,
                            verdict,
                        };
                        if tell.send(Happening { position, run, what }).await.is_err() {
                            return;
                        }
                    }
                    if over {
                        return;
                    }
                    clock::sleep_until(begun + schedule.period).await;
                }
            };
            self.node.tasks.spawn("probe", async move {
                tokio::select! {
                    () = asking => {}
                    () = alive.cancelled() => {}
                }
            });
        }
    }
}

async fn within(limit: Duration, asking: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    clock::timeout(limit, asking).await.unwrap_or_else(|_| {
        Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned())
    })
}
