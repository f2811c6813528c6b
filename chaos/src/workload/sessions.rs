//! The sessions of a run and the envelopes issued for them. Everybody may use any: a cut must hold for all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use remit_common::crypto::sign::SigningKey;
use remit_common::net::env::Env;

use super::rest::draw;

/// An envelope and the session it is for.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) name: String,
    /// The presentation.
    pub(super) envelope: Vec<u8>,
    /// The key that the envelope is for.
    pub(super) holder: Arc<SigningKey>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.name)
    }
}

/// A session that is handed on to two children, who hand it on.
#[derive(Debug, Clone)]
pub(super) struct Family {
    /// Will be cut.
    pub(super) cut: Session,
    /// Stays.
    pub(super) stays: Session,
}

/// Cloning gives the same sessions.
#[derive(Debug, Clone)]
pub(super) struct Sessions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    opened: u64,
    open: Vec<Session>,
    cut: Vec<Session>,
    /// Of the sessions that were cut, the oldest are forgotten.
    cut_max: usize,
    /// The session that is handed on.
    family: Option<Family>,
    /// The names of hops that are to be cut, by the ids of their links.
    hops: BTreeMap<String, String>,
}

impl Sessions {
    pub(super) fn new(cut_max: usize) -> Self {
        Self(Arc::new(Mutex::new(State { cut_max, ..State::default() })))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A name that no session had.
    pub(super) fn next_name(&self) -> String {
        self.with(|state| {
            state.opened += 1;
            format!("session-{}", state.opened)
        })
    }

    pub(super) fn add(&self, session: Session) {
        self.with(|state| state.open.push(session));
    }

    /// A family whose one child can be cut from now on.
    pub(super) fn found(&self, family: Family) {
        self.with(|state| state.family = Some(family));
    }

    /// The family that is there.
    pub(super) fn family(&self) -> Option<Family> {
        self.with(|state| state.family.clone())
    }

    /// What is cut when the link of this id is.
    pub(super) fn name_hop(&self, link: String, name: String) {
        self.with(|state| state.hops.insert(link, name));
    }

    /// The name of the hop with this link.
    pub(super) fn hop(&self, link: &str) -> Option<String> {
        self.with(|state| state.hops.get(link).cloned())
    }

    /// Those that nobody has asked to cut.
    pub(super) fn open(&self) -> Vec<Session> {
        self.with(|state| state.open.clone())
    }

    /// Takes the oldest open session; from now on it counts as cut, whether or not the cut succeeds.
    pub(super) fn cut_oldest(&self) -> Option<Session> {
        self.with(|state| {
            if state.open.is_empty() {
                return None;
            }
            let session = state.open.remove(0);
            state.cut.push(session.clone());
            if state.cut.len() > state.cut_max {
                state.cut.remove(0);
            }
            Some(session)
        })
    }

    /// One for a call: mostly an open one, sometimes one that was cut.
    pub(super) fn any(&self, env: &Env) -> Option<Session> {
        let wants_cut = draw(env, 4) == 0;
        self.with(|state| {
            let (first, second) = if wants_cut { (&state.cut, &state.open) } else { (&state.open, &state.cut) };
            let from = if first.is_empty() { second } else { first };
            from.get(draw(env, from.len())).cloned()
        })
    }
}
