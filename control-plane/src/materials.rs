//! The files that a configuration names, read and checked before a socket is bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::key_file;
use remit_common::crypto::sign::SigningKey;
use remit_common::identity::NodeKind;
use remit_common::identity::certificate::{CertificateDer, ed25519_key_of};
use remit_common::limits::{DIRECTORY_BYTES_MAX, DOCUMENT_BYTES_MAX};
use remit_common::net::env::Env;
use remit_common::net::tls::{self, Identity, Peers};
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::root::SignedRoot;

use crate::config::{Config, Enrolment};
use crate::duties::Installed;
use crate::enrolment::Authority;
use crate::registry::{Genesis, TrustDocuments, with_causes};

/// Bytes of a certificate file.
const CERTIFICATES_BYTES_MAX: usize = 64 * 1024;

/// A file that the configuration names is missing or unusable.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct Unusable {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Everything a voter reads once.
pub(crate) struct Materials {
    pub(crate) genesis: Genesis,
    pub(crate) installed: Installed,
    pub(crate) issuer: SigningKey,
    pub(crate) beacon_keys: Vec<SigningKey>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: SigningKey,
    pub(crate) voters: Peers,
    pub(crate) edges: Peers,
    pub(crate) enrolment: Option<EnrolmentMaterial>,
}

/// What a voter needs to take edges in.
pub(crate) struct EnrolmentMaterial {
    pub(crate) identity: Identity,
    pub(crate) authority: Option<Arc<Authority>>,
    pub(crate) edges: Arc<Vec<CertificateDer<'static>>>,
}

impl Materials {
    pub(crate) fn load(config: &Config, env: &Env) -> Result<Self, Unusable> {
        let read = |path: &Path, bytes_max| read(env, path, bytes_max);
        let root_bytes = read(&config.root, DOCUMENT_BYTES_MAX)?;
        let signed = SignedRoot::parse(&root_bytes).map_err(|error| unusable(&config.root, &error))?;
        let pin: Digest = signed.digest();
        let now = env.now().wall;
        // The anchor is what the file says: whoever can replace it has installed another mesh.
        let root = signed.verify_pinned(&pin, &config.mesh_id).map_err(|error| unusable(&config.root, &error))?;
        let directory_bytes = read(&config.directory, DIRECTORY_BYTES_MAX)?;
        // A voter with a log takes from it what holds: it starts also when the file has expired since, or while its
        // clock is wrong (C-73).
        let has_log = config.has_log(env).map_err(|error| unusable(&config.raft_dir(), &error))?;
        let verify = |signed: SignedDirectory| {
            if has_log { signed.verify_signatures(&root) } else { signed.verify(&root, now) }
        };
        let directory = SignedDirectory::parse(&directory_bytes)
            .and_then(verify)
            .map_err(|error| unusable(&config.directory, &error))?;
        let documents = TrustDocuments { roots: vec![root_bytes], directory: Some(directory_bytes) };
        let key = |path: &Path| -> Result<SigningKey, Unusable> {
            key_file::parse_signing(&read(path, key_file::KEY_FILE_BYTES_MAX)?).map_err(|error| unusable(path, &error))
        };
        let peers = |path: &Path, kind| {
            Peers::from_pem(config.mesh_id, kind, &read(path, CERTIFICATES_BYTES_MAX)?)
                .map_err(|error| unusable(path, &error))
        };
        let materials = Self {
            genesis: Genesis { mesh: config.mesh_id, root: pin },
            installed: Installed::new(documents, directory.version()),
            issuer: key(&config.issuer_key)?,
            beacon_keys: [&config.beacon_key, &config.next_beacon_key]
                .into_iter()
                .flatten()
                .map(|path| key(path))
                .collect::<Result<_, _>>()?,
            certificate: read(&config.tls.certificate, CERTIFICATES_BYTES_MAX)?,
            key: key(&config.tls.key)?,
            voters: peers(&config.tls.voters_ca, NodeKind::Voter)?,
            edges: peers(&config.tls.edges_ca, NodeKind::Edge)?,
            enrolment: None,
        };
        let identity = materials.identity(config)?;
        let enrolment = config.enrolment.as_ref().map(|of| enrolment(env, config, of, identity)).transpose()?;
        let materials = Self { enrolment, ..materials };
        Ok(materials)
    }

    /// This voter on TLS connections.
    pub(crate) fn identity(&self, config: &Config) -> Result<Identity, Unusable> {
        Identity::from_pem_chain(&self.certificate, &self.key)
            .map_err(|error| unusable(&config.tls.certificate, &error))
    }
}

fn enrolment(env: &Env, config: &Config, of: &Enrolment, identity: Identity) -> Result<EnrolmentMaterial, Unusable> {
    let voters_ca = read(env, &config.tls.voters_ca, CERTIFICATES_BYTES_MAX)?;
    let identity = identity.with_authority(&voters_ca).map_err(|error| unusable(&config.tls.voters_ca, &error))?;
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Unusable> {
        tls::certificates(&read(env, path, CERTIFICATES_BYTES_MAX)?, "CA certificate")
            .map_err(|error| unusable(path, &error))
    };
    let edges = certificates(&config.tls.edges_ca)?;
    let authority = match (&of.certificate, &of.key) {
        (Some(path), Some(key_path)) => {
            let key = key_file::parse_signing(&read(env, key_path, key_file::KEY_FILE_BYTES_MAX)?)
                .map_err(|error| unusable(key_path, &error))?;
            let wrong = |problem: &str| Unusable { path: path.clone(), problem: problem.to_owned() };
            let certificate =
                certificates(path)?.into_iter().next().ok_or_else(|| wrong("there is no certificate in it"))?;
            if !edges.contains(&certificate) {
                return Err(wrong("it is none of those in `tls.edges_ca`: nobody would take what it issues"));
            }
            if ed25519_key_of(&certificate).as_ref() != Ok(key.public()) {
                return Err(wrong("the key is not this authority's"));
            }
            Some(Arc::new(Authority { certificate, key }))
        }
        _ => None,
    };
    Ok(EnrolmentMaterial { identity, authority, edges: Arc::new(edges) })
}

fn read(env: &Env, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unusable> {
    match env.disk.read(path, bytes_max) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Unusable { path: path.to_owned(), problem: "there is no such file".to_owned() }),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Unusable {
    Unusable { path: path.to_owned(), problem: with_causes(error) }
}
