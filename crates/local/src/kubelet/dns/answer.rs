//! From a DNS message to its answer: pure, but for names that somebody else must be asked about.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record as Entry, RecordType};

use super::zone::{Found, Record, Wanted, Zone};

/// Seconds that answers may be kept, those that say no as well: endpoints move.
const KEEP: u32 = 5;
/// An alias may lead to an alias, but not for ever.
const MOST_ALIASES: usize = 8;
/// What fits a datagram on every path.
const DATAGRAM: u16 = 1232;

/// What to do with a question.
#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Message),
    /// Ask somebody else this, and complete the answer with what they say.
    Ask {
        question: Query,
        answer: Message,
    },
}

/// Answers what the zone knows. `None` for what is not a question at all.
pub(super) fn answer(zone: &Zone, request: &Message) -> Option<Outcome> {
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata.recursion_desired = request.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM);
        answer.set_edns(edns);
    }
    let refuse = |mut answer: Message, code| {
        answer.metadata.response_code = code;
        Some(Outcome::Answer(answer))
    };
    match request.queries.as_slice() {
        _ if request.metadata.op_code != OpCode::Query => refuse(answer, ResponseCode::NotImp),
        [question] if question.query_class != DNSClass::IN => refuse(answer, ResponseCode::Refused),
        [question] => Some(resolve(zone, question, answer)),
        _ => refuse(answer, ResponseCode::FormErr),
    }
}

fn resolve(zone: &Zone, question: &Query, mut answer: Message) -> Outcome {
    let mut name = question.name.clone();
    for _ in 0..MOST_ALIASES {
        let text = name.to_lowercase().to_ascii();
        let text = text.trim_end_matches('.');
        let records = match zone.lookup(text, wanted(question.query_type)) {
            Found::Elsewhere if !text.contains('.') => return nothing(zone, answer, ResponseCode::NXDomain),
            Found::Elsewhere => {
                let mut question = question.clone();
                question.set_name(name);
                return Outcome::Ask { question, answer };
            }
            Found::Nothing => return nothing(zone, answer, ResponseCode::NXDomain),
            Found::Records(records) => records,
        };
        answer.metadata.authoritative = true;
        let [Record::Alias(target)] = records.as_slice() else {
            return complete(zone, &name, records, answer);
        };
        let Some(target) = parse(target) else {
            return nothing(zone, answer, ResponseCode::ServFail);
        };
        answer.add_answer(Entry::from_rdata(name, KEEP, RData::CNAME(CNAME(target.clone()))));
        if question.query_type == RecordType::CNAME {
            return Outcome::Answer(answer);
        }
        name = target;
    }
    nothing(zone, answer, ResponseCode::ServFail)
}

fn wanted(kind: RecordType) -> Wanted {
    match kind {
        RecordType::A | RecordType::ANY => Wanted::Address,
        RecordType::SRV => Wanted::Service,
        RecordType::PTR => Wanted::Name,
        _ => Wanted::Other,
    }
}

fn complete(zone: &Zone, name: &Name, mut records: Vec<Record>, mut answer: Message) -> Outcome {
    if records.is_empty() {
        return nothing(zone, answer, ResponseCode::NoError);
    }
    // Many clients take the first address only.
    if records.len() > 1 {
        let first = rand::random_range(0..records.len());
        records.rotate_left(first);
    }
    for record in records {
        let data = match record {
            Record::Address(address) => Some(RData::A(A(address))),
            Record::Name(target) | Record::Alias(target) => {
                parse(&target).map(|target| RData::PTR(PTR(target)))
            }
            Record::Service {
                port,
                target,
                address,
            } => parse(&target).map(|target| {
                answer.add_additional(Entry::from_rdata(target.clone(), KEEP, RData::A(A(address))));
                RData::SRV(SRV::new(0, 100, port, target))
            }),
        };
        if let Some(data) = data {
            answer.add_answer(Entry::from_rdata(name.clone(), KEEP, data));
        }
    }
    Outcome::Answer(answer)
}

/// Says no, and for how long that may be believed.
fn nothing(zone: &Zone, mut answer: Message, code: ResponseCode) -> Outcome {
    answer.metadata.response_code = code;
    answer.metadata.authoritative = true;
    let domain = parse(&zone.domain);
    let server = parse(&format!("ns.dns.{}", zone.domain));
    let owner = parse(&format!("hostmaster.{}", zone.domain));
    if let (Some(domain), Some(server), Some(owner)) = (domain, server, owner) {
        let authority = SOA::new(server, owner, 1, 7200, 1800, 86400, KEEP);
        answer.add_authority(Entry::from_rdata(domain, KEEP, RData::SOA(authority)));
    }
    Outcome::Answer(answer)
}

/// Puts what somebody else said into our answer.
pub(super) fn merge(mut answer: Message, theirs: Option<Message>) -> Message {
    match theirs {
        Some(theirs) => {
            answer.metadata.response_code = theirs.metadata.response_code;
            answer.metadata.truncation = theirs.metadata.truncation;
            answer.add_answers(theirs.answers);
            answer.add_authorities(theirs.authorities);
        }
        // An alias is an answer by itself.
        None if !answer.answers.is_empty() => {}
        None => answer.metadata.response_code = ResponseCode::ServFail,
    }
    answer
}

