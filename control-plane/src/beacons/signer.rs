//! This voter's own signature: at most one for each tick, over restarts too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remit_common::crypto::sign::{PublicKey, Signature, SigningKey};
use remit_common::id::{LogIndex, MeshId};
use remit_common::net::env::{Disk, Env};
use remit_common::planted::{Bug, planted};
use remit_common::trust::beacon::Statement;
use serde::{Deserialize, Serialize};

/// In the data folder.
const FILE: &str = "signed-ticks.json";
/// Bytes of the file.
const FILE_BYTES_MAX: usize = 256;
const FORMAT: u32 = 1;

/// What is on the disk (N-40).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u32,
    /// No tick up to here is signed any more.
    signed: LogIndex,
}

/// A tick is not signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsigned {
    #[error("the directory lists no beacon key for this voter")]
    NotListed,
    #[error("the directory lists a beacon key that this voter does not have")]
    AnotherKey,
    /// It may have been signed before, by this voter as it was.
    #[error("tick {signed} has been signed already")]
    Signed { signed: LogIndex },
    #[error("the disk does not take that it is signed")]
    Disk(#[source] io::Error),
}

impl Unsigned {
    /// A fixed word for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::AnotherKey => "another_key",
            Self::Signed { .. } => "signed_before",
            Self::Disk(_) => "disk",
        }
    }
}

pub(super) struct Signer {
    keys: Vec<SigningKey>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    signed: LogIndex,
}

impl Signer {
    /// Reads what was signed last. A file that cannot be read is no reason to sign anything again.
    pub(super) fn open(keys: Vec<SigningKey>, disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let signed = match disk.read(&path, FILE_BYTES_MAX)? {
            Some(bytes) => match serde_json::from_slice(&bytes) {
                Ok(Stored { v: FORMAT, signed }) => signed,
                _ => {
                    let problem = format!("`{}` does not say which tick was signed last", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
                }
            },
            None => LogIndex(0),
        };
        Ok(Self { keys, disk, path, signed })
    }

    /// Signs what was applied at a tick, after the disk has taken that it is signed: whatever happens in between, no
    /// tick is signed twice.
    pub(super) async fn sign(
        &mut self,
        env: &Env,
        mesh: &MeshId,
        statement: &Statement,
        listed: Option<&PublicKey>,
    ) -> Result<Signature, Unsigned> {
        let listed = listed.ok_or(Unsigned::NotListed)?;
        let key = self.keys.iter().find(|key| key.public() == listed).ok_or(Unsigned::AnotherKey)?;
        let again = statement.n == self.signed && planted(Bug::TwoAnswersForOneTick);
        if statement.n <= self.signed && !again {
            return Err(Unsigned::Signed { signed: self.signed });
        }
        let signature = statement.sign(mesh, key);
        self.store(env, statement.n).await.map_err(Unsigned::Disk)?;
        Ok(signature)
    }

    /// Somebody shows a statement. If this voter has signed it, no tick up to it is signed any more, over restarts too
    /// unless the disk fails.
    pub(super) async fn remember(
        &mut self,
        env: &Env,
        mesh: &MeshId,
        statement: &Statement,
        signature: &Signature,
    ) -> bool {
        let is_mine = self.keys.iter().any(|key| statement.verify(mesh, key.public(), signature).is_ok());
        let is_later = is_mine && statement.n > self.signed;
        if is_later {
            self.signed = statement.n;
            if let Err(error) = self.store(env, statement.n).await {
                tracing::error!(%error, "what this voter has signed cannot be stored");
            }
        }
        is_later
    }

    async fn store(&mut self, env: &Env, signed: LogIndex) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Stored { v: FORMAT, signed })?;
        let (disk, path) = (Arc::clone(&self.disk), self.path.clone());
        env.run_blocking(move || disk.replace(&path, &bytes)).await.map_err(io::Error::other)??;
        self.signed = signed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use remit_common::crypto::digest::Digest;
    use remit_common::id::RevocationEpoch;
    use remit_common::net::real::real;
    use zeroize::Zeroizing;

