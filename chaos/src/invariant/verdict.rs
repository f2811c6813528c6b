//! What a judge says: which promise, whether it was kept, what was looked at, and the events that show a breach.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::history::Event;

/// Events that a breach names at most; the first few tell the story.
const WITNESSES_MAX: usize = 8;
/// Breaches that a verdict keeps; the rest are counted.
const BREACHES_MAX: usize = 10;

/// One property of the mesh. The letters are those of drill files, journals and reports; they are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Invariant {
    /// Voters agree on every entry of the log.
    RaftSafety,
    /// Reads see every acknowledged write.
    Linearizable,
    /// Edges run what administrators published.
    Bundles,
    /// After the failure every edge runs the newest bundle.
    Convergence,
    /// A bundle in waves stays where it has come to, and goes back.
    Waves,
    /// Edges go back only where the newest bundle says.
    WayBack,
    /// Revocations stop what they cut, in time.
    Revocation,
    /// What was revoked stays revoked.
    Resurrection,
    /// Edges know how old their knowledge is.
    HonestAge,
    /// Nothing is permitted that was not granted.
    Authority,
    /// What was withdrawn is refused, in time.
    Withdrawal,
    /// Acknowledged records are kept.
    Records,
    /// Calls that change something are recorded before they are made.
    RecordedFirst,
    /// The credential stays where it belongs.
    Secrecy,
    /// After the failure the mesh works again.
    Liveness,
    /// Edges go on without the control plane.
    Availability,
    /// What an edge has learnt it keeps.
    Monotone,
}

/// A text names no invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no invariant: R1, R2, B1, B2, B3, B4, V1, V2, V3, P1, P2, D1, D2, C1, L1, A1 and M1 are")]
pub struct UnknownInvariant(pub String);

impl Invariant {
    /// Every invariant, in the order of reports.
    pub const ALL: [Self; 17] = [
        Self::RaftSafety,
        Self::Linearizable,
        Self::Bundles,
        Self::Convergence,
        Self::Waves,
        Self::WayBack,
        Self::Revocation,
        Self::Resurrection,
        Self::HonestAge,
        Self::Authority,
        Self::Withdrawal,
        Self::Records,
        Self::RecordedFirst,
        Self::Secrecy,
        Self::Liveness,
        Self::Availability,
        Self::Monotone,
    ];

    /// Its letter and number: `V1`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RaftSafety => "R1",
            Self::Linearizable => "R2",
            Self::Bundles => "B1",
            Self::Convergence => "B2",
            Self::Waves => "B3",
            Self::WayBack => "B4",
            Self::Revocation => "V1",
            Self::Resurrection => "V2",
            Self::HonestAge => "V3",
            Self::Authority => "P1",
            Self::Withdrawal => "P2",
            Self::Records => "D1",
            Self::RecordedFirst => "D2",
            Self::Secrecy => "C1",
            Self::Liveness => "L1",
            Self::Availability => "A1",
            Self::Monotone => "M1",
        }
    }

    /// What it promises, for people who run agents and not consensus.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::RaftSafety => "The voters of the control plane never disagree about what was decided",
            Self::Linearizable => {
                "What the control plane has acknowledged is there in every later read, and never lost"
            }
            Self::Bundles => "Edges only ever run policy bundles exactly as administrators published them",
            Self::Convergence => "After the failure every edge soon has the newest policy bundle and relations",
            Self::Waves => {
                "A policy bundle that comes in waves runs nowhere else, and leaves every edge soon after it is taken back"
            }
            Self::WayBack => {
                "An edge goes back only to what the newest policy it has run names, and not to what killed it"
            }
            Self::Revocation => "A revoked session is refused by every edge within the promised time, even one cut off",
            Self::Resurrection => "An edge that has refused a session as revoked never permits it again",
            Self::HonestAge => "An edge never takes what it knows for younger than it is",
            Self::Authority => "No call is permitted that its envelope and the policy do not admit",
            Self::Withdrawal => {
                "What a relation or a policy no longer allows is refused by every edge within the promised time"
            }
            Self::Records => "No acknowledged decision record is lost, changed or doubled, and every gap is declared",
            Self::RecordedFirst => {
                "Every call that changes something is on record, even when the power fails right after"
            }
            Self::Secrecy => "No credential appears outside the place where it belongs",
            Self::Liveness => "After the failure the mesh soon works again by itself",
            Self::Availability => "Reads go on while the control plane is away, for as long as was promised",
            Self::Monotone => "What an edge has learnt it does not forget, also over restarts",
        }
    }

    /// The promise of docs/ARCHITECTURE.md that it measures, where it measures one.
    #[must_use]
    pub fn promise(self) -> Option<&'static str> {
        match self {
            Self::RaftSafety | Self::Linearizable => Some("I-9"),
            Self::Bundles => Some("I-4"),
            Self::Revocation | Self::Resurrection | Self::HonestAge => Some("I-2"),
            Self::Authority | Self::Withdrawal => Some("I-1"),
            Self::Records | Self::RecordedFirst => Some("I-7"),
            Self::Secrecy => Some("I-5"),
            Self::Monotone => Some("I-3"),
            Self::Waves | Self::WayBack => Some("I-11"),
            Self::Convergence | Self::Liveness | Self::Availability => None,
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Invariant {
    type Err = UnknownInvariant;

    fn from_str(text: &str) -> Result<Self, UnknownInvariant> {
        let unknown = || UnknownInvariant(text.chars().take(64).flat_map(char::escape_default).collect());
        Self::ALL.into_iter().find(|invariant| invariant.as_str() == text).ok_or_else(unknown)
    }
}

impl TryFrom<String> for Invariant {
    type Error = UnknownInvariant;

    fn try_from(text: String) -> Result<Self, UnknownInvariant> {
        text.parse()
    }
}

impl From<Invariant> for String {
    fn from(invariant: Invariant) -> Self {
        invariant.as_str().to_owned()
    }
}

/// What came of looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// There was something to look at, and all of it was as promised.
    Held,
    /// The promise was broken.
    Violated,
    /// The history has nothing that would show a breach.
    NotMeasured,
}

