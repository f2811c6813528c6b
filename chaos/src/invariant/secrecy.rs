//! C1: the credential that the run planted was found nowhere outside its place.
//!
//! Source: promise I-5 of docs/ARCHITECTURE.md. Backends search logs, disks and packets; links and answers are watched
//! while the run lasts.

use super::verdict::{Findings, Invariant, Verdict, Witness, at};
use crate::history::{Event, What};

/// Looks at every search, and at everything that was found.
pub(super) fn check(events: &[Event]) -> Verdict {
    let mut findings = Findings::default();
    for event in events {
        match &event.what {
            What::Searched { .. } => findings.compared("searches of logs, disks and packets"),
            What::Canary { place } => findings.breach(&[Witness::from(event)], || {
                format!("At {} something was found that must not be there: {place}.", at(event.time_us))
            }),
            _ => {}
        }
    }
    if !events.iter().any(|event| matches!(event.what, What::Searched { .. })) {
        findings.note("Nobody searched for the planted credential.");
    }
    findings.verdict(Invariant::Secrecy)
}
