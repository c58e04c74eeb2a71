//! The life of a request on one page.
//!
//! An exchange is one request with its response. It takes the Snapshot in force when it begins and keeps it to its
//! end. What is not reachable from here is not read on the way.

use std::borrow::Cow;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use daemon::clock;
use http::Method;
use snapshot::cluster::ServiceRef;
use snapshot::endpoint::Workload;
use snapshot::{Action, ClusterName, Direction, HttpFilter, Route};

use super::codec::h1::Refusal;
use super::codec::{CodecError, Length, Reply, Request, Source, Version};
use super::grpc_web;
use super::headers::Changes;
use super::reply::LocalReply;
use super::{filters, forward, forwarded, normalize, reply, route};
use crate::active::Active;
use crate::error::{ProxyError, RequestError, Side, UpstreamError};
use crate::http::body::RequestBody;
use crate::http::connection::Connection;
use crate::http::filters::jwt::Claims;
use crate::telemetry::flags::Flag;
use crate::telemetry::format::{Facts, occasion};
use crate::telemetry::metrics::{Destination, Label, Outcome, Parties};
use crate::telemetry::record::Record;
use crate::tls::peer::Peer;
use crate::upstream::{Cluster, Endpoint};

/// One request with its response.
#[derive(Debug)]
pub(crate) struct Exchange<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) request: Request,
    pub(crate) body: RequestBody<'c>,
    pub(crate) reply: Reply<'c>,
    pub(crate) record: Record,
    /// What the token of the request claims, once it was verified.
    pub(crate) claims: Option<Arc<Claims>>,
}

/// Serves one request.
pub(crate) async fn serve(connection: &Connection, request: Request, source: Source<'_>, reply: Reply<'_>) {
    // A worker accepts only with a Snapshot in force, and never loses it.
    let Some(active) = connection.worker.active() else {
        return;
    };
    let mut exchange = Exchange::new(connection, request, source, reply);
    let mut route = None;
    match exchange.run(&active, &mut route).await {
        Ok(()) => exchange.record.times.sent = Some(clock::now()),
        Err(error) => exchange.fail(&error, route).await,
    }
    exchange.finish();
}

/// The answer to what is no request that we accept. There is no exchange, but it is written down.
pub(crate) fn refused(connection: &Connection, version: Version, refusal: Refusal) -> LocalReply {
    tracing::debug!(%refusal, peer = %connection.ends.peer, "request refused");
    let error = ProxyError::from(RequestError::from(refusal));
    let Connection {
        worker, chain, ends, ..
    } = connection;
    let mut local = reply::plain(error.status(), error.client_message(false));
    forwarded::every_response(&mut local.response, connection);
    let mut record = Record {
        peer: connection.peer.clone(),
        ..Record::new()
    };
    record.failed(&error);
    record.status = Some(error.status());
    record.sent = local.body.len() as u64;
    record.local_body = Some(local.body.clone());
    let facts = Facts {
        worker,
        ends: *ends,
        occasion: occasion::HTTP_END,
        version: Some(version),
        request: None,
        response: Some(&local.response.fields),
        route: "",
        record: &record,
    };
    worker.lines.write(&chain.handler.access_log, &facts);
    local
}

impl<'c> Exchange<'c> {
    fn new(connection: &'c Connection, request: Request, source: Source<'c>, reply: Reply<'c>) -> Self {
        let record = Record {
            grpc: reply::is_grpc(&request.fields),
            peer: connection.peer.clone(),
            server_name: Some(connection.server_name.clone()),
            ..Record::new()
        };
        Self {
            connection,
            request,
            body: RequestBody::new(source, &connection.worker.bounds),
            reply,
            record,
            claims: None,
        }
    }