    use super::*;

    const MESH: MeshId = MeshId([1; 16]);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
    }

    fn statement(n: u64, epoch: u64) -> Statement {
        let none = Digest::default();
        Statement {
            n: LogIndex(n),
            nonce_root: none,
            epoch: RevocationEpoch(epoch),
            revocations: none,
            activations: none,
            relations: none,
            directory: 1,
            root: 1,
        }
    }

    fn open(folder: &Path) -> io::Result<Signer> {
        Signer::open(vec![key(1), key(2)], real().disk, folder)
    }

    async fn sign(signer: &mut Signer, statement: &Statement) -> Result<Signature, Unsigned> {
        signer.sign(&real(), &MESH, statement, Some(key(1).public())).await
    }

    #[tokio::test]
    async fn a_tick_is_signed_once_over_restarts_too() {
        // Clause K-31: whatever the log says of it the second time.
        let folder = tempfile::tempdir().unwrap();
        let mut signer = open(folder.path()).unwrap();
        let signature = sign(&mut signer, &statement(5, 1)).await.unwrap();
        statement(5, 1).verify(&MESH, key(1).public(), &signature).unwrap();
        for again in [statement(5, 2), statement(5, 1), statement(4, 1)] {
            assert!(matches!(sign(&mut signer, &again).await, Err(Unsigned::Signed { signed: LogIndex(5) })));
        }
        let mut signer = open(folder.path()).unwrap();
        assert!(matches!(sign(&mut signer, &statement(5, 2)).await, Err(Unsigned::Signed { signed: LogIndex(5) })));
        sign(&mut signer, &statement(6, 2)).await.unwrap();
        let stored = real().disk.read(&folder.path().join(FILE), FILE_BYTES_MAX).unwrap().unwrap();
        assert_eq!(stored, br#"{"v":1,"signed":6}"#, "golden bytes of N-40");
    }

    #[tokio::test]
    async fn a_file_that_does_not_say_what_was_signed_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"{}", br#"{"v":2,"signed":6}"#, br#"{"v":1,"signed":6,"more":1}"#, &[b'x'; 300]] {
            real().disk.replace(&folder.path().join(FILE), bytes).unwrap();
            assert!(open(folder.path()).is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_voter_whose_data_was_restored_hears_of_what_it_has_signed() {
        // Clause K-32: its own signature tells it, and nobody else's does.
        let folder = tempfile::tempdir().unwrap();
        let mut signer = open(folder.path()).unwrap();
        let later = statement(90, 3);
        assert!(
            !signer.remember(&real(), &MESH, &later, &later.sign(&MESH, &key(9))).await,
            "a stranger's word silences nobody"
        );
        assert!(
            !signer.remember(&real(), &MESH, &statement(91, 3), &later.sign(&MESH, &key(1))).await,
            "nor does another statement"
        );
        assert!(signer.remember(&real(), &MESH, &later, &later.sign(&MESH, &key(1))).await);
        assert!(matches!(sign(&mut signer, &statement(90, 1)).await, Err(Unsigned::Signed { .. })));
        sign(&mut signer, &statement(91, 3)).await.unwrap();
    }

    #[tokio::test]
    async fn only_the_key_that_the_directory_lists_signs() {
        let folder = tempfile::tempdir().unwrap();
        let mut signer = open(folder.path()).unwrap();
        let mut under = async |listed: Option<u8>| {
            let key = listed.map(key);
            signer.sign(&real(), &MESH, &statement(1, 1), key.as_ref().map(SigningKey::public)).await
        };
        assert!(matches!(under(None).await, Err(Unsigned::NotListed)));
        assert!(matches!(under(Some(9)).await, Err(Unsigned::AnotherKey)));
        let signature = under(Some(2)).await.unwrap();
        statement(1, 1).verify(&MESH, key(2).public(), &signature).unwrap();
    }
}
