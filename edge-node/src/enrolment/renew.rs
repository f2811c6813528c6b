//! A certificate is renewed at half its life, while everything goes on. Clause N-25.

use std::sync::Arc;
use std::time::Duration;

use remit_common::identity::certificate::{BACKDATED, CertificateDer, Validity, validity_of};
use remit_common::identity::{identity_of, to_pem};
use remit_common::net::enrol::Enroller;
use remit_common::net::quic::MeshEndpoint;
use remit_common::net::tasks::Shutdown;
use remit_common::net::tls::{Alpn, Anchor, Identity, Peers};
use remit_common::time::Timestamp;
use remit_common::wire::enrol::{EnrolAnswer, EnrolQuestion, Purpose, Renew};
use tokio::sync::watch;

use super::{Asker, BACKOFF_MAX, BACKOFF_MIN, NotJoined, Progress, Round, places};
use crate::telemetry::chain_text;

/// From one certificate to the question for the next, whatever their times say.
const RENEWED_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The certificate that voters are shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) validity: Option<Validity>,
}

impl Shown {
    pub(crate) fn new(certificate: CertificateDer<'static>) -> Self {
        let validity = validity_of(&certificate).ok();
        Self { certificate, validity }
    }
}

/// Renews the certificate of a running edge.
pub(crate) struct Renewal {
    asker: Asker,
    /// Shows the certificate to voters.
    endpoint: MeshEndpoint,
    voters: Peers,
    shown: watch::Sender<Shown>,
}

impl Renewal {
    /// For an edge whose configuration says that voters take it in.
    pub(crate) fn new(
        env: &remit_common::net::env::Env,
        config: &Arc<crate::config::Config>,
        keys: (Arc<remit_common::crypto::sign::SigningKey>, remit_common::crypto::hpke::SealingPublicKey),
        (endpoint, voters): (MeshEndpoint, Peers),
        shown: watch::Sender<Shown>,
    ) -> Result<Self, NotJoined> {
        let progress = Progress::load(config, env);
        let places = places(config, progress.as_ref());
        let like = places.values().next().copied().unwrap_or(config.listen.ops);
        let enroller = Enroller::open(env, &Anchor::Authority(voters.clone()), like)?;
        let (key, sealing) = keys;
        let asker = Asker { env: env.clone(), config: Arc::clone(config), enroller, key, sealing, places };
        Ok(Self { asker, endpoint, voters, shown })
    }

    pub(crate) async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            biased;
            () = shutdown.requested() => {}
            () = self.keep() => {}
        }
        self.asker.enroller.close().await;
    }

    async fn keep(&self) {
        loop {
            let due = due(&self.shown.borrow(), self.asker.env.random());
            while self.asker.env.now().wall < due {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let mut backoff = BACKOFF_MIN;
            let mut told = String::new();
            while let Err(why) = self.renew().await {
                if why != told {
                    let ends = self.shown.borrow().validity.map(|validity| validity.not_after.to_string());
                    tracing::warn!(why, ends, "the certificate is not renewed yet");
                    told = why;
                }
                tokio::time::sleep(self.asker.jittered(backoff)).await;
                backoff = BACKOFF_MAX.min(backoff * 2);
            }
            tokio::time::sleep(RENEWED_PAUSE).await;
        }
    }

    /// Asks once round; what a voter gives is on the disk before it is shown.
    async fn renew(&self) -> Result<(), String> {
        let shown = self.shown.borrow().certificate.to_vec();
        let ask = |claim| EnrolQuestion::Renew(Renew { claim, certificate: shown.clone() });
        let answered = match self.asker.round(Purpose::Renew, ask).await {
            Round::Done(answered) => answered.answer,
            Round::Refused(why) => return Err(format!("{}: {}", why.code, why.detail)),
            Round::Later(why) => return Err(why),
        };
        let EnrolAnswer::Renewed(issued) = answered else {
            return Err("a voter gives another answer than to the question".to_owned());
        };
        let new = Shown::new(CertificateDer::from(issued.certificate));
        let (now, is_ours) = (
            self.asker.env.now().wall,
            identity_of(&new.certificate) == Ok((self.asker.name(), *self.asker.key.public())),
        );
        let counts = new.validity.is_some_and(|validity| validity.not_before <= now && now < validity.not_after);
        if !is_ours || !counts {
            return Err("a voter gives another edge's certificate, or one that does not count now".to_owned());
        }
        if !outlasts(&new, &self.shown.borrow()) {
            return Err("a voter gives a certificate that ends no later than the one that it is to follow".to_owned());
        }
        let (disk, path) = (Arc::clone(&self.asker.env.disk), self.asker.config.tls.certificate.clone());
        let pem = to_pem(&new.certificate);
        let stored = self.asker.env.run_blocking(move || disk.replace(&path, pem.as_bytes())).await;
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(chain_text(&error)),
            Err(error) => return Err(chain_text(&error)),
        }
        let identity = Identity::new(vec![new.certificate.clone()], &self.asker.key);
        self.endpoint.show(&self.asker.env, &identity, &self.voters, Alpn::Dist).map_err(|error| chain_text(&error))?;
        let ends = new.validity.map(|validity| validity.not_after.to_string());
        tracing::info!(serial = %issued.index, ends, "voters are shown a new certificate from the next connection on");
        self.shown.send_replace(new);
        Ok(())
    }
}

/// Whether a certificate is worth having: it ends later than the one before. Otherwise the next would be due at once.
fn outlasts(new: &Shown, shown: &Shown) -> bool {
    let ends = |of: &Shown| of.validity.map(|validity| validity.not_after);
    ends(new) > ends(shown)
}

/// When to ask for the next certificate: at half the life that it had when it was issued, and up to a tenth of it later.
/// One whose times cannot be read is renewed at once.
fn due(shown: &Shown, [random]: [u8; 1]) -> Timestamp {
    let Some(Validity { not_before, not_after }) = shown.validity else { return Timestamp::default() };
    let issued = not_before.plus(BACKDATED).min(not_after);
    let life = not_after.since(issued);
    issued.plus(life / 2).plus((life / 10).mul_f32(f32::from(random) / f32::from(u8::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N-25.
    #[test]
    fn a_certificate_is_renewed_when_half_of_its_life_is_over_and_not_all_at_once() {
        let at = Timestamp::from_secs(1_000_000);
        let day = Duration::from_secs(86_400);
        let validity = Validity { not_before: at.minus(BACKDATED), not_after: at.plus(day) };
        let shown = Shown { certificate: CertificateDer::from(Vec::new()), validity: Some(validity) };
        assert_eq!(due(&shown, [0]), at.plus(day / 2));
        assert_eq!(due(&shown, [255]), at.plus(day / 2 + day / 10));
        assert!(due(&shown, [1]) < due(&shown, [2]));
        let unreadable = Shown { validity: None, ..shown };
        assert_eq!(due(&unreadable, [9]), Timestamp::default());
    }
}
