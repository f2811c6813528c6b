//! Real voters, edges and tools in network namespaces of this machine, and what breaks them.
//!
//! Every node is a process of the real binary, in a namespace of its own, on a disk of its own. The namespaces are
//! joined by a wire in this process, which decides about every packet. What a fault needs is found out before a drill
//! starts; what a fault changes is written down before it is changed, so that whoever comes after a crash can put
//! everything back.

mod access;
mod backend;
mod cgroup;
mod clock;
mod disk;
mod faults;
mod ground;
mod guard;
mod kernel;
mod lie;
mod machine;
mod namespace;
mod partition;
mod probe;
mod process_id;
mod relay;
mod replace;
mod search;
mod tool;
mod undo;
mod wire;
mod world;

#[cfg(test)]
mod fixture;

pub use backend::{Netns, Options};
pub use guard::{Undone, guard, undo_all_runs};
