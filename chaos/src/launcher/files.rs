//! The files of a mesh, each readable by its owner only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use remit_common::crypto::hpke::SealingKey;
use remit_common::crypto::key_file::{self, KEY_FILE_BYTES_MAX};
use remit_common::crypto::sign::SigningKey;
use remit_common::net::env::{Disk, Env};
use serde::Serialize;
use zeroize::Zeroizing;

/// A folder that is written through [`Env`]'s disk, which makes everything owner-only.
#[derive(Clone)]
pub struct Folder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Folder {
    /// Makes the folder where it is missing. The path is made absolute, so that a process started elsewhere finds it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(env: &Env, path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).with_context(|| format!("`{}` is no usable path", path.display()))?;
        env.disk.create_dir(&path).with_context(|| format!("cannot make the folder `{}`", path.display()))?;
        Ok(Self { path, disk: Arc::clone(&env.disk) })
    }

    /// A folder inside this one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn sub(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        self.disk.create_dir(&path).with_context(|| format!("cannot make the folder `{}`", path.display()))?;
        Ok(Self { path, disk: Arc::clone(&self.disk) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one file, as one step.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            self.disk.create_dir(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        }
        self.disk.replace(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }

    /// Writes a value as TOML.
    ///
    /// # Errors
    /// What the disk says, or a value that TOML cannot hold.
    pub fn write_toml(&self, name: &str, value: &impl Serialize) -> Result<PathBuf> {
        self.write(name, toml::to_string_pretty(value).context("a configuration has no TOML form")?.as_bytes())
    }

    /// Writes a signing key.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write_signing_key(&self, name: &str, key: &SigningKey) -> Result<PathBuf> {
        self.write(name, key_file::encode_signing(key).as_bytes())
    }

    /// Writes a sealing key.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write_sealing_key(&self, name: &str, key: &SealingKey) -> Result<PathBuf> {
        self.write(name, key_file::encode_sealing(key).as_bytes())
    }
}

/// Reads a signing key.
///
/// # Errors
/// When the file is missing or is no such key.
pub fn read_signing_key(env: &Env, path: &Path) -> Result<SigningKey> {
    let bytes = env
        .disk
        .read(path, KEY_FILE_BYTES_MAX)
        .with_context(|| format!("cannot read `{}`", path.display()))?
        .with_context(|| format!("the key file `{}` does not exist", path.display()))?;
    key_file::parse_signing(&Zeroizing::new(bytes)).with_context(|| format!("`{}` is no signing key", path.display()))
}

/// A new signing key.
///
/// # Errors
/// Never in practice: the library has no reason to refuse random bytes.
pub(super) fn new_signing_key(env: &Env) -> Result<SigningKey> {
    SigningKey::from_seed(Zeroizing::new(env.random())).context("the library refused a random seed")
}

/// What a mesh consists of, in its folder.
const WRITTEN: [&str; 11] = [
    "mesh.json",
    "root.json",
    "directory.json",
    "voters-ca.pem",
    "edges-ca.pem",
    "keys",
    "voters",
    "edges",
    "upstreams",
    "strays",
    "example",
];

/// Removes what the launcher wrote to a folder, and the folder if nothing else is in it: somebody may have set a mesh
/// up in a folder of their own.
///
/// # Errors
/// What the disk says.
pub fn remove_mesh(folder: &Path) -> io::Result<()> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    for name in WRITTEN {
        let path = folder.join(name);
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.or_else(gone)?;
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed.or_else(gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_meshs_stays() {
        let folder = tempfile::tempdir().unwrap();
        let env = remit_common::net::real::real();
        let mesh = Folder::create(&env, &folder.path().join("mine")).unwrap();
        mesh.write("mesh.json", b"{}").unwrap();
        mesh.sub("voters").unwrap().write("1.log", b"").unwrap();
        mesh.write("thesis.tex", b"years of work").unwrap();
        remove_mesh(mesh.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(mesh.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["thesis.tex"]);
        std::fs::remove_file(mesh.path().join("thesis.tex")).unwrap();
        remove_mesh(mesh.path()).unwrap();
        assert!(!mesh.path().exists());
        remove_mesh(mesh.path()).unwrap();
    }
}
