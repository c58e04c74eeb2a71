//! Questions of the proxy itself to services that help it decide: one message up, one whole answer down, over the same
//! pools, balancers, breakers and outlier detection as the requests of workloads.
//!
//! An answer has a bound and a time. What provably nobody read is asked again: an idle connection that the service
//! closes just then refuses no request (docs/decisions/0016).

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use daemon::clock;
use http::Method;

use super::codec::h1::Refusal;
use super::codec::{CodecError, Fields, Frame, Length, Request, Response, Version};
use super::exchange::grpc_status;
use super::forward::before_response;
use super::watch::{self, Watch};
use crate::error::UpstreamError;
use crate::listen::accept::Ends;
use crate::upstream::load_balancing::Wish;
use crate::upstream::purpose::Purpose;
use crate::upstream::{Cluster, Lease, cluster};
use crate::worker::Worker;

/// How often a question that nobody read is asked again.
const AGAIN: usize = 2;
/// What gRPC puts before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Whom to ask, on whose behalf, and how long the answer may take and be.
#[derive(Debug)]
pub(crate) struct Inquiry<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) cluster: &'a Rc<Cluster>,
    /// The connection that the question is about.
    pub(crate) ends: Ends,
    pub(crate) limit: Option<Duration>,
    /// Whom of the cluster, where it chooses consistently.
    pub(crate) key: Option<u64>,
    /// Most bytes of the answer's body.
    pub(crate) longest: usize,
    /// Nobody waits for the answer any more: that there is none says nothing of the service.
    pub(crate) abandoned: Cell<bool>,
}

/// Tells, when it goes, whether the try was given up by whom it was for.
struct Waiting<'a> {
    abandoned: &'a Cell<bool>,
    watch: &'a Watch<'a>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.abandoned.get() {
            self.watch.given_up();
        }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: Response,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<Fields>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InquiryError {
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    #[error("status {0}")]
    Status(u16),
    #[error("gRPC status {0}")]
    Grpc(u16),
    #[error("the answer is no message of gRPC")]
    NoMessage,
}

/// How a conversation broke off.
enum Broken {
    Codec(CodecError),
    TooLong,
}

impl From<CodecError> for Broken {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl Inquiry<'_> {
    /// Asks a service that speaks gRPC; `fields` go with those of the protocol.
    pub(crate) async fn call(
        &self,
        method: &str,
        authority: &str,
        fields: Fields,
        message: &[u8],
    ) -> Result<Bytes, InquiryError> {
        let body = framed(message);
        let mut request = Request {
            method: Method::POST,
            path: method.to_owned(),
            authority: authority.to_owned(),
            scheme: self.scheme(),
            fields,
            length: Length::Exact(body.len() as u64),
            upgrade: None,
            version: Version::Http2,
        };
        request.fields.set("te", b"trailers");
        request.fields.set("content-type", b"application/grpc");
        if let Some(limit) = self.limit {
            let timeout = super::timeout::write_grpc_timeout(limit);
            request.fields.set("grpc-timeout", timeout.as_bytes());
        }
        if let Some(address) = self.worker.settings.address {
            request
                .fields
                .set("x-forwarded-for", address.to_string().as_bytes());
        }
        unframed(self.ask(request, body).await?)
    }

    /// Asks, as the proxy that it is: the service learns who asks and how long it has.
    pub(crate) async fn ask(&self, mut request: Request, body: Bytes) -> Result<Whole, InquiryError> {
        self.introduce(&mut request);
        let answer = self.tries(&request, &body);
        match self.limit {
            None => answer.await,
            Some(limit) => {
                let answer = clock::timeout(limit, answer).await;
                answer.unwrap_or(Err(UpstreamError::Timeout.into()))
            }
        }
    }

    fn scheme(&self) -> &'static str {
        match self.cluster.facts.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    fn introduce(&self, request: &mut Request) {
        let fields = &mut request.fields;
        fields.set("x-envoy-internal", b"true");
        if let Some(limit) = self.limit {
            let milliseconds = limit.as_millis().to_string();
            fields.set("x-envoy-expected-rq-timeout-ms", milliseconds.as_bytes());
        }
    }

    async fn tries(&self, request: &Request, body: &Bytes) -> Result<Whole, InquiryError> {
        let mut again = AGAIN;
        loop {
            match self.one_try(request, body).await {
                Err(InquiryError::Upstream(error)) if again > 0 && error.is_unprocessed() => again -= 1,
                outcome => return outcome,
            }
        }
    }

