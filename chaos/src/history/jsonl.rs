//! Histories as files: one event a line, so that anybody's tools can check a run again.
//!
//! A file may come from anywhere: sizes are bounded before memory is spent, and each fault names its line.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};

use super::Event;
use crate::invariant::Context;

/// The longest line. A read that shows ten thousand sessions fits.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Events of one history: a day of a busy drill.
pub const EVENTS_MAX: usize = 20_000_000;
/// Bytes of one history.
pub const BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// A file is no history.
#[derive(Debug, thiserror::Error)]
pub enum NoHistory {
    /// It cannot be read.
    #[error("line {line} cannot be read")]
    Unreadable {
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is longer than any event.
    #[error("line {line} has more than {LINE_BYTES_MAX} bytes: no event is that long")]
    LineTooLong {
        /// Counted from 1.
        line: usize,
    },
    /// It is too large to be judged in memory.
    #[error("line {line} is beyond {EVENTS_MAX} events or {BYTES_MAX} bytes: judge a shorter run")]
    TooLong {
        /// Counted from 1.
        line: usize,
    },
    /// A line is no event.
    #[error("line {line} is no event of a history")]
    NoEvent {
        /// Counted from 1.
        line: usize,
        /// What is wrong, with the column.
        #[source]
        source: serde_json::Error,
    },
    /// The order of a history is that of time.
    #[error("line {line} is out of order: its {what} is {found}, and that of the line before {before}")]
    OutOfOrder {
        /// Counted from 1.
        line: usize,
        /// `index`, which rises, or `time_us`, which does not fall.
        what: &'static str,
        /// What the line says.
        found: u64,
        /// What the line before says.
        before: u64,
    },
}

/// One line of JSON per event. An event that cannot be written leaves a line that cannot be read: a history is never
/// shorter than its run.
#[must_use]
pub fn write(events: &[Event]) -> String {
    let line = |event| serde_json::to_string(event).unwrap_or_else(|fault| format!("# cannot be written: {fault}"));
    events.iter().map(|event| line(event) + "\n").collect()
}

/// A line before the events.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Basis<C> {
    judged_by: C,
}

/// Events, and before them by what they are judged, so that whoever judges anew judges by the same.
#[must_use]
pub fn write_judged(events: &[Event], context: &Context) -> String {
    let basis = serde_json::to_string(&Basis { judged_by: context });
    let basis = basis.unwrap_or_else(|fault| format!("# cannot be written: {fault}"));
    format!("{basis}\n{}", write(events))
}

/// Reads the events of a history back. Empty lines are stepped over.
///
/// # Errors
/// [`NoHistory`], at the first line that does not fit.
pub fn read(file: impl BufRead) -> Result<Vec<Event>, NoHistory> {
    read_judged(file).map(|(_, events)| events)
}

/// Reads a history back, and by what it is judged where it says so.
///
/// # Errors
/// [`NoHistory`], at the first line that does not fit.
pub fn read_judged(mut file: impl BufRead) -> Result<(Option<Context>, Vec<Event>), NoHistory> {
    let mut context = None;
    let mut events: Vec<Event> = Vec::new();
    let mut bytes = 0_u64;
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let length = file
            .by_ref()
            .take(most)
            .read_until(b'\n', &mut text)
            .map_err(|source| NoHistory::Unreadable { line, source })?;
        if length == 0 {
            break;
        }
        if length > LINE_BYTES_MAX {
            return Err(NoHistory::LineTooLong { line });
        }
        bytes = bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if bytes > BYTES_MAX || events.len() >= EVENTS_MAX {
            return Err(NoHistory::TooLong { line });
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        if line == 1
            && let Ok(Basis { judged_by }) = serde_json::from_slice(&text)
        {
            context = Some(judged_by);
            continue;
        }
        let event: Event = serde_json::from_slice(&text).map_err(|source| NoHistory::NoEvent { line, source })?;
        if let Some(last) = events.last() {
            in_order(line, "index", event.index, last.index.saturating_add(1))?;
            in_order(line, "time_us", event.time_us, last.time_us)?;
        }
        events.push(event);
    }
    Ok((context, events))
}

