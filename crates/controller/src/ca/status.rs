//! ConfigMap `amime-ca`: what the controller tells of its authority, and what is asked of it there. Both who keeps it and
//! who asks (`amime ca`) have these words from here.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

pub use super::rotation::Phase;

/// The ConfigMap, in the namespace of the control plane. Entry `status` is a [`Status`], `answered` the request that was
/// answered last.
pub const MAP: &str = "amime-ca";
/// The annotation that asks for something: what [`Wish::request`] makes.
pub const ROTATE: &str = "amime.io/rotate";

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The Secret that the key comes from.
    pub source: String,
    /// Fingerprint of the root that signs.
    pub signer: String,
    /// When the authority runs out; seconds since 1970.
    pub expires: u64,
    /// Fingerprints of all roots that are believed.
    pub roots: Vec<String>,
    /// Whether there are lists of revoked certificates.
    pub revocation_lists: bool,
    /// The rotation under way.
    pub rotation: Option<Progress>,
    /// Proxies that no root of ours reaches: their certificates are files of somebody else's.
    pub mounted: Vec<String>,
    /// Why the last request was refused, if it was.
    pub refused: Option<String>,
}

/// How far a rotation is. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What holds now.
    pub phase: Phase,
    /// Fingerprint of the new root.
    pub to: String,
    /// When it began.
    pub begun: u64,
    /// What the next phase waits for.
    pub waiting_for: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That the root is replaced.
    Begin,
    /// That a rotation under way waits for nobody.
    Finish,
    /// That it is left.
    Abort,
    /// That these are not waited for: `NAMESPACE/POD`.
    Without(Vec<String>),
}

impl Wish {
    /// A request with an id of its own, so that it counts once.
    pub fn request(&self, id: &str) -> String {
        match self {
            Self::Begin => id.to_owned(),
            Self::Finish => format!("{id} finish"),
            Self::Abort => format!("{id} abort"),
            Self::Without(names) => format!("{id} without {}", names.join(" ")),
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// The words that are not understood.
    pub fn of(request: &str) -> Result<Self> {
        let mut words = request.split_whitespace().skip(1);
        Ok(match words.next() {
            None => Self::Begin,
            Some("finish") => Self::Finish,
            Some("abort") => Self::Abort,
            Some("without") => {
                let names: Vec<String> = words.map(str::to_owned).collect();
                let malformed = |name: &&String| name.split('/').filter(|part| !part.is_empty()).count() != 2;
                if let Some(name) = names.iter().find(malformed) {
                    bail!("{name:?} is not of the form NAMESPACE/POD");
                }
                Self::Without(names)
            }
            Some(other) => bail!("{other:?} is not understood"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_it_was_said() {
        let without = Wish::Without(vec!["shop/a".to_owned(), "shop/sa:b".to_owned()]);
        for (wish, said) in [
            (Wish::Begin, "7"),
            (Wish::Finish, "7 finish"),
            (Wish::Abort, "7 abort"),
            (without, "7 without shop/a shop/sa:b"),
        ] {
            assert_eq!(wish.request("7"), said);
            assert_eq!(Wish::of(said).unwrap(), wish);
        }
        assert!(Wish::of("7 without a").is_err());
        assert!(Wish::of("7 anything").is_err());
    }
}
