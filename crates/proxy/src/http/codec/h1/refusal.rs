//! Why a message is refused, and with which status a client hears of it.

/// Why an HTTP/1.1 message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("request line is malformed")]
    RequestLine,
    #[error("status line is malformed")]
    StatusLine,
    #[error("this version of HTTP is not served")]
    Version,
    #[error("method is not known")]
    Method,
    #[error("connection names a field that is not its business, or too many")]
    Connection,
    #[error("request target is malformed")]
    Target,
    #[error("line ends with a bare LF")]
    BareLineFeed,
    #[error("header name is malformed")]
    FieldName,
    #[error("header value is malformed")]
    FieldValue,
    #[error("head is too large")]
    HeadTooLarge,
    #[error("too many header fields")]
    TooManyFields,
    #[error("host header is missing")]
    HostMissing,
    #[error("more than one host header")]
    HostRepeated,
    #[error("host header is malformed")]
    HostMalformed,
    #[error("content-length is malformed")]
    ContentLength,
    #[error("more than one content-length")]
    ContentLengthRepeated,
    #[error("content-length together with transfer-encoding")]
    LengthConflict,
    #[error("transfer-encoding is not chunked")]
    TransferEncoding,
    #[error("a status without body has a length")]
    BodyForbidden,
    #[error("closed in the middle of a head")]
    HeadCut,
    #[error("chunk size is malformed")]
    ChunkSize,
    #[error("chunk extensions are too long")]
    ChunkExtensions,
    #[error("chunk does not end with CRLF")]
    ChunkEnd,
    #[error("trailers are malformed")]
    Trailers,
    #[error("too many informational responses")]
    InformationalFlood,
    #[error("a switch of protocols that nobody asked for")]
    SwitchUnasked,
    #[error("a switch to a protocol that is not allowed")]
    SwitchForbidden,
    #[error("a body of gRPC-Web is not base64")]
    Base64,
    #[error("a body of gRPC-Web ends in the middle of base64")]
    Base64Length,
}

impl Refusal {
    /// The status that tells a client.
    pub(crate) fn status(self) -> u16 {
        match self {
            Refusal::SwitchForbidden => 403,
            Refusal::Version => 426,
            Refusal::HeadTooLarge | Refusal::TooManyFields => 431,
            Refusal::TransferEncoding => 501,
            Refusal::RequestLine
            | Refusal::StatusLine
            | Refusal::Method
            | Refusal::Connection
            | Refusal::Target
            | Refusal::BareLineFeed
            | Refusal::FieldName
            | Refusal::FieldValue
            | Refusal::HostMissing
            | Refusal::HostRepeated
            | Refusal::HostMalformed
            | Refusal::ContentLength
            | Refusal::ContentLengthRepeated
            | Refusal::LengthConflict
            | Refusal::BodyForbidden
            | Refusal::HeadCut
            | Refusal::ChunkSize
            | Refusal::ChunkExtensions
            | Refusal::ChunkEnd
            | Refusal::Trailers
            | Refusal::InformationalFlood
            | Refusal::SwitchUnasked
            | Refusal::Base64
            | Refusal::Base64Length => 400,
        }
    }
}
