//! What clients may look into while a pod lives: logs of its containers, and containers to run commands in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::start::Running;
use super::state::{Member, State};
use crate::kubelet::container::attach::Attachable;
use crate::kubelet::container::inside::Program;
use crate::kubelet::exec::Target;
use crate::kubelet::sandbox::SocketSource;

/// A pod's containers, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) uid: String,
    pub(crate) logs: PathBuf,
    /// Where connections to the pod begin; none until its network stands.
    pub(crate) network: Option<PodNetwork>,
    pub(crate) containers: BTreeMap<String, ContainerView>,
}

/// The network that a pod's programs see.
#[derive(Clone, Debug)]
pub(crate) enum PodNetwork {
    Own(SocketSource),
    Node,
}

#[derive(Clone, Debug)]
pub(crate) struct ContainerView {
    /// To run commands in; none while it does not run.
    pub(crate) target: Option<Target>,
    /// To see and write to what it runs.
    pub(crate) attach: Option<Attachable>,
    /// Which run's log is current, if it has run.
    pub(crate) run: Option<i32>,
    /// Why it does not run yet.
    pub(crate) waiting: Option<&'static str>,
}

impl View {
    pub(super) fn of(
        (uid, logs): (&str, PathBuf),
        network: Option<PodNetwork>,
        members: &[Member],
        programs: &BTreeMap<String, Program>,
        running: &BTreeMap<usize, Running>,
    ) -> Self {
        let containers = members.iter().enumerate().map(|(position, member)| {
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
            let attach = running.get(&position).map(|running| Attachable {
                signals: running.signals.clone(),
                stdin: member.spec.stdin == Some(true),
            });
            let view = ContainerView {
                target,
                attach,
                run,
                waiting,
            };
            (member.name().to_owned(), view)
        });
        Self {
            uid: uid.to_owned(),
            logs,
            network,
            containers: containers.collect(),
        }
    }
}
