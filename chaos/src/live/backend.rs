//! The backend `netns`: a mesh of real processes that can be broken and put back.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::BoxFuture;
use remit_common::crypto::digest::Digest;
use remit_common::id::{TenantId, UpstreamName};
use remit_common::net::real::real;
use remit_common::net::tasks::{Shutdown, TaskGroup};

use super::access::{LiveAccess, Shared};
use super::ground::{Ground, TOOLS, TOOLS_AT_EDGE};
use super::namespace::PREFIX;
use super::probe::Probe;
use super::undo::{self, Journal, Undo};
use super::wire::{Capture, Wire};
use super::{faults, guard, search};
use crate::drill::action::Fault;
use crate::drill::backend::{Access, Backend, BackendKind, Shape};
use crate::example;
use crate::history::{History, Kind, What};
use crate::launcher::{LocalMesh, Plan, UpstreamPlan};
use crate::liar::Liar;
use crate::node::Node;

/// How long a fault lasts when nobody ends it, unless the drill takes longer: short enough for a forgotten one.
const FAULT_TTL: Duration = Duration::from_secs(900);

/// For connections to the tools to end with the run.
const RELAYS_WITHIN: Duration = Duration::from_secs(5);

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `remit` executable: what is started as voters, edges and tools.
    pub executable: PathBuf,
    /// SHA-256 of the key that the tool server demands.
    pub key_hash: Digest,
    /// Where logs and packets of the run are kept; otherwise they go with it.
    pub keep: Option<PathBuf>,
    /// Whether `executable drill guard` watches over the run.
    pub guard: bool,
    /// The folder for files of running programs, where it is not `/run`.
    pub runtime: Option<PathBuf>,
}

/// Real processes in network namespaces of this machine.
pub struct Netns {
    options: Options,
    tenant: TenantId,
    probe: Probe,
    /// Some step lets a clock jump: processes must be started for that.
    clocks_jump: AtomicBool,
    access: Shared,
    running: Option<Running>,
    /// How long a fault lasts when nobody ends it.
    ttl: Duration,
}

/// A mesh and everything around it.
pub(super) struct Running {
    pub(super) ground: Ground,
    pub(super) mesh: LocalMesh,
    pub(super) probe: Probe,
    pub(super) ttl: Duration,
    /// Tables of packet filters, in the journal's numbers.
    pub(super) tables: Vec<u64>,
    /// Tables made so far: each has a name of its own.
    pub(super) tables_made: u32,
    /// Whoever is in a voter's place.
    pub(super) liars: BTreeMap<Node, Liar>,
    /// Into the history of the run.
    pub(super) note: Arc<dyn Fn(What) + Send + Sync>,
    folder: PathBuf,
    /// Locked by nobody; a group of tasks cannot be looked at from two threads.
    relays: Mutex<TaskGroup>,
    stop_relays: Shutdown,
    /// Its standard input is open as long as this run lasts.
    guard: Option<Child>,
}

impl Netns {
    /// Finds out what this machine can do. Starts nothing.
    ///
    /// # Errors
    /// Never in practice: the tenant's name is a valid one.
    pub fn new(options: Options) -> Result<Self> {
        let tenant = TenantId::new("acme").context("the tenant of drills")?;
        Ok(Self {
            access: Arc::new(LiveAccess::new(tenant.clone())),
            options,
            tenant,
            probe: Probe::of_this_machine(),
            clocks_jump: AtomicBool::new(false),
            running: None,
            ttl: FAULT_TTL,
        })
    }

    /// Why no mesh at all can be built on this machine.
    #[must_use]
    pub fn unable_at_all(&self) -> Option<String> {
        self.probe.missing_mesh()
    }

    fn build(&self, shape: &Shape, history: History) -> Result<Running> {
        if let Some(reason) = self.unable_at_all() {
            bail!("this machine cannot run a drill on real processes: {reason}");
        }
        let env = real();
        let run = format!("{PREFIX}{}", remit_common::text::hex(&env.random::<4>()));
        let journal = Journal::create(&undo::root(self.options.runtime.as_deref()), &run)?;
        let journal = Arc::new(journal);
        // From here on whatever happens is undone: by the guard, or by whoever reads the journal later.
        let access = Arc::clone(&self.access);
        let note = Arc::new(move |what| {
            history.note(access.now(), "world", Kind::Info, what);
        });
        let built = self.build_on(&run, &journal, shape, note);
        if built.is_err() {
            for wrong in journal.undo_all() {
                tracing::error!(run, wrong, "not undone; `remit drill undo --all` tries again");
            }
        }
        built
    }

