//! What `when` can look at.

/// An attribute of a request or connection, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// `request.headers[NAME]`; the text with its brackets, for the name may be missing.
    RequestHeader(&'a str),
    SourceIp,
    RemoteIp,
    SourceNamespace,
    SourceServiceAccount,
    SourcePrincipal,
    SourceTrustDomain,
    RequestPrincipal,
    RequestAudiences,
    RequestPresenter,
    /// `request.auth.claims[NAME][NAME]`; the text with its brackets.
    RequestClaim(&'a str),
    DestinationIp,
    DestinationPort,
    ConnectionSni,
    /// `experimental.envoy.filters.FILTER[NAME]`, from `envoy.filters`.
    Metadata(&'a str),
}

impl<'a> Attribute<'a> {
    /// The attribute with that key; the error is what Istio says of it.
    pub fn parse(key: &'a str) -> Result<Self, String> {
        Ok(match key {
            "source.ip" => Self::SourceIp,
            "remote.ip" => Self::RemoteIp,
            "source.namespace" => Self::SourceNamespace,
            "source.serviceAccount" => Self::SourceServiceAccount,
            "source.principal" => Self::SourcePrincipal,
            "source.trustDomain" => Self::SourceTrustDomain,
            "request.auth.principal" => Self::RequestPrincipal,
            "request.auth.audiences" => Self::RequestAudiences,
            "request.auth.presenter" => Self::RequestPresenter,
            "destination.ip" => Self::DestinationIp,
            "destination.port" => Self::DestinationPort,
            "connection.sni" => Self::ConnectionSni,
            "destination.namespace" => {
                return Err(format!("attribute {key} is replaced by the metadata.namespace"));
            }
            "destination.name" | "destination.user" => {
                return Err(format!("deprecated attribute {key}: only supported in v1alpha1"));
            }
            _ => return Self::parse_with_name(key),
        })
    }

    fn parse_with_name(key: &'a str) -> Result<Self, String> {
        if let Some(name) = key.strip_prefix("request.headers") {
            Ok(Self::RequestHeader(name))
        } else if let Some(name) = key.strip_prefix("request.auth.claims") {
            Ok(Self::RequestClaim(name))
        } else if key.starts_with("experimental.envoy.filters.") {
            Ok(Self::Metadata(key.strip_prefix("experimental.").unwrap_or(key)))
        } else if key.starts_with("destination.labels") {
            Err(format!("attribute {key} is replaced by the workload selector"))
        } else {
            Err(format!("unknown attribute: {key}"))
        }
    }

    /// Whether only requests have it, and connections of other protocols do not.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Self::RequestHeader(_)
                | Self::RequestPrincipal
                | Self::RequestAudiences
                | Self::RequestPresenter
                | Self::RequestClaim(_)
        )
    }
}
