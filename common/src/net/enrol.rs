//! Both ends of `remit-enrol/1`: a connection, one question, one answer.
//!
//! Only the voter shows a certificate. What the edge asks it signs over this connection, so that a question is worth
//! nothing on another one. Clauses J-3 to J-5, docs/PROTOCOL.md.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use super::env::{Env, deadline};
use super::quic::{CLOSE_DONE, CLOSE_MISBEHAVED, CLOSE_TOO_SLOW, ConnectFailed, MeshEndpoint, OpenFailed, QuicLimits};
use super::tls::{self, Alpn, Anchor, Identity};
use crate::identity::spiffe::SpiffeId;
use crate::limits::{DOCUMENT_BYTES_MAX, FRAME_BYTES_MAX};
use crate::wire::codec::Unencodable;
use crate::wire::enrol::{Binding, EnrolAnswer, EnrolQuestion, QUESTION_BYTES_MAX};
use crate::wire::frame::{self, Decoded, HEADER_BYTES, PeerMisbehaved};
use crate::wire::message::WireMessage;

/// What the binding is exported as (RFC 8446 section 7.5).
const EXPORTER: &[u8] = b"EXPORTER-remit-enrol-1";
/// Bytes of an answer: a frame, and the first root behind it.
const ANSWER_BYTES_MAX: usize = HEADER_BYTES + FRAME_BYTES_MAX + DOCUMENT_BYTES_MAX;
/// How long a voter waits until an answer has been taken.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// No question came, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum EnrolFailed {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectFailed),
    /// The connection ended.
    #[error("the connection ended")]
    Ended(#[from] quinn::ConnectionError),
    /// What came is too long, or broke off.
    #[error("what came is longer than anything that is said here, or broke off")]
    Read,
    /// Nobody takes what is sent.
    #[error("the peer does not take what is sent")]
    Write(#[from] quinn::WriteError),
    /// It took too long.
    #[error("the peer is too slow")]
    Deadline,
    /// What came is no message of ours.
    #[error(transparent)]
    Misbehaved(#[from] PeerMisbehaved),
    /// Our own message does not fit a frame.
    #[error(transparent)]
    Unencodable(#[from] Unencodable),
    /// The library gives no binding.
    #[error("the connection has no binding")]
    Binding,
}

/// Opens the endpoint at which a voter takes edges in. `identity` carries its authority's certificates, too.
///
/// # Errors
/// [`OpenFailed`].
pub fn listen(env: &Env, addr: SocketAddr, identity: &Identity) -> Result<MeshEndpoint, OpenFailed> {
    let tls = tls::server_for_anybody(env, identity, Alpn::Enrol)?;
    MeshEndpoint::open_as(env, addr, Some(tls), None, QuicLimits::enrol())
}

/// What is the same at both ends of this connection and at no other.
///
/// # Errors
/// [`EnrolFailed::Binding`].
pub fn binding_of(connection: &quinn::Connection) -> Result<Binding, EnrolFailed> {
    let mut bytes = [0; 32];
    connection.export_keying_material(&mut bytes, EXPORTER, b"").map_err(|_| EnrolFailed::Binding)?;
    Ok(Binding(bytes))
}

/// A question that came, and how to answer it.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: EnrolQuestion,
    connection: quinn::Connection,
    send: quinn::SendStream,
}

impl Asked {
    /// Waits for the one question of a connection, no longer than `within`.
    ///
    /// # Errors
    /// [`EnrolFailed`]; the connection is closed then.
    pub async fn receive(connection: &quinn::Connection, within: Duration) -> Result<Self, EnrolFailed> {
        let receiving = async {
            let (send, mut recv) = connection.accept_bi().await?;
            let bytes = recv.read_to_end(QUESTION_BYTES_MAX).await.map_err(|_| EnrolFailed::Read)?;
            let (question, rest) = read(&bytes)?;
            if rest.is_empty() { Ok((question, send)) } else { Err(EnrolFailed::Read) }
        };
        let received = deadline(within, receiving).await.unwrap_or(Err(EnrolFailed::Deadline));
        match received {
            Ok((question, send)) => Ok(Self { question, connection: connection.clone(), send }),
            Err(error) => {
                let code = if matches!(error, EnrolFailed::Deadline) { CLOSE_TOO_SLOW } else { CLOSE_MISBEHAVED };
                connection.close(code.into(), b"");
                Err(error)
            }
        }
    }

    /// Answers, with what follows the answer on the stream, waits until it is taken, and closes the connection.
    ///
    /// # Errors
    /// [`EnrolFailed`].
    pub async fn answer(mut self, answer: &EnrolAnswer, rest: &[u8]) -> Result<(), EnrolFailed> {
        let bytes = answer.to_frame()?;
        let sending = async {
            self.send.write_all(&bytes).await?;
            self.send.write_all(rest).await?;
            // A stream that is gone has said so in the line above, or was taken.
            let _ = self.send.finish();
            let _ = self.send.stopped().await;
            Ok(())
        };
        let sent = deadline(TAKEN_WITHIN, sending).await.unwrap_or(Err(EnrolFailed::Deadline));
        self.connection.close(CLOSE_DONE.into(), b"");
        sent
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// What the voter says.
    pub answer: EnrolAnswer,
    /// What follows it.
    pub rest: Vec<u8>,
    /// The certificates that the voter has shown, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// The asking side. Cloning gives the same endpoint.
#[derive(Debug, Clone)]
pub struct Enroller {
    endpoint: MeshEndpoint,
}

impl Enroller {
    /// Opens an endpoint that knows voters by `anchor`, and reaches addresses like this one.
    ///
    /// # Errors
    /// [`OpenFailed`].
    pub fn open(env: &Env, anchor: &Anchor, like: SocketAddr) -> Result<Self, OpenFailed> {
        let any: SocketAddr =
            if like.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
        let tls = tls::client_without_certificate(env, anchor, Alpn::Enrol)?;
        Ok(Self { endpoint: MeshEndpoint::open_as(env, any, None, Some(tls), QuicLimits::enrol())? })
    }

    /// Connects to a voter, on whose connection one thing can be asked.
    ///
    /// # Errors
    /// [`ConnectFailed`].
    pub async fn connect(
        &self,
        (voter, addr): (&SpiffeId, SocketAddr),
        within: Duration,
    ) -> Result<quinn::Connection, ConnectFailed> {
        Ok(self.endpoint.connect(addr, voter, within).await?.quic)
    }

    /// Asks one voter one thing. `question` is made for the connection.
    ///
    /// # Errors
    /// [`EnrolFailed`]. Whether the voter did what was asked is unknown then, and asking again does no harm.
    pub async fn ask(
        &self,
        voter: (&SpiffeId, SocketAddr),
        question: impl FnOnce(&Binding) -> EnrolQuestion,
        within: Duration,
    ) -> Result<Answered, EnrolFailed> {
        let connection = self.connect(voter, within).await?;
        let asking = async {
            let binding = binding_of(&connection)?;
            let (mut send, mut recv) = connection.open_bi().await?;
            send.write_all(&question(&binding).to_frame()?).await?;
            // A stream that is gone says so when the answer is read.
            let _ = send.finish();
            let bytes = recv.read_to_end(ANSWER_BYTES_MAX).await.map_err(|_| EnrolFailed::Read)?;
            let (answer, rest) = read(&bytes)?;
            let chain = tls::chain_of(&connection).unwrap_or_default();
            Ok(Answered { answer, rest: rest.to_vec(), chain })
        };
        let answered = deadline(within, asking).await.unwrap_or(Err(EnrolFailed::Deadline));
        connection.close(CLOSE_DONE.into(), b"");
        answered
    }

    /// Ends the endpoint.
    pub async fn close(&self) {
        self.endpoint.close(Duration::from_secs(1)).await;
    }
}

/// The one message that bytes begin with, and what follows.
fn read<M: WireMessage>(bytes: &[u8]) -> Result<(M, &[u8]), EnrolFailed> {
    match frame::decode(bytes)? {
        Decoded::Frame(frame, taken) => Ok((M::from_frame(frame)?, bytes.get(taken..).unwrap_or_default())),
        Decoded::NeedMore(_) => Err(EnrolFailed::Read),
    }
}
