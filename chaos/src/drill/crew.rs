//! Those who work in the mesh during a drill, as the engine needs them.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;
use remit_common::net::tasks::Shutdown;
use remit_common::policy::Bounds;

use super::backend::{Access, Shape};
use super::step::{Came, Task};
use crate::history::History;
use crate::workload::{Ended, Pace, STEADY, Workload};

/// What came of a task of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What.
    pub came: Came,
    /// For people.
    pub told: String,
}

impl Done {
    /// A task that the control plane acknowledged, or did not.
    #[must_use]
    pub fn of(acknowledged: bool, told: String) -> Self {
        Self { came: if acknowledged { Came::Acknowledged } else { Came::Refused }, told }
    }
}

impl From<Ended> for Done {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::NotBegun => Self::of(false, "no voter acknowledged it".to_owned()),
            Ended::UnderWay => Self::of(true, "it was still under way".to_owned()),
            Ended::Finished(version) => {
                Self { came: Came::Finished, told: format!("version {version} is everybody's") }
            }
            Ended::TakenBack(reason) => Self { came: Came::TakenBack, told: format!("taken back: {reason}") },
        }
    }
}

/// Those who work in the mesh.
pub trait Crew {
    /// Sets the mesh up; returns when every edge permits what it should.
    fn prepare(&mut self, access: Arc<dyn Access>, history: History, shape: Shape) -> LocalBoxFuture<'_, Result<()>>;

    /// Everybody begins to work.
    fn start(&mut self);

    /// The operator does something in particular.
    fn act(&self, task: Task) -> LocalBoxFuture<'_, Done>;

    /// Everybody finishes what is under way.
    fn stop(&mut self) -> LocalBoxFuture<'_, ()>;

    /// Looks at everything once more, at the end.
    fn gather(&self) -> LocalBoxFuture<'_, ()>;

    /// How old an edge's knowledge may be under the bundle that they work with.
    fn bounds(&self) -> Bounds;

    /// The key that the tools demand, and that must appear nowhere else.
    fn secret(&self) -> &[u8];
}

/// The agents, the operator and the observer of [`crate::workload`].
pub struct Workers {
    secret: Vec<u8>,
    pace: Pace,
    at_work: Option<(Workload, Arc<dyn Access>)>,
}

impl Workers {
    /// They know the key of the tools.
    #[must_use]
    pub fn new(secret: Vec<u8>) -> Self {
        Self { secret, pace: Pace::default(), at_work: None }
    }
}

impl Crew for Workers {
    fn prepare(&mut self, access: Arc<dyn Access>, history: History, shape: Shape) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let usual = self.pace.clone();
            let roll_out_every = usual.roll_out_every.filter(|_| shape.rollouts);
            let publish_every = usual.publish_every.filter(|_| shape.bundles);
            let pace = Pace { agents: shape.agents, publish_every, roll_out_every, ..usual };
            let prepared = Workload::prepare(Arc::clone(&access), history, pace, &self.secret).await;
            self.at_work = Some((prepared.context("nobody could begin to work in the mesh")?, access));
            Ok(())
        })
    }

    fn start(&mut self) {
        if let Some((workload, _)) = &mut self.at_work {
            workload.start();
        }
    }

    fn act(&self, task: Task) -> LocalBoxFuture<'_, Done> {
        Box::pin(async move {
            let Some((workload, access)) = &self.at_work else {
                return Done::of(false, "nobody is at work".to_owned());
            };
            let operator = workload.operator.clone();
            let told = match task {
                Task::Revoke => operator.revoke().await.map(|(session, epoch)| format!("{session} cut, epoch {epoch}")),
                Task::PushBundle { padding_kib } => {
                    operator.publish_padded(padding_kib).await.map(|version| format!("version {version}"))
                }
                Task::PushPoisonedBundle(poison) => match operator.publish_poisoned(poison).await {
                    Ok(taken) => taken.then(|| "a voter took it".to_owned()),
                    Err(fault) => return Done::of(true, format!("it could not be made: {fault}")),
                },
                Task::RollOut(wanted) => return operator.roll_out(&wanted, &Shutdown::new()).await.into(),
                Task::Relate { holds } => {
                    operator.relate(STEADY, holds).await.map(|revision| format!("revision {revision}"))
                }
                Task::FreezeOffers { frozen } => {
                    operator.freeze_offers(frozen).await.map(|version| format!("version {version}"))
                }
                Task::Seal => operator.seal().await.map(|version| format!("version {version}")),
                Task::OpenSession => operator.open_session().await,
                Task::Read => {
                    for voter in access.roster().voters().collect::<Vec<_>>() {
                        operator.read(voter, true).await;
                    }
                    Some("every voter was asked".to_owned())
                }
                Task::HandOn => workload.hand_on().await,
                Task::RevokeHop => operator.revoke_hop().await.map(|(hop, epoch)| format!("{hop} cut, epoch {epoch}")),
                Task::MoveSession => return workload.move_session().await,
            };
            Done::of(told.is_some(), told.unwrap_or_else(|| "no voter acknowledged it".to_owned()))
        })
    }

    fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some((workload, _)) = &mut self.at_work {
                workload.stop().await;
            }
        })
    }

    fn gather(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some((workload, _)) = &self.at_work {
                workload.gather().await;
            }
        })
    }

    fn bounds(&self) -> Bounds {
        let bounds = self.at_work.as_ref().and_then(|(workload, _)| workload.bounds().ok());
        bounds.unwrap_or_default()
    }

    fn secret(&self) -> &[u8] {
        &self.secret
    }
}
