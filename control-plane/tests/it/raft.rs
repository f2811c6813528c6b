//! Voters over real QUIC on this machine: agreement, failures, restarts, and who is let in.

mod agreement;
mod disks;
mod membership;
mod scene;
mod strangers;
