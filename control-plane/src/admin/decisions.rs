//! Decision records: queries over all voters, and a stream of what arrives. Clauses.
//!
//! An edge sends its records to a majority, so no single voter need have them all: an answer is the union of all
//! voters' records, each once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures::Stream;
use http::StatusCode;
use remit_common::crypto::digest::Digest;
use remit_common::id::{DecisionId, MeshId, TenantId, VoterId};
use remit_common::record::Record;
use serde::Deserialize;
use serde_json::Value;

use super::App;
use super::model::Decisions;
use super::problem::Failure;
use super::read::{Asked, asked};
use crate::cluster::{PeerReply, PeerRequest};
use crate::collect::{Arrivals, RecordQuery, StoredRecord, union};

/// Records of one answer when nobody says how many.
const LIMIT_DEFAULT: u32 = 50;
/// Records of one answer.
const LIMIT_MAX: u32 = 200;

/// Between two looks at the other voters' arrivals.
const POLL: Duration = Duration::from_millis(500);
/// Looks without a record after which a stream says that it is still there: 15 s.
const QUIET_LOOKS: u32 = 30;
/// Hashes that a stream remembers, so that it shows a record once although several voters have it.
const SEEN_MAX: usize = 4_096;
/// Arrivals asked for at a time.
const ARRIVALS_MAX: u32 = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAsk {
    tenant: TenantId,
    id: Option<DecisionId>,
    after: Option<DecisionId>,
    limit: Option<u32>,
}

pub(super) async fn list(State(app): State<Arc<App>>, query: Asked<ListAsk>) -> Result<Json<Decisions>, Failure> {
    let ListAsk { tenant, id, after, limit } = asked(query)?;
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format_args!("limit is 1 to {LIMIT_MAX}");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "malformed", detail));
    }
    // Without a place to start from, the newest are what people want to see.
    let newest = id.is_none() && after.is_none();
    let query = RecordQuery { tenant, id, after, limit, newest };
    let own = app.collector.query(query.clone()).await?;
    let pick = |reply| if let PeerReply::Records(records) = reply { Some(records) } else { None };
    let answers = app.cluster.gather(&PeerRequest::Records(query), pick).await;
    let mut records = union(answers.got.into_iter().flat_map(|(_, records)| records).chain(own));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if newest {
        records.drain(..records.len().saturating_sub(limit));
    } else if id.is_none() {
        records.truncate(limit);
    }
    let decisions = records.iter().filter_map(|record| shown(&app.genesis.mesh, record)).collect();
    Ok(Json(Decisions { decisions, unreachable: answers.missing }))
}

/// A stored record was read before it was stored; should it not be readable now, it is left out and said so.
fn shown(mesh: &MeshId, record: &StoredRecord) -> Option<Value> {
    match Record::parse(&record.bytes) {
        Ok(record) => Some(record.to_json(mesh)),
        Err(error) => {
            tracing::error!(hash = %record.hash, %error, "a stored record cannot be read");
            None
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamAsk {
    tenant: Option<TenantId>,
}

/// Server-sent events, one per record that arrives at any voter from now on.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    query: Asked<StreamAsk>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let StreamAsk { tenant } = asked(query)?;
    let tail = Tail::start(app, tenant).await?;
    let events = futures::stream::unfold(tail, async |mut tail| {
        let event = match tail.next().await {
            Next::Record(record) => Event::default().event("decision").data(record.to_string()),
            Next::Quiet => Event::default().comment("still here"),
            Next::End => return None,
        };
        Some((Ok(event), tail))
    });
    Ok(Sse::new(events))
}

/// What a stream says next.
enum Next {
    Record(Value),
    Quiet,
    End,
}

/// One reader of the stream, and how far it has come at each voter.
struct Tail {
    app: Arc<App>,
    tenant: Option<TenantId>,
    after: BTreeMap<VoterId, u64>,
    seen: Seen,
    ready: VecDeque<Value>,
}

/// The newest hashes that were shown.
#[derive(Default)]
struct Seen {
    hashes: BTreeSet<Digest>,
    order: VecDeque<Digest>,
}

impl Seen {
    fn is_new(&mut self, hash: Digest) -> bool {
        let new = self.hashes.insert(hash);
        if new {
            self.order.push_back(hash);
        }
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        new
    }
}

impl Tail {
    /// Begins after what every voter has now; a voter that cannot be asked now begins when it first answers.
    async fn start(app: Arc<App>, tenant: Option<TenantId>) -> Result<Self, Failure> {
        let own = app.collector.since(None, 0).await?.last;
        let after = BTreeMap::from([(app.cluster.id, own)]);
        let mut tail = Self { app, tenant, after, seen: Seen::default(), ready: VecDeque::new() };
        tail.look().await;
        Ok(tail)
    }

    async fn next(&mut self) -> Next {
        for _ in 0..QUIET_LOOKS {
            if let Some(record) = self.ready.pop_front() {
                return Next::Record(record);
            }
            let mut arrived = self.app.collector.arrived();
            arrived.mark_unchanged();
            self.look().await;
            if self.ready.is_empty() {
                tokio::select! {
                    biased;
                    () = self.app.shutdown.requested() => return Next::End,
                    _ = arrived.changed() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        }
        Next::Quiet
    }

    /// Asks every voter for what has arrived since the last look.
    async fn look(&mut self) {
        let own = self.app.cluster.id;
        let asked = self.app.cluster.voters().into_iter().map(|voter| {
            let (app, after) = (self.app.clone(), self.after.get(&voter).copied());
            async move {
                if voter == own {
                    return (voter, app.collector.since(after, ARRIVALS_MAX).await.ok());
                }
                match app.cluster.ask(voter, &PeerRequest::RecordsSince { after, limit: ARRIVALS_MAX }).await {
                    Ok(PeerReply::Arrivals(arrivals)) => (voter, Some(arrivals)),
                    _ => (voter, None),
                }
            }
        });
        for (voter, arrivals) in futures::future::join_all(asked).await {
            let Some(Arrivals { last, records }) = arrivals else { continue };
            self.after.insert(voter, last);
            for record in records {
                let wanted = self.tenant.is_none() || record.tenant == self.tenant;
                if wanted && self.seen.is_new(record.hash) {
                    self.ready.extend(shown(&self.app.genesis.mesh, &record));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_two_voters_have_is_shown_once() {
        let mut seen = Seen::default();
        let hash = |n: usize| Digest::of(&[&n.to_be_bytes()]);
        assert!(seen.is_new(hash(0)) && !seen.is_new(hash(0)));
        for n in 1..=SEEN_MAX {
            assert!(seen.is_new(hash(n)));
        }
        assert!(seen.is_new(hash(0)), "the oldest is forgotten");
        assert_eq!((seen.hashes.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
    }
}
