//! The environment and the files that commands name, all in one place.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use remit_common::crypto::key_file;
use remit_common::crypto::secret::Secret;
use remit_common::crypto::sign::SigningKey;
use remit_common::limits::CREDENTIAL_BYTES_MAX;
use remit_common::net::env::Env;
use remit_common::text;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// A secret that is shorter could be guessed.
const SECRET_BYTES_MIN: usize = 32;
/// The user id of whoever may read everything.
const ROOT: u32 = 0;

/// From here on, what this process and its children create is readable by its owner only.
pub(crate) fn make_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Colours are for people at a terminal who did not say no (<https://no-color.org>).
#[expect(clippy::disallowed_methods, reason = "the command line's view of the environment is this file")]
pub(crate) fn wants_colour() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The variables that the daemons read: `REMIT_*` for their configuration, and `RUST_LOG`.
#[expect(clippy::disallowed_methods, reason = "the command line's view of the environment is this file")]
pub(crate) fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with("REMIT_") || name == "RUST_LOG").collect()
}

/// The running executable, which is every process of a local mesh.
pub(crate) fn executable() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot tell where the running executable is: {error}")))
}

/// A file that a command was given; `-` is standard input.
pub(crate) fn read(env: &Env, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        return read_stdin(bytes_max);
    }
    match env.disk.read(path, bytes_max) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Failure::new(Exit::Usage, format!("the file `{}` does not exist", path.display()))),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot read `{}`: {error}", path.display()))),
    }
}

/// A file with a private key or a secret in it: nobody else's to read. As ssh has it, one that others can read is not
/// read at all: a warning would be one more line in a log that nobody looks at. Clause U-14.
pub(crate) fn read_private(env: &Env, path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    // A pipe is no file that lies around; what cannot be found, reading says.
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).filter(|_| path != Path::new("-"));
    if let Some(found) = found {
        let about = Access { owner: found.uid(), mode: found.mode() & 0o7777 };
        about.check(rustix::process::geteuid().as_raw(), path)?;
    }
    read(env, path, bytes_max).map(Zeroizing::new)
}

/// Who can do what with a file.
struct Access {
    owner: u32,
    /// With the bits of `chmod` alone.
    mode: u32,
}

impl Access {
    /// Whether nobody but `user` gets at what is in the file, and root, who gets at everything.
    fn check(&self, user: u32, path: &Path) -> Result<(), Failure> {
        let Self { owner, mode } = *self;
        let (shown, is_own) = (path.display(), owner == user);
        if !is_own && owner != ROOT {
            let message = format!("`{shown}` belongs to another user, who knows what is in it");
            return Err(Failure::new(Exit::Usage, message).hint("name a file of your own"));
        }
        // Of root's files, the group is how this user comes to one: so container platforms mount secrets.
        let strangers = if is_own { 0o077 } else { 0o007 };
        if mode & strangers == 0 {
            return Ok(());
        }
        let message = format!("`{shown}` is not for its owner alone: its mode is {mode:04o}, not 0600");
        let hint = format!("run `chmod 600 {shown}`; where others may have read it, take a new one instead");
        Err(Failure::new(Exit::Usage, message).reason("not_private").hint(hint))
    }
}

/// A text file that a command was given.
pub(crate) fn read_text(env: &Env, path: &Path, bytes_max: usize) -> Result<String, Failure> {
    String::from_utf8(read(env, path, bytes_max)?)
        .map_err(|_| Failure::new(Exit::Usage, format!("`{}` is not UTF-8 text", path.display())))
}

/// Writes a file that a command makes, readable by its owner only.
pub(crate) fn write(env: &Env, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    env.disk
        .replace(path, bytes)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write `{}`: {error}", path.display())))
}

/// The signing key in a file.
pub(crate) fn read_key(env: &Env, path: &Path) -> Result<SigningKey, Failure> {
    let bytes = read_private(env, path, key_file::KEY_FILE_BYTES_MAX)?;
    key_file::parse_signing(&bytes)
        .map_err(|fault| Failure::new(Exit::Usage, format!("`{}` is no key file: {fault}", path.display())))
}

/// The signing key in a file, which is made if it is missing. Says whether it was.
pub(crate) fn read_or_make_key(env: &Env, path: &Path) -> Result<(SigningKey, bool), Failure> {
    if path.exists() {
        return Ok((read_key(env, path)?, false));
    }
    let key = SigningKey::from_seed(Zeroizing::new(env.random()))
        .map_err(|fault| Failure::new(Exit::Failed, fault.to_string()))?;
    write(env, path, key_file::encode_signing(&key).as_bytes())?;
    Ok((key, true))
}

