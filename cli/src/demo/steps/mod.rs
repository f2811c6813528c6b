//! The ten steps, one file each.

mod blackout;
mod calls;
mod credential;
mod delegation;
mod envelope;
mod forgery;
mod leader;
mod policy;
mod relations;
mod revocation;

use super::Stage;
use super::figures::Histogram;
use crate::admin::bounded;
use crate::failure::Failure;

/// Plays all of it. A step that cannot go on is a failed check; when one of the first three does, the rest has
/// nothing to stand on.
pub(crate) async fn play(stage: &mut Stage) {
    let went = policy::play(stage).await;
    if ended(stage, went) {
        return;
    }
    let went = credential::play(stage).await;
    if ended(stage, went) {
        return;
    }
    let went = envelope::play(stage).await;
    if ended(stage, went) {
        return;
    }
    let went = calls::play(stage).await;
    ended(stage, went);
    let went = delegation::play(stage).await;
    ended(stage, went);
    let went = forgery::play(stage).await;
    ended(stage, went);
    let went = leader::play(stage).await;
    ended(stage, went);
    let went = blackout::play(stage).await;
    ended(stage, went);
    let went = relations::play(stage).await;
    ended(stage, went);
    let went = revocation::play(stage).await;
    ended(stage, went);
    figures(stage).await;
}

fn ended(stage: &mut Stage, went: Result<(), Failure>) -> bool {
    let Err(failure) = went else { return false };
    let now = stage.now();
    stage.check(now, "the step", "goes on to its end", failure.message, false);
    true
}

/// Adds up what the edges measured themselves.
async fn figures(stage: &mut Stage) {
    let mut histogram = Histogram::default();
    for edge in &stage.file.edges {
        let Ok(response) = stage.http.get(format!("{}/metrics", edge.ops)).send().await else { continue };
        let Ok(body) = bounded(response).await else { continue };
        histogram.add("remit_edge_decision_seconds", &String::from_utf8_lossy(&body));
    }
    let figures = &mut stage.story.figures;
    figures.decisions = histogram.count();
    figures.p50_us = histogram.percentile_us(500);
    figures.p99_us = histogram.percentile_us(990);
}
