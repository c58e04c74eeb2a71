//! Whether a connection is under mutual TLS, and why: the words of `explain`.

use snapshot::{Chain, Cluster, Discovery, Endpoint, Listener};

/// How a client's proxy secures a connection to one of those members.
pub(crate) fn outbound(cluster: &Cluster, members: &[&Endpoint]) -> String {
    let rule = cluster.origin.as_ref().map(|origin| &origin.resource);
    match (&cluster.tls, &cluster.auto_tls) {
        (Some(tls), _) if tls.is_of_the_mesh() => match (rule, cluster.discovery) {
            (Some(rule), Discovery::Endpoints | Discovery::Nobody) => {
                format!("mutual TLS: {rule} asks for it")
            }
            (Some(rule), Discovery::OriginalDestination) => {
                format!("mutual TLS: {rule} asks for it, or all members take it")
            }
            (None, _) => "mutual TLS: all members take it".to_owned(),
        },
        (Some(_), _) => match rule {
            Some(rule) => format!("TLS: {rule} asks for it"),
            None => "TLS".to_owned(),
        },
        (None, Some(_)) => by_member(members),
        (None, None) if cluster.service.is_none() => {
            "plain text: the mesh does not know who is called".to_owned()
        }
        (None, None) => "plain text: a rule or the settings of the mesh ask for no TLS here".to_owned(),
    }
}

/// Whether a connection to that member comes under mutual TLS.
pub(crate) fn is_mutual(cluster: &Cluster, member: Option<&Endpoint>) -> bool {
    match (&cluster.tls, &cluster.auto_tls) {
        (Some(tls), _) => tls.is_of_the_mesh(),
        (None, auto) => auto.is_some() && member.is_some_and(|member| member.mutual),
    }
}

fn by_member(members: &[&Endpoint]) -> String {
    let takes = members.iter().filter(|member| member.mutual).count();
    match (takes, members.len()) {
        (0, _) => "plain text: no member has a proxy that takes mutual TLS on this port".to_owned(),
        (takes, all) if takes == all => {
            "mutual TLS: all members have a proxy that takes it on this port".to_owned()
        }
        (takes, all) => {
            format!("mutual TLS to {takes} of {all} members, plain text to those whose proxy takes none")
        }
    }
}

/// Whether the chain asks clients for a name that is not that of this one.
pub(crate) fn is_stranger(chain: Option<&Chain>, identity: Option<&str>) -> bool {
    let tls = chain.and_then(|chain| chain.tls.as_ref());
    let names = tls.map_or(&[][..], |tls| &tls.client_names);
    identity.is_some_and(|identity| !names.is_empty() && !names.iter().any(|name| name.matches(identity)))
}

/// How a connection came to a workload's proxy, or why it was not let in.
pub(crate) fn inbound(listener: &Listener, chain: Option<&Chain>, identity: Option<&str>) -> String {
    let words = match chain {
        Some(_) if is_stranger(chain, identity) => {
            "closed: the client's identity is of no trust domain of the mesh"
        }
        Some(chain) if chain.tls.is_some() => "mutual TLS: the client is a proxy of the mesh",
        Some(_) => "plain text, as far as the proxy is concerned",
        None if listener.detect_tls => "closed: this port does not take what came",
        None => "closed",
    };
    words.to_owned()
}
