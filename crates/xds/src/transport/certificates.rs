//! Istio's certificate service: a public key in, a certificate out. Both ends and the messages, wire-compatible with
//! `istio.v1.auth.IstioCertificateService`; who gets what is the controller's decision.
//! <https://github.com/istio/api/blob/master/security/v1alpha1/ca.proto>

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

use super::client::Settings;
use super::dial::{chain, connect};
use super::stream::authorization;

const SERVICE: &str = "istio.v1.auth.IstioCertificateService";
const METHOD: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// A request is some kilobytes.
const LARGEST_REQUEST: usize = 128 << 10;
/// A response has a chain and some roots.
const LARGEST: usize = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(20);

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct CertificateRequest {
    /// The request for a certificate, in PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Seconds; 0 or less leaves it to the authority.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// `CertSigner`, `ImpersonatedIdentity`, and what callers say about themselves.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct CertificateResponse {
    /// The certificate, those that lead from it to the root, and last the roots.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

impl CertificateRequest {
    /// The same with a text in its metadata.
    #[must_use]
    pub fn stating(mut self, name: &str, text: &str) -> Self {
        let value = Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        let metadata = self.metadata.get_or_insert_default();
        metadata.fields.insert(name.to_owned(), value);
        self
    }

    /// A text of the metadata; empty when there is none.
    pub fn stated(&self, name: &str) -> &str {
        let field = self
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.fields.get(name));
        match field.and_then(|value| value.kind.as_ref()) {
            Some(Kind::StringValue(text)) => text,
            _ => "",
        }
    }
}

/// One call of a workload that has proven who it is.
pub struct Call<C> {
    /// Who it is.
    pub caller: C,
    /// What is asked.
    pub request: CertificateRequest,
    /// Takes the answer.
    pub reply: oneshot::Sender<Result<CertificateResponse, Status>>,
}

/// The service; add it to the routes of a gRPC server. `admit` tells from the headers of a call and from its connection
/// who calls: nothing else of a call is read before. Calls wait until somebody takes them, for a bounded time.
#[derive(Clone)]
pub struct CertificateService<A, C> {
    admit: A,
    calls: mpsc::Sender<Call<C>>,
}

impl<A, C, F> CertificateService<A, C>
where
    A: Fn(HeaderMap, Extensions) -> F,
    F: Future<Output = Result<C, Status>> + Send + 'static,
{
    /// A service whose calls go to the receiver of that channel.
    pub fn new(admit: A, calls: mpsc::Sender<Call<C>>) -> Self {
        Self { admit, calls }
    }
}

impl<A, C> NamedService for CertificateService<A, C> {
    const NAME: &'static str = SERVICE;
}

impl<B, A, C, F> tower::Service<http::Request<B>> for CertificateService<A, C>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    A: Fn(HeaderMap, Extensions) -> F,
    C: Clone + Send + Sync + 'static,
    F: Future<Output = Result<C, Status>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != METHOD {
            let status = Status::unimplemented("only CreateCertificate is served");
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let admitted = (self.admit)(request.headers().clone(), request.extensions().clone());
        let calls = self.calls.clone();
        let work = async move {
            let caller = match admitted.await {
                Ok(caller) => caller,
                Err(status) => return status.into_http(),
            };
            let codec = ProstCodec::<CertificateResponse, CertificateRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_REQUEST);
            grpc.unary(Create { caller, calls }, request).await
        };
        Box::pin(async move {
            let late = || Status::deadline_exceeded("no request, or no answer, in time").into_http();
            Ok(tokio::time::timeout(DEADLINE, work)
                .await
                .unwrap_or_else(|_| late()))
        })
    }
}

struct Create<C> {
    caller: C,
    calls: mpsc::Sender<Call<C>>,
}

impl<C: Clone + Send + Sync + 'static> UnaryService<CertificateRequest> for Create<C> {
    type Response = CertificateResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Self::Response>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<CertificateRequest>) -> Self::Future {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            caller: self.caller.clone(),
            request: request.into_inner(),
            reply,
        };
        let calls = self.calls.clone();
        Box::pin(async move {
            let stopping = || Status::unavailable("the controller is stopping");
            calls.send(call).await.map_err(|_| stopping())?;
            Ok(tonic::Response::new(answer.await.map_err(|_| stopping())??))
        })
    }
}

/// Asks for a certificate, over a connection of its own. The settings are those of a follower of the controller.
///
/// # Errors
/// When the authority is not reached in time, or refuses; the text says which.
pub async fn create(settings: &Settings, request: CertificateRequest) -> io::Result<Vec<String>> {
    let asked = tokio::time::timeout(DEADLINE, ask(settings, request)).await;
    asked.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

async fn ask(settings: &Settings, request: CertificateRequest) -> io::Result<Vec<String>> {
    let channel = connect(settings).await?;
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(LARGEST);
    let failed = |error: &dyn std::error::Error| io::Error::other(chain(error));
    grpc.ready().await.map_err(|error| failed(&error))?;
    let mut request = tonic::Request::new(request);
    if let Some(token) = authorization(settings).await? {
        request.metadata_mut().insert("authorization", token);
    }
    let codec = ProstCodec::<CertificateRequest, CertificateResponse>::default();
    let answer = grpc
        .unary(request, PathAndQuery::from_static(METHOD), codec)
        .await;
    Ok(answer.map_err(|status| failed(&status))?.into_inner().cert_chain)
}
