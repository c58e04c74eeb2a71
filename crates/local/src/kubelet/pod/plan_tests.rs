//! The order of a pod's life, step by step.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Container;

use super::plan::{Fate, Plan, next};
use super::state::{Ended, Member, RestartPolicy, Role, Run, State};

const NOW: SystemTime = UNIX_EPOCH;

fn waiting(role: Role) -> Member {
    Member::new(role, Container::default())
}

fn running(role: Role, started: bool) -> Member {
    let mut member = waiting(role);
    member.begun = true;
    member.state = State::Running(Run {
        id: String::new(),
        pid: 1,
        since: NOW,
        started,
        ready: true,
    });
    member
}

fn ended(role: Role, code: i32) -> Member {
    let mut member = waiting(role);
    let (id, reason, message) = (String::new(), String::new(), String::new());
    member.begun = true;
    member.state = State::Ended(Ended {
        id,
        code,
        signal: None,
        reason,
        message,
        since: None,
        at: NOW,
    });
    member
}

fn live(members: &[Member], policy: RestartPolicy) -> Plan {
    next(members, policy, Fate::Live, NOW)
}

fn start(positions: &[usize]) -> Plan {
    Plan {
        start: positions.to_vec(),
        ..Plan::default()
    }
}

use RestartPolicy::{Always, Never, OnFailure};
use Role::{Init, Main, Sidecar};

#[test]
fn init_containers_run_one_after_another() {
    assert_eq!(
        live(&[waiting(Init), waiting(Init), waiting(Main)], Always),
        start(&[0])
    );
    assert_eq!(
        live(&[running(Init, true), waiting(Init), waiting(Main)], Always),
        Plan::default()
    );
    assert_eq!(
        live(&[ended(Init, 0), waiting(Init), waiting(Main)], Always),
        start(&[1])
    );
    assert_eq!(
        live(
            &[ended(Init, 0), ended(Init, 0), waiting(Main), waiting(Main)],
            Always
        ),
        start(&[2, 3])
    );
}

#[test]
fn a_sidecar_lets_the_next_one_start_when_it_has_started_itself() {
    assert_eq!(
        live(&[waiting(Sidecar), waiting(Init), waiting(Main)], Always),
        start(&[0])
    );
    assert_eq!(
        live(&[running(Sidecar, false), waiting(Init), waiting(Main)], Always),
        Plan::default()
    );
    assert_eq!(
        live(&[running(Sidecar, true), waiting(Init), waiting(Main)], Always),
        start(&[1])
    );
}

#[test]
fn a_sidecar_is_started_again_whatever_the_policy_and_without_stopping_the_pod() {
    assert_eq!(
        live(&[ended(Sidecar, 0), running(Main, true)], Never),
        start(&[0])
    );
    assert_eq!(
        live(&[running(Sidecar, false), ended(Main, 1)], Always),
        start(&[1])
    );
}

#[test]
fn init_containers_are_not_run_again_when_a_main_container_restarts() {
    assert_eq!(live(&[waiting(Init), ended(Main, 1)], Always), start(&[1]));
}

#[test]
fn init_containers_run_again_in_a_new_sandbox() {
    let mut earlier = ended(Main, 1);
    earlier.begun = false;
    assert_eq!(live(&[waiting(Init), earlier], Always), start(&[0]));
}

#[test]
fn the_restart_policy_decides_who_runs_again() {
    assert_eq!(live(&[ended(Main, 0)], Always), start(&[0]));
    assert_eq!(live(&[ended(Main, 1)], OnFailure), start(&[0]));
    assert_eq!(live(&[ended(Main, 0)], OnFailure).done, Some(true));
    assert_eq!(live(&[ended(Main, 1)], Never).done, Some(false));
    assert_eq!(
        live(&[ended(Main, 0), running(Main, true)], Never),
        Plan::default()
    );
    assert_eq!(live(&[ended(Init, 1), waiting(Main)], Never).done, Some(false));
    assert_eq!(live(&[ended(Init, 1), waiting(Main)], OnFailure), start(&[0]));
}

#[test]
fn a_container_that_backs_off_is_looked_at_again_in_time() {
    let mut member = ended(Main, 1);
    let later = NOW + Duration::from_secs(10);
    member.not_before = Some(later);
    let plan = live(&[member.clone()], Always);
    assert_eq!(
        (plan.start, plan.backing_off, plan.wake),
        (vec![], vec![0], Some(later))
    );
    assert_eq!(next(&[member], Always, Fate::Live, later), start(&[0]));
}

#[test]
fn sidecars_end_after_the_main_containers_last_first() {
    let end = |members: &[Member]| next(members, Always, Fate::End, NOW);
    let mut members = vec![
        running(Sidecar, true),
        running(Sidecar, true),
        running(Main, true),
    ];
    assert_eq!(end(&members).stop, [2]);
    members[2].stopping = true;
    assert_eq!(end(&members), Plan::default());
    members[2] = ended(Main, 0);
    assert_eq!(end(&members).stop, [1]);
    members[1] = ended(Sidecar, 143);
    assert_eq!(end(&members).stop, [0]);
    members[0] = ended(Sidecar, 143);
    assert_eq!(end(&members).done, Some(true));
}

#[test]
fn sidecars_end_when_a_pod_has_completed_and_do_not_spoil_its_success() {
    assert_eq!(live(&[running(Sidecar, true), ended(Main, 0)], Never).stop, [0]);
    assert_eq!(
        live(&[ended(Sidecar, 137), ended(Main, 0)], Never).done,
        Some(true)
    );
}
