//! A matrix becomes cells: every principal does every action to every resource.

use serde_saphyr::{Location, Spanned};

use super::read::{CaseEntry, ExceptEntry, Fixtures, PrincipalEntry, SuiteFile, fault};
use super::{CELLS_MAX, Cell};
use crate::bundle::canary::{Canary, CanaryCall, TUPLES_MAX};
use crate::bundle::source::moment;
use crate::id::{PolicyId, ToolName};
use crate::policy::fault::nearest;
use crate::policy::relations::Tuple;
use crate::policy::{PolicyFault, Reason};
use crate::time::Timestamp;

/// Faults of one file.
pub(super) struct Book<'a> {
    pub(super) file: &'a str,
    pub(super) faults: &'a mut Vec<PolicyFault>,
}

impl Book<'_> {
    fn note(&mut self, at: Location, message: impl Into<String>, help: Option<String>) {
        self.faults.push(fault(self.file, at, message, help.as_deref()));
    }

    fn unknown<'n>(&mut self, name: &Spanned<String>, kind: &str, names: impl Iterator<Item = &'n str>) {
        let names: Vec<&str> = names.collect();
        let near = nearest(&name.value, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| match names.as_slice() {
            [] => format!("the file has no {kind}s; `fixtures` declares them"),
            names => format!("one of {}", names.join(", ")),
        });
        self.note(name.referenced, format!("there is no {kind} `{}`", name.value), Some(help));
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        text: &Spanned<String>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(&text.value).map_err(|error| self.note(text.referenced, error.to_string(), None)).ok()
    }

    fn reason(&mut self, text: &Spanned<String>) -> Option<Reason> {
        let reason = text.value.parse().ok();
        if reason.is_none() {
            let near = nearest(&text.value, Reason::all().map(Reason::as_str));
            let help = near.map_or_else(
                || "`permit`, or the reason of a denial: forbidden, no_matching_policy, out_of_scope, …".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            self.note(text.referenced, format!("`{}` is nothing that a call is answered with", text.value), Some(help));
        }
        reason
    }

    fn policies(&mut self, texts: &[Spanned<String>]) -> Vec<PolicyId> {
        texts.iter().filter_map(|text| self.parsed(text, PolicyId::new)).collect()
    }
}

/// What must come of a cell.
struct Expected {
    reason: Reason,
    because: Vec<PolicyId>,
    not_because: Vec<PolicyId>,
    dimension: Option<crate::id::DimensionName>,
}

pub(super) fn cells(suite: &SuiteFile, mut book: Book<'_>, out: &mut Vec<Cell>) {
    if suite.cases.is_empty() {
        book.note(Location::UNKNOWN, "this suite has no case", None);
    }
    for case in &suite.cases {
        let CaseEntry { principals, resources, actions, .. } = &case.value;
        let cells = principals.len().saturating_mul(resources.len().max(1)).saturating_mul(actions.len());
        // Before any of them is made: a file of a few lines can name more than memory holds.
        if out.len().saturating_add(cells) > CELLS_MAX {
            let help = "a bundle this large is several bundles".to_owned();
            let message = format!("all suites together have more than {CELLS_MAX} cells, this case {cells}");
            return book.note(case.value.name.referenced, message, Some(help));
        }
        expand(case, &suite.fixtures, &mut book, out);
    }
}