/// The secret in this file (clause U-13), which is made where there is none; and whether it was.
pub(crate) fn read_or_make_secret(env: &Env, path: &Path, bytes_max: usize) -> Result<(Secret, bool), Failure> {
    if path.exists() {
        let bytes = read_private(env, path, bytes_max)?;
        let text = bytes.trim_ascii();
        if text.len() < SECRET_BYTES_MIN || !text.iter().all(u8::is_ascii_graphic) {
            let message =
                format!("`{}` holds no secret of {SECRET_BYTES_MIN} visible characters or more", path.display());
            return Err(Failure::new(Exit::Usage, message).hint("name a file that does not exist: it will be made"));
        }
        return Ok((Secret::new(text.to_vec()), false));
    }
    let secret = make_secret(env);
    let line = Zeroizing::new([secret.expose(), b"\n"].concat());
    write(env, path, &line)?;
    Ok((secret, true))
}

/// A new secret: 32 random bytes as text (clause U-13).
pub(crate) fn make_secret(env: &Env) -> Secret {
    let random = Zeroizing::new(env.random::<32>());
    Secret::new(text::base64url(random.as_slice()).into_bytes())
}

/// A credential from where its URI says: `env://NAME`, `file:///path` or `-`. One line end at its end is not part
/// of it: editors and `echo` put it there.
pub(crate) fn read_credential(env: &Env, uri: &str) -> Result<Secret, Failure> {
    let mut bytes = if uri == "-" {
        read_stdin(CREDENTIAL_BYTES_MAX)?
    } else if let Some(name) = uri.strip_prefix("env://") {
        read_variable(name)?
    } else if let Some(path) = uri.strip_prefix("file://") {
        read(env, Path::new(path), CREDENTIAL_BYTES_MAX)?
    } else {
        return Err(Failure::new(Exit::Usage, format!("`{uri}` is no source of a credential"))
            .hint("use `env://NAME`, `file:///path` or `-` for standard input"));
    };
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    let secret = Secret::new(bytes);
    if secret.expose().is_empty() {
        return Err(Failure::new(Exit::Usage, format!("the credential at `{uri}` is empty")));
    }
    Ok(secret)
}

#[expect(clippy::disallowed_methods, reason = "the command line's view of the environment is this file")]
fn read_variable(name: &str) -> Result<Vec<u8>, Failure> {
    use std::os::unix::ffi::OsStringExt as _;
    let value = std::env::var_os(name)
        .ok_or_else(|| Failure::new(Exit::Usage, format!("the environment variable `{name}` is not set")))?;
    Ok(value.into_vec())
}

fn read_stdin(bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read standard input: {error}")))?;
    if bytes.len() > bytes_max {
        return Err(Failure::new(Exit::Usage, format!("standard input has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Every file of a folder and of the folders in it, by relative path with `/` between segments. Hidden ones are left
/// out: editors and version control put them there.
pub(crate) fn read_tree(
    env: &Env,
    folder: &Path,
    files_max: usize,
    bytes_max: usize,
) -> Result<std::collections::BTreeMap<String, Vec<u8>>, Failure> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format!("cannot read the folder `{}`: {error}", path.display()))
    };
    let mut tree = std::collections::BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((next, prefix)) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(|error| unreadable(&next, &error))? {
            let entry = entry.map_err(|error| unreadable(&next, &error))?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| unreadable(&next, &format!("the name {name:?} is not UTF-8")))?;
            if name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(|error| unreadable(&next, &error))?;
            if kind.is_dir() {
                folders.push((entry.path(), format!("{prefix}{name}/")));
            } else if tree.len() >= files_max {
                return Err(unreadable(folder, &format!("more than {files_max} files")));
            } else {
                tree.insert(format!("{prefix}{name}"), read(env, &entry.path(), bytes_max)?);
            }
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause U-14.
    #[test]
    fn a_private_file_is_its_users_or_roots_and_nobody_elses() {
        let check = |owner, mode| Access { owner, mode }.check(1_000, Path::new("agent.key"));
        for mode in [0o600, 0o400, 0o700] {
            assert!(check(1_000, mode).is_ok() && check(0, mode).is_ok(), "{mode:o}");
        }
        for mode in [0o644, 0o604, 0o602, 0o601, 0o777] {
            assert!(check(1_000, mode).is_err() && check(0, mode).is_err(), "{mode:o}");
        }
        for mode in [0o640, 0o660, 0o610] {
            assert!(check(1_000, mode).is_err() && check(0, mode).is_ok(), "{mode:o}");
        }
        assert!(check(1_001, 0o600).is_err());
        let told = check(1_000, 0o640).unwrap_err();
        assert!(told.message.contains("its mode is 0640, not 0600"), "{}", told.message);
        assert!(told.hint.unwrap().contains("`chmod 600 agent.key`"));
    }
}
