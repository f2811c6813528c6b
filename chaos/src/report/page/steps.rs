//! What the drill did, step by step, and how to do it again.

use maud::{Markup, html};

use super::{Tone, mark};
use crate::drill::outcome::{ActivityKind, ActivityRun, ActivityStatus, Section};
use crate::node::Roster;
use crate::report::summary::capital;
use crate::report::view::View;
use crate::report::words::{about, count, cut, fault, fault_meaning, lasting, many, moment, nodes};
use crate::report::{HISTORY, JOURNAL, JUNIT};

/// Steps in the list at most.
const STEPS_MAX: usize = 60;

/// Every step with what came of it.
pub(super) fn steps(view: &View<'_>) -> Markup {
    let drill = view.drill;
    let skipped = view
        .steps(ActivityStatus::Skipped)
        .map(|step| (step.name.as_str(), step.message.as_deref().unwrap_or("no reason was given")));
    let skipped: Vec<_> =
        skipped.chain(drill.unable.iter().map(|unable| (unable.step.as_str(), unable.reason.as_str()))).collect();
    if drill.activities.is_empty() && skipped.is_empty() {
        return html! {};
    }
    let left_out = count(drill.activities.len().saturating_sub(STEPS_MAX));
    html! {
        section #steps {
            h2 { "What was done" }
            @if !drill.activities.is_empty() {
                ol.steps { @for activity in drill.activities.iter().take(STEPS_MAX) { (step(activity, &drill.roster)) } }
            }
            @if left_out > 0 { p.note { (many(left_out, "more step is", "more steps are")) " in " (JOURNAL) "." } }
            @if let Some(fired) = &drill.abort {
                p.remark { "Stopped at " (moment(fired.at_us)) ": " (fired.probe) " was " (fired.condition) "." }
            }
            @if !skipped.is_empty() {
                aside.skipped {
                    h3 { "What was skipped, and why" }
                    ul { @for (name, why) in skipped.iter().take(20) { li { strong { (cut(name, 120)) } ": " (cut(why, 300)) } } }
                    p { "A skipped step proves nothing; play the drill where it can be done before relying on it." }
                }
            }
        }
    }
}

fn step(activity: &ActivityRun, roster: &Roster) -> Markup {
    let (tone, word) = match activity.status {
        ActivityStatus::Succeeded => (Tone::Good, "done"),
        ActivityStatus::Failed => (Tone::Bad, "failed"),
        ActivityStatus::Skipped => (Tone::Note, "skipped"),
        ActivityStatus::NotReached => (Tone::None, "not reached"),
    };
    let took = activity.start_us.zip(activity.end_us).map(|(start, end)| end.saturating_sub(start));
    // What puts right may find everything right.
    let idle = activity.section == Section::Rollback && activity.fault.is_none() && activity.targets.is_empty();
    let breaks = activity.fault.as_ref().filter(|_| activity.section == Section::Method);
    let meaning = breaks.map(|fault| fault_meaning(fault.name())).filter(|meaning| !meaning.is_empty());
    html! {
        li {
            span.when { (activity.start_us.map_or_else(|| "–".to_owned(), about)) }
            div.what {
                strong { (capital(&cut(&activity.name, 160))) }
                @if activity.section == Section::Rollback { span.tag { "puts right" } }
                @if activity.kind == ActivityKind::Probe { span.tag { "looks" } }
                @if activity.background { span.tag { "in the background" } }
                span.detail {
                    @if idle { "nothing was left to do" } @else { (does(&activity.does)) }
                    @if !activity.targets.is_empty() { " · " (nodes(&activity.targets, roster, 6)) }
                    @if let Some(took) = took.filter(|took| *took >= 100_000) { " · took " (lasting(took)) }
                    @if let Some(meaning) = meaning { ". " (meaning) }
                }
                @if let Some(message) = activity.message.as_ref().filter(|_| activity.status != ActivityStatus::Skipped) {
                    span class=(if tone == Tone::Bad { "detail why" } else { "detail" }) { (cut(message, 300)) }
                }
            }
            (mark(tone, word))
        }
    }
}

/// What a step does, in plain words: a fault, something of the operator's, or a look.
fn does(name: &str) -> &str {
    match name {
        "revoke" => "the operator revokes a session",
        "push-bundle" => "the operator publishes a new policy bundle",
        "push-poisoned-bundle" => "the operator tries to publish a bad policy bundle",
        "seal" => "the operator replaces the credential",
        "open-session" => "the operator opens a session",
        "hand-on" => "a session is handed on, and used at every edge",
        "revoke-hop" => "the operator cuts a hop and what is below",
        "move-session" => "sessions move between edges",
        "read" => "the operator asks what holds",
        "wait" => "waits",
        "permit-share" => "share of the calls that should be permitted and were",
        "answer-share" => "share of the calls that were answered",
        "calls-per-second" => "answered calls in a second",
        "p99-call-ms" => "time within which 99 of 100 calls were answered",
        "wrong-permits" => "permitted calls that nothing admits",
        "voters-with-leader" => "voters that know a leader",
        "write-age-ms" => "time since the last acknowledged write",
        "fresh-edges" => "edges whose knowledge is young enough for every effect",
        "current-edges" => "edges that run the newest bundle",
        "staleness-ms" => "oldest knowledge of any edge",
        "spool" => "records that wait at one edge at most",
        other => fault(other),
    }
}

/// The command, and the other files.
pub(super) fn again(view: &View<'_>) -> Markup {
    html! {
        section #again {
            h2 { "Play it again" }
            p.intro { "This line plays the same drill" @if view.drill.trace.is_some() { ", to the same end, message by message" } ":" }
            pre.command tabindex="0" { code { (view.drill.reproduce) } }
            h3 { "Beside this file" }
            dl.files {
                div { dt { code { (JOURNAL) } } dd { "the run in the form of Chaos Toolkit, with verdicts and figures" } }
                div { dt { code { (JUNIT) } } dd { "each promise, limit and step as a test case, for pipelines" } }
                div { dt { code { (HISTORY) } } dd { "everything that was seen, one line of JSON per event: who, when, what was asked and answered; from it anybody can judge anew" } }
            }
        }
    }
}
