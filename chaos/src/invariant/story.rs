//! The operations of a history: each invocation with what came back, if anything did.

use std::collections::BTreeMap;

use super::verdict::Witness;
use crate::history::{Call, Event, Kind, Outcome, ReadState, Verdict, What, Write, Written};

/// Every operation of a history, in the order of the invocations.
#[derive(Debug, Default)]
pub(super) struct Story<'a> {
    /// Calls of agents.
    pub(super) calls: Vec<Operation<'a, Call>>,
    /// Changes by administrators.
    pub(super) writes: Vec<Operation<'a, Write>>,
    /// Reads of revocations and bundles.
    pub(super) reads: Vec<Operation<'a, ReadState>>,
}

/// An invocation and its return.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a, T> {
    /// What was asked for.
    pub(super) asked: &'a T,
    /// When.
    pub(super) invoked: Witness,
    /// What came back.
    pub(super) returned: Returned<'a, T>,
}

/// What came back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Returned<'a, T> {
    /// An answer.
    Ok(Witness, &'a T),
    /// It was certainly not done.
    Fail,
    /// Nobody knows whether it was done: nothing came back in time, or before the run ended.
    Unknown,
}

impl<'a, T> Operation<'a, T> {
    /// The answer, with the moment at which it was there.
    pub(super) fn answer(&self) -> Option<(Witness, &'a T)> {
        if let Returned::Ok(at, answer) = self.returned { Some((at, answer)) } else { None }
    }
}

impl<'a> Operation<'a, Call> {
    /// What the edge answered.
    pub(super) fn outcome(&self) -> Option<(Witness, &'a Outcome)> {
        self.answer().and_then(|(at, call)| Some((at, call.outcome.as_ref()?)))
    }

    /// When the answer was there, if it was a permit.
    pub(super) fn permit(&self) -> Option<Witness> {
        self.outcome().filter(|(_, outcome)| outcome.verdict == Verdict::Permit).map(|(at, _)| at)
    }

    /// When the answer was there and why, if it was a refusal.
    pub(super) fn denial(&self) -> Option<(Witness, &'a str)> {
        let denial = self.outcome().filter(|(_, outcome)| outcome.verdict == Verdict::Deny);
        denial.map(|(at, outcome)| (at, outcome.reason.as_str()))
    }
}

impl<'a> Operation<'a, Write> {
    /// When the write was acknowledged, and what it made.
    pub(super) fn acknowledged(&self) -> Option<(Witness, &'a Written)> {
        self.answer().and_then(|(at, write)| Some((at, write.written.as_ref()?)))
    }
}

impl<'a> Story<'a> {
    /// Pairs what a history holds. A return whose invocation is not there is left out.
    pub(super) fn of(events: &'a [Event]) -> Self {
        let mut story = Self::default();
        let mut open = Open::default();
        for event in events {
            match &event.what {
                What::Call(call) => pair(&mut story.calls, &mut open.calls, event, call, call.of),
                What::Write(write) => pair(&mut story.writes, &mut open.writes, event, write, write.of),
                What::Read(read) => pair(&mut story.reads, &mut open.reads, event, read, read.of),
                _ => {}
            }
        }
        story
    }
}

/// Invocations without a return yet: index to place in the story.
#[derive(Default)]
struct Open {
    calls: BTreeMap<u64, usize>,
    writes: BTreeMap<u64, usize>,
    reads: BTreeMap<u64, usize>,
}

fn pair<'a, T>(
    operations: &mut Vec<Operation<'a, T>>,
    open: &mut BTreeMap<u64, usize>,
    event: &'a Event,
    value: &'a T,
    of: Option<u64>,
) {
    let at = Witness::from(event);
    let returned = match event.kind {
        Kind::Invoke => {
            open.insert(event.index, operations.len());
            operations.push(Operation { asked: value, invoked: at, returned: Returned::Unknown });
            return;
        }
        Kind::Ok => Returned::Ok(at, value),
        Kind::Fail => Returned::Fail,
        Kind::Info => Returned::Unknown,
    };
    let operation = of.and_then(|of| open.remove(&of)).and_then(|place| operations.get_mut(place));
    if let Some(operation) = operation {
        operation.returned = returned;
    }
}
