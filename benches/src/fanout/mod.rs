//! A thousand edges at one voter: what a revocation, an idle edge, a reconnect and a storm of reconnects cost.
//!
//! The voter is a process of its own. The edges are tasks of one process, each with its own
//! socket, certificate and key; they speak the real protocol with the code that edges share with voters (connection,
//! subscriber, revocations, freshness, beacon, signatures) and keep everything in memory instead of on a disk. Each
//! round compares what the edges hold with what the voter says before it counts.

pub mod administrator;
pub mod beacon;
pub mod crowd;
pub mod edge;
pub mod etcd;
mod grpc;
pub mod mesh;
pub mod process;
pub mod report;
pub mod rounds;
pub mod slow;
