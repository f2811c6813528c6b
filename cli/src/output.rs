//! What a command prints: tables for people, one JSON document for programs, progress on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Where answers go. Cloning gives the same place.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
}

impl Output {
    pub(crate) fn new(json: bool, colour: bool) -> Self {
        Self { json, colour }
    }

    /// A line for people; programs do not see it.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            print(text.as_ref());
        }
    }

    /// The answer for programs; people do not see it.
    pub(crate) fn document(&self, document: &impl Serialize) {
        if self.json {
            print(&serde_json::to_string(document).unwrap_or_default());
        }
    }

    /// A table for people.
    pub(crate) fn table<const N: usize>(&self, header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(header.map(str::to_uppercase));
        for row in rows {
            table.add_row(row);
        }
        print(table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n").as_str());
    }

    /// Green, where colours are wanted.
    pub(crate) fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Red, where colours are wanted.
    pub(crate) fn bad(&self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Bold, where colours are wanted.
    pub(crate) fn strong(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Dim, where colours are wanted.
    pub(crate) fn faint(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A sign of life on standard error while something takes long; silent when nobody looks.
    pub(crate) fn progress(&self, what: &str) -> ProgressBar {
        if !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Says that the command did not do what was asked.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        if self.json {
            print(&failure.to_json());
        }
        let mut text = format!("{} {}", self.bad("remit:"), failure.message);
        if let Some(hint) = &failure.hint {
            text = format!("{text}\n{} {hint}", self.faint("hint:"));
        }
        let _ = writeln!(std::io::stderr(), "{text}");
        failure.exit.into()
    }
}

/// Standard output that is closed early (`| head`) is nobody's fault.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Logs go to standard error: warnings, unless `RUST_LOG` asks for more. The daemons start their own.
pub(crate) fn start_log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