fn expand(spanned: &Spanned<CaseEntry>, fixtures: &Fixtures, book: &mut Book<'_>, out: &mut Vec<Cell>) {
    let case = &spanned.value;
    let faults = book.faults.len();
    for (list, what) in [(&case.principals, "principals"), (&case.actions, "actions")] {
        if list.is_empty() {
            book.note(case.name.referenced, format!("`{what}` is empty, so the case asks nothing"), None);
        }
    }
    if case.name.value.is_empty() || case.name.value.chars().any(char::is_control) {
        book.note(case.name.referenced, "a case has a name of one line", None);
    }
    let as_of = case.as_of.as_ref().and_then(|text| time(text, book));
    let expected = expected(&case.expect, &case.because, &case.not_because, case.dimension.as_ref(), book);
    let excepted: Vec<Option<Expected>> = case
        .except
        .iter()
        .map(|entry| {
            names_are_of(entry, case, book);
            let ExceptEntry { expect, because, not_because, dimension, .. } = &entry.value;
            self::expected(expect, because, not_because, dimension.as_ref(), book)
        })
        .collect();
    let tools: Vec<Option<ToolName>> = case.actions.iter().map(|action| book.parsed(action, ToolName::new)).collect();
    let tuples = tuples(case, fixtures, book);
    let mut hit = vec![false; case.except.len()];
    let resources: Vec<Option<&Spanned<String>>> = match case.resources.as_slice() {
        [] => vec![None],
        resources => resources.iter().map(Some).collect(),
    };
    let mut made = Vec::new();
    for name in &case.principals {
        let Some(principal) = fixtures.principals.get(&name.value) else {
            book.unknown(name, "principal", fixtures.principals.keys().map(String::as_str));
            continue;
        };
        for resource in &resources {
            let arguments = match resource {
                None => serde_json::Map::new(),
                Some(resource) => match fixtures.resources.get(&resource.value) {
                    Some(entry) => entry.arguments.clone(),
                    None => {
                        book.unknown(resource, "resource", fixtures.resources.keys().map(String::as_str));
                        continue;
                    }
                },
            };
            for (action, tool) in case.actions.iter().zip(&tools) {
                let place = except_of(case, name, *resource, action);
                if let Some(hit) = place.and_then(|place| hit.get_mut(place)) {
                    *hit = true;
                }
                let expected = place.map_or(expected.as_ref(), |place| excepted.get(place).and_then(Option::as_ref));
                let Some((grants, purpose)) = envelope(case, &principal.value, name, fixtures, book) else { continue };
                let (Some(expected), Some(tool)) = (expected, tool) else { continue };
                let mut arguments = arguments.clone();
                arguments.extend(case.arguments.clone());
                let on = resource.map(|resource| format!(" on {}", resource.value)).unwrap_or_default();
                let cell = format!("{} {}{on}", name.value, action.value);
                let PrincipalEntry { delegator, session, task, agent, chain, .. } = &principal.value;
                let at = fault(book.file, case.name.referenced, "", None);
                made.push(Cell {
                    file: at.file,
                    line: at.line,
                    column: at.column,
                    case: case.name.value.clone(),
                    request: Canary {
                        name: format!("{}: {cell}", case.name.value),
                        delegator: delegator.clone(),
                        session: session.clone(),
                        task: task.clone(),
                        agent: agent.clone(),
                        chain: chain.clone(),
                        purpose,
                        grants,
                        call: CanaryCall { tool: tool.clone(), arguments },
                        tuples: tuples.clone(),
                        expect: expected.reason,
                        policies: None,
                        dimension: expected.dimension.clone(),
                    },
                    cell,
                    as_of,
                    because: expected.because.clone(),
                    not_because: expected.not_because.clone(),
                });
            }
        }
    }
    for (entry, hit) in case.except.iter().zip(hit) {
        if !hit && book.faults.len() == faults {
            book.note(entry.referenced, "this exception is about no cell of its case", None);
        }
    }
    // The names of one matrix repeat in each of its cells; each is noted once.
    book.faults.get_mut(faults..).unwrap_or_default().sort();
    book.faults.dedup();
    if book.faults.len() == faults {
        out.extend(made);
    }
}

fn expected(
    expect: &Spanned<String>,
    because: &[Spanned<String>],
    not_because: &[Spanned<String>],
    dimension: Option<&crate::id::DimensionName>,
    book: &mut Book<'_>,
) -> Option<Expected> {
    let reason = book.reason(expect)?;
    let (because, not_because) = (book.policies(because), book.policies(not_because));
    if !because.is_empty() && ![Reason::Permit, Reason::Forbidden, Reason::EvaluationFailed].contains(&reason) {
        book.note(expect.referenced, format!("no rule decides a call that is answered `{reason}`"), None);
    }
    Some(Expected { reason, because, not_because, dimension: dimension.cloned() })
}

