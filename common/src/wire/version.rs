//! How two versions agree on what they speak.
//!
//! The edge says in its first message what it speaks, the voter picks the highest that it speaks, too, and everything
//! after is in that version (W-7). The first message and the two possible answers never change.

/// A version of the messages.
pub type Version = u16;

/// What this build speaks, ascending.
pub const SPOKEN: &[Version] = &[1];

/// Versions that a first message may list. More than a decade of yearly ones; a longer list is no list of ours.
pub const VERSIONS_MAX: usize = 16;

/// The two ends have no version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no common version of the protocol")]
pub struct NoCommonVersion;

/// The highest version that both speak.
///
/// # Errors
/// [`NoCommonVersion`].
pub fn choose(theirs: &[Version]) -> Result<Version, NoCommonVersion> {
    SPOKEN.iter().rev().find(|version| theirs.contains(version)).copied().ok_or(NoCommonVersion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(choose(&[1]), Ok(1));
        assert_eq!(choose(&[7, 1, 0]), Ok(1));
        assert_eq!(choose(&[2, 3]), Err(NoCommonVersion));
        assert_eq!(choose(&[]), Err(NoCommonVersion));
    }
}
