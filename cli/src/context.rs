//! What every command is given: the world, the way to print, and which mesh.

use std::path::{Path, PathBuf};

use remit_chaos::launcher::{MeshFile, MeshFileFault};
use remit_common::net::env::Env;
use remit_common::time::Timestamp;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// The folder of a mesh when nobody names another.
pub(crate) const DEFAULT_FOLDER: &str = ".remit";

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// Which mesh: the file that `remit up` wrote [default: ./.remit/mesh.json]
    #[arg(long, global = true, env = "REMIT_MESH", value_name = "FILE")]
    pub(crate) mesh: Option<PathBuf>,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What every command is given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) output: Output,
    mesh: Option<PathBuf>,
}

impl Context {
    pub(crate) fn new(global: &Global, env: Env, output: Output) -> Self {
        Self { env, output, mesh: global.mesh.clone() }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.env.now().wall
    }

    /// Where the mesh file is.
    pub(crate) fn mesh_path(&self) -> PathBuf {
        self.mesh.clone().unwrap_or_else(|| Path::new(DEFAULT_FOLDER).join("mesh.json"))
    }

    /// The mesh that the user means.
    pub(crate) fn mesh(&self) -> Result<MeshFile, Failure> {
        MeshFile::read(self.env.disk.as_ref(), &self.mesh_path()).map_err(|fault| {
            let failure = Failure::caused(Exit::Unreachable, &fault);
            match fault {
                MeshFileFault::Missing(_) => failure
                    .hint("start a mesh with `remit up --detach`, or name its file with --mesh FILE or $REMIT_MESH"),
                MeshFileFault::Unreadable(..) | MeshFileFault::Malformed(..) => {
                    failure.hint("name the file that `remit up` wrote with --mesh FILE or $REMIT_MESH")
                }
            }
        })
    }
}
