//! The shell of a server of limits: a gRPC service that asks somebody for each verdict.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use http::{Extensions, HeaderMap};
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

use crate::rate_limit::{METHOD, Question, SERVICE, Verdict};

/// Largest question: a few descriptors of texts that were in the head of a request.
const LARGEST_QUESTION: usize = 256 << 10;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// The service; add it to the routes of a gRPC server.
#[derive(Clone)]
pub struct RateLimitService<J> {
    judge: J,
}

impl<J, F> RateLimitService<J>
where
    J: Fn(HeaderMap, Extensions, Question) -> F + Clone,
    F: Future<Output = Result<Verdict, Status>> + Send + 'static,
{
    /// A service whose verdicts come from `judge`, which gets the headers of a call and what its connection
    /// knows, too.
    pub fn new(judge: J) -> Self {
        Self { judge }
    }
}

impl<J> NamedService for RateLimitService<J> {
    const NAME: &'static str = SERVICE;
}

impl<B, J, F> tower::Service<http::Request<B>> for RateLimitService<J>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    J: Fn(HeaderMap, Extensions, Question) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Verdict, Status>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != METHOD {
            let status = Status::unimplemented("only ShouldRateLimit is served");
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let one = One(self.judge.clone());
        Box::pin(async move {
            let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_QUESTION);
            Ok(grpc.unary(one, request).await)
        })
    }
}

/// One call.
struct One<J>(J);

impl<J, F> UnaryService<RateLimitRequest> for One<J>
where
    J: Fn(HeaderMap, Extensions, Question) -> F,
    F: Future<Output = Result<Verdict, Status>> + Send + 'static,
{
    type Response = RateLimitResponse;
    type Future = Answer<tonic::Response<RateLimitResponse>>;

    fn call(&mut self, request: tonic::Request<RateLimitRequest>) -> Self::Future {
        let (metadata, extensions, message) = request.into_parts();
        let verdict = (self.0)(metadata.into_headers(), extensions, Question::from_proto(message));
        Box::pin(async move { Ok(tonic::Response::new(verdict.await?.to_proto())) })
    }
}
