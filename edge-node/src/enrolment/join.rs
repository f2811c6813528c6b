//! The first start of an edge that was given a token, and another one when its certificate is past renewing. Clauses N-22
//! and N-23.

use std::path::Path;
use std::sync::Arc;

use remit_common::crypto::hpke::SealingKey;
use remit_common::crypto::key_file::{self, KEY_FILE_BYTES_MAX};
use remit_common::crypto::sign::SigningKey;
use remit_common::identity::certificate::{CertificateDer, GRACE, key_pin, validity_of};
use remit_common::identity::join_token::JOIN_TOKEN_BYTES_MAX;
use remit_common::identity::{Admission, JoinToken, identity_of, to_pem};
use remit_common::net::enrol::{Answered, Enroller};
use remit_common::net::env::Env;
use remit_common::net::tls::{self, Anchor};
use remit_common::trust::root::SignedRoot;
use remit_common::wire::enrol::{Claim, EnrolAnswer, EnrolQuestion, Join, Purpose};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{Asker, BACKOFF_MAX, BACKOFF_MIN, NotJoined, Progress, Round, places, write};
use crate::config::Config;
use crate::material::MaterialUnusable;

/// The keys of an edge.
pub(super) struct Keys {
    pub(super) identity: Arc<SigningKey>,
    pub(super) sealing: SealingKey,
}

/// The keys that lie there, or new ones, which then lie there: a join that broke off goes on with the same keys.
pub(super) fn keys(config: &Config, env: &Env) -> Result<Keys, NotJoined> {
    let unusable = |key, source| MaterialUnusable::Key { key, source };
    let identity = match read(env, &config.tls.key, KEY_FILE_BYTES_MAX)? {
        Some(bytes) => key_file::parse_signing(&bytes).map_err(|source| unusable("tls.key", source))?,
        None => {
            let made = SigningKey::from_seed(Zeroizing::new(env.random()));
            let made = made.map_err(|source| unusable("tls.key", source.into()))?;
            write(env, &config.tls.key, key_file::encode_signing(&made).as_bytes())?;
            made
        }
    };
    let sealing = match read(env, &config.sealing_key, KEY_FILE_BYTES_MAX)? {
        Some(bytes) => key_file::parse_sealing(&bytes).map_err(|source| unusable("sealing_key", source))?,
        None => {
            let made = SealingKey::from_seed(Zeroizing::new(env.random()));
            write(env, &config.sealing_key, key_file::encode_sealing(&made).as_bytes())?;
            made
        }
    };
    Ok(Keys { identity: Arc::new(identity), sealing })
}

