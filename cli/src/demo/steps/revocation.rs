//! Step 10: Maya's session is revoked; every edge stops.

use std::time::Duration;

use remit_common::revocation::{Cut, CutKind};

use super::credential;
use super::leader::start_probe;
use crate::commands::revoke::revoke;
use crate::coverage::{Asked, Proven, wait_coverage};
use crate::demo::Stage;
use crate::demo::probe::{Seen, read_7781};
use crate::failure::Failure;

/// For the agents to be refused once their edges enforce the epoch.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    stage.story.step("Maya's session is revoked; every edge stops, and its signature says so");
    let trust = stage.trust().await?;
    let probe = start_probe(stage).await?;
    let from = stage.now();
    let cut =
        Cut { tenant: stage.file.tenant.clone().into(), kind: CutKind::Session, id: "session-maya-0711".to_owned() };
    let made = revoke(&stage.admin, &cut).await?;
    stage.check(
        from,
        "revoke",
        "committed by a majority",
        format!("epoch {}, log entry {}", made.epoch, made.index),
        true,
    );

    let (context, admin) = (&stage.context, &stage.admin);
    let mut promised = None;
    let tell = |proven: &Proven| promised = promised.or(proven.coverage.everywhere_by);
    let asked = Asked { epoch: made.epoch, cut: Some(cut) };
    let Proven { coverage, seal } = wait_coverage(context, admin, &trust, &asked, tell).await?;
    let (got, sealed) = seal.map_or((String::new(), false), |seal| (seal.words(), seal.sealed));
    stage.check(from, "seal", "so many voters have signed it that one that lies cannot hide it", got, sealed);
    let covered = coverage.edges.iter().filter(|edge| edge.covered).count();
    let all = coverage.edges.len();
    let by = promised.map_or_else(String::new, |by| format!("; without that, by {by} at the latest"));
    let got = format!("{covered} of {all} edges signed that they enforce it{by}");
    stage.check(from, "coverage", &format!("{all} of {all} edges signed that they enforce it"), got, covered == all);

    let waiting = stage.now();
    // For a moment an edge that has the cut in memory only refuses without calling it revoked: then it is on the disk.
    let is_revoked = |seen: &Seen| seen.last_reason.as_deref() == Some("revoked");
    while stage.now().since(waiting) < REFUSED_WITHIN && !probe.seen().await.iter().all(is_revoked) {
        tokio::time::sleep(POLL).await;
    }
    let seen = probe.stop().await;
    let last = seen.iter().filter_map(|seen| seen.first_denied.as_ref()).map(|(at, _)| at.since(from)).max();
    let revoked = seen.iter().filter(|seen| is_revoked(seen)).count();
    let after = seen.iter().any(|seen| match (&seen.first_denied, seen.last_permitted) {
        (Some((denied, _)), Some(permitted)) => permitted > *denied,
        (None, _) => true,
        (Some(_), None) => false,
    });
    let worst = last.map(super::super::stage::millis);
    let got = match worst {
        Some(ms) => format!("{revoked} of {} edges refuse as revoked, the last {ms} ms after the command", seen.len()),
        None => "no edge refuses".to_owned(),
    };
    let ok = revoked == seen.len() && !after;
    stage.story.figures.revocation_ms = worst.filter(|_| ok);
    stage.check(from, "agents at every edge", "refused as revoked, and never permitted again", got, ok);

    if let Some(child) = &stage.child {
        let from = stage.now();
        let outcome = match stage.meet(stage.edge(4)?, child).await? {
            Ok(agent) => {
                let outcome = agent.call("contracts.read", read_7781()).await;
                agent.leave().await;
                outcome
            }
            Err(refused) => refused,
        };
        stage.check_denied(from, "the helper, whose envelope hangs on the session", ("revoked", None), &outcome);
    }
    credential::search(stage, "the key, after everything").await
}
