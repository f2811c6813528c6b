//! The control plane through its public interfaces.

#[cfg(test)]
mod fault_disk;
#[cfg(test)]
mod raft;
mod registry;
mod registry_golden;
mod registry_objects;
mod registry_properties;
mod world;
