//! That the caller has the envelope's key: channels are opened here, and proofs checked before anything else.
//!
//! Before the envelope, too: whoever has copied one, and its key not, has no signature of it verified, whatever they
//! change in their copy. Clauses.

use std::sync::Arc;
use std::time::Duration;

use remit_common::envelope::{Effective, RawPresentation, leaf_holder};
use remit_common::id::LinkId;
use remit_common::identity::{AgentSvid, NotThisAgent};
use remit_common::limits::CHANNEL_LIFE_MAX;
use remit_common::net::source::Source;
use remit_common::planted::{Bug, planted};
use remit_common::policy::decision::{Denied, Reason};
use remit_common::proof::{Answering, ChannelId, Exchange, Grade, Proof, ProofRefused, RawRequest, VerifiedRequest};
use zeroize::Zeroizing;

use super::{Gateway, Journey};
use crate::chains::Presented;
use crate::channels::{self, Channel};
use crate::config::EnforcementPointEntry;
use crate::ingress::carrier::Carried;
use crate::pdp::{self, Proven, Refusal};

/// What a request carries, nothing of it verified.
struct Shown {
    /// The last link, as it says itself.
    leaf: Option<LinkId>,
    /// `None` for a reference.
    presented: Option<Arc<Presented>>,
}

impl Gateway {
    /// Opens a channel for the holder of an envelope: gives the answer.
    ///
    /// What costs nothing is asked first, then whether the envelope is signed as it must be (one signature, when it is
    /// forged; none, when it is a copy of one that is known), then the holder's signature. Only whoever has the key has
    /// more looked at: whether the envelope stands, and what edges said about its hops. Keys are agreed on last.
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
            if raw.leaf_id(&self.mesh) != Some(request.request().leaf) {
                return Err(ProofRefused::OtherLeaf);
            }
            self.channels.check(&request.request().nonce, source, now.boot)?;
            Ok(request)
        });
        let request = request.map_err(|refused| self.refuse_proof(journey, &refused))?;
        let presented = Arc::new(Presented::from(raw));
        journey.presented = Some(Arc::clone(&presented));
        let chain = self.authenticate(journey).inspect_err(|refusal| self.deny(journey, refusal))?;
        journey.envelope = Some(Arc::clone(&chain.effective));
        let of = chain.effective.leaf().zip(chain.effective.holder_key());
        let request = of.ok_or(ProofRefused::OtherLeaf).and_then(|(leaf, holder)| request.verify(&leaf, holder));
        let request = request.map_err(|refused| self.refuse_proof(journey, &refused))?;
        let effective = self.stand(journey, &chain).inspect_err(|refusal| self.deny(journey, refusal))?;
        let opened = self.answer_holder(journey, request, (presented, effective), source);
        opened.map_err(|refused| self.refuse_proof(journey, &refused))
    }

    /// Opens a channel for whoever has signed for it.
    fn answer_holder(
        &self,
        journey: &Journey,
        request: VerifiedRequest,
        (presented, effective): (Arc<Presented>, Arc<Effective>),
        source: Source,
    ) -> Result<Vec<u8>, ProofRefused> {
        let now = journey.arrived;
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
        let channel = Channel::new(acceptor, source, presented, effective, svid);
        self.channels.insert(channel, nonce, now.boot)?;
        Ok(answer)
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

    /// As [`Self::prove`], for a caller for whom nobody vouches; a refusal is recorded.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit_proven(
        &self,
        journey: &mut Journey,
        carried: Carried,
        proof: Option<&Proof>,
        exchange: &Exchange<'_>,
    ) -> Result<Arc<Effective>, Box<Refusal>> {
        let proven = self.prove(journey, carried, proof, exchange, None);
        proven.inspect_err(|refusal| self.deny(journey, refusal))
    }

    /// Checks the proof over exactly what was received, and only then authenticates the envelope and looks whether it
    /// stands here and now. From here on the journey knows what its caller has proven. A request without a proof counts
    /// as proven as far as the enforcement point vouches that passes it on, which hears of its own tenant's envelopes only;
    /// a proof that is there has to hold.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn prove(
        &self,
        journey: &mut Journey,
        carried: Carried,
        proof: Option<&Proof>,
        exchange: &Exchange<'_>,
        by: Option<&EnforcementPointEntry>,
    ) -> Result<Arc<Effective>, Box<Refusal>> {
        let vouched = by.map_or(Grade::None, |point| point.vouches);
        let is_others = |of: &Effective| by.is_some_and(|point| point.tenant != of.tenant);
        let shown = match carried {
            Carried::Presentation(raw) | Carried::Bearer(raw) => {
                Shown { leaf: raw.leaf_id(&self.mesh), presented: Some(Arc::new(raw.into())) }
            }
            Carried::Reference(leaf) => Shown { leaf: Some(leaf), presented: None },
        };
        let channel = proof.and_then(|proof| self.channels.get(&proof.channel, journey.arrived.boot));
        let grade = match proof {
            Some(proof) => self.check_proof(journey, &shown, channel.as_deref(), proof, exchange),
            None => self.check_connection(journey, &shown, vouched),
        };
        let proven = grade.and_then(|grade| {
            let behind = || channel.as_ref().map(|channel| Arc::clone(channel.presented()));
            // A reference to nothing; a proof over a channel that is not here has been refused.
            let presented = shown.presented.clone().or_else(behind).ok_or(ProofRefused::UnknownChannel)?;
            Ok((grade, presented))
        });
        let (grade, presented) = proven.map_err(|refused| {
            journey.envelope = self.known(journey, &shown, channel.as_deref()).filter(|of| !is_others(of));
            Refusal::of_proof(&refused)
        })?;
        journey.channel = channel;
        journey.proven = Proven { grade, definition: proof.and_then(|proof| proof.definition), ..journey.proven };
        journey.presented = Some(presented);
        let chain = self.authenticate(journey)?;
        if is_others(&chain.effective) {
            journey.channel = None;
            let detail = "an enforcement point asks about envelopes of its own tenant";
            return Err(Refusal::of_call(Denied::new(Reason::WrongAudience, detail)));
        }
        let effective = self.stand(journey, &chain)?;
        // Whatever is asked, so that a stolen envelope does not even show what it would be good for.
        let enough = self.floor.check(grade, pdp::demanded_by(&effective));
        enough.map_err(|refused| Refusal::of_proof(&refused))?;
        Ok(journey.acting(effective))
    }

    /// What a proof over a channel proves, of the envelope that the channel is of and no other.
    fn check_proof(
        &self,
        journey: &Journey,
        shown: &Shown,
        channel: Option<&Channel>,
        proof: &Proof,
        exchange: &Exchange<'_>,
    ) -> Result<Grade, ProofRefused> {
        let Some(channel) = channel else {
            let is_taken = planted(Bug::ChannelOfAnotherEdge);
            return if is_taken { Ok(proof.evidence.grade()) } else { Err(ProofRefused::UnknownChannel) };
        };
        if shown.leaf != Some(channel.leaf()) {
            let is_unchecked = planted(Bug::LeafUncheckedWhenCached) && self.known(journey, shown, None).is_some();
            if !is_unchecked {
                return Err(ProofRefused::OtherLeaf);
            }
        }
        let grade = channel.accept(proof, exchange, journey.arrived.boot)?;
        self.floor.check(grade, pdp::demanded_by(channel.effective()))?;
        Ok(grade)
    }

    /// What a request without a proof proves by its connection, or by whoever vouches for it, if that is not too little
    /// for this edge.
    fn check_connection(&self, journey: &Journey, shown: &Shown, vouched: Grade) -> Result<Grade, ProofRefused> {
        // Leaf ids stand in logs: a reference is nothing without a proof.
        let presented = shown.presented.as_deref().ok_or(ProofRefused::Missing)?;
        let is_holder = journey.connection.is_some() && journey.connection == leaf_holder(presented.raw());
        let grade = if is_holder { vouched.max(Grade::P0) } else { vouched };
        self.floor.check(grade, Grade::None)?;
        Ok(grade)
    }

    /// Whose envelope was shown beside a proof that does not count, as far as that is known without a signature: the
    /// channel's, or one that was verified before.
    fn known(&self, journey: &Journey, shown: &Shown, channel: Option<&Channel>) -> Option<Arc<Effective>> {
        if let Some(channel) = channel.filter(|channel| shown.leaf == Some(channel.leaf())) {
            return Some(Arc::clone(channel.effective()));
        }
        let directory = journey.view.directory(journey.arrived.wall).ok()?;
        self.chains.known(shown.presented.as_deref()?, &self.mesh, directory)
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
