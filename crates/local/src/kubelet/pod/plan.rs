//! What to do next with a pod's containers: the order of their lives, as one pure function.
//!
//! Init containers run to their end one after another; sidecars among them start in order and stay; then the main
//! containers run side by side. At the end it goes backwards: first the main containers, then the sidecars, last
//! first. <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>

use std::time::SystemTime;

use super::state::{Member, RestartPolicy, Role, State};

/// What to do now. Containers are named by their position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) start: Vec<usize>,
    pub(crate) stop: Vec<usize>,
    /// Containers that wait before they are started again.
    pub(crate) backing_off: Vec<usize>,
    /// When to look again even if nothing happens.
    pub(crate) wake: Option<SystemTime>,
    /// Nothing runs and nothing will: whether the pod succeeded.
    pub(crate) done: Option<bool>,
}

/// What is to become of the pod as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Live,
    /// Deleted, out of time, or the node stops.
    End,
}

/// The next steps for `members`.
pub(crate) fn next(members: &[Member], policy: RestartPolicy, fate: Fate, now: SystemTime) -> Plan {
    let mut plan = Plan::default();
    if fate == Fate::End {
        wind_down(members, &mut plan);
        return plan;
    }
    if initialise(members, policy, now, &mut plan) {
        for (position, member) in of(members, Role::Main) {
            match &member.state {
                State::Running(_) => {}
                State::Waiting { .. } | State::Ended(_) if !over(member, policy) => {
                    begin(position, member, now, &mut plan);
                }
                State::Waiting { .. } | State::Ended(_) => {}
            }
        }
    }
    if of(members, Role::Main).all(|(_, member)| over(member, policy)) || init_failed(members, policy) {
        plan.start.clear();
        plan.backing_off.clear();
        plan.wake = None;
        wind_down(members, &mut plan);
    }
    plan
}

/// Whether all init containers have done their part; plans the next of their steps if not.
/// Once any main container has run in this sandbox, what is over is not done again.
fn initialise(members: &[Member], policy: RestartPolicy, now: SystemTime, plan: &mut Plan) -> bool {
    let passed = of(members, Role::Main).any(|(_, member)| member.begun);
    for (position, member) in members.iter().enumerate() {
        match (member.role, &member.state) {
            (Role::Main, _) => return true,
            (Role::Sidecar, State::Running(run)) => {
                if !run.started && !passed {
                    return false;
                }
            }
            (Role::Sidecar, State::Waiting { .. } | State::Ended(_)) => {
                begin(position, member, now, plan);
                if !passed {
                    return false;
                }
            }
            (Role::Init, State::Running(_)) => return false,
            (Role::Init, State::Ended(ended)) if ended.code == 0 => {}
            (Role::Init, State::Waiting { .. } | State::Ended(_)) => {
                if passed {
                    continue;
                }
                if policy != RestartPolicy::Never || member.ended().is_none() {
                    begin(position, member, now, plan);
                }
                return false;
            }
        }
    }
    true
}

fn begin(position: usize, member: &Member, now: SystemTime, plan: &mut Plan) {
    match member.not_before.filter(|time| *time > now) {
        Some(time) => {
            plan.backing_off.push(position);
            plan.wake = Some(plan.wake.map_or(time, |earlier| earlier.min(time)));
        }
        None => plan.start.push(position),
    }
}

/// Main containers first; when they are gone the sidecars, one by one, last first.
fn wind_down(members: &[Member], plan: &mut Plan) {
    let running = |role| of(members, role).filter(|(_, member)| member.run().is_some());
    let first: Vec<usize> = running(Role::Main)
        .chain(running(Role::Init))
        .map(|(position, _)| position)
        .collect();
    let last = running(Role::Sidecar).last().map(|(position, _)| position);
    let wanted = if first.is_empty() {
        last.into_iter().collect()
    } else {
        first
    };
    if wanted.is_empty() {
        let good = |member: &Member| member.ended().is_some_and(|ended| ended.code == 0);
        plan.done = Some(
            members
                .iter()
                .filter(|member| member.role != Role::Sidecar)
                .all(good),
        );
    }
    plan.stop = wanted
        .into_iter()
        .filter(|position| !members[*position].stopping)
        .collect();
}

/// A container that ran and will not run again.
fn over(member: &Member, policy: RestartPolicy) -> bool {
    member.ended().is_some_and(|ended| match policy {
        RestartPolicy::Always => false,
        RestartPolicy::OnFailure => ended.code == 0,
        RestartPolicy::Never => true,
    })
}

fn init_failed(members: &[Member], policy: RestartPolicy) -> bool {
    policy == RestartPolicy::Never
        && of(members, Role::Init).any(|(_, member)| member.ended().is_some_and(|ended| ended.code != 0))
}

fn of(members: &[Member], role: Role) -> impl Iterator<Item = (usize, &Member)> {
    members
        .iter()
        .enumerate()
        .filter(move |(_, member)| member.role == role)
}
