//! What the demo tells: to people as it happens, to programs at the end.

use std::time::Duration;

use remit_chaos::launcher::MeshFile;
use serde::Serialize;

use crate::output::Output;

/// One thing that was expected, and what happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) expected: String,
    pub(crate) got: String,
    pub(crate) ok: bool,
    pub(crate) ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decision_id: Option<String>,
}

/// The numbers at the end.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    /// Decisions that the edges made.
    pub(crate) decisions: u64,
    /// Microseconds inside the edge, from the request to its decision.
    pub(crate) p50_us: Option<f64>,
    /// The same, at the slowest hundredth.
    pub(crate) p99_us: Option<f64>,
    /// Milliseconds from the leader's death to the next write that a majority has.
    pub(crate) failover_ms: Option<u64>,
    /// Milliseconds from the revocation's command to the last edge that enforces it.
    pub(crate) revocation_ms: Option<u64>,
}

/// The whole story.
#[derive(Debug, Serialize)]
pub(crate) struct Story {
    pub(crate) steps: Vec<Check>,
    pub(crate) ok: bool,
    pub(crate) mesh: Option<MeshFile>,
    pub(crate) figures: Figures,
    #[serde(skip)]
    output: Output,
    #[serde(skip)]
    step: usize,
}

impl Story {
    pub(crate) fn new(output: &Output) -> Self {
        Self { steps: Vec::new(), ok: true, mesh: None, figures: Figures::default(), output: output.clone(), step: 0 }
    }

    /// A new step begins.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        self.output.line(format!("\n{}", self.output.strong(&format!("{}. {title}", self.step))));
    }

    /// Says something between two checks.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        self.output.line(self.output.faint(&format!("     {}", text.as_ref())));
    }

    /// Notes a check.
    pub(crate) fn note(&mut self, mut check: Check) {
        let mark = if check.ok { self.output.good("ok  ") } else { self.output.bad("FAIL") };
        let ms = format!("{} ms", check.ms);
        self.output.line(format!("  {mark} {}  {}", check.name, self.output.faint(&ms)));
        if check.expected == check.got {
            self.output.line(format!("       {}", check.got));
        } else {
            self.output.line(format!("       expected  {}", check.expected));
            let got = if check.ok { check.got.clone() } else { self.output.bad(&check.got) };
            self.output.line(format!("       got       {got}"));
        }
        if let Some(id) = &check.decision_id {
            self.output.line(self.output.faint(&format!("       decision  {id}")));
        }
        check.name = format!("{}: {}", self.step, check.name);
        self.ok &= check.ok;
        self.steps.push(check);
    }

    /// Ends the story: figures, and whether all went as expected.
    pub(crate) fn end(&self, took: Duration) {
        let output = &self.output;
        let figures = &self.figures;
        let micros = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| format!("{us:.1} µs"));
        let millis = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        output.line(format!("\n{}", output.strong("Figures")));
        output.table(
            ["", ""],
            [
                ["decisions at the edges".to_owned(), figures.decisions.to_string()],
                ["one decision, median".to_owned(), micros(figures.p50_us)],
                ["one decision, 99th percentile".to_owned(), micros(figures.p99_us)],
                ["leader killed to next write".to_owned(), millis(figures.failover_ms)],
                ["session revoked to enforced everywhere".to_owned(), millis(figures.revocation_ms)],
            ],
        );
        let failed = self.steps.iter().filter(|check| !check.ok).count();
        let all = self.steps.len();
        output.line(if self.ok {
            format!("\n{} {all} checks as expected, in {:.1} s", output.good("ok"), took.as_secs_f64())
        } else {
            format!("\n{} {failed} of {all} checks did not come out as expected", output.bad("FAIL"))
        });
        output.document(self);
    }
}
