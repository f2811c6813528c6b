//! Meshes to look at and to break: real processes on one machine.
//!
//! The launcher makes the keys, certificates, documents and configurations of a mesh, starts its processes and stops
//! them. It is the only place of the workspace that starts a process.

pub mod launcher;
