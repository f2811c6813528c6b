//! What one caller may take of a listener: so many connections, and none for longer than it takes what is sent.
//!
//! Connections are counted by source. Callers on loopback are not: the sidecars of a whole machine share that address,
//! so counting would bound all of them together, and they are bounded together already. Whether a caller takes what is
//! sent is asked of the bodies of answers, because that is where HTTP/2 and HTTP/1.1 agree: a body that has given a
//! piece is asked for the next one when the caller has taken enough of what came before, be it that it reads its socket
//! or that it opens its window. Clauses G-73 and G-74.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::net::source::Source;

/// Connections by source.
#[derive(Debug)]
pub(super) struct Callers {
    /// Of one source; `None`: as many as of all.
    most: Option<usize>,
    counts: Mutex<BTreeMap<Source, usize>>,
}

/// The place of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Callers>,
    source: Option<Source>,
}

impl Callers {
    pub(super) fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most, counts: Mutex::default() })
    }

    /// A place for one more connection of this peer, if there is one.
    pub(super) fn place(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let Some(most) = self.most.filter(|_| !peer.to_canonical().is_loopback()) else {
            return Some(Place { of: Arc::clone(self), source: None });
        };
        let source = Source::from(peer);
        let mut counts = self.lock();
        let count = counts.get(&source).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        counts.insert(source, count.saturating_add(1));
        Some(Place { of: Arc::clone(self), source: Some(source) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, usize>> {
        // A panic while it was held has miscounted by one at most.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut counts = self.of.lock();
        if let Some(count) = counts.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}

/// Whether the caller at the other end of a connection takes what is sent to it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How often a caller has taken something.
    taken: AtomicU64,
    /// Answers of which a piece is on its way.
    offered: AtomicUsize,
}

impl Progress {
    /// What was taken so far, while something is on its way; twice the same with time between is a caller that has
    /// taken nothing meanwhile.
    pub(super) fn mark(&self) -> Option<u64> {
        (self.offered.load(Ordering::Relaxed) > 0).then(|| self.taken.load(Ordering::Relaxed))
    }
}

/// The body of an answer, which notes whether the caller takes it.
pub(super) struct Offered {
    body: Body,
    progress: Arc<Progress>,
    is_offered: bool,
}

impl Offered {
    pub(super) fn new(body: Body, progress: Arc<Progress>) -> Self {
        let mut offered = Self { body, progress, is_offered: false };
        // Its head is on its way.
        offered.offer();
        offered
    }

    fn offer(&mut self) {
        self.is_offered = true;
        self.progress.offered.fetch_add(1, Ordering::Relaxed);
    }

    fn taken(&mut self) {
        if std::mem::take(&mut self.is_offered) {
            self.progress.taken.fetch_add(1, Ordering::Relaxed);
            self.progress.offered.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl HttpBody for Offered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.taken();
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(Some(Ok(_)))) {
            self.offer();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.taken();
    }
}
