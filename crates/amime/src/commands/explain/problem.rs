//! Why nothing can be explained: what is wrong, the next step, and a stable code.

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(
        "nothing to explain: give a call, as in `amime explain GET http://backend:9090/ --from shop/client`, or what an access log says with --details [AMI0201]"
    )]
    Nothing,
    #[error(
        "{url:?} is no URL of a call: {why}; write http://HOST[:PORT]/PATH, or tcp://HOST:PORT for a connection that is not HTTP [AMI0202]"
    )]
    Url { url: String, why: String },
    #[error("{flag} {value:?}: {why} [AMI0203]")]
    Value {
        flag: &'static str,
        value: String,
        why: String,
    },
    #[error(
        "there is no pod {namespace}/{name}: `amime get pods -n {namespace}` lists them; of files, give the one with the Pod, too [AMI0204]"
    )]
    NoPod { namespace: String, name: String },
    #[error(
        "{host} leads to no pod that is known: say with --from who calls, or with --to who is called [AMI0205]"
    )]
    NoPlace { host: String },
    #[error("the settings of the mesh in ConfigMap {place} cannot be understood: {why} [AMI0206]")]
    Settings { place: String, why: String },
    #[error(
        "{text:?} is nothing that a proxy of the mesh gives as details; copy %RESPONSE_CODE_DETAILS% or %CONNECTION_TERMINATION_DETAILS% of its access log as it stands [AMI0207]"
    )]
    Details { text: String },
    #[error(
        "there is no {rule} in what was read: it was changed or deleted since, or stands in another cluster or file [AMI0208]"
    )]
    NoRule { rule: String },
}

impl Problem {
    /// The command line is wrong, whatever there is in the cluster.
    pub(super) fn is_wrong_use(&self) -> bool {
        matches!(
            self,
            Self::Nothing | Self::Url { .. } | Self::Value { .. } | Self::Details { .. }
        )
    }
}
