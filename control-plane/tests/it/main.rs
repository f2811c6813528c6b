//! The control plane through its public interfaces.

#[cfg(test)]
mod approvals;
#[cfg(test)]
#[path = "../../../common/tests/bad_bundles/mod.rs"]
mod bad_bundles;
#[cfg(test)]
mod beacons;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod fault_disk;
#[cfg(test)]
mod killable;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod raft;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod registry_enrolment;
#[cfg(test)]
mod registry_golden;
#[cfg(test)]
mod registry_objects;
#[cfg(test)]
mod registry_properties;
#[cfg(test)]
mod registry_relations;
#[cfg(test)]
mod registry_rollouts;
#[cfg(test)]
mod trust_attacks;
#[cfg(test)]
mod voters;
#[cfg(test)]
mod world;
