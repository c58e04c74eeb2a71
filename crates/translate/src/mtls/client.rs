//! Mutual TLS that a client's proxy offers: where a DestinationRule asks for it, and without a rule wherever the other end
//! has a proxy that takes it (auto mTLS).

use resources::istio::destination_rule::{ClientTls as Stated, TlsMode};
use snapshot::cluster::UpstreamHttp;
use snapshot::{Certificate, ClientTls, Cluster, Discovery, SubjectMatch, Trust};

use crate::Role;
use crate::mesh::peer_authentications::Mutual;
use crate::mesh::services::ServicePort;
use crate::scope::{Scope, VisibleService};
use crate::tls::{client_tls, exact};

/// Says how connections to the members of a cluster are encrypted; its discovery and its HTTP are known already.
pub(crate) fn apply(
    scope: &Scope,
    seen: &VisibleService,
    port: &ServicePort,
    stated: Option<&Stated>,
    cluster: &mut Cluster,
) {
    let mutual = || {
        let accounts = seen.members.iter().flat_map(|members| members.accounts());
        let names = scope.settings.mtls.names(accounts);
        of_the_mesh(cluster, names)
    };
    match stated {
        Some(stated) if stated.mode == Some(TlsMode::IstioMutual) => {
            let mut tls = mutual();
            if !stated.sni.is_empty() {
                tls.server_name.clone_from(&stated.sni);
            }
            if !stated.subject_alt_names.is_empty() {
                tls.subject_alt_names = exact(&stated.subject_alt_names);
            }
            cluster.tls = Some(tls);
        }
        Some(stated) => cluster.tls = client_tls(Some(stated), cluster.http),
        None if scope.settings.mtls.only_on_demand || seen.mutual == Mutual::Disabled => {}
        // A gRPC client has certificates only if its user gave it some.
        None if scope.role == Role::Proxyless => {}
        // Whom the connection goes to is not known before: all of them have to take it.
        None if cluster.discovery == Discovery::OriginalDestination => {
            cluster.tls = all_speak(seen, port).then(mutual);
        }
        None => cluster.auto_tls = Some(mutual()),
    }
}

/// TLS between proxies of the mesh.
fn of_the_mesh(cluster: &Cluster, names: Vec<SubjectMatch>) -> ClientTls {
    let protocols: &[&str] = match cluster.http {
        UpstreamHttp::Http2 => &["istio", "h2"],
        UpstreamHttp::Http1 | UpstreamHttp::Downstream => &["istio"],
    };
    ClientTls {
        server_name: server_name(cluster),
        subject_alt_names: names,
        certificate: Some(Certificate::Workload),
        application_protocols: protocols.iter().map(ToString::to_string).collect(),
        ..ClientTls::new(Trust::Mesh)
    }
}

/// The name of the cluster, in a form that a server name may have.
fn server_name(cluster: &Cluster) -> String {
    let parts = cluster.name.parts();
    parts.map_or(String::new(), |parts| {
        format!(
            "{}_.{}_.{}_.{}",
            parts.direction, parts.port, parts.subset, parts.host
        )
    })
}

/// Whether all members have a proxy that speaks mutual TLS; of nobody that is not known.
fn all_speak(seen: &VisibleService, port: &ServicePort) -> bool {
    let members = seen
        .members
        .iter()
        .flat_map(|members| members.of_port(&port.name));
    let mut members = members.peekable();
    members.peek().is_some() && members.all(|(_, member)| member.modes.is_some())
}