/// The relation tuples of a case: those that it states, and those that it names.
fn tuples(case: &CaseEntry, fixtures: &Fixtures, book: &mut Book<'_>) -> Vec<Tuple> {
    let mut tuples = Vec::new();
    for text in &case.tuples {
        // No name of a fixture looks like a tuple.
        let stated = text.value.contains(['#', '@']).then(|| std::slice::from_ref(text));
        match stated.or_else(|| fixtures.tuples.get(&text.value).map(Vec::as_slice)) {
            Some(texts) => tuples.extend(texts.iter().filter_map(|text| book.parsed(text, str::parse::<Tuple>))),
            None => book.unknown(text, "list of tuples", fixtures.tuples.keys().map(String::as_str)),
        }
    }
    if tuples.len() > TUPLES_MAX {
        book.note(case.name.referenced, format!("a case has at most {TUPLES_MAX} tuples"), None);
    }
    tuples
}

/// The first exception that is about this cell.
fn except_of(
    case: &CaseEntry,
    principal: &Spanned<String>,
    resource: Option<&Spanned<String>>,
    action: &Spanned<String>,
) -> Option<usize> {
    let has = |list: &[Spanned<String>], name: &str| list.is_empty() || list.iter().any(|item| item.value == name);
    case.except.iter().position(|entry| {
        let ExceptEntry { principals, resources, actions, .. } = &entry.value;
        has(principals, &principal.value)
            && has(actions, &action.value)
            && (resources.is_empty() || resource.is_some_and(|resource| has(resources, &resource.value)))
    })
}

/// An exception speaks of names of its own case.
fn names_are_of(entry: &Spanned<ExceptEntry>, case: &CaseEntry, book: &mut Book<'_>) {
    let ExceptEntry { principals, resources, actions, .. } = &entry.value;
    let lists = [
        (principals, &case.principals, "principal of this case"),
        (resources, &case.resources, "resource of this case"),
        (actions, &case.actions, "action of this case"),
    ];
    for (names, known, kind) in lists {
        for name in names.iter().filter(|name| !known.iter().any(|known| known.value == name.value)) {
            book.unknown(name, kind, known.iter().map(|known| known.value.as_str()));
        }
    }
}

/// Grants and purpose of a cell: what the case says, or its principal, or the envelope.
fn envelope(
    case: &CaseEntry,
    principal: &PrincipalEntry,
    name: &Spanned<String>,
    fixtures: &Fixtures,
    book: &mut Book<'_>,
) -> Option<(Vec<crate::envelope::GrantRequest>, String)> {
    let Some(named) = case.envelope.as_ref().or(principal.envelope.as_ref()) else {
        let help = "write `envelope: NAME` in the case, or in the principal";
        book.note(name.referenced, format!("`{}` comes without an envelope", name.value), Some(help.to_owned()));
        return None;
    };
    let Some(envelope) = fixtures.envelopes.get(&named.value) else {
        book.unknown(named, "envelope", fixtures.envelopes.keys().map(String::as_str));
        return None;
    };
    let purpose = case.purpose.as_ref().or(principal.purpose.as_ref()).or(envelope.purpose.as_ref());
    let Some(purpose) = purpose else {
        let help = "write `purpose: NAME` in the case, the principal or the envelope";
        book.note(name.referenced, format!("nobody says for what `{}` acts", name.value), Some(help.to_owned()));
        return None;
    };
    Some((envelope.grants.clone(), purpose.value.clone()))
}

fn time(text: &Spanned<String>, book: &mut Book<'_>) -> Option<Timestamp> {
    let seconds = text.value.parse().ok().map(Timestamp::from_secs);
    let parsed = seconds.or_else(|| moment(&text.value.parse().ok()?));
    if parsed.is_none() {
        let help = "write `2026-11-01T00:00:00Z`, or seconds since 1970";
        book.note(text.referenced, format!("`{}` is no time", text.value), Some(help.to_owned()));
    }
    parsed
}