    fn build_on(
        &self,
        run: &str,
        journal: &Arc<Journal>,
        shape: &Shape,
        note: Arc<dyn Fn(What) + Send + Sync>,
    ) -> Result<Running> {
        let env = real();
        let guard = if self.options.guard { Some(guard::start(&self.options.executable, journal)?) } else { None };
        let folder = std::env::temp_dir().join(run);
        journal.note(Undo::Folder { path: folder.clone() }, None)?;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        let wire = Wire::new(u64::from_be_bytes(env.random()), Some(Capture::create(&folder.join(search::CAPTURE))?))?;
        let faketime = self.clocks_jump.load(Ordering::Relaxed).then(|| self.probe.faketime.clone().ok()).flatten();
        let disks = self.probe.ext4.is_ok();
        let ground = Ground::new(run.to_owned(), folder.clone(), Arc::clone(journal), wire, faketime, disks);
        let plan = Plan {
            dir: folder.join("mesh"),
            executable: self.options.executable.clone(),
            tenant: self.tenant.clone(),
            voters: shape.voters,
            regions: shape.regions.clone().into_iter().collect(),
            upstream: UpstreamPlan {
                name: UpstreamName::new("acme").context("the upstream of drills")?,
                key_hash: self.options.key_hash,
                data: example::TOOLS.to_vec(),
            },
            temporary: true,
            detached: false,
        };
        let mesh = LocalMesh::create_at(&env, plan, Box::new(ground.clone()))?;
        let stop_relays = Shutdown::new();
        let mut relays = TaskGroup::new(&env);
        for (node, machine) in ground.machines() {
            if let Node::Edge(_) = node {
                super::relay::start(&machine.env, TOOLS_AT_EDGE, TOOLS, &mut relays, &stop_relays)?;
            }
        }
        Ok(Running {
            ground,
            mesh,
            probe: self.probe.clone(),
            ttl: self.ttl,
            tables: Vec::new(),
            tables_made: 0,
            liars: BTreeMap::new(),
            note,
            folder,
            relays: Mutex::new(relays),
            stop_relays,
            guard,
        })
    }
}

impl Running {
    /// Stops everything and leaves nothing behind.
    async fn stop(mut self, keep: Option<&Path>) -> Result<()> {
        faults::end_all(&mut self)?;
        let Self { ground, mesh, liars, folder, relays, stop_relays, guard, .. } = self;
        for liar in liars.into_values() {
            liar.stop().await;
        }
        mesh.stop().await;
        stop_relays.trigger();
        relays.into_inner().unwrap_or_else(PoisonError::into_inner).join_all(RELAYS_WITHIN).await;
        ground.wire().flush_capture();
        let kept = keep.map_or(Ok(()), |keep| search::keep(&folder, keep, &ground.wire().counts()));
        let journal = Arc::clone(ground.journal());
        let left = real().run_blocking(move || journal.undo_all()).await.context("undoing everything went wrong")?;
        drop(ground);
        // Its standard input ends, and it finds nothing left to do.
        if let Some(mut guard) = guard {
            drop(guard.stdin.take());
            real().run_blocking(move || guard.wait()).await.context("waiting for the guard went wrong")??;
        }
        if left.is_empty() { kept } else { bail!("not everything is undone: {}", left.join("; ")) }
    }
}

impl Backend for Netns {
    fn kind(&self) -> BackendKind {
        BackendKind::Netns
    }

    fn unable(&self, fault: &Fault) -> Option<String> {
        if let Fault::ClockJump { .. } = fault {
            // A process gets its clock when it starts, so this must be known before.
            self.clocks_jump.store(true, Ordering::Relaxed);
        }
        self.probe.missing(fault)
    }

    fn will_last(&mut self, at_most: Duration) {
        self.ttl = FAULT_TTL.max(at_most);
    }

    fn start(&mut self, shape: Shape, history: History) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.running.is_some() {
                bail!("this backend runs a mesh already");
            }
            self.access.begin();
            let running = self.running.insert(self.build(&shape, history)?);
            let started = running.mesh.start(|name| tracing::info!(name, "ready")).await;
            self.access.set(&running.ground, running.mesh.file());
            if let Err(error) = started {
                let keep = self.options.keep.clone();
                if let Some(running) = self.running.take() {
                    running.stop(keep.as_deref()).await?;
                }
                return Err(error);
            }
            Ok(())
        })
    }

    fn access(&self) -> Arc<dyn Access> {
        self.access.clone()
    }

    fn apply(&mut self, fault: Fault) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if let Some(reason) = self.probe.missing(&fault) {
                bail!("this machine cannot do `{}`: {reason}", fault.name());
            }
            let running = self.running.as_mut().context("no mesh is running")?;
            let name = fault.name();
            let applied =
                faults::apply(running, &self.access, fault).await.with_context(|| format!("`{name}` went wrong"));
            self.access.set(&running.ground, running.mesh.file());
            applied
        })
    }

    fn undo_all(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let running = self.running.as_mut().context("no mesh is running")?;
            faults::end_all(running)?;
            faults::start_all(running).await?;
            self.access.set(&running.ground, running.mesh.file());
            Ok(())
        })
    }

    fn find_secret(&self, secret: &[u8]) -> BoxFuture<'_, Result<Vec<String>>> {
        let secret = secret.to_vec();
        Box::pin(async move {
            let running = self.running.as_ref().context("no mesh is running")?;
            running.ground.wire().flush_capture();
            let folder = running.folder.clone();
            real().run_blocking(move || search::find(&folder, &secret)).await.context("the search went wrong")?
        })
    }

    fn stop(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let keep = self.options.keep.clone();
            match self.running.take() {
                Some(running) => running.stop(keep.as_deref()).await,
                None => Ok(()),
            }
        })
    }
}

impl Drop for Netns {
    /// Whoever forgot to stop, or panicked, leaves nothing behind either.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let journal = Arc::clone(running.ground.journal());
            // Processes are killed with this value.
            drop(running);
            for wrong in journal.undo_all() {
                tracing::error!(wrong, "not undone; `remit drill undo --all` tries again");
            }
        }
    }
}