fn read(env: &Env, path: &Path, bytes_max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, NotJoined> {
    let read = env.disk.read(path, bytes_max);
    read.map(|bytes| bytes.map(Zeroizing::new))
        .map_err(|source| NotJoined::Disk { path: path.display().to_string(), source })
}

/// Reads the token, and makes sure that it is this edge's.
pub(crate) fn token(config: &Config, env: &Env) -> Result<JoinToken, NotJoined> {
    let shown = |path: &Path| path.display().to_string();
    let path = config.enrolment.as_ref().and_then(|of| of.token.as_deref()).unwrap_or(Path::new(""));
    let missing = || NotJoined::NoToken { certificate: shown(&config.tls.certificate), token: shown(path) };
    let bytes = read(env, path, JOIN_TOKEN_BYTES_MAX + 2)?.ok_or_else(missing)?;
    let malformed = |source| NotJoined::Token { token: shown(path), source };
    let text = str::from_utf8(&bytes).map_err(|_| malformed(remit_common::identity::MalformedToken))?;
    let token = JoinToken::parse(text).map_err(malformed)?;
    let other = |what, found: &dyn ToString, expected: &dyn ToString| NotJoined::OtherEdge {
        what,
        found: found.to_string(),
        expected: expected.to_string(),
    };
    if token.mesh != config.mesh_id {
        return Err(other("mesh", &token.mesh, &config.mesh_id));
    }
    if token.region != config.region {
        return Err(other("region", &token.region, &config.region));
    }
    if token.edge != config.id {
        return Err(other("edge", &token.edge, &config.id));
    }
    Ok(token)
}

/// Whether there is a certificate that counts, or that voters would still renew (clause J-14). What is wrong with one
/// that cannot be read shows when the edge starts.
pub(super) fn has_certificate(config: &Config, env: &Env) -> Result<bool, NotJoined> {
    let Some(pem) = read(env, &config.tls.certificate, super::PEM_BYTES_MAX)? else { return Ok(false) };
    let chain = tls::certificates(&pem, "certificate chain").unwrap_or_default();
    let validity = chain.first().and_then(|certificate| validity_of(certificate).ok());
    Ok(validity.is_none_or(|validity| env.now().wall < validity.not_after.plus(GRACE)))
}

/// Has the voters take this edge in, unless they have.
pub(super) async fn join(
    config: &Arc<Config>,
    env: &Env,
    keys: &Keys,
    tell: &watch::Sender<String>,
) -> Result<Progress, NotJoined> {
    if has_certificate(config, env)? {
        // The token may be gone by now, and the file that says how far this is may be, too.
        let from_token = || Progress::new(false, token(config, env).map(|token| token.voters).unwrap_or_default());
        return Ok(Progress::load(config, env).unwrap_or_else(from_token));
    }
    let token = token(config, env)?;
    let progress = Progress::new(false, token.voters.clone());
    let places = places(config, Some(&progress));
    let like = places.values().next().copied().unwrap_or(config.listen.ops);
    let anchor = Anchor::Pinned { mesh: token.mesh, key: token.voters_authority };
    let asker = Asker {
        env: env.clone(),
        config: Arc::clone(config),
        enroller: Enroller::open(env, &anchor, like)?,
        key: Arc::clone(&keys.identity),
        sealing: keys.sealing.public().clone(),
        places,
    };
    let mut backoff = BACKOFF_MIN;
    let joined = loop {
        let ask = |claim: Claim| {
            let Claim { mesh, region, edge, identity, sealing, .. } = &claim;
            let admission = token.secret.admit(&Admission { mesh: *mesh, region, edge, identity, sealing });
            EnrolQuestion::Join(Join { claim, token: *token.secret.public(), admission })
        };
        let why = match asker.round(Purpose::Join, ask).await {
            Round::Done(answered) => match take(&asker, &token, *answered) {
                Ok(taken) => break taken,
                Err(why) => why.to_owned(),
            },
            Round::Refused(why) => {
                asker.enroller.close().await;
                return Err(NotJoined::Refused { code: why.code, detail: why.detail });
            }
            Round::Later(why) => why,
        };
        if *tell.borrow() != format!("not_joined: {why}") {
            tracing::warn!(why, "the voters have not taken this edge in yet");
            tell.send_replace(format!("not_joined: {why}"));
        }
        tokio::time::sleep(asker.jittered(backoff)).await;
        backoff = BACKOFF_MAX.min(backoff * 2);
    };
    asker.enroller.close().await;
    write(env, &config.root, &joined.root)?;
    write(env, &config.tls.voters_ca, to_pem(&joined.authority).as_bytes())?;
    progress.store(config, env)?;
    // The last: once it is there, this edge has joined.
    write(env, &config.tls.certificate, to_pem(&joined.certificate).as_bytes())?;
    tracing::info!(edge = %config.id, key = %keys.identity.public().id(), "the voters have taken this edge in");
    Ok(progress)
}

struct Joined {
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    root: Vec<u8>,
}

/// What a voter gave, if it is what the token says.
fn take(asker: &Asker, token: &JoinToken, answered: Answered) -> Result<Joined, &'static str> {
    let Answered { answer, rest, chain } = answered;
    let EnrolAnswer::Joined(issued) = answer else { return Err("a voter gives another answer than to the question") };
    let certificate = CertificateDer::from(issued.certificate);
    if identity_of(&certificate) != Ok((asker.name(), *asker.key.public())) {
        return Err("a voter gives another edge's certificate");
    }
    let root = SignedRoot::parse(&rest).and_then(|root| root.verify_pinned(&token.root, &token.mesh));
    if root.is_err() {
        return Err("a voter gives another root than the token names");
    }
    let authority = chain.into_iter().find(|shown| key_pin(shown) == Ok(token.voters_authority));
    let authority = authority.ok_or("a voter shows no authority")?;
    Ok(Joined { certificate, authority, root: rest })
}
