//! Real voters and edges in one process, on simulated time, network and disks.
//!
//! A seed decides everything: the same seed plays the same run, packet by packet.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod mesh;
pub mod nemesis;
pub mod net;
pub mod rehearsal;
pub mod run;
pub mod runtime;
pub mod spawn;
