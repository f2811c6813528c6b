//! What a drill would do, told before anything is touched.

use remit_common::bundle::Wave;
use serde::Serialize;

use super::backend::{BackendKind, Shape};
use super::fields::show;
use super::file::Drill;
use super::outcome::Section;
use super::select::{Selector, planned};
use super::step::{Does, Step, Task};
use crate::invariant::Invariant;

/// A drill, told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The name of its file.
    pub name: String,
    /// In a few words.
    pub title: String,
    /// The mesh that it is done to.
    pub mesh: Shape,
    /// Where it can be played.
    pub backends: Vec<BackendKind>,
    /// How long it takes at least, in seconds.
    pub lasts_secs: u64,
    /// Nodes that may be hit at the same time.
    pub max_nodes: usize,
    /// Regions that may be.
    pub max_regions: usize,
    /// What is asked before and after.
    pub steady_state: Vec<String>,
    /// Every step.
    pub steps: Vec<Planned>,
    /// When it is broken off.
    pub abort_when: Vec<String>,
    /// What it is about.
    pub invariants: Vec<Invariant>,
    /// What it limits.
    pub limits: Vec<String>,
    /// What it does not show.
    pub caveats: Vec<String>,
}

/// A step, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// When it begins at the earliest, in milliseconds after the steady state was asked.
    pub at_ms: u64,
    /// In which part of the file it stands.
    pub section: Section,
    /// In a few words.
    pub name: String,
    /// What it does.
    pub does: String,
    /// Whom it hits: nodes where they are known, selectors that are resolved when it begins where not.
    pub targets: Vec<String>,
}

impl Drill {
    /// What it would do.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut at_ms = 0_u64;
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut steps = Vec::new();
        for step in self.steps() {
            let own = at_ms.saturating_add(millis(step.before));
            steps.push(self.tell(step, own));
            if !step.background {
                at_ms = own.saturating_add(millis(step.after));
            }
        }
        let limit = |(figure, most): (&super::limit::Figure, &f64)| {
            format!("{}: at most {most} {}", figure.name(), figure.unit())
        };
        Plan {
            name: self.copy.name.clone(),
            title: self.copy.title.clone(),
            mesh: self.shape.clone(),
            backends: self.backends.clone(),
            lasts_secs: self.lasts().as_secs(),
            max_nodes: self.radius.max_nodes,
            max_regions: self.radius.max_regions,
            steady_state: self
                .hypothesis
                .iter()
                .map(|asked| format!("{}: {} {}", asked.name, asked.probe.name(), asked.tolerance))
                .collect(),
            steps,
            abort_when: self.abort_when.iter().map(|when| format!("{} {}", when.probe.name(), when.text())).collect(),
            invariants: self.invariants.clone(),
            limits: self.limits.iter().map(limit).collect(),
            caveats: self.caveats.clone(),
        }
    }

    fn tell(&self, step: &Step, at_ms: u64) -> Planned {
        let roster = planned(&self.shape);
        let whom = |selectors: &[Selector]| -> Vec<String> {
            let one = |selector: &Selector| match selector.fixed(&roster) {
                Some(nodes) => nodes.iter().map(ToString::to_string).collect(),
                None => vec![format!("{selector} (found when it begins)")],
            };
            selectors.iter().flat_map(one).collect()
        };
        let targets = match &step.does {
            Does::Fault(plan) if plan.to.is_empty() => whom(&plan.target),
            Does::Fault(plan) => {
                let to = format!("against {}", whom(&plan.to).join(", "));
                whom(&plan.target).into_iter().chain([to]).collect()
            }
            Does::Look(_, window, tolerance) => vec![format!("{tolerance}, over {}", show(*window))],
            Does::Task(Task::RollOut(wanted), _) => {
                let named = |wave: &Wave| -> Vec<String> {
                    let edges = wave.edges.iter().map(|edge| Selector::Edge(edge.clone()).to_string());
                    edges
                        .chain(wave.regions.iter().map(|region| Selector::Region(region.clone()).to_string()))
                        .collect()
                };
                let wave = |wave: &Wave| {
                    let whom = if wave.per_mille > 0 { vec![Selector::Edges.to_string()] } else { named(wave) };
                    format!("{} for {}", whom.join(" and "), show(wave.bake()))
                };
                wanted.plan.waves.iter().map(wave).collect()
            }
            Does::Task(..) | Does::Wait => Vec::new(),
        };
        Planned { at_ms, section: step.section, name: step.name.clone(), does: step.does.to_string(), targets }
    }
}
