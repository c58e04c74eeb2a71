//! The controller's shell: a gRPC service that hands each stream to whoever takes [`Session`]s.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::{LARGEST_REQUEST, METHOD, SERVICE};
use crate::message::{Request, Response};

/// Responses that may be on their way: one push is outstanding at a time.
const RESPONSES: usize = 4;

/// One stream of one proxy.
#[derive(Debug)]
pub struct Session {
    /// The request's headers, with the token.
    pub headers: HeaderMap,
    /// What the connection knows: peer address, peer certificates.
    pub extensions: http::Extensions,
    /// Messages of the proxy.
    pub requests: Streaming<Request>,
    /// Messages to the proxy. An error ends the stream with that status.
    pub responses: mpsc::Sender<Result<Response, Status>>,
}

/// The service; add it to the routes of a gRPC server. Streams wait until somebody takes them.
#[derive(Clone, Debug)]
pub struct DeltaService {
    sessions: mpsc::Sender<Session>,
}

impl DeltaService {
    /// A service whose streams go to the receiver of that channel.
    pub fn new(sessions: mpsc::Sender<Session>) -> Self {
        Self { sessions }
    }
}

impl NamedService for DeltaService {
    const NAME: &'static str = SERVICE;
}

impl<B> tower::Service<http::Request<B>> for DeltaService
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != METHOD {
            let status = Status::unimplemented("only delta discovery over one aggregated stream is served");
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let sessions = self.sessions.clone();
        Box::pin(async move {
            let codec = ProstCodec::<Response, Request>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_REQUEST);
            Ok(grpc.streaming(Open(sessions), request).await)
        })
    }
}

/// Makes a [`Session`] of one call.
struct Open(mpsc::Sender<Session>);

impl StreamingService<Request> for Open {
    type Response = Response;
    type ResponseStream = ReceiverStream<Result<Response, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<Request>>) -> Self::Future {
        let sessions = self.0.clone();
        Box::pin(async move {
            let (metadata, extensions, requests) = request.into_parts();
            let (responses, receiver) = mpsc::channel(RESPONSES);
            let session = Session {
                headers: metadata.into_headers(),
                extensions,
                requests,
                responses,
            };
            let taken = sessions.send(session).await;
            taken.map_err(|_| Status::unavailable("the controller is stopping"))?;
            Ok(tonic::Response::new(ReceiverStream::new(receiver)))
        })
    }
}
