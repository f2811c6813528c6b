//! Meshes to look at and to break.
//!
//! [`launcher`] makes and runs a mesh of real processes. A drill rehearses a failure: [`drill`] reads its file, checks
//! it whole, and plays it on a backend: [`sim`], where the real voters and edges run in one process on simulated time,
//! network and disks, or [`live`], where they are processes in network namespaces. [`workload`] is the people and
//! agents who go on working meanwhile; all they see goes into a [`history`], every promise of the mesh is checked
//! against it by [`invariant`], and [`report`] tells the result.

pub mod drill;
pub mod example;
pub mod history;
pub mod invariant;
pub mod launcher;
pub mod liar;
pub mod live;
pub mod node;
pub mod report;
pub mod sim;
pub mod workload;
