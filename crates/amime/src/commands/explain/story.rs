//! From the question to the report: the caller's half, then that of the pod that the call comes to.

use std::net::{IpAddr, SocketAddr};

use resources::kubernetes::Pod;
use snapshot::Direction;
use translate::explain::{Answer, Caller, Request, Target, onward};
use translate::mesh::services::Service;
use translate::{Call, Mesh, Outcome};

use super::objects::Objects;
use super::outbound::members_text;
use super::problem::Problem;
use super::question::{PodName, Question, Speaks};
use super::report::{Ending, Half, Report};
use super::world::{self, ANY, Place, pod_at};
use super::{inbound, outbound};

/// Everything about that call.
pub(super) fn report(objects: &Objects, question: &Question) -> Result<Report, Problem> {
    let mesh = &objects.mesh;
    let from = question.from.as_ref();
    let from = from.map(|name| Place::find(mesh, name)).transpose()?;
    let to = question
        .to
        .as_ref()
        .map(|name| Place::find(mesh, name))
        .transpose()?;
    match from {
        Some(from) if from.has_proxy() => Ok(from_pod(objects, question, &from, to)),
        from => from_outside(objects, question, from.as_ref(), to),
    }
}

/// The call as its maker makes it.
fn call(mesh: &Mesh, question: &Question, from: Option<&Place<'_>>) -> Call {
    let stated = &question.caller;
    let account = stated.account.as_ref();
    let account = account.map(|account| world::identity(mesh, &account.namespace, &account.name));
    let of_pod = || {
        let from = from.filter(|from| from.has_proxy());
        from.map(|from| from.identity(mesh))
    };
    let identity = stated.identity.clone().or(account).or_else(of_pod);
    let address = stated.address.or_else(|| from.map(Place::address));
    Call {
        direction: Direction::Outbound,
        destination: SocketAddr::new(ANY, question.port),
        server_name: (question.speaks == Speaks::Tls).then(|| question.host.clone()),
        mutual: false,
        request: (question.speaks == Speaks::Http).then(|| Request {
            method: question.method.clone(),
            path: question.path.clone(),
            authority: question.authority.clone(),
            headers: question.headers.clone(),
        }),
        caller: Caller {
            address: address.unwrap_or(ANY),
            identity,
            claims: stated.claims.clone(),
        },
    }
}

/// From a pod of the mesh: its proxy decides first.
fn from_pod<'m>(
    objects: &'m Objects,
    question: &Question,
    from: &Place<'_>,
    to: Option<Place<'m>>,
) -> Report {
    let mesh = &objects.mesh;
    let mut call = call(mesh, question, Some(from));
    let service = world::service(mesh, &question.host, &from.name.namespace);
    call.destination.set_ip(destination(
        mesh,
        question,
        service.map(|found| &**found),
        to.as_ref(),
    ));
    let caller = caller_text(&from.name.to_string(), &call);
    let Some((outbound, outcome)) = outbound::half(objects, from, &call) else {
        return whole(question, caller, (None, None), unheard());
    };
    let ending = outbound::ending(&outbound.at, &outcome);
    let Some(way) = way(mesh, &outcome, &call, to) else {
        return whole(question, caller, (Some(outbound), None), ending);
    };
    let arriving = onward(&from.snapshot, &call, &outcome, (way.target, way.member));
    let chosen = chosen(objects, &way);
    match inbound::half(objects, &way.place, &arriving, chosen) {
        Some((inbound, mut ending)) => {
            if outcome.host.is_some() {
                refused_connection(&inbound, &outbound, &mut ending);
            }
            whole(question, caller, (Some(outbound), Some(inbound)), ending)
        }
        None => whole(question, caller, (Some(outbound), None), ending),
    }
}

/// What a caller's proxy makes of a connection that nobody takes.
fn refused_connection(inbound: &Half, outbound: &Half, ending: &mut Ending) {
    let outcome = inbound.outcome.as_ref();
    if outcome.is_some_and(|outcome| outcome.answer == Answer::Close && outcome.chain.is_empty()) {
        ending.says += &format!(
            "; the proxy of {} answers 503 UC, upstream_reset_before_response_started{{connection_termination}}",
            outbound.at
        );
    }
}

/// From somebody whose proxy is not asked: straight to a pod.
fn from_outside<'m>(
    objects: &'m Objects,
    question: &Question,
    from: Option<&Place<'_>>,
    to: Option<Place<'m>>,
) -> Result<Report, Problem> {
    let mesh = &objects.mesh;
    let namespace = from.or(to.as_ref()).map(|place| place.name.namespace.clone());
    let namespace = namespace.unwrap_or_else(|| question.namespace.clone());
    let service = world::service(mesh, &question.host, &namespace).map(|found| &**found);
    let (place, others) = match to {
        Some(place) => (place, Vec::new()),
        None => {
            let mut pods = candidates(mesh, question, service);
            if pods.is_empty() {
                return Err(Problem::NoPlace {
                    host: question.host.clone(),
                });
            }
            (Place::of(mesh, pods.remove(0)), pods)
        }
    };
    let mut call = call(mesh, question, from);
    call.direction = Direction::Inbound;
    call.mutual = call.caller.identity.is_some();
    call.destination = SocketAddr::new(place.address(), port(&place, service, question.port));
    let who = from.map(|from| format!("{} without a proxy", from.name));
    let caller = caller_text(&who.unwrap_or_else(|| "somebody".to_owned()), &call);
    let chosen = match others.as_slice() {
        [] => String::new(),
        others => format!("the first of {}; --to chooses", others.len() + 1),
    };
    Ok(match inbound::half(objects, &place, &call, chosen) {
        Some((inbound, ending)) => whole(question, caller, (None, Some(inbound)), ending),
        None => whole(question, caller, (None, None), unheard()),
    })
}

