//! An administrator's word that a wider bundle is meant, and what the control plane keeps of it.
//!
//! ```text
//! magic (8) | format u16 | len u32 | JSON | container
//! ```
//!
//! `REMITAPR` stands before a container that is posted with an approval, `REMITAPD` before one that is kept with the
//! record of who gave it. A container without either stands for itself. The JSON is read in one spelling only, so that
//! equal approvals are equal bytes. Clauses B-42 to B-44, docs/PROTOCOL.md.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::container::{MalformedBundle, Rest};
use super::diff::Comparison;
use crate::crypto::digest::Digest;
use crate::id::{KeyId, LogIndex, ToolName};
use crate::limits::{APPROVAL_ACTIONS_MAX, APPROVAL_BYTES_MAX, APPROVAL_REASON_BYTES_MAX};
use crate::time::Timestamp;

const GIVEN: &[u8; 8] = b"REMITAPR";
const RECORDED: &[u8; 8] = b"REMITAPD";
// 1: the first.
const FORMAT: u16 = 1;
/// What stands in front of the JSON.
const FRAME_BYTES: usize = 8 + 2 + 4;

/// What an administrator approves: that this container, which is posted with it, replaces that bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The manifest of the bundle that was active when both were compared; `None` where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// Names the comparison that the administrator saw ([`Comparison::digest`]).
    pub comparison: Digest,
    /// Requests of that comparison that are newly permitted, or of whose result more is released.
    pub requests: u64,
    /// The same by action, the first by name.
    pub actions: BTreeMap<ToolName, u64>,
    /// Changes that are wider by themselves.
    pub loosened: u64,
    /// Why, in the administrator's words; may be empty.
    pub reason: String,
}

/// An approval that was given, as the registry keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The administrator's key.
    pub by: KeyId,
    /// The name that the directory had for it then.
    pub name: String,
    /// The entry.
    pub index: LogIndex,
    /// The registry's clock then.
    pub at: Timestamp,
    /// What was approved.
    pub approval: Approval,
}

impl Approval {
    /// Of what a comparison found.
    ///
    /// # Errors
    /// [`MalformedBundle`] names what is wrong with the reason.
    pub fn of(found: &Comparison, reason: &str) -> Result<Self, MalformedBundle> {
        let mut actions = wider(found);
        let requests = actions.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        while actions.len() > APPROVAL_ACTIONS_MAX {
            actions.pop_last();
        }
        let (base, comparison, reason) = (Some(found.old), found.digest(), reason.to_owned());
        let approval = Self { base, comparison, requests, actions, loosened: loosened(found), reason };
        approval.check()?;
        Ok(approval)
    }

    /// Of what a smaller comparison of the same two found, too: it asks less, and counts what it could not ask.
    #[must_use]
    pub fn and(mut self, found: &Comparison) -> Self {
        for (action, count) in wider(found) {
            if self.actions.len() < APPROVAL_ACTIONS_MAX || self.actions.contains_key(&action) {
                let known = self.actions.entry(action).or_default();
                *known = count.max(*known);
            }
        }
        self.requests = self.actions.values().fold(0u64, |sum, count| sum.saturating_add(*count)).max(self.requests);
        self.loosened = loosened(found).max(self.loosened);
        self
    }

    /// Of claims that were to be proven, too, and were not.
    #[must_use]
    pub fn and_unproven(self, claims: u64) -> Self {
        Self { loosened: self.loosened.saturating_add(claims), ..self }
    }

