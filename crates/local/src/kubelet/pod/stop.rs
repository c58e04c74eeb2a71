//! Ending a container: preStop hook, SIGTERM, and after the grace SIGKILL.

use std::str::FromStr;
use std::time::Duration;

use daemon::clock;
use k8s_openapi::api::core::v1::LifecycleHandler;
use nix::sys::signal::Signal;

use super::Life;
use super::happen::{Happening, What};
use super::plan::Fate;
use crate::kubelet::events::Severity;
use crate::kubelet::exec::Target;
use crate::kubelet::probes::ask::Question;

/// What even the last container gets.
const LEAST_GRACE: Duration = Duration::from_secs(2);

impl Life {
    /// The grace of the pod's end, once it is known; a shorter one counts at once.
    pub(super) fn set_grace(&mut self, grace: Option<Duration>) {
        let Some(grace) = grace else { return };
        if self.grace.is_some_and(|(before, _)| before <= grace) {
            return;
        }
        self.grace = Some((grace, clock::wall() + grace));
        // Those that were told before get the shorter time too.
        for position in self
            .running
            .keys()
            .filter(|position| self.members[**position].stopping)
        {
            self.kill_after(*position, grace);
        }
    }

    /// What is left of the pod's grace. Sidecars, whose turn is last, have a moment in any case.
    fn grace_left(&self) -> Duration {
        match self.grace {
            Some((Duration::ZERO, _)) => Duration::ZERO,
            Some((_, end)) => end
                .duration_since(clock::wall())
                .unwrap_or_default()
                .max(LEAST_GRACE),
            None => self.own_grace(),
        }
    }

    /// Ends a container for good or for a restart; `why` stands in the event.
    pub(super) fn stop(&mut self, position: usize, why: Option<String>) {
        let member = &mut self.members[position];
        if std::mem::replace(&mut member.stopping, true) {
            return;
        }
        let name = member.name().to_owned();
        let spec = member.spec.clone();
        self.event_of(
            position,
            Severity::Normal,
            "Killing",
            why.unwrap_or_else(|| format!("Stopping container {name}")),
        );
        let grace = match self.fate {
            Fate::End => self.grace_left(),
            Fate::Live => self.restart_grace(position),
        };
        let hook = spec
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.clone());
        let signal = spec
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.stop_signal.as_deref());
        let signal = signal
            .and_then(|name| Signal::from_str(name).ok())
            .unwrap_or(Signal::SIGTERM);
        self.kill_after(position, grace);
        self.terminate(position, hook.filter(|_| !grace.is_zero()), signal);
    }

    /// The same because of a failed probe or hook: the plan starts it again.
    pub(super) fn restart(&mut self, position: usize, why: String) {
        self.stop(position, Some(why));
    }

    fn restart_grace(&self, position: usize) -> Duration {
        let spec = &self.members[position].spec;
        let probes = [&spec.liveness_probe, &spec.startup_probe];
        let stated = probes
            .into_iter()
            .flatten()
            .find_map(|probe| probe.termination_grace_period_seconds);
        let stated = stated
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs);
        stated.unwrap_or_else(|| self.own_grace())
    }

    fn kill_after(&self, position: usize, grace: Duration) {
        let Some(running) = self.running.get(&position) else {
            return;
        };
        let (signals, alive) = (running.signals.clone(), running.alive.clone());
        self.node.tasks.spawn("container kill", async move {
            tokio::select! {
                () = clock::sleep(grace) => signals.lock().await.send(Signal::SIGKILL as i32).await,
                () = alive.cancelled() => {}
            }
        });
    }

    fn terminate(&self, position: usize, hook: Option<LifecycleHandler>, signal: Signal) {
        let Some(running) = self.running.get(&position) else {
            return;
        };
        let (signals, alive, run) = (running.signals.clone(), running.alive.clone(), running.run);
        let question = hook.map(|hook| self.question(position, &hook));
        let target = self.target(position);
        let tell = self.tell.clone();
        self.node.tasks.spawn("container stop", async move {
            if let Some(question) = question {
                let outcome = tokio::select! {
                    outcome = ask(question, &target) => outcome,
                    () = alive.cancelled() => return,
                };
                if let Err(why) = outcome {
                    let _ = tell
                        .send(Happening {
                            position,
                            run,
                            what: What::HookFailed(why),
                        })
                        .await;
                }
            }
            signals.lock().await.send(signal as i32).await;
        });
    }

    /// Runs the postStart hook beside the program.
    pub(super) fn run_post_start(&self, position: usize, hook: &LifecycleHandler) {
        let Some(running) = self.running.get(&position) else {
            return;
        };
        let (alive, run) = (running.alive.clone(), running.run);
        let question = self.question(position, hook);
        let (target, tell) = (self.target(position), self.tell.clone());
        self.node.tasks.spawn("postStart hook", async move {
            tokio::select! {
                outcome = ask(question, &target) => {
                    let _ = tell.send(Happening { position, run, what: What::Hooked(outcome) }).await;
                }
                () = alive.cancelled() => {}
            }
        });
    }

    fn question(&self, position: usize, hook: &LifecycleHandler) -> Result<Question, String> {
        let address = self.facts.address.clone().unwrap_or_default();
        Question::of_hook(hook, &self.members[position].spec, &address)
    }

    /// The container for commands in it.
    pub(super) fn target(&self, position: usize) -> Target {
        let member = &self.members[position];
        Target {
            pid: member.run().map_or(0, |run| run.pid),
            program: self.programs.get(member.name()).cloned().unwrap_or_default(),
        }
    }
}

async fn ask(question: Result<Question, String>, target: &Target) -> Result<(), String> {
    question?.ask(target).await
}
