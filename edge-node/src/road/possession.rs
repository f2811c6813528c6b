//! That the caller has the envelope's key: channels are opened here, and proofs checked before anything is judged.
//!
//! Clauses.

use std::sync::Arc;
use std::time::Duration;

use remit_common::envelope::{Effective, RawPresentation};
use remit_common::identity::{AgentSvid, NotThisAgent};
use remit_common::limits::CHANNEL_LIFE_MAX;
use remit_common::planted::{Bug, planted};
use remit_common::policy::decision::{Denied, Reason};
use remit_common::proof::{Answering, ChannelId, Exchange, Grade, Proof, ProofRefused, RawRequest};
use zeroize::Zeroizing;

use super::{Gateway, Journey};
use crate::channels::{self, Channel, Source};
use crate::ingress::carrier::Carried;
use crate::pdp::{self, Proven, Refusal};

impl Gateway {
    /// Opens a channel for the holder of an envelope: gives the answer.
    ///
    /// What costs nothing is asked first, then whether the envelope stands (one signature of a new link, when it
    /// is forged), then the holder's signature, and only then keys are agreed on.
    ///
    /// # Errors
    /// Why not; recorded.
    pub(crate) fn open_channel(
        &self,
        journey: &mut Journey,
        raw: RawPresentation,
        body: &[u8],
        source: Source,
    ) -> Result<Vec<u8>, Box<Refusal>> {
        let now = journey.arrived;
        let request = RawRequest::parse(body).map_err(ProofRefused::from).and_then(|request| {
            request.check_place_and_time(&self.mesh, &self.place.edge, now.wall)?;
            self.channels.check(&request.request().nonce, source, now.boot)?;
            Ok(request)
        });
        let request = request.map_err(|refused| self.refuse_proof(journey, &refused))?;
        let presented = Arc::new(raw);
        let effective = self.admit(journey, Arc::clone(&presented))?;
        let opened =
            effective.leaf().zip(effective.holder_key()).ok_or(ProofRefused::OtherLeaf).and_then(|(leaf, holder)| {
                let request = request.verify(&leaf, holder)?;
                let svid = self.check_identity(journey, &effective, request.request().svid.as_deref())?;
                let ends = svid.as_ref().map_or(effective.expires, |svid| {
                    // The last second counts as a whole.
                    effective.expires.min(svid.validity().not_after.plus(Duration::from_secs(1)))
                });
                let nonce = request.request().nonce;
                let ephemeral = Zeroizing::new(self.env.random());
                let with = Answering {
                    key: &self.key,
                    channel: ChannelId(self.env.random()),
                    ephemeral: &ephemeral,
                    nonce: self.env.random(),
                    base: 0,
                    life: CHANNEL_LIFE_MAX.min(ends.since(now.wall)),
                };
                let (acceptor, answer) = request.answer(&with, now)?;
                let channel = Channel::new(acceptor, source, presented, Arc::clone(&effective), svid);
                self.channels.insert(channel, nonce, now.boot)?;
                Ok(answer)
            });
        opened.map_err(|refused| self.refuse_proof(journey, &refused))
    }

    /// Whether the identity that a holder shows makes true what its envelope says of it. One that does not is refused
    /// and not passed over: whoever shows it believes to be somebody.
    fn check_identity(
        &self,
        journey: &Journey,
        effective: &Effective,
        shown: Option<&[u8]>,
    ) -> Result<Option<AgentSvid>, ProofRefused> {
        let Some(shown) = shown else { return Ok(None) };
        let svid = AgentSvid::parse(shown)?;
        let active = journey.view.bundles.get(&effective.tenant).ok_or(NotThisAgent::UnknownDomain)?;
        svid.check_time(journey.arrived.wall)?;
        channels::check_identity(&svid, effective, &active.bundle)?;
        Ok(Some(svid))
    }

    /// Authenticates the envelope, looks whether it stands here and now, and checks the proof over exactly what was
    /// received. From here on the journey knows what its caller has proven.
    ///
    /// # Errors
    /// Why not; recorded.
    pub(crate) fn admit_proven(
        &self,
        journey: &mut Journey,
        carried: Carried,
        proof: Option<&Proof>,
        exchange: &Exchange<'_>,
    ) -> Result<Arc<Effective>, Box<Refusal>> {
        let channel = proof.and_then(|proof| self.channels.get(&proof.channel, journey.arrived.boot));
        let raw = match carried {
            Carried::Presentation(raw) | Carried::Bearer(raw) => Arc::new(raw),
            Carried::Reference(leaf) => {
                let known = channel.as_ref().filter(|channel| channel.leaf() == leaf);
                let refused = match (proof, &channel) {
                    (None, _) => ProofRefused::Missing,
                    (Some(_), None) => ProofRefused::UnknownChannel,
                    (Some(_), Some(_)) => ProofRefused::OtherLeaf,
                };
                let known = known.ok_or(refused).map_err(|refused| self.refuse_proof(journey, &refused))?;
                Arc::clone(known.presented())
            }
        };
        let kept = planted(Bug::LeafUncheckedWhenCached).then(|| self.chains.len());
        let effective = self.admit(journey, raw)?;
        let is_unchecked = kept.is_some_and(|kept| kept == self.chains.len());
        let grade = match proof {
            None if journey.connection.is_some_and(|key| Some(&key) == effective.holder_key()) => Ok(Grade::P0),
            None => Ok(Grade::None),
            Some(proof) if channel.is_none() && planted(Bug::ChannelOfAnotherEdge) => Ok(proof.evidence.grade()),
            Some(proof) => channel.ok_or(ProofRefused::UnknownChannel).and_then(|channel| {
                if effective.leaf() != Some(channel.leaf()) && !is_unchecked {
                    return Err(ProofRefused::OtherLeaf);
                }
                let grade = channel.accept(proof, exchange, journey.arrived.boot)?;
                journey.channel = Some(channel);
                Ok(grade)
            }),
        };
        let grade = grade.map_err(|refused| self.refuse_proof(journey, &refused))?;
        journey.proven = Proven { grade, definition: proof.and_then(|proof| proof.definition), ..journey.proven };
        // Whatever is asked, so that a stolen envelope does not even show what it would be good for.
        let enough = self.floor.check(journey.proven.grade, pdp::demanded_by(&effective));
        enough.map_err(|refused| self.refuse_proof(journey, &refused))?;
        Ok(journey.acting(effective))
    }

    /// Records that a request was refused for its proof.
    pub(crate) fn refuse_proof(&self, journey: &Journey, refused: &ProofRefused) -> Box<Refusal> {
        let refusal = Refusal::of_proof(refused);
        self.deny(journey, &refusal);
        refusal
    }

    /// Records that a request came with a carrier that is for presentations that prove nothing.
    pub(crate) fn refuse_carrier(&self, journey: &Journey, detail: &str) -> Box<Refusal> {
        let refusal = Refusal::of_envelope(Denied::new(Reason::Malformed, detail));
        self.deny(journey, &refusal);
        refusal
    }
}
