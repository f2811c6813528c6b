//! The control plane through its public interfaces.

#[cfg(test)]
mod fault_disk;
#[cfg(test)]
mod raft;
