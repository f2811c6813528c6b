//! Keys, certificates and the first root: what the configuration names, read and checked before anything starts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::hpke::SealingKey;
use remit_common::crypto::key_file::{self, KEY_FILE_BYTES_MAX, MalformedKeyFile};
use remit_common::crypto::sign::SigningKey;
use remit_common::identity::NodeKind;
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::net::env::Env;
use remit_common::net::https::ServerCertificate;
use remit_common::net::tls::{self, Identity, Peers, TlsUnusable};

use zeroize::Zeroizing;

use crate::config::{Config, ListenTls, TlsFiles};
use crate::enrolment::Shown;

/// Bytes of a PEM file: a certificate of ours has about 700.
pub(crate) const PEM_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a chain of certificates that somebody else's authority issued.
const CHAIN_BYTES_MAX: usize = 256 * 1024;

/// A file that the configuration names is not usable.
#[derive(Debug, thiserror::Error)]
pub enum MaterialUnusable {
    /// The disk says no.
    #[error("`{key}`: `{path}` cannot be read")]
    Disk {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: String,
        /// What the disk says.
        #[source]
        source: io::Error,
    },
    /// There is no such file.
    #[error("`{key}`: there is no `{path}`")]
    Missing {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: String,
    },
    /// Not a key file of the right kind.
    #[error("`{key}` is not usable")]
    Key {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: MalformedKeyFile,
    },
    /// Certificate or anchor.
    #[error("certificate or authority is not usable")]
    Tls(#[from] TlsUnusable),
    /// The agents' listener's certificate.
    #[error("`listen.tls` is not usable")]
    AgentsTls(#[source] TlsUnusable),
}

/// What the files hold.
pub(crate) struct Material {
    pub(crate) identity: Identity,
    pub(crate) shown: Shown,
    pub(crate) voters: Peers,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) sealing: SealingKey,
    /// The first root document, not looked at.
    pub(crate) root: Vec<u8>,
    /// What the agents' listener shows.
    pub(crate) agents_tls: Option<(Digest, ServerCertificate)>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Material")
    }
}

impl Material {
    /// Reads everything.
    ///
    /// # Errors
    /// [`MaterialUnusable`] names the key of the configuration.
    pub(crate) fn load(config: &Config, env: &Env) -> Result<Self, MaterialUnusable> {
        let TlsFiles { certificate, key: key_path, voters_ca } = &config.tls;
        let key = |key, path: &Path| read(env, key, path, KEY_FILE_BYTES_MAX);
        let signing = key_file::parse_signing(&key("tls.key", key_path)?)
            .map_err(|source| MaterialUnusable::Key { key: "tls.key", source })?;
        let sealing = key_file::parse_sealing(&key("sealing_key", &config.sealing_key)?)
            .map_err(|source| MaterialUnusable::Key { key: "sealing_key", source })?;
        let chain = read(env, "tls.certificate", certificate, PEM_BYTES_MAX)?;
        let shown = tls::certificates(&chain, "certificate chain")?.into_iter().next().map(Shown::new);
        let shown = shown.ok_or(TlsUnusable::Pem { what: "certificate chain" })?;
        let anchors = read(env, "tls.voters_ca", voters_ca, PEM_BYTES_MAX)?;
        Ok(Self {
            identity: Identity::from_pem_chain(&chain, &signing)?,
            shown,
            voters: Peers::from_pem(config.mesh_id, NodeKind::Voter, &anchors)?,
            key: Arc::new(signing),
            sealing,
            root: read(env, "root", &config.root, DOCUMENT_BYTES_MAX)?,
            agents_tls: config.listen.tls.as_ref().map(|files| read_certificate(env, files)).transpose()?,
        })
    }
}

/// What the agents' listener is to show, and the digest of the files by which a change is noticed.
///
/// # Errors
/// [`MaterialUnusable`].
pub(crate) fn read_certificate(env: &Env, files: &ListenTls) -> Result<(Digest, ServerCertificate), MaterialUnusable> {
    let chain = read(env, "listen.tls.certificate", &files.certificate, CHAIN_BYTES_MAX)?;
    let key = Zeroizing::new(read(env, "listen.tls.key", &files.key, PEM_BYTES_MAX)?);
    let certificate = ServerCertificate::from_pem(&chain, &key).map_err(MaterialUnusable::AgentsTls)?;
    Ok((Digest::of(&[&Digest::of(&[&chain]).0, &Digest::of(&[&key]).0]), certificate))
}

/// A file that the configuration names.
///
/// # Errors
/// [`MaterialUnusable`] names the key.
pub(crate) fn read(env: &Env, key: &'static str, path: &Path, bytes_max: usize) -> Result<Vec<u8>, MaterialUnusable> {
    let shown = || path.display().to_string();
    match env.disk.read(path, bytes_max) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(MaterialUnusable::Missing { key, path: shown() }),
        Err(source) => Err(MaterialUnusable::Disk { key, path: shown(), source }),
    }
}
