//! The files of a mesh, each readable by its owner only.

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
