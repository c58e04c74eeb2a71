//! The half of a call that its caller's proxy decides: listener, route, cluster, how the connection is secured.

use std::net::SocketAddr;

use snapshot::fault::AbortStatus;
use snapshot::{Fault, Share};
use translate::explain::{Answer, Target};
use translate::{Call, Outcome, explain};

use super::objects::Objects;
use super::report::{Ending, Fact, Half};
use super::world::{Place, pod_at};

/// Members that a line names.
const NAMED: usize = 5;

/// What the caller's proxy does.
pub(super) fn half(objects: &Objects, place: &Place<'_>, call: &Call) -> Option<(Half, Outcome)> {
    let outcome = explain(&place.snapshot, call)?;
    let mut says = vec![listener(&outcome)];
    if let Some(route) = outcome.route.as_deref().or(outcome.host.as_deref()) {
        let by = outcome.origin.as_ref().map(|origin| objects.reference(origin));
        let host = outcome.host.as_deref().unwrap_or_default();
        let name = if route.is_empty() { "without a name" } else { route };
        says.push(Fact::new("Route", format!("{name}, of virtual host {host}")).by(by));
    }
    if let Some(path) = &outcome.path {
        says.push(Fact::new("Rewrite", format!("path {path}")));
    }
    says.extend(outcome.fault.as_ref().into_iter().flat_map(faults));
    for mirror in &outcome.mirrors {
        says.push(Fact::new(
            "Mirror",
            format!("{} of requests to {}", percent(mirror.share), mirror.cluster),
        ));
    }
    if let Answer::Forward(targets) = &outcome.answer {
        let total: u32 = targets.iter().map(|target| target.weight).sum();
        for target in targets {
            says.extend(target_facts(objects, place, target, total));
        }
    }
    let half = Half {
        at: place.name.to_string(),
        chosen: String::new(),
        says,
        outcome: Some(outcome.clone()),
    };
    Some((half, outcome))
}

/// Which listener and chain take the connection.
pub(super) fn listener(outcome: &Outcome) -> Fact {
    Fact::new(
        "Listener",
        match outcome.chain.as_str() {
            "" => format!("{}, none of whose chains takes the connection", outcome.listener),
            chain if chain == outcome.listener => chain.to_owned(),
            chain => format!("{}, chain {chain}", outcome.listener),
        },
    )
}

fn faults(fault: &Fault) -> Vec<Fact> {
    let delay = fault.delay.map(|delay| {
        let says = format!("{} of requests wait {:?}", percent(delay.share), delay.duration);
        Fact::new("Fault", says)
    });
    let abort = fault.abort.map(|abort| {
        let status = match abort.status {
            AbortStatus::Http(status) => status.to_string(),
            AbortStatus::Grpc(status) => format!("gRPC status {status}"),
        };
        let share = percent(abort.share);
        Fact::new(
            "Fault",
            format!("{share} of requests are answered {status}, fault_filter_abort"),
        )
    });
    delay.into_iter().chain(abort).collect()
}

fn percent(share: Share) -> String {
    format!("{}%", f64::from(share.0) / 10_000.0)
}

fn target_facts(objects: &Objects, place: &Place<'_>, target: &Target, total: u32) -> Vec<Fact> {
    let cluster = place.snapshot.clusters.get(target.cluster.as_str());
    let origin = cluster.and_then(|cluster| cluster.origin.as_ref());
    let by = origin.map(|origin| objects.reference(origin));
    let share = match total {
        0 => String::new(),
        total if target.weight == total => String::new(),
        total => format!("{}% to ", u64::from(target.weight) * 100 / u64::from(total)),
    };
    let failure = match target.failure {
        Some("NC") => ": there is no such cluster",
        Some(_) => ": nobody healthy is there",
        None => "",
    };
    let subset = target.cluster.parts().map_or("", |parts| parts.subset);
    let subset = match subset {
        "" => String::new(),
        subset => format!(", subset {subset}"),
    };
    let mut facts = vec![Fact::new("Cluster", format!("{share}{}{subset}{failure}", target.cluster)).by(by)];
    if let Some(authority) = &target.authority {
        facts.push(Fact::new("Rewrite", format!("host {authority}")));
    }
    if target.changes_headers {
        facts.push(Fact::new(
            "Headers",
            "are changed by the route; not followed here",
        ));
    }
    if !target.endpoints.is_empty() {
        facts.push(Fact::new("Members", members_text(objects, &target.endpoints)));
    }
    if let Some(security) = &target.security {
        facts.push(Fact::new("Mutual TLS", security_text(security)));
    }
    facts
}

/// The first of them by name; programs get all.
pub(super) fn members_text(objects: &Objects, members: &[SocketAddr]) -> String {
    let named = members.iter().take(NAMED);
    let named: Vec<_> = named.map(|member| member_text(objects, *member)).collect();
    match members.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn member_text(objects: &Objects, address: SocketAddr) -> String {
    match pod_at(&objects.mesh, address.ip()) {
        Some(pod) => format!("{}/{} at {address}", pod.metadata.namespace, pod.metadata.name),
        None => address.to_string(),
    }
}

/// Yes or no, and why. Objects are named as people name them.
fn security_text(security: &str) -> String {
    let words = security
        .split(' ')
        .map(|word| match resources::Key::from_path(word) {
            Some(key) => key.to_string(),
            None => word.to_owned(),
        });
    let security = words.collect::<Vec<_>>().join(" ");
    let yes = security
        .strip_prefix("mutual TLS: ")
        .map(|why| format!("yes: {why}"));
    let no = || {
        security
            .strip_prefix("plain text: ")
            .map(|why| format!("no: {why}"))
    };
    yes.or_else(no).unwrap_or(security)
}

/// How a call ends that goes no further.
pub(super) fn ending(place: &str, outcome: &Outcome) -> Ending {
    let details = outcome.details();
    let failed = |flag: &str, why: &str| {
        let of_request = outcome.host.is_some();
        Ending {
            says: match of_request {
                true => format!("503 from the proxy of {place}: {why}"),
                false => format!("the proxy of {place} closes the connection: {why}"),
            },
            status: of_request.then_some(503),
            details: details.clone(),
            flag: Some(flag.to_owned()),
        }
    };
    match &outcome.answer {
        Answer::Respond { status, flag, body } => Ending {
            says: match body.as_str() {
                "" => format!("{status} from the proxy of {place}"),
                body => format!("{status} {body:?} from the proxy of {place}"),
            },
            status: Some(*status),
            details,
            flag: Some(flag.clone()).filter(|flag| flag != "-"),
        },
        Answer::Redirect { status, location } => Ending {
            says: format!("{status} from the proxy of {place}: to {location}"),
            status: Some(*status),
            details,
            flag: None,
        },
        Answer::Close => Ending {
            says: format!("the proxy of {place} closes the connection"),
            status: None,
            details,
            flag: None,
        },
        Answer::Forward(targets) => match targets.iter().find(|target| target.weight > 0) {
            Some(target) if target.failure == Some("NC") => failed("NC", "there is no such cluster"),
            Some(target) if target.failure.is_some() => failed("UH", "nobody healthy is there"),
            _ => Ending {
                says: "it goes on to where it was going".to_owned(),
                status: None,
                details: None,
                flag: None,
            },
        },
    }
}
