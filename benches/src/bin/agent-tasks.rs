//! Plays agents' tasks and attacks on them, and prints what their envelopes came to.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use remit_benches::tasks::setting::Files;
use remit_benches::tasks::{Report, SUITES, Setting, Suite, table};

/// Plays agents' tasks and attacks on them: does an envelope made for what the human asked admit what does it, and
/// refuse what an attacker talks the agent into?
#[derive(Debug, Parser)]
#[command(
    name = "agent-tasks",
    max_term_width = 110,
    after_help = "\
Example:
  cargo run -p remit-benches --bin agent-tasks -- --data ../shared/data     # the suites of docs/AGENT-TASKS.md
  cargo run -p remit-benches --bin agent-tasks -- --own                     # a handful of tasks of ours

Exit codes: 0 done; 1 failed; 2 usage."
)]
struct Cli {
    /// The folder with `banking.json` and `workspace.json`, or the one above it, in which it is called `agent-tasks`.
    #[arg(long, value_name = "DIR", required_unless_present = "own")]
    data: Option<PathBuf>,
    /// Plays the tasks of ours that stand in the repository.
    #[arg(long, conflicts_with = "data")]
    own: bool,
    /// Prints one JSON document, with every task and pair.
    #[arg(long)]
    json: bool,
    /// Prints the table as it stands in the documentation.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

fn read(files: &Files, data: Option<&Path>) -> Result<Suite> {
    let Some(data) = data else { return Suite::parse(files.own) };
    let name = format!("{}.json", files.name);
    let (below, beside) = (data.join("agent-tasks").join(&name), data.join(&name));
    let path = if below.exists() { below } else { beside };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read; `--data` names the folder with the suites", path.display()))?;
    Suite::parse(text.as_bytes()).with_context(|| path.display().to_string())
}

fn run(cli: &Cli) -> Result<String> {
    let play = |files: &Files| Report::play(&read(files, cli.data.as_deref())?, &Setting::load(files)?);
    let reports: Vec<Report> = SUITES.iter().map(play).collect::<Result<_>>()?;
    Ok(if cli.json {
        format!("{}\n", serde_json::to_string_pretty(&reports)?)
    } else if cli.markdown {
        table::markdown(&reports)
    } else {
        table::text(&reports)
    })
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("agent-tasks: {error:#}");
            ExitCode::FAILURE
        }
    }
}
