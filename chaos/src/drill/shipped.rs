//! The drills that come with remit, compiled in.

macro_rules! drills {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../drills/", $name, ".yaml")))),*]
    };
}

/// Name and text of each, in the order of their names.
pub const DRILLS: &[(&str, &str)] = drills![
    "clock-jump",
    "control-plane-frozen",
    "control-plane-gone",
    "crash-loop",
    "disk-full-edge",
    "disk-full-voter",
    "leader-isolated",
    "leader-loss",
    "leader-paused",
    "lying-voter",
    "minority-cut",
    "old-ticks",
    "poisoned-bundle",
    "policy-under-load",
    "power-cut-voter",
    "reconnect-storm",
    "region-cut-off",
    "relations-under-load",
    "revocation-overtakes-bundle",
    "revoke-during-delegation",
    "revoke-during-partition",
    "rolling-restart",
    "rollout-taken-back",
    "rollout-under-faults",
    "session-moved",
    "slow-lossy-wan",
    "voter-replaced",
];

/// The text of the drill of this name.
#[must_use]
pub fn shipped(name: &str) -> Option<&'static str> {
    DRILLS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::drill::file::Drill;

    #[test]
    fn every_shipped_drill_can_be_played() {
        for (name, text) in DRILLS {
            let drill = Drill::read(&format!("{name}.yaml"), text).unwrap_or_else(|wrong| panic!("{wrong}"));
            assert_eq!(drill.copy.name, *name);
            assert!(!drill.invariants.is_empty() && !drill.hypothesis.is_empty(), "{name} asserts nothing");
            assert!(drill.copy.description.len() > 100, "{name} says too little of itself");
        }
    }

    #[test]
    fn every_drill_of_the_folder_is_shipped() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("drills");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".yaml").to_owned())
            .collect();
        found.sort();
        assert_eq!(found, DRILLS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