    /// Whether nothing is wider by it.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        self.requests == 0 && self.loosened == 0
    }

    /// Whether everything that a comparison finds to be wider is among what was approved: by action no more requests,
    /// and no more changes that are wider by themselves. Clause C-93.
    ///
    /// # Errors
    /// What is not among it, in words.
    pub fn covers(&self, found: &Comparison) -> Result<(), String> {
        // Of more actions an approval names the first.
        let last = self.actions.keys().next_back().filter(|_| self.actions.len() >= APPROVAL_ACTIONS_MAX);
        for (action, count) in wider(found).into_iter().filter(|(action, _)| last.is_none_or(|last| action <= last)) {
            let approved = self.actions.get(&action).copied().unwrap_or_default();
            if count > approved {
                return Err(format!(
                    "`{action}` is wider by {count} of the requests asked, and {approved} were approved"
                ));
            }
        }
        let (changes, approved) = (loosened(found), self.loosened);
        if changes > approved {
            return Err(format!("{changes} changes are wider by themselves, and {approved} were approved"));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), MalformedBundle> {
        if self.reason.len() > APPROVAL_REASON_BYTES_MAX || self.reason.chars().any(char::is_control) {
            return Err(MalformedBundle { rule: "the reason of an approval is one line of at most 512 bytes" });
        }
        if self.actions.len() > APPROVAL_ACTIONS_MAX {
            return Err(MalformedBundle { rule: "an approval counts at most 64 actions" });
        }
        Ok(())
    }

    /// The body of `POST /v1/bundles`: this, and the container that it is for.
    #[must_use]
    pub fn with(&self, container: &[u8]) -> Vec<u8> {
        framed(GIVEN, self, container)
    }

    /// Takes the body of `POST /v1/bundles` apart. The container is not looked at.
    ///
    /// # Errors
    /// [`MalformedBundle`].
    pub fn split(body: &[u8]) -> Result<(Option<Self>, &[u8]), MalformedBundle> {
        let (approval, container) = unframed::<Self>(GIVEN, body)?;
        approval.iter().try_for_each(Self::check)?;
        Ok((approval, container))
    }
}

impl Approved {
    /// A container as the registry keeps it, with this record in front.
    #[must_use]
    pub fn with(&self, container: &[u8]) -> Vec<u8> {
        framed(RECORDED, self, container)
    }

    /// Takes apart what the registry kept.
    ///
    /// # Errors
    /// [`MalformedBundle`].
    pub fn split(kept: &[u8]) -> Result<(Option<Self>, &[u8]), MalformedBundle> {
        unframed(RECORDED, kept)
    }
}

/// Requests that are newly permitted, or of whose result more is released, by action.
fn wider(found: &Comparison) -> BTreeMap<ToolName, u64> {
    let mut actions: BTreeMap<ToolName, u64> = BTreeMap::new();
    for finding in found.findings.iter().filter(|finding| finding.kind.widens()) {
        let count = actions.entry(finding.action.clone()).or_default();
        *count = count.saturating_add(finding.count);
    }
    actions
}

fn loosened(found: &Comparison) -> u64 {
    u64::try_from(found.loosened().count()).unwrap_or(u64::MAX)
}

pub(super) fn framed(magic: &[u8; 8], value: &impl Serialize, container: &[u8]) -> Vec<u8> {
    // INVARIANT: numbers, texts and maps by name always serialise, in far less than 4 GiB.
    let json = serde_json::to_vec(value).unwrap_or_default();
    let len = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(FRAME_BYTES.saturating_add(json.len()).saturating_add(container.len()));
    for part in [magic.as_slice(), &FORMAT.to_be_bytes(), &len.to_be_bytes(), &json, container] {
        out.extend_from_slice(part);
    }
    out
}

