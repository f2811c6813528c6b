//! Whether suites speak of rules, tools and purposes that the bundle has.

use std::collections::{BTreeMap, BTreeSet};

use super::Cell;
use crate::bundle::CompiledBundle;
use crate::policy::fault::nearest;
use crate::policy::{PolicyFault, Reason};

/// A fault for every name that the bundle does not know, at the name where it can be found, else at the case.
///
/// # Errors
/// Every such fault.
pub fn check(
    cells: &[Cell],
    bundle: &CompiledBundle,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<(), Vec<PolicyFault>> {
    let policy = bundle.policy();
    let rules: BTreeSet<String> = policy.rules(files).into_iter().map(|rule| rule.id.to_string()).collect();
    let tools: BTreeSet<&str> = policy.catalogue().tools.keys().map(|name| name.as_str()).collect();
    let purposes: BTreeSet<&str> = policy.taxonomy().purposes().map(|(name, _)| name).collect();
    let mut faults = Vec::new();
    for cell in cells {
        let mut unknown = |kind: &str, name: &str, near: Option<&str>| {
            let place = place_of(name, cell, files);
            let message = format!("the bundle has no {kind} `{name}`");
            faults.push(PolicyFault { message, help: near.map(|near| format!("did you mean `{near}`?")), ..place });
        };
        for rule in cell.because.iter().chain(&cell.not_because).filter(|rule| !rules.contains(rule.as_str())) {
            unknown("rule", rule.as_str(), nearest(rule.as_str(), rules.iter().map(String::as_str)));
        }
        let tool = cell.request.call.tool.as_str();
        // That a tool is not there may be what is to be shown.
        let meant = [Reason::ToolUnknown, Reason::OutOfScope].contains(&cell.request.expect);
        if !tools.contains(tool) && !meant {
            unknown("tool", tool, nearest(tool, tools.iter().copied()));
        }
        let purpose = cell.request.purpose.as_str();
        if !purposes.contains(purpose) {
            unknown("purpose", purpose, nearest(purpose, purposes.iter().copied()));
        }
    }
    faults.sort();
    faults.dedup();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Where a name stands: at or below the case if it does, else at its first place in the file.
fn place_of(name: &str, cell: &Cell, files: &BTreeMap<String, Vec<u8>>) -> PolicyFault {
    let text = files.get(&cell.file).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let whole = |line: &str, at: usize| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + name.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    };
    let mut found = text.lines().zip(1u32..).filter_map(|(line, number)| {
        let at = line.match_indices(name).map(|(at, _)| at).find(|at| whole(line, *at))?;
        let column = line.get(..at)?.chars().count() + 1;
        Some((number, u32::try_from(column).unwrap_or(u32::MAX)))
    });
    let first = found.next();
    let in_case = first.into_iter().chain(found).find(|(line, _)| *line >= cell.line);
    let (line, column) = in_case.or(first).unwrap_or((cell.line, cell.column));
    PolicyFault { file: cell.file.clone(), line, column, message: String::new(), help: None }
}
