//! The desk at which edges join: `remit-enrol/1`, on an endpoint of its own.
//!
//! Whoever comes is a stranger: the voter shows a certificate, the stranger none, asks one question within seconds and
//! goes. What is asked is signed over this connection by the key that it is about. The log decides, and the voter then
//! issues what its own registry says; the name in the certificate is the token's or the directory's. Clauses J-3 to J-16,
//! docs/PROTOCOL.md.

use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::sign::SigningKey;
use remit_common::identity::certificate::{BACKDATED, CertificateDer, Validity, issue_node, issued_by, validity_of};
use remit_common::identity::{NodeRole, SpiffeId};
use remit_common::net::enrol::{Asked, EnrolFailed, binding_of};
use remit_common::net::quic::{Arriving, MeshEndpoint};
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::wire::enrol::{
    CERTIFICATE_BYTES_MAX, Claim, EnrolAnswer, EnrolQuestion, EnrolRefused, Issued, Join, Purpose, Renew, Standing,
};

use crate::cluster::{Cluster, WriteError};
use crate::registry::{EnrolRequest, Enrolled, GRACE, Refusal, RefusalKind, with_causes};

/// Time for a handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Time from the connection to the whole question.
const QUESTION_WITHIN: Duration = Duration::from_secs(5);
/// How long connections have to end at shutdown.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What issues certificates of edges.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: SigningKey,
}

/// What every question is answered from.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) cluster: Cluster,
    /// The edges' authority, where this voter has it.
    pub(crate) authority: Option<Arc<Authority>>,
    /// Whose certificates of edges count.
    pub(crate) edges: Arc<Vec<CertificateDer<'static>>>,
    /// Seconds for which a certificate counts.
    pub(crate) life_secs: u32,
}

/// Takes edges in until shutdown.
pub(crate) async fn accept(endpoint: MeshEndpoint, desk: Desk, shutdown: Shutdown) {
    let mut connections = TaskGroup::new(&desk.cluster.env);
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some((task, Err(_))) = connections.next_finished() => {
                tracing::error!(task, "a connection's task did not finish; the edge will ask again");
            }
            arriving = endpoint.accept() => match arriving {
                Some(arriving) => connections.spawn("joining edge", serve(arriving, desk.clone())),
                None => break,
            },
        }
    }
    endpoint.close(CLOSE_WITHIN).await;
    connections.join_all(CLOSE_WITHIN).await;
}

async fn serve(arriving: Arriving, desk: Desk) {
    let remote = arriving.remote();
    let outcome = match answer(arriving, &desk).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::info!(%remote, error = with_causes(&error), "a question of an edge that joins was not answered");
            "broken"
        }
    };
    desk.cluster.metrics.enrolments.get_or_create(&[("outcome", outcome)]).inc();
}

async fn answer(arriving: Arriving, desk: &Desk) -> Result<&'static str, EnrolFailed> {
    let connection = arriving.establish_nameless(HANDSHAKE_WITHIN).await?;
    let binding = binding_of(&connection)?;
    let remote = connection.remote_address();
    let asked = Asked::receive(&connection, QUESTION_WITHIN).await?;
    let answered = match &asked.question {
        EnrolQuestion::Join(join) => match check(desk, &join.claim, Purpose::Join, &binding) {
            Ok(()) => desk.join(join).await,
            Err(refusal) => Err(refusal),
        },
        EnrolQuestion::Renew(Renew { claim, certificate }) => match check(desk, claim, Purpose::Renew, &binding) {
            Ok(()) => desk.renew(claim, certificate).await,
            Err(refusal) => Err(refusal),
        },
        EnrolQuestion::Look(claim) => check(desk, claim, Purpose::Look, &binding)
            .and_then(|()| desk.look(claim))
            .map(|answer| (answer, Vec::new())),
        EnrolQuestion::Unknown { .. } => {
            Err(Refusal::new(RefusalKind::Malformed, "unknown", "this voter does not know the question"))
        }
    };
    match answered {
        Ok((answer, rest)) => {
            let outcome = match &answer {
                EnrolAnswer::Joined(_) => "joined",
                EnrolAnswer::Renewed(_) => "renewed",
                _ => "looked",
            };
            asked.answer(&answer, &rest).await?;
            Ok(outcome)
        }
        Err(Refusal { kind: _, reason, detail }) => {
            tracing::warn!(%remote, reason, detail, "an edge was not taken in");
            asked.answer(&EnrolAnswer::Refused(EnrolRefused { code: reason, detail }), &[]).await?;
            Ok("refused")
        }
    }
}

/// Clause J-5: whoever has the key asks this, here.
fn check(
    desk: &Desk,
    claim: &Claim,
    purpose: Purpose,
    binding: &remit_common::wire::enrol::Binding,
) -> Result<(), Refusal> {
    let refuse = |reason, detail: &str| Err(Refusal::new(RefusalKind::Unauthenticated, reason, detail));
    if claim.mesh != desk.cluster.view().state.genesis().mesh {
        return refuse("wrong_mesh", "this is another mesh");
    }
    if claim.verify(purpose, binding).is_err() {
        return refuse("bad_signature", "the claim is not signed by its key over this connection");
    }
    Ok(())
}