fn candidates<'m>(mesh: &'m Mesh, question: &Question, service: Option<&Service>) -> Vec<&'m Pod> {
    match (service, question.host.parse::<IpAddr>()) {
        (Some(service), _) => world::members(mesh, service),
        (None, Ok(address)) => pod_at(mesh, address).into_iter().collect(),
        (None, Err(_)) => Vec::new(),
    }
}

/// The number of the port in the pod.
fn port(place: &Place<'_>, service: Option<&Service>, port: u16) -> u16 {
    let host = service.map(|service| service.host.as_str());
    let mut ports = place.scope.ports();
    let found = ports.find(|(of, of_service, _)| host == Some(*of) && *of_service == port);
    found.map_or(port, |(_, _, target)| target)
}

/// Where the caller's connection goes before anybody decides anything.
fn destination(
    mesh: &Mesh,
    question: &Question,
    service: Option<&Service>,
    to: Option<&Place<'_>>,
) -> IpAddr {
    if let Ok(address) = question.host.parse() {
        return address;
    }
    let Some(service) = service else { return ANY };
    match service.addresses.first() {
        Some(address) => *address,
        // Clients of a headless service resolve its name to pods.
        None => {
            let members = world::members(mesh, service);
            let wanted = to.map(|to| &to.name);
            let named = members.iter().find(|pod| {
                let meta = &pod.metadata;
                wanted.is_some_and(|to| (&to.namespace, &to.name) == (&meta.namespace, &meta.name))
            });
            let pod = named.or(members.first());
            pod.and_then(|pod| pod.status.pod_ip.parse().ok()).unwrap_or(ANY)
        }
    }
}

/// Where a call goes on to.
struct Way<'m, 'o> {
    place: Place<'m>,
    target: &'o Target,
    member: SocketAddr,
    /// All that may be picked.
    all: Vec<SocketAddr>,
    /// The route leads to the pod that was asked for.
    asked_for: bool,
    /// It does not.
    missed: Option<PodName>,
}

/// The pod that was asked for if the route leads there, else the first of the heaviest target. Without a pod there is
/// nothing more to tell.
fn way<'m, 'o>(
    mesh: &'m Mesh,
    outcome: &'o Outcome,
    call: &Call,
    to: Option<Place<'m>>,
) -> Option<Way<'m, 'o>> {
    let Answer::Forward(targets) = &outcome.answer else {
        return None;
    };
    let mut targets: Vec<_> = targets
        .iter()
        .filter(|target| target.weight > 0 && target.failure.is_none())
        .collect();
    // Stable: of equal weights the first of the rule.
    targets.sort_by_key(|target| std::cmp::Reverse(target.weight));
    let members = targets.iter().flat_map(|target| {
        let original = target.endpoints.is_empty().then_some(call.destination);
        let members = target.endpoints.iter().copied().chain(original);
        members.map(|member| (*target, member))
    });
    let members: Vec<_> = members.collect();
    let all = members.iter().map(|(_, member)| *member).collect();
    let wanted = to.as_ref().map(Place::address);
    let found = members.iter().find(|(_, member)| Some(member.ip()) == wanted);
    let missed = match (found, to) {
        (Some((target, member)), Some(place)) => {
            return Some(Way {
                place,
                target,
                member: *member,
                all,
                asked_for: true,
                missed: None,
            });
        }
        (_, to) => to.map(|to| to.name),
    };
    let (target, member) = *members.first()?;
    Some(Way {
        place: Place::of(mesh, pod_at(mesh, member.ip())?),
        target,
        member,
        all,
        asked_for: false,
        missed,
    })
}

fn chosen(objects: &Objects, way: &Way<'_, '_>) -> String {
    let others = way.all.iter().filter(|member| **member != way.member);
    let others: Vec<_> = others.copied().collect();
    let named = members_text(objects, &others);
    if let Some(missed) = &way.missed {
        return format!("the route does not lead to {missed}");
    }
    match (way.asked_for, others.as_slice()) {
        (_, []) => String::new(),
        (true, _) => format!("asked for; the route leads to {named}, too"),
        (false, _) => format!("the first of several, --to chooses; the others: {named}"),
    }
}

fn caller_text(who: &str, call: &Call) -> String {
    let caller = &call.caller;
    let identity = caller.identity.as_deref().unwrap_or("without an identity");
    let address = match caller.address {
        ANY => "an address that is not known".to_owned(),
        address => address.to_string(),
    };
    let claims = caller.claims.as_ref();
    let claims = claims
        .map(|claims| format!(", with a token of {claims}"))
        .unwrap_or_default();
    format!("{who}, {identity}, {address}{claims}")
}

fn whole(
    question: &Question,
    caller: String,
    (outbound, inbound): (Option<Half>, Option<Half>),
    answer: Ending,
) -> Report {
    let host = match question.host.as_str() {
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let scheme = match question.speaks {
        Speaks::Http => "http",
        Speaks::Tls => "tls",
        Speaks::Bytes => "tcp",
    };
    let place = format!("{scheme}://{host}:{}", question.port);
    let call = match question.speaks {
        Speaks::Http => format!("{} {place}{}", question.method, question.path),
        Speaks::Tls | Speaks::Bytes => place,
    };
    Report {
        call,
        caller,
        outbound,
        inbound,
        answer,
    }
}

/// The proxy has no listener; it listens in both directions as long as it is a sidecar.
fn unheard() -> Ending {
    Ending {
        says: "the proxy does not listen in this direction".to_owned(),
        status: None,
        details: None,
        flag: None,
    }
}
