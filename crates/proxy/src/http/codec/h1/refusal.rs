//! Why a message is refused, and with which status a client hears of it.

/// Why an HTTP/1.1 message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("request line is malformed")]
    RequestLine,
    #[error("status line is malformed")]
    StatusLine,
    #[error("HTTP/1.0 is not served")]
    Http10,
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
    #[error("transfer-encoding is malformed")]
    TransferEncoding,
    #[error("transfer coding is not known")]
    TransferCodingUnknown,
    #[error("chunk size is malformed")]
    ChunkSize,
    #[error("chunk extensions are too long")]
    ChunkExtensions,
    #[error("chunk does not end with CRLF")]
    ChunkEnd,
    #[error("trailers are malformed")]
    Trailers,
}

impl Refusal {
    /// The status that tells a client.
    pub(crate) fn status(self) -> u16 {
        match self {
            Refusal::Http10 => 426,
            Refusal::HeadTooLarge | Refusal::TooManyFields => 431,
            Refusal::TransferCodingUnknown => 501,
            Refusal::RequestLine
            | Refusal::StatusLine
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
            | Refusal::TransferEncoding
            | Refusal::ChunkSize
            | Refusal::ChunkExtensions
            | Refusal::ChunkEnd
            | Refusal::Trailers => 400,
        }
    }
}
