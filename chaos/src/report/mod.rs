//! What people and their tools get to read after a drill.
//!
//! Four files: `report.html` for people, `journal.json` and `junit.xml` for their tools, and `history.jsonl`, from
//! which anybody can judge anew. Each is a pure function of a [`DrillOutcome`]; the same drill gives the same bytes.

mod broken;
mod chart;
mod journal;
mod junit;
mod page;
mod summary;
mod telling;
pub mod terminal;
mod view;
mod words;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::view::View;
use crate::drill::outcome::DrillOutcome;
use crate::history::jsonl;
use crate::launcher::Folder;

pub use summary::Summary;

/// The names of the files, as the page mentions them.
const JOURNAL: &str = "journal.json";
const JUNIT: &str = "junit.xml";
const HISTORY: &str = "history.jsonl";
const PAGE: &str = "report.html";

/// Where the files of a report are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Files {
    /// For people.
    pub report: PathBuf,
    /// For tools that know Chaos Toolkit.
    pub journal: PathBuf,
    /// For pipelines.
    pub junit: PathBuf,
    /// Everything that was seen, for those who judge anew.
    pub history: PathBuf,
}

/// Writes the whole report.
///
/// # Errors
/// What the disk says, or a figure that has no form in one of the formats.
pub fn write(drill: &DrillOutcome, folder: &Folder) -> Result<Files> {
    let view = View::of(drill);
    let journal = journal::journal(&view).context("the journal has no JSON form")?;
    let junit = junit::junit(&view).context("the results have no JUnit form")?;
    let history = match &drill.context {
        Some(context) => jsonl::write_judged(&drill.events, context),
        None => jsonl::write(&drill.events),
    };
    Ok(Files {
        history: folder.write(HISTORY, history.as_bytes())?,
        journal: folder.write(JOURNAL, journal.as_bytes())?,
        junit: folder.write(JUNIT, junit.as_bytes())?,
        report: folder.write(PAGE, page::page(&view).as_bytes())?,
    })
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
