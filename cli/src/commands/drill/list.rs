//! `remit drill ls` and `remit drill check`.

use std::path::{Path, PathBuf};

use remit_chaos::drill::file::{Drill, FILE_BYTES_MAX};
use remit_chaos::drill::outcome::Section;
use remit_chaos::drill::plan::Plan;
use remit_chaos::drill::shipped::DRILLS;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder with drill files of your own
    folder: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    title: String,
    lasts_secs: Option<u64>,
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl Row {
    fn of(name: &str, text: &str) -> Self {
        match Drill::read(name, text) {
            Ok(drill) => Self {
                name: name.to_owned(),
                lasts_secs: Some(drill.lasts().as_secs()),
                title: drill.copy.title,
                tags: drill.copy.tags,
                fault: None,
            },
            Err(wrong) => Self {
                name: name.to_owned(),
                title: "cannot be played".to_owned(),
                lasts_secs: None,
                tags: Vec::new(),
                fault: Some(wrong.to_string()),
            },
        }
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mut rows: Vec<Row> = DRILLS.iter().map(|(name, text)| Row::of(name, text)).collect();
    if let Some(folder) = &args.folder {
        for path in drills_in(folder)? {
            let text = files::read_text(&context.env, &path, FILE_BYTES_MAX)?;
            rows.push(Row::of(&path.display().to_string(), &text));
        }
    }
    context.output.document(&rows);
    let lasts = |row: &Row| row.lasts_secs.map_or_else(String::new, |secs| format!("{secs} s"));
    let shown = rows.iter().map(|row| [row.name.clone(), row.title.clone(), lasts(row), row.tags.join(", ")]);
    context.output.table(["drill", "rehearses", "lasts", "tags"], shown);
    context.output.line(context.output.faint("next: remit drill check NAME, remit drill run NAME"));
    Ok(if rows.iter().any(|row| row.fault.is_some()) { Exit::Usage } else { Exit::Done })
}

fn drills_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fault =
        |error: std::io::Error| Failure::new(Exit::Usage, format!("cannot read `{}`: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn check(name: &str, context: &Context) -> Result<Exit, Failure> {
    show(&super::open(name, context)?, context);
    Ok(Exit::Done)
}

/// What a drill would do.
pub(super) fn show(drill: &Drill, context: &Context) {
    let plan = drill.plan();
    let output = &context.output;
    output.document(&plan);
    let Plan { title, mesh, lasts_secs, max_nodes, max_regions, .. } = &plan;
    output.line(output.strong(title));
    output.line(&drill.copy.description);
    let regions: Vec<String> = mesh.regions.iter().map(|(region, edges)| format!("{region} with {edges}")).collect();
    let (voters, agents) = (mesh.voters, mesh.agents);
    output.line(format!("\nmesh           {voters} voters, edges: {}; {agents} agents", regions.join(", ")));
    output.line(format!("blast radius   at most {max_nodes} nodes in {max_regions} regions at the same time"));
    output.line(format!("lasts          about {lasts_secs} s"));
    let steady = plan.steady_state.iter().map(|text| ("steady state", text));
    let abort = plan.abort_when.iter().map(|text| ("aborts when", text));
    let limits = plan.limits.iter().map(|text| ("limit", text));
    for (what, text) in steady.chain(abort).chain(limits) {
        output.line(format!("{what:<15}{text}"));
    }
    for id in &plan.invariants {
        output.line(format!("{:<15}{id}: {}", "invariant", id.title()));
    }
    for caveat in &plan.caveats {
        output.line(format!("{:<15}{caveat}", "does not show"));
    }
    output.line("");
    let rows = plan.steps.iter().map(|step| {
        let at = match step.section {
            Section::Method => format!("{:.1} s", std::time::Duration::from_millis(step.at_ms).as_secs_f64()),
            Section::Rollback => "at the end".to_owned(),
        };
        [at, step.name.clone(), step.does.clone(), step.targets.join(", ")]
    });
    output.table(["at", "step", "does", "to"], rows);
    output.line(output.faint("Nothing was started."));
}
