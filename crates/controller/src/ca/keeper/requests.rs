//! What somebody asks for in annotation `amime.io/rotate`: an id, so that each request counts once, and what is wished.

use anyhow::{Result, bail};
use daemon::clock::{self, Due};
use identity::Authority;

use super::{Keeper, REST, certificate, steps};
use crate::ca::root;
use crate::ca::rotation::Rotation;
use crate::ca::standing::{Source, Standing};
use crate::ca::status::Wish;

impl Keeper {
    /// Does what is asked; why it is refused, if it is. An error may pass when it is tried again.
    pub(super) async fn fulfil(&mut self, request: &str) -> Result<Option<String>> {
        let standing = self.standing.borrow().clone();
        let next = match next(&standing, request, &self.organisation()) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(None),
            Err(refused) => return Ok(Some(format!("{refused:#}"))),
        };
        tracing::info!(scope = "ca", request, "asked for a rotation of the root");
        self.store(&standing, next).await?;
        if matches!(Wish::of(request), Ok(Wish::Abort)) {
            // One that began by itself would do so again at once.
            self.rests = Some(Due::after(REST));
        }
        Ok(None)
    }

    /// Begins by itself.
    pub(super) async fn begin(&mut self) -> Result<()> {
        let standing = self.standing.borrow().clone();
        match next(&standing, "", &self.organisation())? {
            Some(next) => self.store(&standing, next).await,
            None => Ok(()),
        }
    }

    /// The name in our own root, which the next one has as well.
    fn organisation(&self) -> String {
        let certificate = certificate(&self.standing.borrow());
        let organisations = certificate.map(|facts| facts.organisations).unwrap_or_default();
        organisations
            .into_iter()
            .next()
            .unwrap_or_else(|| "cluster.local".to_owned())
    }
}

/// What stands afterwards; `None` when it does already. An error is a refusal.
fn next(standing: &Standing, request: &str, organisation: &str) -> Result<Option<Standing>> {
    let wish = Wish::of(request)?;
    if standing.source == Source::PluggedIn {
        bail!(
            "the certificate authority is plugged in: add the new root to root-cert.pem of Secret {}, and then replace the signer",
            root::PLUGGED_IN
        );
    }
    let rotation = match (&standing.rotation, &wish) {
        // Stored already, by another replica or by a try whose answer was lost.
        (Some(rotation), Wish::Begin) if rotation.request == request => return Ok(None),
        (Some(_), Wish::Begin) => bail!("a rotation is under way"),
        (None, Wish::Begin) => {
            if let Some(until) = standing.read_again {
                bail!(
                    "a former root is believed for {} s more, until nothing of it can be in use: try again then",
                    until.saturating_sub(clock::unix_seconds())
                );
            }
            let coming = Authority::generate(organisation, root::LIFETIME, clock::wall())?;
            let now = clock::unix_seconds();
            return steps::trusting(standing, coming, (now, request)).map(Some);
        }
        (None, _) => bail!("no rotation is under way"),
        (Some(rotation), _) => rotation,
    };
    let next = match wish {
        Wish::Abort => return steps::aborted(standing).map(Some),
        Wish::Finish => Rotation {
            hurried: true,
            ..rotation.clone()
        },
        Wish::Without(names) => rotation.without(&names),
        Wish::Begin => return Ok(None),
    };
    steps::noted(standing, next).map(Some)
}

#[cfg(test)]
mod tests {
    use identity::Bundle;

    use super::*;
    use crate::ca::keeper::tests::own;

    #[test]
    fn one_request_begins_one_rotation() {
        let begun = next(&own(), "7", "test").unwrap().unwrap();
        assert!(next(&begun, "7", "test").unwrap().is_none(), "it is the same one");
        let refused = next(&begun, "8", "test").err().unwrap();
        assert_eq!(refused.to_string(), "a rotation is under way");
    }

    #[test]
    fn no_rotation_begins_while_former_roots_are_believed() {
        let mut before = own();
        before.read_again = Some(u64::MAX);
        let refused = next(&before, "7", "test").err().unwrap();
        assert!(
            refused.to_string().starts_with("a former root is believed"),
            "{refused}"
        );
        for wish in ["7 finish", "7 abort"] {
            let refused = next(&before, wish, "test").err().unwrap();
            assert_eq!(refused.to_string(), "no rotation is under way");
        }
    }

    #[test]
    fn a_rotation_can_be_left_before_the_new_root_signs() {
        let before = own();
        assert!(next(&before, "7 abort", "test").is_err(), "there is none");
        let begun = next(&before, "7", "test").unwrap().unwrap();
        let left = next(&begun, "8 abort", "test").unwrap().unwrap();
        assert!(left.is_same(&before) && left.other.is_none());
        let renewing = steps::renewing(&begun, renewing_of(&begun)).unwrap();
        let refused = next(&renewing, "8 abort", "test").err().unwrap().to_string();
        assert!(refused.starts_with("the new root signs already"), "{refused}");
        assert_eq!(
            Bundle::from_pem(&renewing.other.unwrap().certificate_pem()).unwrap(),
            before.trusted.roots,
            "its key is there until the end"
        );
    }

    fn renewing_of(standing: &Standing) -> Rotation {
        let rotation = standing.rotation.clone().unwrap();
        Rotation {
            phase: crate::ca::rotation::Phase::Renewing,
            ..rotation
        }
    }

    #[test]
    fn who_is_named_is_not_waited_for_and_a_hurry_is_stored() {
        let begun = next(&own(), "7", "test").unwrap().unwrap();
        let without = next(&begun, "8 without shop/a", "test").unwrap().unwrap();
        let rotation = without.rotation.as_ref().unwrap();
        assert!(rotation.without.contains_key("shop/a") && without.other.is_some());
        let hurried = next(&without, "9 finish", "test").unwrap().unwrap();
        assert!(hurried.rotation.unwrap().hurried);
    }
}