    async fn one_try(&self, request: &Request, body: &Bytes) -> Result<Whole, InquiryError> {
        let Self { worker, cluster, .. } = *self;
        let wish = Wish {
            key: self.key,
            ..Wish::any(&worker.random)
        };
        let endpoint = cluster.pick(self.ends.destination, wish)?;
        cluster::count(&cluster.live.counters.requests);
        let _in_flight = endpoint.pool.begin_request();
        let purpose = Purpose::of_request(&cluster.facts, &request.authority, self.ends);
        let grpc = super::reply::is_grpc(&request.fields);
        // gRPC is HTTP/2, whatever the cluster says of other requests.
        let http2 = grpc || cluster.speaks_http2(Version::Http1);
        let lease = Lease::acquire(worker, cluster, &endpoint.toward(&purpose), http2).await;
        let mut lease = match lease {
            Ok(lease) => lease,
            Err(error) => {
                watch::not_connected(worker, cluster, &endpoint, &error);
                return Err(error.into());
            }
        };
        let watch = Watch::new(worker, cluster, &endpoint, grpc);
        let _waiting = Waiting {
            abandoned: &self.abandoned,
            watch: &watch,
        };
        match self.converse(&mut lease, request, body, &watch).await {
            Ok((whole, complete)) => {
                if complete {
                    lease.give_back();
                }
                Ok(whole)
            }
            Err(Broken::TooLong) => Err(InquiryError::TooLong(self.longest)),
            Err(Broken::Codec(error)) => {
                let unread = lease.unread(&error, request);
                let error = before_response(&error, unread);
                watch.failed(&error);
                Err(error.into())
            }
        }
    }

    /// The answer, and whether the question was sent to its end before that.
    async fn converse(
        &self,
        lease: &mut Lease,
        request: &Request,
        body: &Bytes,
        watch: &Watch<'_>,
    ) -> Result<(Whole, bool), Broken> {
        let (mut sink, mut answer) = lease.send(request)?;
        let mut upload = pin!(async {
            if !body.is_empty() {
                sink.data(body.clone()).await?;
            }
            sink.end(None).await
        });
        let begun = clock::now();
        let mut download = pin!(async {
            let mut head = loop {
                let head = answer.head().await?;
                if !head.is_informational() {
                    break head;
                }
            };
            if head.status == 101 {
                return Err(CodecError::from(Refusal::SwitchUnasked).into());
            }
            watch.answered(&head);
            super::forwarded::response(&mut head, Some(clock::now() - begun));
            let (mut data, mut trailers) = (BytesMut::new(), None);
            while let Some(frame) = answer.frame().await? {
                match frame {
                    Frame::Data(piece) if data.len() + piece.len() > self.longest => {
                        return Err(Broken::TooLong);
                    }
                    Frame::Data(piece) => data.extend_from_slice(&piece),
                    Frame::Trailers(fields) => trailers = Some(fields),
                }
            }
            Ok(Whole {
                head,
                body: data.freeze(),
                trailers,
            })
        });
        let sent = tokio::select! {
            biased;
            sent = &mut upload => sent,
            whole = &mut download => return whole.map(|whole| (whole, false)),
        };
        if let Err(error) = &sent {
            // The answer, or the reason why there is none, is on its way.
            tracing::debug!(%error, "the question is not taken to its end");
        }
        let whole = download.await?;
        Ok((whole, sent.is_ok()))
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(PREFIX + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).expect("heads and kept bodies have bounds far below 4 GiB"));
    body.extend_from_slice(message);
    body.freeze()
}

/// The one message of an answer that is well.
fn unframed(mut whole: Whole) -> Result<Bytes, InquiryError> {
    if whole.head.status != 200 {
        return Err(InquiryError::Status(whole.head.status));
    }
    let trailers = whole.trailers.as_ref().unwrap_or(&whole.head.fields);
    match grpc_status(trailers) {
        Some(0) => {}
        status => return Err(InquiryError::Grpc(status.unwrap_or(2))),
    }
    let prefix = whole
        .body
        .first_chunk::<PREFIX>()
        .ok_or(InquiryError::NoMessage)?;
    let [compressed, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| InquiryError::NoMessage)?;
    if compressed != 0 || whole.body.len() != PREFIX + length {
        return Err(InquiryError::NoMessage);
    }
    Ok(whole.body.split_off(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &[u8], status: &[u8]) -> Whole {
        let mut trailers = Fields::default();
        trailers.push("grpc-status", status);
        Whole {
            head: Response::new(200),
            body: Bytes::copy_from_slice(body),
            trailers: Some(trailers),
        }
    }

    #[test]
    fn only_one_whole_message_of_a_call_that_went_well_is_an_answer() {
        assert_eq!(unframed(whole(b"\0\0\0\0\x02ok", b"0")).unwrap(), &b"ok"[..]);
        assert_eq!(unframed(whole(&framed(b"x"), b"0")).unwrap(), &b"x"[..]);
        for wrong in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\0\x02o",
            b"\0\0\0\0\x02okk",
            b"\x01\0\0\0\x02ok",
            b"\0\xff\xff\xff\xffok",
        ] {
            assert!(matches!(
                unframed(whole(wrong, b"0")),
                Err(InquiryError::NoMessage)
            ));
        }
        assert!(matches!(
            unframed(whole(b"\0\0\0\0\x02ok", b"14")),
            Err(InquiryError::Grpc(14))
        ));
        let without = Whole {
            trailers: None,
            ..whole(b"\0\0\0\0\0", b"0")
        };
        assert!(matches!(unframed(without), Err(InquiryError::Grpc(2))));
    }
}