    /// From head to end. Names the route as soon as there is one.
    async fn run<'a>(
        &mut self,
        active: &'a Rc<Active>,
        route: &mut Option<&'a Route>,
    ) -> Result<(), ProxyError>
    where
        'c: 'a,
    {
        normalize::request(&mut self.request, &self.connection.chain.handler.options)?;
        let path = self.request.path.as_str();
        if self.request.method != Method::CONNECT && !path.is_empty() && !path.starts_with('/') {
            return Err(RequestError::NotAPath.into());
        }
        forwarded::request(&mut self.request, self.connection);
        let mut found = route::find(active, &self.connection.chain, &self.request);
        if let Ok(found) = &found {
            self.write_down(active, found.route);
            *route = Some(found.route);
        }
        self.check_upgrade()?;
        // Whoever may not ask does not learn what there is to be asked for.
        if let Some(answer) = filters::of_chain(self, active, &mut found).await? {
            return Ok(self.respond(answer, *route).await?);
        }
        let found = found?;
        self.translate()?;
        if !route.is_some_and(|known| std::ptr::eq(known, found.route)) {
            self.write_down(active, found.route);
            *route = Some(found.route);
        }
        match filters::request(self, active, &found).await? {
            Some(filters::Answer::Local(answer)) => return Ok(self.respond(answer, *route).await?),
            Some(filters::Answer::AsItIs(answer)) => return Ok(self.respond(answer, None).await?),
            None => {}
        }
        let local = match &found.route.action {
            Action::Forward(forward) => return forward::forward(self, active, &found, forward).await,
            Action::Respond(direct) => reply::direct(direct, &self.request),
            Action::Redirect(redirect) => {
                let path = found.rewrite(&self.request.path);
                reply::redirect(
                    redirect.status,
                    &redirect.location(&self.request, &path),
                    &self.request,
                )
            }
        };
        self.record.details = Cow::Borrowed("direct_response");
        Ok(self.respond(local, *route).await?)
    }

    /// Remembers of the route what logs tell. As in Envoy that is known whoever answers.
    fn write_down(&mut self, active: &Active, route: &Route) {
        if !self.is_written_down() {
            return;
        }
        self.record.route.clone_from(&route.name);
        if let Action::Forward(forward) = &route.action
            && let [only] = forward.clusters.as_slice()
        {
            self.record.upstream.cluster = active.cluster(&only.cluster).cloned();
        }
    }

    /// Istio's proxies let connections become WebSockets, and nothing else.
    fn check_upgrade(&self) -> Result<(), RequestError> {
        match &self.request.upgrade {
            Some(protocol) if !protocol.eq_ignore_ascii_case("websocket") => {
                Err(Refusal::SwitchForbidden.into())
            }
            _ => Ok(()),
        }
    }

    /// A call of gRPC-Web becomes gRPC, where the chain says so.
    fn translate(&mut self) -> Result<(), RequestError> {
        if !self
            .connection
            .chain
            .handler
            .filters
            .contains(&HttpFilter::GrpcWeb)
        {
            return Ok(());
        }
        if let Some((web, decoder)) = grpc_web::begin(&mut self.request) {
            self.record.web = Some(web);
            let decoded = self.body.decode_by(decoder);
            decoded.map_err(|error| forward::request_failed(&error))?;
        }
        Ok(())
    }

    /// Waits, before its body is read, for the client to leave.
    pub(crate) async fn client_gone(&mut self) {
        let has_body = !self.request.length.is_empty() && !self.body.is_complete();
        let gone = async {
            if has_body {
                std::future::pending::<()>().await;
            }
            self.body.gone().await;
        };
        tokio::select! {
            () = gone => {}
            () = self.reply.cancelled() => {}
        }
    }

    /// What is known before there is a response.
    pub(crate) fn facts<'a>(&'a self, route: &'a str) -> Facts<'a> {
        Facts {
            worker: &self.connection.worker,
            ends: self.connection.ends,
            occasion: occasion::NONE,
            version: Some(self.request.version),
            request: Some(&self.request),
            response: None,
            route,
            record: &self.record,
        }
    }

    /// Whether anybody wants to read about this exchange.
    fn is_written_down(&self) -> bool {
        !self.connection.chain.handler.access_log.is_empty()
    }

    /// Answers by ourselves, with the fields that the route asks for.
    async fn respond(&mut self, mut local: LocalReply, route: Option<&Route>) -> Result<(), RequestError> {
        for operations in route.iter().flat_map(|route| route.response_changes()) {
            let facts = self.facts(route.map_or("", |route| &route.name));
            local.change(&Changes::new(operations, &facts));
        }
        let LocalReply {
            mut response,
            mut body,
        } = local;
        if let Some(web) = &self.record.web {
            if body.is_empty() {
                web.head(&mut response);
            } else {
                web.explain(&mut response, &std::mem::take(&mut body));
            }
        }
        let has_body = super::codec::has_body(&self.request.method, response.status);
        if self.request.method == Method::HEAD && !body.is_empty() {
            // What a GET would have had.
            let length = body.len().to_string();
            response.fields.push("content-length", length.as_bytes());
            response.length = Length::Empty;
        }
        if let Some(allowed) = &self.record.cors {
            allowed.apply(&mut response.fields);
        }
        if let Some(limits) = &self.record.limits {
            limits.apply(&mut response.fields);
        }
        filters::ext_authz::apply(&self.record.permitted, &mut response.fields);
        if let Some(told) = &self.record.told {
            told.apply(&mut response.fields);
        }
        forwarded::every_response(&mut response, self.connection);
        forwarded::answer_id(&mut response, self.connection, &self.request);
        // What is left of a request is not worth reading. After a 400, as in Envoy, nobody knows what would be read.
        if !self.is_request_complete() || response.status == 400 || self.connection.is_draining() {
            self.reply.close_after();
        }
        self.record.status = Some(response.status);
        self.record.grpc_status = self.record.grpc_status.or(grpc_status(&response.fields));
        self.record.response_bytes += response.fields.size() + body.len() as u64;
        self.record.local_body = Some(body.clone());
        let sent = async {
            self.reply.head(&response).await?;
            if has_body {
                self.record.sent += body.len() as u64;
                self.reply.data(body).await?;
            }
            self.record.response = Some(response.fields);
            self.reply.end(None).await
        };
        sent.await.map_err(|error: CodecError| {
            tracing::debug!(%error, "the client did not take the response");
            RequestError::ClientGone
        })
    }

    /// Whether nothing more of the request will come. What follows a request for another protocol has no end.
    fn is_request_complete(&self) -> bool {
        let tunnel = self.request.method == Method::CONNECT || self.request.upgrade.is_some();
        !tunnel && (self.request.length.is_empty() || self.body.is_complete())
    }

    /// Reads what the client sent while the request failed, so that its connection may stay.
    pub(crate) async fn skip_what_is_there(&mut self) {
        poll_fn(|task| {
            self.body.skip_what_is_there(task);
            Poll::Ready(())
        })
        .await;
    }

    /// Tells the client what went wrong, if it can still be told.
    async fn fail(&mut self, error: &ProxyError, route: Option<&Route>) {
        // Tokens may be in the query.
        let path = self.request.path.split('?').next();
        tracing::debug!(%error, side = ?error.side(), path, "request failed");
        self.record.failed(error);
        match error {
            ProxyError::Request(RequestError::ClientGone) => {
                self.record.status.get_or_insert(0);
                self.reply.abort().await;
            }
            _ if self.record.status.is_some() => self.reply.abort().await,
            ProxyError::Upstream(refusal) if self.is_workload_gone(refusal) && self.reply.refuse() => {
                self.record.status = Some(error.status());
            }
            _ => {
                let mut local = reply::for_error(error, self.record.retried, self.record.grpc);
                if matches!(error, ProxyError::Upstream(refusal) if self.is_workload_gone(refusal)) {
                    forwarded::mark_unprocessed(&mut local.response);
                }
                if error.side() == Side::Client {
                    self.reply.close_after();
                }
                if matches!(error, ProxyError::Upstream(error) if error.took_a_while()) {
                    self.skip_what_is_there().await;
                }
                if self.respond(local, route).await.is_err() {
                    self.record.flags = self.record.flags.with(Flag::DownstreamConnectionTermination);
                }
            }
        }
    }

    /// Whether our own workload did not take the request. Proxies that call it then look for another one.
    fn is_workload_gone(&self, error: &UpstreamError) -> bool {
        self.connection.chain.direction == Direction::Inbound && error.is_refusal()
    }

    /// Leaves metrics behind. Exactly once.
    fn finish(mut self) {
        let metrics = &self.connection.worker.metrics;
        let label = self.record.destination.unwrap_or_else(|| self.label(None, None));
        let outcome = Outcome {
            status: self.record.status.unwrap_or(0),
            flags: self.record.flags,
            grpc: self.record.grpc.then_some(self.record.grpc_status),
        };
        let request_bytes = self.request.fields.size() + self.body.received;
        let took = milliseconds(clock::now() - self.record.begun);
        metrics.http(label, outcome, took, (request_bytes, self.record.response_bytes));
        self.record.destination = None;
        if self.is_written_down() {
            self.record.received = self.body.received;
            let facts = Facts {
                occasion: occasion::HTTP_END,
                ..self.facts(&self.record.route)
            };
            let Connection { worker, chain, .. } = self.connection;
            worker.lines.write(&chain.handler.access_log, &facts);
        }
    }

    /// Remembers whom the request goes to, for metrics.
    pub(crate) fn goes_to(&mut self, cluster: &Cluster, endpoint: Option<&Endpoint>) {
        let known = match (&self.connection.peer, endpoint) {
            // Who called differs from connection to connection.
            (Some(_), _) if self.connection.chain.direction == Direction::Inbound => {
                self.label_of_connection(cluster, endpoint)
            }
            (_, Some(endpoint)) => endpoint.label.get(),
            (_, None) => None,
        };
        let label = known.unwrap_or_else(|| self.label(Some(cluster), endpoint));
        // Without a service, the label depends on the request's host and is not the endpoint's.
        if let (Some(endpoint), Some(_), None) = (endpoint, &cluster.facts.service, &self.connection.peer) {
            endpoint.label.set(Some(label));
        }
        self.record.destination = Some(label);
    }

    /// The label of requests of this connection to that cluster, if it stands for a service.
    fn label_of_connection(&self, cluster: &Cluster, endpoint: Option<&Endpoint>) -> Option<Label> {
        cluster.facts.service.as_ref()?;
        let mut kept = self.connection.label.borrow_mut();
        if let Some((facts, label)) = kept.as_ref()
            && Arc::ptr_eq(facts, &cluster.facts)
        {
            return Some(*label);
        }
        let label = self.label(Some(cluster), endpoint);
        *kept = Some((cluster.facts.clone(), label));
        Some(label)
    }

    /// The endpoint has shown who it is.
    pub(crate) fn met(&mut self, cluster: &Cluster, endpoint: &Endpoint, peer: &Arc<Peer>) {
        self.record.upstream.peer = Some(peer.clone());
        if self.connection.chain.direction == Direction::Inbound {
            return;
        }
        let mut known = endpoint.met.borrow_mut();
        let label = match known.as_ref() {
            Some((met, label)) if Arc::ptr_eq(met, peer) => *label,
            _ => {
                let label = self.label(Some(cluster), Some(endpoint));
                if cluster.facts.service.is_some() {
                    *known = Some((peer.clone(), label));
                }
                label
            }
        };
        self.record.destination = Some(label);
    }

    fn label(&self, cluster: Option<&Cluster>, endpoint: Option<&Endpoint>) -> Label {
        let Connection { worker, chain, .. } = self.connection;
        let workload: Arc<Workload> = match (chain.direction, endpoint) {
            (Direction::Inbound, _) => worker.settings.workload.clone(),
            (Direction::Outbound, Some(endpoint)) => endpoint.workload.clone(),
            (Direction::Outbound, None) => Arc::default(),
        };
        let service = match cluster {
            Some(cluster) => cluster.facts.service.clone().unwrap_or_else(|| ServiceRef {
                host: snapshot::route::host_without_port(&self.request.authority).to_ascii_lowercase(),
                name: special_name(&cluster.facts.name).to_owned(),
                namespace: String::new(),
            }),
            None => ServiceRef {
                host: String::new(),
                name: String::new(),
                namespace: String::new(),
            },
        };
        let peer = match chain.direction {
            Direction::Inbound => self.connection.peer.as_ref(),
            Direction::Outbound => self.record.upstream.peer.as_ref(),
        };
        let destination = Destination::new(chain.direction, &workload, &service);
        let parties = Parties::of(chain.direction, peer);
        worker.metrics.label(destination.between(parties))
    }
}

/// `destination_service_name` of a cluster without service: the special clusters' own name.
pub(crate) fn special_name(name: &ClusterName) -> &str {
    match name.parts() {
        None => name.as_str(),
        Some(_) => "",
    }
}

/// The number in `grpc-status`.
pub(crate) fn grpc_status(fields: &super::codec::Fields) -> Option<u16> {
    fields.text("grpc-status").and_then(|text| text.parse().ok())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
