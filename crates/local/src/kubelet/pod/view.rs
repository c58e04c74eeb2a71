//! What clients may look into while a pod lives: logs of its containers, and containers to run commands in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::state::{Member, State};
use crate::kubelet::container::inside::Program;
use crate::kubelet::exec::Target;

/// A pod's containers, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) uid: String,
    pub(crate) logs: PathBuf,
    pub(crate) containers: BTreeMap<String, ContainerView>,
}

#[derive(Clone, Debug)]
pub(crate) struct ContainerView {
    /// To run commands in; none while it does not run.
    pub(crate) target: Option<Target>,
    /// Which run's log is current, if it has run.
    pub(crate) run: Option<i32>,
    /// Why it does not run yet.
    pub(crate) waiting: Option<&'static str>,
}

impl View {
    pub(crate) fn of(
        uid: &str,
        logs: PathBuf,
        members: &[Member],
        programs: &BTreeMap<String, Program>,
    ) -> Self {
        let containers = members.iter().map(|member| {
            let target = member.run().and_then(|run| {
                Some(Target {
                    pid: run.pid,
                    program: programs.get(member.name())?.clone(),
                })
            });
            let waiting = match &member.state {
                State::Waiting { reason, .. } => Some(*reason),
                State::Running(_) | State::Ended(_) => None,
            };
            let run = (!member.fresh()).then_some(member.restarts);
            (member.name().to_owned(), ContainerView { target, run, waiting })
        });
        Self {
            uid: uid.to_owned(),
            logs,
            containers: containers.collect(),
        }
    }
}