type Answer = Result<(EnrolAnswer, Vec<u8>), Refusal>;

impl Desk {
    /// Clauses J-11, J-12 and J-18.
    async fn join(&self, Join { claim, token, admission }: &Join) -> Answer {
        let authority = self.authority()?;
        let request = EnrolRequest::Join {
            token: *token,
            region: claim.region.clone(),
            edge: claim.edge.clone(),
            identity: claim.identity,
            sealing: claim.sealing.clone(),
            admission: *admission,
        };
        let issued = self.issue(authority, request).await?;
        let trust = self.cluster.view().state.trust()?;
        let first_root = trust.root_chain().next().unwrap_or_default().to_vec();
        Ok((EnrolAnswer::Joined(issued), first_root))
    }

    /// Clauses J-13 to J-15.
    async fn renew(&self, claim: &Claim, certificate: &[u8]) -> Answer {
        let authority = self.authority()?;
        self.cluster.check_current()?;
        self.check_shown(claim, certificate)?;
        let Claim { region, edge, identity, .. } = claim.clone();
        let issued = self.issue(authority, EnrolRequest::Renew { region, edge, identity }).await?;
        Ok((EnrolAnswer::Renewed(issued), Vec::new()))
    }

    /// Clause J-16: told to those whom the directory lists or a token has let in, and to nobody else.
    fn look(&self, claim: &Claim) -> Result<EnrolAnswer, Refusal> {
        let view = self.cluster.view();
        let trust = view.state.trust()?;
        let Claim { region, edge, identity, sealing, .. } = claim;
        let listed = trust.directory.edge(edge).is_some_and(|listed| {
            listed.region == *region && listed.identity == *identity && listed.sealing == *sealing
        });
        let is_known = view.state.enrolled(&identity.id()).is_some_and(|known| known.edge == *edge);
        if view.state.is_evicted(edge) {
            return Err(Refusal::new(
                RefusalKind::Forbidden,
                "edge_evicted",
                format_args!("edge `{edge}` has been cut"),
            ));
        }
        if !listed && !is_known {
            let detail = "nobody has let an edge with these keys in, or that is too long ago";
            return Err(Refusal::new(RefusalKind::Forbidden, "edge_unknown", detail));
        }
        Ok(EnrolAnswer::Standing(Standing { listed, directory: trust.directory.version() }))
    }

    /// Clause J-8.
    fn authority(&self) -> Result<&Authority, Refusal> {
        let missing = || {
            let detail = "this voter does not hold the edges' authority; ask another one";
            Refusal::new(RefusalKind::NotReady, "no_authority", detail)
        };
        self.authority.as_deref().ok_or_else(missing)
    }

    /// The certificate that an edge has says who it is, and has not ended too long ago.
    fn check_shown(&self, claim: &Claim, certificate: &[u8]) -> Result<(), Refusal> {
        let refuse = |reason, detail: &str| Err(Refusal::new(RefusalKind::Forbidden, reason, detail));
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return refuse("bad_certificate", "the certificate is too long");
        }
        let certificate = CertificateDer::from(certificate);
        let role = NodeRole::Edge { region: claim.region.clone(), edge: claim.edge.clone() };
        let named = (SpiffeId { mesh: claim.mesh, role }, claim.identity);
        if !self.edges.iter().any(|authority| issued_by(&certificate, authority).as_ref() == Ok(&named)) {
            return refuse("bad_certificate", "the certificate is not this edge's, or not of this mesh's authority");
        }
        let Ok(validity) = validity_of(&certificate) else {
            return refuse("bad_certificate", "the certificate has no validity");
        };
        if validity.not_after.plus(GRACE) <= self.cluster.env.now().wall {
            return refuse(
                "certificate_too_old",
                "the certificate ended more than seven days ago: join with a new token",
            );
        }
        Ok(())
    }

    async fn issue(&self, authority: &Authority, request: EnrolRequest) -> Result<Issued, Refusal> {
        let enrolled = self.cluster.enrol(request, self.life_secs).await.map_err(refusal_of)?;
        let ends = enrolled.ends();
        let Enrolled { region, edge, identity, index, at, .. } = enrolled;
        let mesh = self.cluster.view().state.genesis().mesh;
        let name = SpiffeId { mesh, role: NodeRole::Edge { region, edge } };
        let validity = Validity { not_before: at.minus(BACKDATED), not_after: ends };
        let certificate = issue_node(&authority.certificate, &authority.key, &name, &identity, index.0, validity)
            .map_err(|error| {
                Refusal::new(
                    RefusalKind::NotReady,
                    "no_authority",
                    format_args!("cannot issue: {}", with_causes(&error)),
                )
            })?;
        tracing::info!(%name, serial = %index, until = %ends, "an edge was given a certificate");
        Ok(Issued { certificate: certificate.to_vec(), index })
    }
}

fn refusal_of(error: WriteError) -> Refusal {
    match error {
        WriteError::Refused(refusal) => refusal,
        WriteError::Unavailable(error) => Refusal::new(RefusalKind::NotReady, "unavailable", error),
        unknown @ WriteError::OutcomeUnknown => Refusal::new(RefusalKind::NotReady, "outcome_unknown", unknown),
    }
}
