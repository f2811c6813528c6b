//! From `tests/*.yaml` to cells. Everything is read with its place, so that a typing error is shown where it stands.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_saphyr::{Error, Location, Spanned};

use super::{Cell, expand};
use crate::bundle::canary::Canary;
use crate::bundle::source::{CANARIES_FILE, TESTS_FOLDER};
use crate::envelope::{AgentRequest, GrantRequest};
use crate::id::{Delegator, DimensionName, SessionId, TaskId};
use crate::policy::PolicyFault;
use crate::policy::fault::nearest;

/// Bytes of one suite. A case of ten lines has 400.
const SUITE_BYTES_MAX: usize = 256 * 1024;
/// Keys and values of one suite, aliases resolved.
const NODES_MAX: usize = 50_000;
/// Nesting; arguments may be deep.
const DEPTH_MAX: usize = 48;

/// `tests/*.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SuiteFile {
    #[serde(default)]
    pub(super) fixtures: Fixtures,
    pub(super) cases: Vec<Spanned<CaseEntry>>,
}

/// What cases refer to by name.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixtures {
    #[serde(default)]
    pub(super) principals: BTreeMap<String, Spanned<PrincipalEntry>>,
    #[serde(default)]
    pub(super) resources: BTreeMap<String, ResourceEntry>,
    #[serde(default)]
    pub(super) envelopes: BTreeMap<String, EnvelopeEntry>,
    /// Relation tuples that belong together.
    #[serde(default)]
    pub(super) tuples: BTreeMap<String, Vec<Spanned<String>>>,
}

/// Who calls.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrincipalEntry {
    pub(super) delegator: Delegator,
    pub(super) session: Option<SessionId>,
    pub(super) task: Option<TaskId>,
    pub(super) agent: AgentRequest,
    #[serde(default)]
    pub(super) chain: Vec<AgentRequest>,
    pub(super) purpose: Option<Spanned<String>>,
    pub(super) envelope: Option<Spanned<String>>,
}

/// On what: the arguments that say so.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceEntry {
    pub(super) arguments: Map<String, Value>,
}

/// Under which envelope.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvelopeEntry {
    pub(super) purpose: Option<Spanned<String>>,
    pub(super) grants: Vec<GrantRequest>,
}

/// A matrix, and what must come of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseEntry {
    pub(super) name: Spanned<String>,
    pub(super) as_of: Option<Spanned<String>>,
    pub(super) principals: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) resources: Vec<Spanned<String>>,
    pub(super) actions: Vec<Spanned<String>>,
    pub(super) envelope: Option<Spanned<String>>,
    pub(super) purpose: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) arguments: Map<String, Value>,
    /// Tuples, or names of some: all that there are for this case.
    #[serde(default)]
    pub(super) tuples: Vec<Spanned<String>>,
    pub(super) expect: Spanned<String>,
    #[serde(default)]
    pub(super) because: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) not_because: Vec<Spanned<String>>,
    pub(super) dimension: Option<DimensionName>,
    #[serde(default)]
    pub(super) except: Vec<Spanned<ExceptEntry>>,
}

/// Cells of a matrix of which something else is expected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExceptEntry {
    #[serde(default)]
    pub(super) principals: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) resources: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) actions: Vec<Spanned<String>>,
    pub(super) expect: Spanned<String>,
    #[serde(default)]
    pub(super) because: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) not_because: Vec<Spanned<String>>,
    pub(super) dimension: Option<DimensionName>,
}

/// Reads every suite of a bundle's sources.
///
/// # Errors
/// Every fault that was found: of grammar and shape the first of each file, of names all.
pub fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Cell>, Vec<PolicyFault>> {
    let (mut cells, mut faults) = (Vec::new(), Vec::new());
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(TESTS_FOLDER)) {
        if !path.ends_with(".yaml") {
            if !path.ends_with(".md") {
                let help = "suites are `tests/*.yaml`; texts for people end in .md";
                faults.push(fault(path, Location::UNKNOWN, "nothing would run this file", Some(help)));
            }
            continue;
        }
        match parse::<SuiteFile>(path, bytes) {
            Ok(suite) => {
                let book = expand::Book { file: path, faults: &mut faults };
                expand::cells(&suite, book, &mut cells);
            }
            Err(found) => faults.push(found),
        }
    }
    faults.sort();
    if faults.is_empty() { Ok(cells) } else { Err(faults) }
}

/// The requests of `canaries.yaml` as cells: they are cases, too.
///
/// # Errors
/// The first fault of the file.
pub fn canaries(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Cell>, PolicyFault> {
    let Some(bytes) = files.get(CANARIES_FILE) else { return Ok(Vec::new()) };
    let canaries: Vec<Spanned<Canary>> = parse(CANARIES_FILE, bytes)?;
    let cell = |canary: Spanned<Canary>| {
        let PolicyFault { file, line, column, .. } = fault(CANARIES_FILE, canary.referenced, "", None);
        let cell = canary.value.call.tool.to_string();
        let case = canary.value.name.clone();
        let (because, not_because) = (Vec::new(), Vec::new());
        Cell { file, line, column, case, cell, request: canary.value, as_of: None, because, not_because }
    };
    Ok(canaries.into_iter().map(cell).collect())
}

/// A fault at a place; of the file as a whole where it is not known.
pub(super) fn fault(file: &str, at: Location, message: impl Into<String>, help: Option<&str>) -> PolicyFault {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    PolicyFault {
        file: file.to_owned(),
        line: number(at.line()),
        column: number(at.column()),
        message: message.into(),
        help: help.map(str::to_owned),
    }
}

/// Reads a YAML document into a type. Nothing that it refers to can make it grow beyond a bound.
pub(in crate::bundle) fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, PolicyFault> {
    let whole = |message: String| fault(file, Location::UNKNOWN, message, None);
    if bytes.len() > SUITE_BYTES_MAX {
        return Err(whole(format!("the file has {} bytes; it has at most {SUITE_BYTES_MAX}", bytes.len())));
    }
    let text = str::from_utf8(bytes).map_err(|_| whole("not UTF-8".to_owned()))?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_depth: DEPTH_MAX,
            max_aliases: 256,
            max_documents: 1,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let help = match error.without_snippet() {
            Error::SerdeUnknownField { field, expected, .. } => {
                let near = nearest(field, expected.iter().copied()).map(|name| format!("did you mean `{name}`?"));
                Some(near.unwrap_or_else(|| format!("one of {}", expected.join(", "))))
            }
            _ => None,
        };
        let message = match error.without_snippet() {
            Error::SerdeUnknownField { field, .. } => format!("there is no key `{field}` here"),
            other => {
                let whole = other.to_string();
                let line = whole.lines().next().unwrap_or("not YAML");
                // The parser names the place in words as well; it is shown apart.
                line.split(" at line ").next().unwrap_or(line).trim_start_matches("error: ").to_owned()
            }
        };
        fault(file, at, message, help.as_deref())
    })
}
