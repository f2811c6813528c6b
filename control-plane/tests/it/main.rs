//! The control plane through its public interfaces.

mod fault_disk;
mod raft;
