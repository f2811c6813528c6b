//! Limits of processor and memory by control groups, of either version.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::namespace::PREFIX;
use super::tool;

/// In which time a share of the processor is counted, in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// What this machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// One hierarchy per kind of limit.
    V1 {
        /// Of processor time.
        cpu: PathBuf,
        /// Of memory.
        memory: PathBuf,
    },
    /// One for all.
    V2 {
        /// Its root, which hands both kinds of limit down.
        root: PathBuf,
    },
}

/// A control file, what to write, and what lifts the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) path: PathBuf,
    pub(super) value: String,
    pub(super) lifted: &'static str,
}

impl Cgroups {
    /// Finds out, and tries it.
    ///
    /// # Errors
    /// Why no process can be limited here.
    pub(super) fn probe() -> Result<Self> {
        let mounts = tool::read(Path::new("/proc/self/mounts")).context("`/proc/self/mounts` cannot be read")?;
        let found =
            Self::find(&mounts).context("neither version of control groups offers limits of processor and memory")?;
        if let Self::V2 { root } = &found {
            hand_down(root)?;
        }
        for folder in found.folders(&format!("{PREFIX}probe-{}", std::process::id())) {
            std::fs::create_dir(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
            std::fs::remove_dir(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        Ok(found)
    }

    fn find(mounts: &str) -> Option<Self> {
        let (mut cpu, mut memory, mut unified) = (None, None, None);
        for line in mounts.lines() {
            let mut words = line.split(' ');
            let (Some(_), Some(path), Some(kind), Some(options)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let has = |wanted: &str| options.split(',').any(|option| option == wanted);
            match kind {
                "cgroup" if has("cpu") => cpu = Some(PathBuf::from(path)),
                "cgroup" if has("memory") => memory = Some(PathBuf::from(path)),
                "cgroup2" => unified = Some(PathBuf::from(path)),
                _ => {}
            }
        }
        match (cpu, memory, unified) {
            (Some(cpu), Some(memory), _) => Some(Self::V1 { cpu, memory }),
            (_, _, Some(root)) => Some(Self::V2 { root }),
            _ => None,
        }
    }

    /// The folders that make up a group of this name.
    pub(super) fn folders(&self, name: &str) -> Vec<PathBuf> {
        match self {
            Self::V1 { cpu, memory } => vec![cpu.join(name), memory.join(name)],
            Self::V2 { root } => vec![root.join(name)],
        }
    }

    /// Limits a group to a share of one processor; 100 and more lift the limit.
    pub(super) fn cpu(&self, name: &str, percent: u32) -> Setting {
        let quota = (percent < 100).then(|| PERIOD_US * u64::from(percent.max(1)) / 100);
        match self {
            Self::V1 { cpu, .. } => Setting {
                path: cpu.join(name).join("cpu.cfs_quota_us"),
                value: quota.map_or("-1".to_owned(), |quota| quota.to_string()),
                lifted: "-1",
            },
            Self::V2 { root } => Setting {
                path: root.join(name).join("cpu.max"),
                value: quota.map_or("max".to_owned(), |quota| format!("{quota} {PERIOD_US}")),
                lifted: "max",
            },
        }
    }

    /// Limits a group to so many bytes of memory.
    #[cfg_attr(not(test), expect(dead_code, reason = "no drill file can name this fault yet"))]
    pub(super) fn memory(&self, name: &str, bytes: u64) -> Setting {
        match self {
            Self::V1 { memory, .. } => Setting {
                path: memory.join(name).join("memory.limit_in_bytes"),
                value: bytes.to_string(),
                lifted: "-1",
            },
            Self::V2 { root } => {
                Setting { path: root.join(name).join("memory.max"), value: bytes.to_string(), lifted: "max" }
            }
        }
    }
}

/// Makes a group's folders where they are missing.
///
/// # Errors
/// What the kernel says.
pub(super) fn create(folders: &[PathBuf]) -> Result<()> {
    for folder in folders {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    Ok(())
}

/// Puts a process into a group.
///
/// # Errors
/// What the kernel says.
pub(super) fn join(folders: &[PathBuf], pid: u32) -> Result<()> {
    folders.iter().try_for_each(|folder| tool::put(&folder.join("cgroup.procs"), &pid.to_string()))
}

/// Lets groups below the root have limits.
fn hand_down(root: &Path) -> Result<()> {
    for kind in ["cpu", "memory"] {
        let list = |file: &str| tool::read(&root.join(file)).unwrap_or_default();
        if !list("cgroup.controllers").split_whitespace().any(|word| word == kind) {
            bail!("control groups at `{}` do not offer limits of {kind}", root.display());
        }
        if !list("cgroup.subtree_control").split_whitespace().any(|word| word == kind) {
            // Not ours to take back: others may have come to rely on it meanwhile, and it limits nobody.
            tool::put(&root.join("cgroup.subtree_control"), &format!("+{kind}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::fixture::{Skipped, need, turn};
    use crate::live::process_id::ProcessId;

    const V1: &str = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    const V2: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0\n";

    #[test]
    fn both_versions_are_found_and_told_apart() {
        let v1 = Cgroups::find(V1).unwrap();
        assert_eq!(v1, Cgroups::V1 { cpu: "/sys/fs/cgroup/cpu".into(), memory: "/sys/fs/cgroup/memory".into() });
        let v2 = Cgroups::find(V2).unwrap();
        assert_eq!(v2, Cgroups::V2 { root: "/sys/fs/cgroup".into() });
        assert_eq!(Cgroups::find("proc /proc proc rw 0 0\n"), None);
        let shown = |setting: Setting| (setting.path.to_str().unwrap().to_owned(), setting.value);
        assert_eq!(shown(v1.cpu("n", 25)), ("/sys/fs/cgroup/cpu/n/cpu.cfs_quota_us".into(), "25000".into()));
        assert_eq!(shown(v1.cpu("n", 100)).1, "-1");
        assert_eq!(shown(v2.cpu("n", 25)), ("/sys/fs/cgroup/n/cpu.max".into(), "25000 100000".into()));
        assert_eq!(shown(v2.cpu("n", 100)).1, "max");
        assert_eq!(shown(v2.memory("n", 1)), ("/sys/fs/cgroup/n/memory.max".into(), "1".into()));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to limit")]
    fn a_process_in_a_group_has_its_limits() {
        let _turn = turn();
        if let Err(skipped) = need(|probe| probe.cgroups.as_ref().err().cloned()) {
            return Skipped::print(skipped);
        }
        let cgroups = Cgroups::probe().unwrap();
        let name = format!("{PREFIX}test-{}", std::process::id());
        let folders = cgroups.folders(&name);
        create(&folders).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        join(&folders, child.id()).unwrap();
        for setting in [cgroups.cpu(&name, 10), cgroups.memory(&name, 64 * 1024 * 1024)] {
            tool::put(&setting.path, &setting.value).unwrap();
            assert_eq!(tool::read(&setting.path).unwrap().trim(), setting.value);
            tool::put(&setting.path, setting.lifted).unwrap();
        }
        let groups = tool::read(&Path::new("/proc").join(child.id().to_string()).join("cgroup")).unwrap();
        assert_eq!(groups.matches(&name).count(), folders.len(), "{groups}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ProcessId::of(child.id()), None);
        folders.iter().for_each(|folder| std::fs::remove_dir(folder).unwrap());
    }
}
