//! What each reason means, and what to do about it, in words. For people; programs go by [`Reason`].

use super::decision::Reason;

impl Reason {
    /// What happened.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Permit => "policy permits the call, and the edge had all that the call needs",
            Self::NoEnvelope => "the call came without an envelope",
            Self::Malformed => "the request or its envelope is not well-formed",
            Self::BadSignature => {
                "a signature of the envelope's chain does not verify, or too few issuers signed its root"
            }
            Self::Expired => "a link of the envelope has expired",
            Self::NotYetValid => "a link of the envelope is not valid yet",
            Self::Revoked => {
                "something that the call hangs on was revoked: a link, a holder, a session, an agent, a human, a tool or a credential"
            }
            Self::BadProof => {
                "the caller did not prove that the envelope is theirs, or not as strongly as it had to be proven"
            }
            Self::Replayed => "this proof was used before: somebody sent the same call twice",
            Self::WrongAudience => "the envelope or its proof is for another edge, region or mesh",
            Self::OutOfScope => "the call lies outside what the envelope grants",
            Self::PurposeMismatch => "the tool does not serve the purpose for which the envelope was given",
            Self::UnmappedArgument => {
                "the call carries an argument that the tool's descriptor does not name, or lacks one that the envelope constrains"
            }
            Self::UnmappedDimension => "a dimension that the envelope constrains has no usable value in the call",
            Self::Forbidden => "a rule forbids the call, and no permit weighs against that",
            Self::NoMatchingPolicy => "no rule permits the call, and what nothing permits is denied",
            Self::EvaluationFailed => {
                "a rule that could forbid the call could not be evaluated, so it counts as forbidding"
            }
            Self::ObligationUnmet => "the call was permitted on a condition that could not be met",
            Self::Unregistered => {
                "a link of the chain is not registered, and the call cannot be undone or needs the registration"
            }
            Self::FanoutExhausted => "the link has as many children as it may have, or its root as many links",
            Self::ApprovalRequired => "a human has to approve this call first",
            Self::BudgetExhausted => "a budget of the envelope is spent",
            Self::Stale => {
                "the edge knew too little of what has changed since: for this effect its knowledge was too old, or not the version that was asked for"
            }
            Self::Isolated => "the edge was cut off from the control plane beyond every bound",
            Self::Quarantined => "the edge refuses everything: it is quarantined",
            Self::ToolUnknown => "the catalogue of the active bundle has no such tool",
            Self::ToolQuarantined => "the tool is not what it was when it was approved",
            Self::VaultQuorumLost => "the credential that the tool needs could not be opened at this edge",
            Self::UpstreamUnreachable => "the tool's server could not be reached, or its answer could not be used",
        }
    }

    /// What would have been needed, or what to do now.
    #[must_use]
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Permit => "`remit decision show ID` has what was released",
            Self::NoEnvelope => "send the envelope with the call: `remit agent` does so for a client that cannot",
            Self::Malformed => {
                "compare the request with docs/PROTOCOL.md, sections P and E; the note says what was wrong"
            }
            Self::BadSignature => "show the envelope with `remit envelope show`, and get a new one from the issuers",
            Self::Expired => "ask for a new envelope; `remit envelope show` tells when each link ends",
            Self::NotYetValid => "wait until the link begins, or compare the clocks of who made it and of the edge",
            Self::Revoked => "find the cut with `remit revocation ls`; if it was meant, the agent needs a new envelope",
            Self::BadProof => "prove with the key that the last link names, in the grade that the refusal asks for",
            Self::Replayed => "make a new proof for every call; if nobody sent it twice, somebody copied it",
            Self::WrongAudience => "call an edge that the envelope is for, or ask for one that is for this edge",
            Self::OutOfScope => {
                "ask whoever made the link that is named for a grant that reaches this, or call within it"
            }
            Self::PurposeMismatch => {
                "ask for an envelope with a purpose that the tool serves; `remit bundle show` lists the catalogue"
            }
            Self::UnmappedArgument => "leave the argument out, or have it named in the tool's catalogue entry",
            Self::UnmappedDimension => "name at least one id for the dimension, as plain text without spaces",
            Self::Forbidden => "see the rules that forbid it: they are meant to hold; changing them takes a new bundle",
            Self::NoMatchingPolicy => {
                "compare the nearest permits; what they lack is what would have been needed, or a new permit is"
            }
            Self::EvaluationFailed => {
                "the note says what failed: mend the rule, or give the call the attribute that it reads"
            }
            Self::ObligationUnmet => {
                "the note says which condition; it is met at the edge or with the tool, not in the call"
            }
            Self::Unregistered => "register the link at an edge that reaches the voters: `remit envelope register`",
            Self::FanoutExhausted => {
                "wait until other children have expired, or ask for an envelope with a wider fan-out"
            }
            Self::ApprovalRequired => "have the human commit to the call, or ask for one that can be undone",
            Self::BudgetExhausted => "ask for an envelope with more budget",
            Self::Stale => {
                "compare the age on record with the bound; look at the edge's connection with `remit status`"
            }
            Self::Isolated => "reconnect the edge; `remit status` shows when it was last heard of",
            Self::Quarantined => "`remit status` says why; an operator releases it after looking into it",
            Self::ToolUnknown => "compare the tool's name with the catalogue: `remit bundle show`",
            Self::ToolQuarantined => "compare the tool with its pinned definition, and pin the new one if it is meant",
            Self::VaultQuorumLost => {
                "`remit credential ls` says for which edges it is sealed; seal it for this one, or wait for its peers"
            }
            Self::UpstreamUnreachable => {
                "look at the tool's server and its address in the catalogue; the call can be made again"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_words_of_its_own_and_a_next_step() {
        let all: Vec<Reason> = Reason::all().collect();
        let meanings: BTreeSet<&str> = all.iter().map(|reason| reason.meaning()).collect();
        let steps: BTreeSet<&str> = all.iter().map(|reason| reason.next_step()).collect();
        assert_eq!((meanings.len(), steps.len()), (all.len(), all.len()));
        assert!(meanings.iter().chain(&steps).all(|text| text.len() > 20 && !text.ends_with('.')));
    }
}