/// The answer as a datagram that the client can take; too long ones say that TCP is needed.
pub(super) fn datagram(request: &Message, answer: &Message) -> Option<Vec<u8>> {
    let bytes = answer.to_vec().ok()?;
    let limit = usize::from(request.max_payload().min(DATAGRAM));
    match bytes.len() <= limit {
        true => Some(bytes),
        false => answer.truncate().to_vec().ok(),
    }
}

fn parse(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn zone(endpoints: u8) -> Zone {
        let services = [
            Arc::new(
                json!({"metadata": {"name": "backend", "namespace": "n"}, "spec": {"clusterIP": "10.96.0.20",
                "ports": [{"name": "http", "port": 9090}]}}),
            ),
            Arc::new(json!({"metadata": {"name": "many", "namespace": "n"}, "spec": {"clusterIP": "None"}})),
            Arc::new(json!({"metadata": {"name": "in", "namespace": "n"},
                "spec": {"type": "ExternalName", "externalName": "backend.n.svc.cluster.local"}})),
            Arc::new(json!({"metadata": {"name": "loop", "namespace": "n"},
                "spec": {"type": "ExternalName", "externalName": "loop.n.svc.cluster.local"}})),
            Arc::new(json!({"metadata": {"name": "out", "namespace": "n"},
                "spec": {"type": "ExternalName", "externalName": "example.com"}})),
        ];
        let endpoints: Vec<_> = (0..endpoints)
            .map(|last| json!({"addresses": [format!("10.244.1.{last}")]}))
            .collect();
        let slice = json!({"metadata": {"namespace": "n", "labels": {"kubernetes.io/service-name": "many"}},
            "addressType": "IPv4", "endpoints": endpoints});
        Zone::of("cluster.local", &services, &[Arc::new(slice)])
    }

    fn ask(name: &str, kind: RecordType) -> Message {
        let mut request = Message::query();
        request.add_query(Query::query(parse(name).unwrap(), kind));
        request
    }

    fn answered(name: &str, kind: RecordType) -> Message {
        match answer(&zone(0), &ask(name, kind)).unwrap() {
            Outcome::Answer(answer) => answer,
            Outcome::Ask { .. } => panic!("{name} is ours"),
        }
    }

    fn data(message: &Message) -> Vec<String> {
        message
            .answers
            .iter()
            .map(|entry| entry.data.to_string())
            .collect()
    }

    #[test]
    fn a_service_has_an_address_whatever_the_case_of_its_name() {
        let answer = answered("Backend.n.svc.CLUSTER.local", RecordType::A);
        assert_eq!(data(&answer), ["10.96.0.20"]);
        assert_eq!(answer.answers[0].name.to_ascii(), "Backend.n.svc.CLUSTER.local.");
        assert!(answer.metadata.authoritative);
    }

    #[test]
    fn there_are_no_ipv6_addresses_but_the_name_exists() {
        let answer = answered("backend.n.svc.cluster.local", RecordType::AAAA);
        assert_eq!(
            (answer.metadata.response_code, answer.answers.len()),
            (ResponseCode::NoError, 0)
        );
        assert_eq!(answer.authorities.len(), 1);
        let answer = answered("nobody.n.svc.cluster.local", RecordType::AAAA);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(
            answered("backend", RecordType::A).metadata.response_code,
            ResponseCode::NXDomain
        );
    }

    #[test]
    fn aliases_are_followed_inside_and_asked_about_outside() {
        let inside = answered("in.n.svc.cluster.local", RecordType::A);
        assert_eq!(data(&inside), ["backend.n.svc.cluster.local.", "10.96.0.20"]);
        assert_eq!(
            answered("loop.n.svc.cluster.local", RecordType::A)
                .metadata
                .response_code,
            ResponseCode::ServFail
        );
        let outside = answer(&zone(0), &ask("out.n.svc.cluster.local", RecordType::A)).unwrap();
        let Outcome::Ask { question, answer } = outside else {
            panic!("{outside:?}")
        };
        assert_eq!(question.name.to_ascii(), "example.com.");
        assert_eq!(data(&merge(answer, None)), ["example.com."]);
    }

    #[test]
    fn a_named_port_brings_its_address_along() {
        let answer = answered("_http._tcp.backend.n.svc.cluster.local", RecordType::SRV);
        assert_eq!(data(&answer), ["0 100 9090 backend.n.svc.cluster.local."]);
        assert_eq!(answer.additionals.len(), 1);
    }

    #[test]
    fn an_answer_that_is_too_long_for_a_datagram_says_so() {
        let request = ask("many.n.svc.cluster.local", RecordType::A);
        let Some(Outcome::Answer(answer)) = answer(&zone(200), &request) else {
            panic!("ours")
        };
        assert_eq!(answer.answers.len(), 200);
        let short = Message::from_vec(&datagram(&request, &answer).unwrap()).unwrap();
        assert!(short.metadata.truncation && short.answers.is_empty());
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let mut response = ask("backend.n.svc.cluster.local", RecordType::A);
        response.metadata.message_type = MessageType::Response;
        assert!(answer(&zone(0), &response).is_none());
        let two =
            [ask("a", RecordType::A), ask("b", RecordType::A)].map(|message| message.queries[0].clone());
        let mut request = Message::query();
        request.add_queries(two);
        let Some(Outcome::Answer(answer)) = answer(&zone(0), &request) else {
            panic!("answered")
        };
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    }
}
