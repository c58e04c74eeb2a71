//! The controller's shell: a gRPC service that hands each stream to whoever takes [`Session`]s.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::{LARGEST_REQUEST, METHOD, SERVICE, WHOLE_METHOD};
use crate::message::{Request, Response};
use crate::whole::{Asked, Told, WholeRequest, WholeResponse};

/// Responses that may be on their way: one push is outstanding at a time.
const RESPONSES: usize = 4;
/// How long a stream waits to be taken.
const PATIENCE: Duration = Duration::from_secs(20);

/// One stream of one proxy.
pub struct Session {
    /// The request's headers, with the token.
    pub headers: HeaderMap,
    /// What the connection knows: peer address, peer certificates.
    pub extensions: http::Extensions,
    /// Messages of the proxy.
    pub requests: Requests,
    /// Messages to the proxy. An error ends the stream with that status.
    pub responses: mpsc::Sender<Result<Response, Status>>,
}

/// Its headers have a token that no log should have.
impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Messages of a proxy as they come. Those of state-of-the-world discovery are told as delta discovery's.
#[derive(Debug)]
pub enum Requests {
    /// Delta discovery.
    Delta(Streaming<Request>),
    /// State-of-the-world discovery.
    Whole(Streaming<WholeRequest>, Asked),
}

impl Requests {
    /// The next one; `None` when the proxy is done.
    ///
    /// # Errors
    /// When the stream broke.
    pub async fn message(&mut self) -> Result<Option<Request>, Status> {
        match self {
            Self::Delta(stream) => stream.message().await,
            Self::Whole(stream, asked) => Ok(stream.message().await?.map(|request| asked.delta(request))),
        }
    }
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
        let open = Open(self.sessions.clone());
        match request.uri().path() {
            METHOD => Box::pin(async move {
                let codec = ProstCodec::<Response, Request>::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_REQUEST);
                Ok(grpc.streaming(open, request).await)
            }),
            WHOLE_METHOD => Box::pin(async move {
                let codec = ProstCodec::<WholeResponse, WholeRequest>::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_REQUEST);
                Ok(grpc.streaming(open, request).await)
            }),
            _ => {
                let status = Status::unimplemented("only discovery over one aggregated stream is served");
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

/// Makes a [`Session`] of one call.
struct Open(mpsc::Sender<Session>);

type Responses = ReceiverStream<Result<Response, Status>>;

impl Open {
    async fn session<T>(
        sessions: mpsc::Sender<Session>,
        request: tonic::Request<T>,
        requests: impl FnOnce(T) -> Requests,
    ) -> Result<Responses, Status> {
        let (metadata, extensions, messages) = request.into_parts();
        let (responses, receiver) = mpsc::channel(RESPONSES);
        let session = Session {
            headers: metadata.into_headers(),
            extensions,
            requests: requests(messages),
            responses,
        };
        match sessions.send_timeout(session, PATIENCE).await {
            Ok(()) => {}
            Err(SendTimeoutError::Closed(_)) => {
                return Err(Status::unavailable("the controller is stopping"));
            }
            Err(SendTimeoutError::Timeout(_)) => return Err(Status::unavailable("too many streams at once")),
        }
        Ok(ReceiverStream::new(receiver))
    }
}

impl StreamingService<Request> for Open {
    type Response = Response;
    type ResponseStream = Responses;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<Request>>) -> Self::Future {
        let session = Self::session(self.0.clone(), request, Requests::Delta);
        Box::pin(async move { Ok(tonic::Response::new(session.await?)) })
    }
}

impl StreamingService<WholeRequest> for Open {
    type Response = WholeResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<WholeResponse, Status>> + Send>>;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<WholeRequest>>) -> Self::Future {
        let requests = |stream| Requests::Whole(stream, Asked::default());
        let session = Self::session(self.0.clone(), request, requests);
        Box::pin(async move {
            let mut told = Told::default();
            let responses = session.await?.map(move |response| Ok(told.whole(response?)));
            Ok(tonic::Response::new(Box::pin(responses) as Self::ResponseStream))
        })
    }
}
