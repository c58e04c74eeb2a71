//! Sees how a try ends, for outlier detection: what it was answered, that it broke off, or that the time of the route
//! passed before there was an answer.

use std::cell::Cell;

use super::codec::Response;
use super::exchange::grpc_status;
use crate::error::UpstreamError;
use crate::upstream::outlier_detection::Outcome;
use crate::upstream::{Cluster, Endpoint};
use crate::worker::Worker;

/// One try, from the connection to the head of the response. Dropped before that, it was too late.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    worker: &'a Worker,
    cluster: &'a Cluster,
    endpoint: &'a Endpoint,
    waits: Cell<bool>,
    grpc: bool,
}

/// What failed before there was a connection.
pub(crate) fn not_connected(worker: &Worker, cluster: &Cluster, endpoint: &Endpoint, error: &UpstreamError) {
    if let Some(outcome) = outcome(error) {
        cluster.ended(endpoint, outcome, &worker.settings.suspicions);
    }
}

impl<'a> Watch<'a> {
    /// From the connection on.
    pub(crate) fn new(worker: &'a Worker, cluster: &'a Cluster, endpoint: &'a Endpoint, grpc: bool) -> Self {
        let watch = Self {
            worker,
            cluster,
            endpoint,
            waits: Cell::new(true),
            grpc,
        };
        watch.tell(Outcome::Connected);
        watch
    }

    /// The head of the response is there. A failure that gRPC hides behind a 200 counts as what it is.
    pub(crate) fn answered(&self, response: &Response) {
        self.waits.set(false);
        let hidden = grpc_status(&response.fields).filter(|_| self.grpc);
        self.tell(Outcome::Answered(hidden.map_or(response.status, http_status)));
    }

    /// The try failed.
    pub(crate) fn failed(&self, error: &UpstreamError) {
        self.waits.set(false);
        if let Some(outcome) = outcome(error) {
            self.tell(outcome);
        }
    }

    /// The client gave up; that says nothing of the endpoint.
    pub(crate) fn given_up(&self) {
        self.waits.set(false);
    }

    fn tell(&self, outcome: Outcome) {
        self.cluster
            .ended(self.endpoint, outcome, &self.worker.settings.suspicions);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.waits.get() {
            self.tell(Outcome::Late);
        }
    }
}

/// What a failure says of the endpoint; nothing when it was not asked.
fn outcome(error: &UpstreamError) -> Option<Outcome> {
    match error {
        UpstreamError::NoHealthyEndpoint | UpstreamError::Overflow => None,
        UpstreamError::Timeout | UpstreamError::TryTimeout => Some(Outcome::Late),
        _ => Some(Outcome::Broken),
    }
}

/// The HTTP status that says the same as one of gRPC.
fn http_status(grpc: u16) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
