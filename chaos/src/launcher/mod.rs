//! A local mesh of real processes: written, started, killed, started again, stopped.

mod files;
mod local_mesh;
mod material;
mod mesh_file;
mod ports;
mod process;
mod site;

pub use files::{Folder, read_signing_key, remove_mesh};
pub use local_mesh::{LocalMesh, NewVoter, Plan, StrayEdge, UpstreamPlan};
pub(crate) use material::Material;
pub use mesh_file::{EdgeEntry, KeyPaths, MeshFile, MeshFileFault, UpstreamEntry, VoterEntry};
pub use ports::Ports;
pub use process::{Process, Program, Ready, stop_foreign};
pub use site::{Host, Site};
