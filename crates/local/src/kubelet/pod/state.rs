//! What is known of a pod's containers: plain data, with the few rules of how it changes. Time is passed in.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{Container, Pod};

/// A first restart is immediate; the next ones wait this long, then twice as long, and so on.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// Who ran for so long starts again from the first delay.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The part that a container plays in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that stays (`restartPolicy: Always`): starts in order, ends after the main ones.
    Sidecar,
    Main,
}

/// When containers of a role are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// A container of the pod: what it should be, and how it is.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) spec: Container,
    pub(crate) state: State,
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: i32,
    pub(crate) back_off: BackOff,
    /// It has run since the pod's sandbox was made; what ran before is history.
    pub(crate) begun: bool,
    /// It was told to end.
    pub(crate) stopping: bool,
    /// Nobody may start it before.
    pub(crate) not_before: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting { reason: &'static str, message: String },
    Running(Run),
    Ended(Ended),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// `local://…`
    pub(crate) id: String,
    /// First process, in the node's PID namespace.
    pub(crate) pid: u32,
    pub(crate) since: SystemTime,
    /// Its postStart hook has ended and its startup probe, if any, has succeeded.
    pub(crate) started: bool,
    /// Its readiness probe, if any, has succeeded.
    pub(crate) ready: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Option<SystemTime>,
    pub(crate) at: SystemTime,
}

/// How long the next restart has to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackOff(Option<Duration>);

impl BackOff {
    /// The delay that is in force now; none before the first restart.
    pub(crate) fn delay(self) -> Option<Duration> {
        self.0
    }

    /// After one more attempt.
    pub(crate) fn next(self) -> Self {
        Self(Some(
            self.0.map_or(FIRST_DELAY, |delay| (delay * 2).min(LONGEST_DELAY)),
        ))
    }
}

impl Member {
    pub(crate) fn new(role: Role, spec: Container) -> Self {
        Self {
            role,
            spec,
            state: State::Waiting {
                reason: if role == Role::Main {
                    "ContainerCreating"
                } else {
                    "PodInitializing"
                },
                message: String::new(),
            },
            last: None,
            restarts: 0,
            back_off: BackOff::default(),
            begun: false,
            stopping: false,
            not_before: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            State::Waiting { .. } | State::Ended(_) => None,
        }
    }

    /// The end that counts: the present one, or the one before a restart that has not happened yet.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            State::Waiting { .. } => self.last.as_ref(),
            State::Running(_) => None,
        }
    }

    /// It never ran.
    pub(crate) fn fresh(&self) -> bool {
        matches!(self.state, State::Waiting { .. }) && self.last.is_none()
    }

    /// Its program has begun to run. A restart remembers how the run before ended.
    pub(crate) fn begin(&mut self, run: Run) {
        if let State::Ended(ended) = &self.state {
            self.last = Some(ended.clone());
        }
        if self.last.is_some() {
            self.restarts += 1;
            self.back_off = self.back_off.next();
        }
        self.state = State::Running(run);
        self.begun = true;
        self.stopping = false;
        self.not_before = None;
    }

    /// Its program has ended (or could not be started).
    pub(crate) fn end(&mut self, ended: Ended) {
        let ran = ended
            .since
            .and_then(|since| ended.at.duration_since(since).ok())
            .unwrap_or_default();
        if ran >= FORGIVEN_AFTER {
            self.back_off = BackOff::default();
        }
        self.not_before = self.back_off.delay().map(|delay| ended.at + delay);
        self.state = State::Ended(ended);
    }

    /// It waits for something else than its turn.
    pub(crate) fn wait(&mut self, reason: &'static str, message: String) {
        if let State::Ended(ended) = &self.state {
            self.last = Some(ended.clone());
        }
        self.state = State::Waiting { reason, message };
    }

    /// It could not be started, and is tried again later, ever more seldom.
    pub(crate) fn postpone(&mut self, now: SystemTime) {
        self.back_off = self.back_off.next();
        self.not_before = self.back_off.delay().map(|delay| now + delay);
    }
}

/// All containers of a pod, in the order of their start.
pub(crate) fn members(pod: &Pod) -> Vec<Member> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| {
        let stays = container.restart_policy.as_deref() == Some("Always");
        Member::new(if stays { Role::Sidecar } else { Role::Init }, container.clone())
    });
    init.chain(
        spec.containers
            .iter()
            .map(|container| Member::new(Role::Main, container.clone())),
    )
    .collect()
}

/// The pod's `restartPolicy`.
pub(crate) fn restart_policy(pod: &Pod) -> RestartPolicy {
    match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn ran(member: &mut Member, from: u64, to: u64) {
        let run = Run {
            id: String::new(),
            pid: 1,
            since: at(from),
            started: true,
            ready: true,
        };
        member.begin(run);
        member.end(Ended {
            id: String::new(),
            code: 1,
            signal: None,
            reason: "Error".to_owned(),
            message: String::new(),
            since: Some(at(from)),
            at: at(to),
        });
    }

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_ever_longer_up_to_five_minutes() {
        let mut member = Member::new(Role::Main, Container::default());
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            ran(&mut member, now, now + 1);
            now += 1;
            let until = member.not_before.unwrap_or(at(now));
            waits.push(until.duration_since(at(now)).unwrap().as_secs());
            now += waits.last().unwrap();
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(member.restarts, 7);
    }

    #[test]
    fn who_ran_for_ten_minutes_is_forgiven() {
        let mut member = Member::new(Role::Main, Container::default());
        ran(&mut member, 0, 1);
        ran(&mut member, 1, 2);
        assert!(member.not_before.is_some());
        ran(&mut member, 20, 20 + 600);
        assert_eq!(member.not_before, None);
    }
}
