//! `remit drill check-history`: judges what somebody saw, without the run.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::PathBuf;

use remit_chaos::history::{Event, What, jsonl};
use remit_chaos::invariant::{self, Context as Judging, Outcome, Status};
use remit_chaos::node::{Member, Node, Roster};
use remit_common::policy::Bounds;

use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The `history.jsonl` of a report
    history: PathBuf,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let shown = args.history.display();
    let file =
        open(&args.history).map_err(|error| Failure::new(Exit::Usage, format!("cannot read `{shown}`: {error}")))?;
    let (judged_by, events) = jsonl::read_judged(BufReader::new(file)).map_err(|fault| {
        Failure::caused(Exit::Usage, &fault).hint("name the `history.jsonl` of a report of `remit drill run`")
    })?;
    let judged_by = judged_by.unwrap_or_else(|| {
        let note = "the history does not say by what it was judged: it is judged by what most drills demand";
        context.output.line(context.output.faint(note));
        Judging::new(Bounds::DEFAULT, roster_of(&events))
    });
    let judgement = invariant::check(&events, &judged_by);
    context.output.document(&judgement);
    let output = &context.output;
    for verdict in &judgement.verdicts {
        let mark = match verdict.status {
            Status::Held => output.good("kept        "),
            Status::Violated => output.bad("BROKEN      "),
            Status::NotMeasured => output.faint("not measured"),
        };
        output.line(format!("{mark}  {}  {}", verdict.id, verdict.title));
        for breach in &verdict.breaches {
            output.line(format!("                {}", breach.sentence));
        }
    }
    for missing in judgement.vacuous.iter().flat_map(|vacuous| &vacuous.missing) {
        output
            .line(format!("too little: {} {}, at least {} prove something", missing.seen, missing.what, missing.least));
    }
    Ok(match judgement.outcome() {
        Outcome::Held => Exit::Done,
        Outcome::Violated => Exit::Fault,
        Outcome::Vacuous => Exit::Vacuous,
    })
}

#[expect(clippy::disallowed_methods, reason = "a history may be gigabytes; it is read line by line")]
fn open(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    std::fs::File::open(path)
}

/// Everybody whom the history names.
fn roster_of(events: &[Event]) -> Roster {
    let mut nodes = BTreeSet::new();
    for event in events {
        match &event.what {
            What::Voter(voter) => drop(nodes.insert(Node::Voter(voter.voter))),
            What::Edge(edge) => drop(nodes.insert(Node::Edge(edge.edge.clone()))),
            _ => {}
        }
    }
    Roster { nodes: nodes.into_iter().map(|node| Member { node, region: None }).collect() }
}