/// One promise, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which.
    pub id: Invariant,
    /// [`Invariant::title`], so that a verdict can be read without this program.
    pub title: String,
    /// What came of it.
    pub status: Status,
    /// What was looked at: `permits compared: 812`.
    pub looked_at: BTreeMap<String, u64>,
    /// The first breaches.
    pub breaches: Vec<Breach>,
    /// How many breaches there were in all.
    pub breaches_total: u64,
    /// What could not be judged, and why; for people.
    pub notes: Vec<String>,
}

/// One breach of a promise, with the events that show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// What happened, as a sentence.
    pub sentence: String,
    /// The events that show it, in the order in which the sentence needs them.
    pub events: Vec<Witness>,
}

/// An event of the history, by place and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its index.
    pub index: u64,
    /// Microseconds since the run began.
    pub time_us: u64,
}

impl From<&Event> for Witness {
    fn from(event: &Event) -> Self {
        Self { index: event.index, time_us: event.time_us }
    }
}

/// Gathers what one invariant sees. Without anything looked at the verdict is [`Status::NotMeasured`].
#[derive(Debug, Default)]
pub(super) struct Findings {
    looked_at: BTreeMap<&'static str, u64>,
    breaches: Vec<Breach>,
    breaches_total: u64,
    notes: Vec<String>,
    compared: u64,
}

impl Findings {
    /// Counts something that could have shown a breach.
    pub(super) fn compared(&mut self, what: &'static str) {
        self.compared += 1;
        self.saw(what, 1);
    }

    /// Counts something else that the report should mention.
    pub(super) fn saw(&mut self, what: &'static str, count: u64) {
        *self.looked_at.entry(what).or_default() += count;
    }

    /// Notes what could not be judged.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Notes a breach. Sentences are only made for those that are kept.
    pub(super) fn breach(&mut self, events: &[Witness], sentence: impl FnOnce() -> String) {
        self.breaches_total += 1;
        if self.breaches.len() < BREACHES_MAX {
            let events = events.iter().copied().take(WITNESSES_MAX).collect();
            self.breaches.push(Breach { sentence: sentence(), events });
        }
    }

    /// The verdict.
    pub(super) fn verdict(self, id: Invariant) -> Verdict {
        let status = match (self.breaches_total, self.compared) {
            (0, 0) => Status::NotMeasured,
            (0, _) => Status::Held,
            _ => Status::Violated,
        };
        Verdict {
            id,
            title: id.title().to_owned(),
            status,
            looked_at: self.looked_at.into_iter().map(|(what, count)| (what.to_owned(), count)).collect(),
            breaches: self.breaches,
            breaches_total: self.breaches_total,
            notes: self.notes,
        }
    }
}

/// A moment for people: seconds with milliseconds.
pub(super) fn at(time_us: u64) -> String {
    format!("{}.{:03} s", time_us / 1_000_000, time_us / 1_000 % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_reads_back_and_is_named_in_the_error() {
        let error = "V9".parse::<Invariant>().unwrap_err().to_string();
        for invariant in Invariant::ALL {
            assert_eq!(invariant.as_str().parse(), Ok(invariant));
            assert!(error.contains(invariant.as_str()), "{error}");
        }
    }

    #[test]
    fn nothing_looked_at_is_not_measured_and_one_breach_is_enough() {
        let status = |findings: Findings| findings.verdict(Invariant::Secrecy).status;
        assert_eq!(status(Findings::default()), Status::NotMeasured);
        let mut findings = Findings::default();
        findings.compared("places searched");
        assert_eq!(status(findings), Status::Held);
        let mut findings = Findings::default();
        findings.breach(&[], String::new);
        assert_eq!(status(findings), Status::Violated);
    }

    #[test]
    fn breaches_beyond_the_first_few_are_counted_only() {
        let mut findings = Findings::default();
        for _ in 0..1_000 {
            findings.breach(&[Witness { index: 1, time_us: 2 }; 100], || "again".to_owned());
        }
        let verdict = findings.verdict(Invariant::RaftSafety);
        assert_eq!((verdict.breaches.len(), verdict.breaches_total), (BREACHES_MAX, 1_000));
        assert!(verdict.breaches.iter().all(|breach| breach.events.len() == WITNESSES_MAX));
    }
}
