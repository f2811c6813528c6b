//! What a person sees while a drill is played.

use indicatif::ProgressBar;
use remit_chaos::drill::engine::Watcher;
use remit_chaos::drill::outcome::{ActivityRun, ActivityStatus, ProbeReading};
use remit_chaos::drill::step::Step;
use remit_chaos::report::terminal::{Line, Tone};

use crate::output::Output;

/// Steps as lines, the phase as a sign of life.
pub(super) struct Terminal {
    output: Output,
    progress: ProgressBar,
}

impl Terminal {
    pub(super) fn new(output: &Output) -> Self {
        Self { output: output.clone(), progress: output.progress("starting") }
    }

    fn line(&self, text: impl AsRef<str>) {
        self.progress.suspend(|| self.output.line(text));
    }

    pub(super) fn end(&self) {
        self.progress.finish_and_clear();
    }
}

impl Watcher for Terminal {
    fn phase(&self, name: &str) {
        let told = match name {
            "setup" => "starting the mesh",
            "steady" => "everybody works; the steady state is asked soon",
            "faults" => "playing the method",
            "heal" => "undoing, and waiting until everything is well again",
            "check" => "looking at everything once more, and judging",
            other => other,
        };
        self.progress.set_message(told.to_owned());
    }

    fn begins(&self, step: &Step) {
        self.progress.set_message(step.name.clone());
    }

    fn ended(&self, run: &ActivityRun) {
        let mark = match run.status {
            ActivityStatus::Succeeded => self.output.good("done"),
            ActivityStatus::Failed => self.output.bad("FAIL"),
            ActivityStatus::Skipped | ActivityStatus::NotReached => self.output.faint("skip"),
        };
        let at = std::time::Duration::from_micros(run.start_us.unwrap_or_default()).as_secs_f64();
        let targets: Vec<String> = run.targets.iter().map(ToString::to_string).collect();
        let told = if targets.is_empty() { run.message.clone().unwrap_or_default() } else { targets.join(", ") };
        self.line(format!("{at:>7.1} s  {mark}  {}  {}", run.name, self.output.faint(&told)));
    }

    fn readings(&self, readings: &[ProbeReading]) {
        for reading in readings {
            let mark = if reading.within { self.output.good("ok  ") } else { self.output.bad("FAIL") };
            let value = reading.value.map_or_else(|| "nothing to measure".to_owned(), |value| format!("{value:.3}"));
            let told = self.output.faint(&format!("{value}, should be {}", reading.tolerance));
            self.line(format!("           {mark}  {}  {told}", reading.name));
        }
    }

    fn note(&self, text: &str) {
        self.line(format!("           {}  {text}", self.output.faint("note")));
    }
}

/// A line of the end, in the colours of its tone.
pub(super) fn paint(line: &Line, output: &Output) -> String {
    let colour = |text: &str| match line.tone {
        Tone::Plain => text.to_owned(),
        Tone::Strong => output.strong(text),
        Tone::Good => output.good(text),
        Tone::Bad => output.bad(text),
        Tone::Faint => output.faint(text),
    };
    if line.mark.is_empty() {
        return colour(&line.text);
    }
    let gap = " ".repeat(Line::MARK.saturating_sub(line.mark.len()));
    format!("{}{gap}{}", colour(line.mark), line.text)
}
