//! Cuts, one after the other: from the administrator's request to each edge's signed word.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::administrator::Desk;
use super::crowd::Crowd;
use crate::measure::now;

/// For all edges to answer.
const COVERED_WITHIN: Duration = Duration::from_secs(60);
/// Between two rounds: not a multiple of the time between two ticks, so that rounds meet every part of one.
const PAUSE: Duration = Duration::from_millis(730);

/// Times of one distribution.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spread {
    /// The one in the middle.
    pub p50_ms: f64,
    /// One of a hundred is longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What a number of rounds took.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Rounds {
    /// Every edge in every round.
    pub all: Spread,
    /// The round whose hundredth was the quickest.
    pub calmest: Spread,
    /// From the request to the voter's answer, that it is committed.
    pub committed: Spread,
    /// From the request until the voter, asked after the last edge's word, names every edge as covered.
    pub known_to_voter: Spread,
    /// How many rounds.
    pub rounds: usize,
    /// How many edges.
    pub edges: usize,
}

impl Spread {
    /// Of these times.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: usize| {
            let place = (times.len() * part).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        Self { p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

/// Cuts so many times. After each round the voter is asked, too, and everything is compared.
///
/// # Errors
/// When an edge does not answer, or enforces something else than the voter says.
pub async fn measure(desk: &Desk<'_>, crowd: &mut Crowd, rounds: usize) -> Result<Rounds> {
    let (mut all, mut each) = (Vec::new(), Vec::new());
    let (mut committed, mut known) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        crowd.rest(PAUSE).await;
        ensure!(crowd.all_subscribed(), "an edge has lost its connection: {:?}", crowd.troubles);
        let started = now();
        let made = desk.revoke().await?;
        committed.push(started.elapsed());
        let (signed, digest) = crowd.covered(made.epoch, COVERED_WITHIN).await?;
        // The last edge's word may still be under way.
        loop {
            let coverage = desk.coverage(made.epoch).await?;
            let acks = coverage.edges.iter().filter_map(|edge| edge.ack.as_ref());
            let count = acks.filter(|ack| (ack.epoch, ack.digest) == (made.epoch, digest)).count();
            if count >= crowd.len() {
                break;
            }
            let late = started.elapsed() > COVERED_WITHIN;
            ensure!(!late, "the voter knows of {count} edges that enforce epoch {}", made.epoch);
        }
        known.push(started.elapsed());
        let times: Vec<Duration> = signed.iter().map(|at| at.saturating_duration_since(started)).collect();
        all.extend_from_slice(&times);
        each.push(Spread::of(times));
    }
    let calmest = each.iter().copied().min_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms)).unwrap_or_default();
    Ok(Rounds {
        all: Spread::of(all),
        calmest,
        committed: Spread::of(committed),
        known_to_voter: Spread::of(known),
        rounds,
        edges: crowd.len(),
    })
}
