//! An event of the history as a sentence, for evidence.

use super::words::{cut, fault, figure, nodes};
use crate::history::{Call, Event, Kind, ReadState, RolloutSeen, Verdict, What, Write, WriteKind};
use crate::node::Roster;

/// What an event says, at most so long that a page stays readable.
pub(super) fn tell(event: &Event) -> String {
    let text = match &event.what {
        What::Call(call) => tell_call(call, event.kind),
        What::Write(write) => tell_write(write, event.kind),
        What::Read(read) => tell_read(read, event.kind),
        What::Coverage { epoch, covered } => {
            format!("{} edges have signed that they enforce revocation epoch {epoch}", covered.len())
        }
        What::Rollout(seen) => tell_rollout(seen),
        What::Voter(voter) => {
            format!("voter {}: {} in term {}, entry {} applied", voter.voter, voter.role, voter.term, voter.applied)
        }
        What::Edge(edge) => {
            let age = edge.staleness_ms.map_or_else(|| "age unknown".to_owned(), |age| format!("age {age} ms"));
            let bundle = edge.bundle.map_or_else(|| "none".to_owned(), |version| version.to_string());
            format!("{}: bundle {bundle}, epoch {}, {age}, {}", edge.edge, edge.epoch, edge.mode)
        }
        What::Record(record) => {
            let sound = if record.verified { "" } else { ", which does not verify" };
            format!("voter {} shows record {} ({}) of {}{sound}", record.voter, record.seq, record.kind, record.edge)
        }
        What::Fault { name, nodes: targets, detail, begins, .. } => {
            let verb = if *begins { "" } else { "end of " };
            let of =
                if targets.is_empty() { String::new() } else { format!(": {}", nodes(targets, &Roster::default(), 4)) };
            let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
            format!("{verb}{}{of}{detail}", fault(name))
        }
        What::Lied { voter, edge } => format!("{edge} listened to what lies in the place of voter {voter}"),
        What::Canary { place } => format!("the secret was found in {place}"),
        What::Phase { name } => format!("phase {name} begins"),
        What::Probe { name, value, within } => {
            let value = value.map_or_else(|| "nothing".to_owned(), figure);
            format!(
                "probe {name} measured {value}, {}",
                if *within { "within its tolerance" } else { "out of tolerance" }
            )
        }
        // What is for programs only is shown as programs see it.
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    cut(&text, 240)
}

fn ended(kind: Kind) -> &'static str {
    match kind {
        Kind::Invoke => "asked for",
        Kind::Ok => "done",
        Kind::Fail => "certainly not done",
        Kind::Info => "unknown whether done",
    }
}

fn tell_call(call: &Call, kind: Kind) -> String {
    let admitted = if call.admitted { "" } else { ", which nothing admits" };
    let asked =
        format!("{} of {} in session {} at {}{admitted}", call.effect.as_str(), call.tool, call.session, call.edge);
    match &call.outcome {
        Some(outcome) => {
            let verdict = match outcome.verdict {
                Verdict::Permit => "permitted",
                Verdict::Deny => "refused",
            };
            let decision = outcome.decision.as_ref().map_or_else(String::new, |id| format!(", decision {id}"));
            format!("{asked}: {verdict} ({}){decision}", outcome.reason)
        }
        None => format!("{asked}: {}", ended(kind)),
    }
}

fn tell_write(write: &Write, kind: Kind) -> String {
    let what = match &write.write {
        WriteKind::Revoke { session } => format!("revocation of session {session}"),
        WriteKind::Publish { version, good: true, without, .. } if !without.is_empty() => {
            format!("publication of bundle {version}, without {}", without.join(", "))
        }
        WriteKind::Publish { version, good: true, .. } => format!("publication of bundle {version}"),
        WriteKind::Publish { version, good: false, .. } => format!("publication of the bad bundle {version}"),
        WriteKind::RollOut { version, waves, .. } => format!("rollout of bundle {version} in {} waves", waves.len()),
        WriteKind::Relate { relation, holds: true } => format!("relation {relation}"),
        WriteKind::Relate { relation, holds: false } => format!("end of relation {relation}"),
        WriteKind::Seal { version } => format!("version {version} of the credential"),
        WriteKind::Envelope { session } => format!("envelope for session {session}"),
        WriteKind::Trust { directory } => format!("version {directory} of the directory"),
        WriteKind::Voters { change } => format!("change of voters: {change}"),
    };
    let made = write.written.as_ref().map_or_else(String::new, |written| {
        let epoch = written.epoch.map_or_else(String::new, |epoch| format!(", epoch {epoch}"));
        format!(" at entry {}{epoch}", written.index)
    });
    format!("{what}: {}{made}", ended(kind))
}

fn tell_rollout(seen: &RolloutSeen) -> String {
    let stands = seen.steps.last().map_or_else(String::new, |step| {
        format!(", wave {} of the plan, since entry {}", u64::from(step.wave) + 1, step.index)
    });
    let status = seen.steps.last().map_or("unknown", |step| step.status.as_str());
    let reason = if seen.reason.is_empty() { String::new() } else { format!(": {}", seen.reason) };
    format!("rollout of bundle {}: {status}{stands}{reason}", seen.version)
}

fn tell_read(read: &ReadState, kind: Kind) -> String {
    let how = if read.linearizable { "confirmed" } else { "local" };
    let what = format!("{how} read at voter {}", read.voter);
    match (read.epoch, read.applied) {
        (Some(epoch), Some(applied)) => {
            format!("{what}: epoch {epoch}, {} sessions cut, as of entry {applied}", read.sessions.len())
        }
        _ => format!("{what}: {}", ended(kind)),
    }
}