pub(super) fn unframed<'b, T: Serialize + DeserializeOwned>(
    magic: &[u8; 8],
    bytes: &'b [u8],
) -> Result<(Option<T>, &'b [u8]), MalformedBundle> {
    let Some(rest) = bytes.strip_prefix(magic) else { return Ok((None, bytes)) };
    let mut rest = Rest(rest);
    if u16::from_be_bytes(rest.number()?) != FORMAT {
        return Err(MalformedBundle { rule: "the format of what stands before the container is not known" });
    }
    let len = rest.len(APPROVAL_BYTES_MAX, "what stands before a container has at most 32 KiB")?;
    let json = rest.take(len)?;
    let rule = "what stands before the container is not the JSON of an approval or a plan";
    let value: T = serde_json::from_slice(json).map_err(|_| MalformedBundle { rule })?;
    // One spelling only: no key twice, none in another order, no space.
    if serde_json::to_vec(&value).ok().as_deref() != Some(json) {
        return Err(MalformedBundle { rule });
    }
    Ok((Some(value), rest.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval() -> Approval {
        Approval {
            base: Some(Digest([1; 32])),
            comparison: Digest([2; 32]),
            requests: 7,
            actions: BTreeMap::from([("contracts.read".parse().unwrap(), 7)]),
            loosened: 1,
            reason: "the auditors need 120".to_owned(),
        }
    }

    fn approved() -> Approved {
        let (by, index, at) = (KeyId(Digest([3; 32])), LogIndex(9), Timestamp::from_secs(1_793_491_200));
        Approved { by, name: "ops".to_owned(), index, at, approval: approval() }
    }

    const GOLDEN: &str = concat!(
        r#"{"base":"0101010101010101010101010101010101010101010101010101010101010101","#,
        r#""comparison":"0202020202020202020202020202020202020202020202020202020202020202","#,
        r#""requests":7,"actions":{"contracts.read":7},"loosened":1,"reason":"the auditors need 120"}"#,
    );

    fn posted(json: &str) -> Vec<u8> {
        let len = u32::try_from(json.len()).unwrap().to_be_bytes();
        [b"REMITAPR\x00\x01".as_slice(), &len, json.as_bytes(), b"REMITBDL"].concat()
    }

    /// Clause B-42.
    #[test]
    fn an_approval_has_these_bytes_and_reads_back() {
        let body = approval().with(b"REMITBDL");
        assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(&posted(GOLDEN)));
        assert_eq!(Approval::split(&body), Ok((Some(approval()), b"REMITBDL".as_slice())));
        let first = Approval { base: None, ..approval() };
        assert_eq!(Approval::split(&first.with(b"")), Ok((Some(first), b"".as_slice())));
        // What was posted and kept before there were approvals.
        for container in [b"REMITBDL".as_slice(), b"", b"REMITAP"] {
            assert_eq!(Approval::split(container), Ok((None, container)));
            assert_eq!(Approved::split(container), Ok((None, container)));
        }
    }

    /// Clause B-44.
    #[test]
    fn a_record_has_these_bytes_and_reads_back() {
        let kept = approved().with(b"REMITBDL");
        let json =
            format!(r#"{{"by":"{}","name":"ops","index":9,"at":1793491200000,"approval":{GOLDEN}}}"#, "03".repeat(32));
        let text = String::from_utf8_lossy(&kept);
        assert!(text.starts_with("REMITAPD\0\u{1}") && text.ends_with(&format!("{json}REMITBDL")), "{text}");
        assert_eq!(Approved::split(&kept), Ok((Some(approved()), b"REMITBDL".as_slice())));
    }

    #[test]
    fn what_is_no_approval_is_refused() {
        let refused = |body: &[u8]| assert!(Approval::split(body).is_err(), "{}", String::from_utf8_lossy(body));
        for json in [
            "".to_owned(),
            "{}".to_owned(),
            format!(" {GOLDEN}"),
            GOLDEN.replacen("\"requests\":7", "\"requests\":7,\"requests\":7", 1),
            GOLDEN.replacen("\"contracts.read\":7", "\"contracts.read\":7,\"contracts.read\":7", 1),
            GOLDEN.replacen("\"loosened\":1", "\"loosened\":-1", 1),
            GOLDEN.replacen("\"loosened\":1", "\"loosened\":1,\"more\":1", 1),
            GOLDEN.replacen("need 120", "need\\n120", 1),
            GOLDEN.replacen("the auditors", &"x".repeat(APPROVAL_REASON_BYTES_MAX), 1),
            GOLDEN.replacen("the auditors", &"x".repeat(APPROVAL_BYTES_MAX), 1),
        ] {
            refused(&posted(&json));
        }
        let many = (0..=APPROVAL_ACTIONS_MAX).map(|n| (format!("tool.t{n}").parse().unwrap(), 1)).collect();
        refused(&Approval { actions: many, ..approval() }.with(b""));
        let body = approval().with(b"");
        for end in b"REMITAPR".len()..body.len() {
            refused(&body[..end]);
        }
        let mut later = body;
        later[9] = 2;
        refused(&later);
    }
}
