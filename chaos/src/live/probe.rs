//! What this machine can do, found out by trying, before a drill touches anything.

use std::path::{Path, PathBuf};

use super::cgroup::Cgroups;
use super::{clock, tool};
use crate::drill::action::Fault;

/// Every ability, or the reason why it is missing.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    /// To change anything at all.
    pub(super) root: Result<(), String>,
    /// To make network namespaces.
    pub(super) namespaces: Result<(), String>,
    /// To open TUN devices.
    pub(super) tun: Result<(), String>,
    /// To filter packets inside a namespace.
    pub(super) nft: Result<(), String>,
    /// To make filesystems that can be full and lose power.
    pub(super) ext4: Result<(), String>,
    /// To limit processor and memory.
    pub(super) cgroups: Result<Cgroups, String>,
    /// To let wall clocks jump.
    pub(super) faketime: Result<PathBuf, String>,
}

impl Probe {
    /// Finds out. Leaves nothing behind.
    pub(super) fn of_this_machine() -> Self {
        let root = if rustix::process::geteuid().is_root() {
            Ok(())
        } else {
            Err("network namespaces and mounts need root: run it with sudo, or with --backend sim".to_owned())
        };
        let if_root = |probe: fn() -> anyhow::Result<()>| {
            root.clone().and_then(|()| probe().map_err(|error| format!("{error:#}")))
        };
        Self {
            namespaces: if_root(|| tool::run("unshare", ["--net", "--", "ip", "link", "set", "lo", "up"]).map(drop)),
            tun: if_root(tun),
            nft: if_root(|| tool::run("unshare", ["--net", "--", "nft", "list", "tables"]).map(drop)),
            ext4: if_root(ext4),
            cgroups: root.clone().and_then(|()| Cgroups::probe().map_err(|error| format!("{error:#}"))),
            faketime: clock::probe().map_err(|error| format!("{error:#}")),
            root,
        }
    }

    /// Why no mesh can be built here.
    pub(super) fn missing_mesh(&self) -> Option<String> {
        [&self.root, &self.namespaces, &self.tun].into_iter().find_map(|ability| ability.clone().err())
    }

    /// Why a fault cannot be brought about here.
    pub(super) fn missing(&self, fault: &Fault) -> Option<String> {
        let own = match fault {
            Fault::Kill(_)
            | Fault::Stop(_)
            | Fault::Start(_)
            | Fault::Pause(_)
            | Fault::Resume(_)
            | Fault::Partition { .. }
            | Fault::Link { .. }
            | Fault::HealNetwork
            | Fault::ReplaceVoter(_)
            | Fault::Lie { .. }
            | Fault::ReconnectStorm(_) => None,
            Fault::PowerCut(_) | Fault::DiskFull(_) | Fault::DiskFree(_) | Fault::FsyncError(_) => {
                self.ext4.as_ref().err().cloned()
            }
            Fault::ClockJump { .. } => self.faketime.as_ref().err().cloned(),
            Fault::CpuLimit { .. } => self.cgroups.as_ref().err().cloned(),
        };
        self.missing_mesh().or(own)
    }
}

fn tun() -> anyhow::Result<()> {
    let device = Path::new("/dev/net/tun");
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!("the wire between namespaces needs `{}`: {error}", device.display()),
    }
}

fn ext4() -> anyhow::Result<()> {
    for name in ["mkfs.ext4", "fsck.ext4", "losetup", "mount"] {
        if tool::find(name).is_none() {
            anyhow::bail!(
                "disks that fail need `{name}` (packages e2fsprogs, mount), which this machine does not have"
            );
        }
    }
    let known = tool::read(Path::new("/proc/filesystems")).unwrap_or_default();
    if !known.lines().any(|line| line.trim() == "ext4") {
        anyhow::bail!("disks that fail need ext4, which this kernel does not know (`modprobe ext4`?)");
    }
    // Asks for a free device; takes none.
    tool::run("losetup", ["--find"]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::action::Lie;
    use crate::node::Node;

    const NOTHING: fn(&str) -> String = str::to_owned;

    fn bare() -> Probe {
        Probe {
            root: Ok(()),
            namespaces: Ok(()),
            tun: Ok(()),
            nft: Err(NOTHING("nft")),
            ext4: Err(NOTHING("ext4")),
            cgroups: Err(NOTHING("cgroups")),
            faketime: Err(NOTHING("faketime")),
        }
    }

    #[test]
    fn what_a_fault_needs_is_what_it_is_refused_for() {
        let nodes = || vec![Node::Tools];
        let check = |fault: Fault, reason: Option<&str>| {
            assert_eq!(bare().missing(&fault).as_deref(), reason, "{fault:?}");
        };
        check(Fault::Kill(nodes()), None);
        check(Fault::Partition { from: nodes(), to: nodes(), one_way: true }, None);
        check(Fault::PowerCut(nodes()), Some("ext4"));
        check(Fault::DiskFull(nodes()), Some("ext4"));
        check(Fault::ClockJump { nodes: nodes(), by_ms: 1 }, Some("faketime"));
        check(Fault::CpuLimit { nodes: nodes(), percent: 10 }, Some("cgroups"));
        check(Fault::Lie { node: Node::Tools, lie: Lie::Old }, None);
        let user = Probe { root: Err(NOTHING("root")), ..bare() };
        assert_eq!(user.missing(&Fault::HealNetwork).as_deref(), Some("root"));
    }
}
