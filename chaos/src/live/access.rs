//! The mesh from within: addresses, worlds and the time of a run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use remit_common::id::{MeshId, TenantId};
use remit_common::net::env::Env;
use remit_common::net::real::real;

use super::ground::Ground;
use crate::drill::backend::Access;
use crate::launcher::{KeyPaths, MeshFile};
use crate::node::{Member, Node, Roster};

/// See [`Access`]. Empty until there is a mesh.
pub(super) struct LiveAccess {
    began: Mutex<Instant>,
    state: Mutex<State>,
}

struct State {
    roster: Roster,
    mesh: MeshFile,
    ground: Option<Ground>,
}

impl LiveAccess {
    #[expect(clippy::disallowed_methods, reason = "the true time of a run on the real machine")]
    pub(super) fn new(tenant: TenantId) -> Self {
        let nothing = std::path::PathBuf::new;
        let keys = KeyPaths {
            policy: Vec::new(),
            admin: nothing(),
            directory: nothing(),
            sealer: nothing(),
            root: nothing(),
            on_call: None,
            agents: None,
            relations: None,
        };
        let mesh = MeshFile {
            mesh_id: MeshId([0; 16]),
            tenant,
            voters: Vec::new(),
            edges: Vec::new(),
            upstreams: Vec::new(),
            keys,
            root: nothing(),
            example: nothing(),
        };
        let state = State { roster: Roster::default(), mesh, ground: None };
        Self { began: Mutex::new(Instant::now()), state: Mutex::new(state) }
    }

    /// The run begins now.
    #[expect(clippy::disallowed_methods, reason = "the true time of a run on the real machine")]
    pub(super) fn begin(&self) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// From now on this is the mesh.
    pub(super) fn set(&self, ground: &Ground, mesh: &MeshFile) {
        let member = |node, region| Member { node, region };
        let voters = mesh.voters.iter().map(|voter| member(Node::Voter(voter.id), None));
        let edges = mesh.edges.iter().map(|edge| member(Node::Edge(edge.id.clone()), Some(edge.region.clone())));
        let rest = [member(Node::Tools, None), member(Node::Operator, None)];
        let roster = Roster { nodes: voters.chain(edges).chain(rest).collect() };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) =
            State { roster, mesh: mesh.clone(), ground: Some(ground.clone()) };
    }

    fn with<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Access for LiveAccess {
    fn roster(&self) -> Roster {
        self.with(|state| state.roster.clone())
    }

    fn mesh(&self) -> MeshFile {
        self.with(|state| state.mesh.clone())
    }

    fn env_at(&self, node: &Node) -> Env {
        let Some(ground) = self.with(|state| state.ground.clone()) else { return real() };
        // The operator has no machine of its own, and whoever is nowhere finds everybody as the operator does.
        ground.machine(node).map_or_else(|_| ground.routes().env(), |machine| machine.env.clone())
    }

    #[expect(clippy::disallowed_methods, reason = "the true time of a run on the real machine")]
    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(*self.began.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Shared by everybody who works in the mesh.
pub(super) type Shared = Arc<LiveAccess>;
