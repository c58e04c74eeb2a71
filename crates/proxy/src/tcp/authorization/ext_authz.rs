//! Somebody else decides about a connection.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use snapshot::ext_authz::TcpExtAuthz;
use xds::check::{self, Check, Decision, Peer, Verdict};

use super::Caller;
use crate::error::UpstreamError;
use crate::http::filters::ext_authz::{DENIED, ERROR, LONGEST_ANSWER, metadata};
use crate::http::inquiry::{Inquiry, InquiryError};
use crate::listen::accept::Ends;
use crate::telemetry::format::{Facts, occasion};
use crate::telemetry::record::Record;
use crate::worker::Worker;

/// Where findings about connections are kept.
const METADATA: &str = "envoy.filters.network.ext_authz";

/// Why the connection may not go on, in Envoy's words.
pub(super) async fn refuse(
    worker: &Rc<Worker>,
    filter: &TcpExtAuthz,
    ends: (Ends, Caller<'_>),
    record: &mut Record,
) -> Option<&'static str> {
    let condition = filter.when.as_ref();
    if condition.is_some_and(|condition| !record.satisfies(condition)) {
        return None;
    }
    let verdict = match ask(worker, filter, ends, record).await {
        Ok(Decision {
            verdict, metadata, ..
        }) => {
            if !metadata.is_empty() {
                record.metadata.merge(METADATA, metadata);
            }
            verdict
        }
        Err(error) => {
            tracing::debug!(%error, service = %filter.service.cluster, "no decision about a connection");
            Verdict::Failed(None)
        }
    };
    match verdict {
        Verdict::Allowed(_) => None,
        Verdict::Denied(_) => Some(DENIED),
        Verdict::Failed(_) if filter.fail_open => None,
        Verdict::Failed(_) => Some(ERROR),
    }
}

async fn ask(
    worker: &Rc<Worker>,
    filter: &TcpExtAuthz,
    (ends, caller): (Ends, Caller<'_>),
    record: &Record,
) -> Result<Decision, InquiryError> {
    let service = &filter.service;
    let cluster = worker
        .active()
        .and_then(|active| active.cluster(&service.cluster).cloned());
    let cluster = cluster.ok_or(UpstreamError::NoHealthyEndpoint)?;
    let message = check::encode(Check {
        source: Peer {
            address: ends.peer,
            service: String::new(),
            principal: caller
                .peer
                .map(|peer| peer.principal().to_owned())
                .unwrap_or_default(),
        },
        destination: Peer {
            address: ends.destination,
            service: caller.server_name.to_owned(),
            principal: caller.peer.map(|peer| peer.own.to_string()).unwrap_or_default(),
        },
        request: None,
        context: BTreeMap::new(),
        metadata: BTreeMap::new(),
    });
    let facts = Facts {
        worker,
        ends,
        occasion: occasion::NONE,
        version: None,
        request: None,
        response: None,
        route: "",
        record,
    };
    let inquiry = Inquiry {
        worker,
        cluster: &cluster,
        ends,
        limit: service.timeout,
        key: None,
        longest: LONGEST_ANSWER,
        abandoned: Cell::default(),
    };
    let (authority, fields) = (service.authority(), metadata(service, &facts));
    let answer = inquiry.call(check::METHOD, authority, fields, &message).await?;
    check::decode(&answer).map_err(|_| InquiryError::NoMessage)
}
