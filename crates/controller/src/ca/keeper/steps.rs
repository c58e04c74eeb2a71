//! What stands before and after each step of a rotation.

use anyhow::{Context, Result, bail};
use identity::{Authority, Bundle};

use crate::ca::rotation::{Phase, Rotation};
use crate::ca::standing::Standing;

/// The same authority among these roots.
fn among(authority: &Authority, roots: &Bundle) -> Result<Authority, identity::Error> {
    Authority::plugged_in(
        &authority.certificate_pem(),
        &authority.key_pem(),
        &authority.intermediates_pem(),
        roots.pem(),
    )
}

/// A root of ours once more.
fn again(authority: &Authority) -> Result<Authority, identity::Error> {
    Authority::from_pem(&authority.certificate_pem(), &authority.key_pem())
}

fn standing_of(authority: Authority, before: &Standing) -> Result<Standing, identity::Error> {
    let mut next = Standing::new(authority, before.source)?;
    next.trusted.revoked.clone_from(&before.trusted.revoked);
    Ok(next)
}

/// Both are believed, the old one signs.
pub(super) fn trusting(
    before: &Standing,
    coming: Authority,
    (now, request): (u64, &str),
) -> Result<Standing> {
    let new = Bundle::from_pem(coming.root_pem())?;
    let both = before.trusted.roots.followed_by(&new);
    let mut next = standing_of(among(&before.authority, &both)?, before)?;
    next.rotation = Some(Rotation {
        request: request.to_owned(),
        ..Rotation::new(new.signer(), now)
    });
    next.other = Some(coming);
    Ok(next)
}

/// Both are believed, the new one signs. The old one is kept for the controller's own certificate.
pub(super) fn renewing(before: &Standing, rotation: Rotation) -> Result<Standing> {
    let coming = before
        .other
        .as_ref()
        .context("the authority that comes is not stored")?;
    let mut next = standing_of(among(coming, &before.trusted.roots)?, before)?;
    next.rotation = Some(rotation);
    next.other = Some(again(&before.authority)?);
    Ok(next)
}

/// The rotation is a little further, and all else as it was.
pub(super) fn noted(before: &Standing, rotation: Rotation) -> Result<Standing> {
    let mut next = standing_of(among(&before.authority, &before.trusted.roots)?, before)?;
    next.rotation = Some(rotation);
    next.other = before.other.as_ref().map(again).transpose()?;
    Ok(next)
}

/// Only the new one is believed. The key of the old one is forgotten.
pub(super) fn finished(before: &Standing, rotation: &Rotation) -> Result<Standing> {
    let only = Bundle::from_pem(&before.authority.certificate_pem())?;
    if only.signer() != rotation.to {
        bail!("the authority that signs is not the one that the rotation leads to");
    }
    Ok(standing_of(among(&before.authority, &only)?, before)?)
}

/// As it was before the rotation. Only while the new root has signed nothing.
pub(super) fn aborted(before: &Standing) -> Result<Standing> {
    let rotation = before.rotation.as_ref().context("no rotation is under way")?;
    let coming = before
        .other
        .as_ref()
        .filter(|_| rotation.phase == Phase::Trusting);
    let coming = coming.context(
        "the new root signs already: a rotation can be left only before, and `amime ca rotate --finish` goes on without \
         waiting",
    )?;
    let new = Bundle::from_pem(coming.root_pem())?;
    let left = before.trusted.roots.without(&new);
    Ok(standing_of(among(&before.authority, &left)?, before)?)
}