fn in_order(line: usize, what: &'static str, found: u64, least: u64) -> Result<(), NoHistory> {
    let before = if what == "index" { least.saturating_sub(1) } else { least };
    if found >= least { Ok(()) } else { Err(NoHistory::OutOfOrder { line, what, found, before }) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use remit_common::crypto::digest::Digest;
    use remit_common::id::{EdgeId, LogIndex, VoterId};
    use remit_common::policy::Bounds;

    use super::*;
    use crate::drill::action::{Fault, Lie, LinkQuality};
    use crate::history::{Kind, SignedTick, Voter, What};
    use crate::invariant::Invariant;
    use crate::node::{Node, Roster};

    fn phase(index: u64, time_us: u64) -> Event {
        let what = What::Phase { name: "steady".to_owned() };
        Event { index, time_us, process: "drill".to_owned(), kind: Kind::Info, what }
    }

    fn refused(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_fault_names_its_line() {
        let good = write(&[phase(0, 5)]);
        assert_eq!(refused(&format!("{good}\n{{}}\n")), "line 3 is no event of a history");
        assert_eq!(refused(&format!("{good}nonsense")), "line 2 is no event of a history");
        let long = format!("{good}{}", " ".repeat(LINE_BYTES_MAX + 1));
        assert!(refused(&long).starts_with("line 2 has more than"), "{}", refused(&long));
    }

    #[test]
    fn a_history_says_by_what_it_is_judged() {
        let events = [phase(0, 5), phase(1, 5)];
        let mut context = Context::new(Bounds { read: 77, ..Bounds::DEFAULT }, Roster::default());
        context.minimums.faults = 0;
        context.heal_within = Duration::from_secs(60);
        context.not_asserted.insert(Invariant::Revocation, "one voter's word".to_owned());
        let text = write_judged(&events, &context);
        assert_eq!(read_judged(text.as_bytes()).unwrap(), (Some(context), events.to_vec()));
        assert_eq!(read(text.as_bytes()).unwrap(), events);
        assert_eq!(read_judged(write(&events).as_bytes()).unwrap(), (None, events.to_vec()));
        let later = text.lines().rev().collect::<Vec<_>>().join("\n");
        assert!(refused(&later).contains("is no event of a history") || refused(&later).contains("out of order"));
    }

    #[test]
    fn events_stand_in_the_order_of_index_and_time() {
        assert_eq!(read(write(&[phase(3, 5), phase(4, 5)]).as_bytes()).unwrap().len(), 2);
        let index = refused(&write(&[phase(3, 5), phase(3, 6)]));
        assert_eq!(index, "line 2 is out of order: its index is 3, and that of the line before 3");
        let time = refused(&write(&[phase(3, 5), phase(4, 4)]));
        assert_eq!(time, "line 2 is out of order: its time_us is 4, and that of the line before 5");
    }

    /// Every kind of fault: an enum that cannot be written would be noticed only by who reads the file.
    fn faults() -> Vec<Fault> {
        let voter = || Node::Voter(VoterId(1));
        let nodes = || vec![voter(), Node::Edge(EdgeId::new("eu-1").unwrap()), Node::Tools];
        let quality = LinkQuality { rate: Some(1_000), latency: Duration::from_millis(40), ..LinkQuality::GOOD };
        vec![
            Fault::Kill(nodes()),
            Fault::PowerCut(nodes()),
            Fault::Stop(nodes()),
            Fault::Start(nodes()),
            Fault::Pause(nodes()),
            Fault::Resume(nodes()),
            Fault::Partition { from: nodes(), to: vec![], one_way: true },
            Fault::Link { from: nodes(), to: nodes(), quality },
            Fault::HealNetwork,
            Fault::DiskFull(nodes()),
            Fault::DiskFree(nodes()),
            Fault::FsyncError(nodes()),
            Fault::ClockJump { nodes: nodes(), by_ms: -90_000 },
            Fault::CpuLimit { nodes: nodes(), percent: 5 },
            Fault::Lie { node: voter(), lie: Lie::Truncated },
            Fault::ReplaceVoter(voter()),
            Fault::ReconnectStorm(nodes()),
        ]
    }

    #[test]
    fn every_kind_of_event_reads_back() {
        let mut whats: Vec<What> = faults()
            .into_iter()
            .map(|fault| {
                let (name, detail) = (fault.name().to_owned(), String::new());
                What::Fault { name, nodes: vec![Node::Operator], detail, begins: true, fault: Some(fault) }
            })
            .collect();
        let digest = Digest::of(&[b"entry"]);
        whats.extend([
            What::Fault { name: "kill".to_owned(), nodes: vec![], detail: String::new(), begins: false, fault: None },
            What::Voter(Voter {
                voter: VoterId(1),
                term: u64::MAX,
                role: "leader".to_owned(),
                leader: None,
                applied: LogIndex(7),
                applied_digest: Some(digest),
                signed: Some(SignedTick { tick: LogIndex(6), statement: digest }),
            }),
            What::Records { of: Some(3), voter: VoterId(1) },
            What::Lied { voter: VoterId(3), edge: EdgeId::new("eu-1").unwrap() },
            What::Searched { found: 1 },
            What::Canary { place: "a \"log\"\n".to_owned() },
            What::Probe { name: "p99".to_owned(), value: Some(0.25), within: true },
            What::Probe { name: "p99".to_owned(), value: None, within: false },
        ]);
        let event = |(index, what)| Event { index, time_us: 9, process: "drill".to_owned(), kind: Kind::Info, what };
        let events: Vec<Event> = (0..).zip(whats).map(event).collect();
        assert_eq!(read(write(&events).as_bytes()).unwrap(), events);
    }

    #[test]
    fn an_unknown_kind_of_event_is_refused() {
        let line = write(&[phase(0, 0)]).replace("\"phase\"", "\"phrase\"");
        assert_eq!(refused(&line), "line 1 is no event of a history");
    }
}
