//! What happens in a pod, and what it means for the container concerned.

use daemon::clock;

use super::Life;
use super::state::{Ended, Member, State};
use crate::kubelet::container::Exit;
use crate::kubelet::events::Severity;
use crate::kubelet::probes::Purpose;

/// News of one run of a container.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(super) position: usize,
    pub(super) run: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Exited(Exit),
    /// The postStart hook has ended.
    Hooked(Result<(), String>),
    /// The preStop hook has failed.
    HookFailed(String),
    /// One answer to a probe, and the verdict if it changed.
    Probed {
        purpose: Purpose,
        answer: Result<(), String>,
        verdict: Option<bool>,
    },
}

/// As much of a termination message as Kubernetes keeps.
const LONGEST_MESSAGE: usize = 4096;

impl Life {
    /// Takes in one piece of news.
    pub(super) fn take(&mut self, happening: Happening) {
        let Happening { position, run, what } = happening;
        if self
            .running
            .get(&position)
            .is_none_or(|running| running.run != run)
        {
            return;
        }
        match what {
            What::Exited(exit) => self.exited(position, exit),
            What::Hooked(Ok(())) => {
                if let Some(running) = self.running.get_mut(&position) {
                    running.hooked = true;
                }
                self.progress(position);
            }
            What::Hooked(Err(why)) => {
                self.event_of(
                    position,
                    Severity::Warning,
                    "FailedPostStartHook",
                    format!("PostStartHook failed: {why}"),
                );
                let name = self.members[position].name().to_owned();
                self.restart(
                    position,
                    format!("Container {name} failed postStart hook, will be restarted"),
                );
            }
            What::HookFailed(why) => {
                self.event_of(
                    position,
                    Severity::Warning,
                    "FailedPreStopHook",
                    format!("PreStopHook failed: {why}"),
                );
            }
            What::Probed {
                purpose,
                answer,
                verdict,
            } => self.probed(position, purpose, answer, verdict),
        }
    }

    fn exited(&mut self, position: usize, exit: Exit) {
        let Some(running) = self.running.remove(&position) else {
            return;
        };
        let message = self.last_words(position, &running.termination, exit);
        let member = &mut self.members[position];
        let Some(run) = member.run().cloned() else { return };
        member.end(Ended {
            id: run.id,
            code: exit.code,
            signal: exit.signal,
            reason: if exit.code == 0 { "Completed" } else { "Error" }.to_owned(),
            message,
            since: Some(run.since),
            at: clock::wall(),
        });
    }

    /// The termination message: what the program wrote for this, or the end of its log if it wants that.
    fn last_words(&self, position: usize, file: &std::path::Path, exit: Exit) -> String {
        let member = &self.members[position];
        let written = std::fs::read(file).unwrap_or_default();
        let from_log = member.spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if written.is_empty() && from_log && exit.code != 0 {
            let log = crate::kubelet::logs::path(&self.logs(), member.name(), member.restarts);
            return crate::kubelet::logs::read::last(&log, 2048).unwrap_or_default();
        }
        String::from_utf8_lossy(&written[..written.len().min(LONGEST_MESSAGE)]).into_owned()
    }

    fn probed(
        &mut self,
        position: usize,
        purpose: Purpose,
        answer: Result<(), String>,
        verdict: Option<bool>,
    ) {
        if let Err(why) = answer {
            let message = format!("{} probe failed: {why}", purpose.word());
            self.event_of(position, Severity::Warning, "Unhealthy", message);
        }
        let Some(verdict) = verdict else { return };
        match (purpose, verdict) {
            (Purpose::Startup, true) => {
                if let Some(running) = self.running.get_mut(&position) {
                    running.startup_passed = true;
                }
                self.progress(position);
            }
            (Purpose::Readiness, _) => {
                if let State::Running(run) = &mut self.members[position].state {
                    run.ready = verdict;
                }
            }
            (Purpose::Liveness, true) => {}
            (Purpose::Startup | Purpose::Liveness, false) => {
                let (word, name) = (purpose.word().to_lowercase(), self.members[position].name());
                let message = format!("Container {name} failed {word} probe, will be restarted");
                self.restart(position, message);
            }
        }
    }

    /// A container has started when its hook has ended and its startup probe has succeeded; then the other probes begin.
    pub(super) fn progress(&mut self, position: usize) {
        let Some(running) = self.running.get(&position) else {
            return;
        };
        if !running.hooked || !running.startup_passed {
            return;
        }
        let probed = self.members[position].spec.readiness_probe.is_some();
        if let State::Running(run) = &mut self.members[position].state {
            run.started = true;
            run.ready = !probed;
        }
        self.watch_over(position, &[Purpose::Readiness, Purpose::Liveness]);
    }

    pub(super) fn say_backing_off(&mut self, position: usize) {
        let full_name = self.full_name();
        let member: &mut Member = &mut self.members[position];
        let name = member.name().to_owned();
        match &member.state {
            State::Ended(_) => {
                let seconds = member.back_off.delay().unwrap_or_default().as_secs();
                let delay = if seconds < 60 {
                    format!("{seconds}s")
                } else {
                    format!("{}m{}s", seconds / 60, seconds % 60)
                };
                let waiting = format!("back-off {delay} restarting failed container={name} pod={full_name}");
                member.wait("CrashLoopBackOff", waiting);
                let message = format!("Back-off restarting failed container {name} in pod {full_name}");
                self.event_of(position, Severity::Warning, "BackOff", message);
            }
            State::Waiting {
                reason: "ErrImagePull",
                ..
            } => {
                let image = member.spec.image.clone().unwrap_or_default();
                let message = format!("Back-off pulling image \"{image}\"");
                member.wait("ImagePullBackOff", message.clone());
                self.event_of(position, Severity::Normal, "BackOff", message);
                self.event_of(
                    position,
                    Severity::Warning,
                    "Failed",
                    "Error: ImagePullBackOff".to_owned(),
                );
            }
            State::Waiting { .. } | State::Running(_) => {}
        }
    }
}
