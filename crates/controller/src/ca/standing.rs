//! What stands now: who signs, who is believed, what was revoked, and how far a rotation is. Replaced as a whole;
//! whoever uses it follows.

use std::sync::Arc;
use std::time::SystemTime;

use identity::{Authority, Bundle};
use tokio::sync::watch;
use xds::secrets::Trusted;

use super::rotation::Rotation;

/// The latest of it.
pub(crate) type Latest = watch::Receiver<Arc<Standing>>;

/// Where the authority's key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Secret `cacerts`: somebody else's, we only read it.
    PluggedIn,
    /// Secret `istio-ca-secret`: ours.
    Own,
}

/// What stands. It holds the authority's key, and so has no `Debug`.
pub(crate) struct Standing {
    pub(crate) authority: Authority,
    /// Of a rotation: the authority that comes, and once that signs, the one that goes.
    pub(crate) other: Option<Authority>,
    pub(crate) trusted: Trusted,
    pub(crate) source: Source,
    pub(crate) rotation: Option<Rotation>,
    /// When some of the roots have been believed for long enough; seconds since 1970.
    pub(crate) read_again: Option<u64>,
}

impl Standing {
    pub(crate) fn new(authority: Authority, source: Source) -> Result<Self, identity::Error> {
        let chain = format!("{}{}", authority.certificate_pem(), authority.intermediates_pem());
        let roots = Bundle::from_pem(authority.root_pem())?.led_by(&chain)?;
        Ok(Self {
            authority,
            other: None,
            trusted: Trusted { roots, revoked: None },
            source,
            rotation: None,
            read_again: None,
        })
    }

    /// The roots as text.
    pub(crate) fn roots(&self) -> &str {
        self.trusted.roots.pem()
    }

    /// Fingerprint of the root that newly made certificates lead to.
    pub(crate) fn signer(&self) -> String {
        self.trusted.roots.signer()
    }

    pub(crate) fn expires(&self) -> SystemTime {
        self.authority.expires()
    }

    /// Whether the other one is the same for everybody who follows.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.source == other.source
            && self.trusted == other.trusted
            && self.rotation == other.rotation
            && self.authority.certificate_pem() == other.authority.certificate_pem()
            && self.authority.intermediates_pem() == other.authority.intermediates_pem()
    }
}
