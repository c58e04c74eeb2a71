//! Who a container's process is: user, groups, capabilities.
//!
//! **Ordinary users.** Where only one user exists, ids stay as they are. Who is not to be root then remains uid 0, but
//! without the one thing that makes it root: capabilities.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use anyhow::Context;
use caps::{CapSet, Capability};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits};
use serde::{Deserialize, Serialize};

use crate::sys::namespaces::{self, Users};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) groups: Vec<u32>,
    /// Without `CAP_`. A process that is not root keeps them as a bound only, as on other runtimes.
    pub(crate) capabilities: BTreeSet<String>,
    pub(crate) no_new_privileges: bool,
}

impl Credentials {
    /// Gives up everything else. The order matters: each step needs what the next one takes away.
    pub(crate) fn take_on(&self) -> anyhow::Result<()> {
        let users = namespaces::users();
        let keep = |capability: &Capability| {
            self.capabilities
                .contains(capability.to_string().trim_start_matches("CAP_"))
        };
        for capability in caps::runtime::thread_all_supported()
            .iter()
            .filter(|capability| !keep(capability))
        {
            caps::drop(None, CapSet::Bounding, *capability)
                .with_context(|| format!("cannot drop {capability}"))?;
        }
        caps::clear(None, CapSet::Inheritable).context("cannot clear inheritable capabilities")?;
        match users {
            Users::Any => self.change_ids()?,
            Users::One if self.user != 0 => be_powerless().context("cannot give up capabilities")?,
            Users::One => {}
        }
        if self.no_new_privileges {
            nix::sys::prctl::set_no_new_privs()?;
        }
        Ok(())
    }

    fn change_ids(&self) -> anyhow::Result<()> {
        self.own_streams().context("cannot hand over output")?;
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).context("cannot set groups")?;
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        setresgid(group, group, group).context("cannot set the group")?;
        setresuid(user, user, user).context("cannot set the user")?;
        Ok(())
    }

    /// Programs open `/dev/stdout` by name, and then its owner counts. What is no pipe or terminal isn't ours to give.
    fn own_streams(&self) -> anyhow::Result<()> {
        for stream in [
            std::io::stdin().as_fd(),
            std::io::stdout().as_fd(),
            std::io::stderr().as_fd(),
        ] {
            let kind = fstat(stream)?.st_mode & SFlag::S_IFMT.bits();
            if kind == SFlag::S_IFIFO.bits() || rustix::termios::isatty(stream) {
                fchown(
                    stream,
                    Some(Uid::from_raw(self.user)),
                    Some(Gid::from_raw(self.group)),
                )?;
            }
        }
        Ok(())
    }
}

/// What a change from root to another user takes away: all capabilities, and getting them back by executing a program.
fn be_powerless() -> anyhow::Result<()> {
    use CapabilitiesSecureBits as Bits;
    set_capabilities_secure_bits(Bits::NO_ROOT | Bits::NO_ROOT_LOCKED)?;
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set)?;
    }
    Ok(())
}
