//! One stream of discovery in either form, delta or state of the world. Only here and in [`crate::whole`] they differ.

use std::io;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Status, Streaming};

use super::client::Settings;
use super::dial::{chain, connect};
use super::{LARGEST_RESPONSE, METHOD, WHOLE_METHOD};
use crate::message::{Request, Response};
use crate::whole::{Known, WholeRequest, WholeResponse};

/// Requests that may be on their way; the protocol has at most a handful.
const REQUESTS: usize = 64;

/// A stream that is open.
pub(super) enum Stream {
    Delta(Pair<Request, Response>),
    Whole(Pair<WholeRequest, WholeResponse>),
}

/// Its two directions.
pub(super) struct Pair<Q, A> {
    requests: mpsc::Sender<Q>,
    responses: Streaming<A>,
}

/// What proves who we are, read anew each time: tokens are short-lived.
pub(super) async fn authorization(settings: &Settings) -> io::Result<Option<MetadataValue<Ascii>>> {
    let Some(file) = &settings.token else {
        return Ok(None);
    };
    let token = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    let value = MetadataValue::try_from(format!("Bearer {}", token.trim()))
        .map_err(|_| io::Error::other(format!("{} holds no token", file.display())))?;
    Ok(Some(value))
}

impl Stream {
    /// Connects and asks. `known` is what state-of-the-world discovery has told so far.
    pub(super) async fn open(
        settings: &Settings,
        opening: Vec<Request>,
        known: &mut Known,
    ) -> io::Result<Self> {
        if !settings.whole {
            return Ok(Self::Delta(Pair::open(settings, opening, METHOD).await?));
        }
        known.begin();
        let opening = opening.into_iter().map(|request| known.request(request));
        let opening = opening.collect();
        Ok(Self::Whole(Pair::open(settings, opening, WHOLE_METHOD).await?))
    }

    /// The next message; `None` when the server is done.
    pub(super) async fn message(&mut self, known: &mut Known) -> Result<Option<Response>, Status> {
        match self {
            Self::Delta(pair) => pair.responses.message().await,
            Self::Whole(pair) => {
                let message = pair.responses.message().await?;
                Ok(message.map(|response| known.response(response)))
            }
        }
    }

    pub(super) async fn send(&self, request: Request, known: &mut Known) -> io::Result<()> {
        let sent = match self {
            Self::Delta(pair) => pair.requests.send(request).await.is_ok(),
            Self::Whole(pair) => pair.requests.send(known.request(request)).await.is_ok(),
        };
        match sent {
            true => Ok(()),
            false => Err(io::Error::other("the controller closed the stream")),
        }
    }
}

impl<Q, A> Pair<Q, A>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    async fn open(settings: &Settings, opening: Vec<Q>, method: &'static str) -> io::Result<Self> {
        let channel = connect(settings).await?;
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(LARGEST_RESPONSE);
        grpc.ready()
            .await
            .map_err(|error| io::Error::other(chain(&error)))?;
        let (requests, receiver) = mpsc::channel(REQUESTS);
        for request in opening {
            requests
                .try_send(request)
                .expect("a handful of opening messages fits into the channel");
        }
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        if let Some(token) = authorization(settings).await? {
            request.metadata_mut().insert("authorization", token);
        }
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(method);
        let response = grpc.streaming(request, path, codec).await;
        let response = response.map_err(|status| io::Error::other(chain(&status)))?;
        Ok(Self {
            requests,
            responses: response.into_inner(),
        })
    }
}
