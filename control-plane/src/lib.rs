//! x

pub mod raft;
