//! Looks for a secret in everything that a mesh leaves behind.

use std::path::{Path, PathBuf};

use remit_common::crypto::secret::Secret;
use remit_common::net::env::Env;
use remit_common::text;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// Bytes of one file. Nothing that a minute's mesh writes comes near.
const FILE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The spellings of a secret that are looked for.
pub(crate) struct Needles(Vec<(&'static str, Zeroizing<Vec<u8>>)>);

/// What a search went through and what it found.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    pub(crate) files: usize,
    pub(crate) bytes: usize,
    /// Where, and in which spelling.
    pub(crate) found: Vec<(String, &'static str)>,
}

impl Needles {
    /// In clear, as hex of either case, and as base64 of either alphabet, wherever in a longer text it may begin.
    pub(crate) fn new(secret: &Secret) -> Self {
        let clear = secret.expose();
        let hex = text::hex(clear);
        let mut needles = vec![
            ("clear", Zeroizing::new(clear.to_vec())),
            ("hex", Zeroizing::new(hex.to_uppercase().into_bytes())),
            ("hex", Zeroizing::new(hex.into_bytes())),
        ];
        for shift in 0..3 {
            // Base64 of a text that contains the secret at an offset of `shift` modulo 3: encode with that many bytes
            // before it, then keep the characters that depend on the secret alone.
            let padded = Zeroizing::new([vec![0; shift], clear.to_vec()].concat());
            for encoded in [text::base64(&padded), text::base64url(&padded)] {
                let encoded = Zeroizing::new(encoded.trim_end_matches('=').to_owned());
                let from = (shift * 8).div_ceil(6);
                let to = padded.len() * 8 / 6;
                let inner = encoded.as_bytes().get(from..to).unwrap_or_default().to_vec();
                needles.push(("base64", Zeroizing::new(inner)));
            }
        }
        needles.retain(|(_, needle)| needle.len() >= 8);
        Self(needles)
    }

    /// Searches bytes that are in hand.
    pub(crate) fn search(&self, name: &str, bytes: &[u8], searched: &mut Searched) {
        searched.bytes += bytes.len();
        for (spelling, needle) in &self.0 {
            if contains(bytes, needle) {
                searched.found.push((name.to_owned(), spelling));
            }
        }
    }

    /// Searches every file of a folder and of the folders in it.
    pub(crate) fn search_folder(&self, env: &Env, folder: &Path, searched: &mut Searched) -> Result<(), Failure> {
        for path in files_below(folder)? {
            let bytes = env
                .disk
                .read(&path, FILE_BYTES_MAX)
                .map_err(|error| Failure::new(Exit::Failed, format!("cannot search `{}`: {error}", path.display())))?;
            // A log's temporary file may be gone by now.
            if let Some(bytes) = bytes {
                searched.files += 1;
                self.search(&path.display().to_string(), &bytes, searched);
            }
        }
        Ok(())
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot search `{}`: {error}", folder.display()));
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return false };
    let mut from = haystack;
    while let Some(at) = from.iter().position(|byte| byte == first) {
        from = from.get(at + 1..).unwrap_or_default();
        if from.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"ak_live_5f0c2d9be1";

    fn finds(text: &[u8]) -> Option<&'static str> {
        let mut searched = Searched::default();
        Needles::new(&Secret::new(SECRET.to_vec())).search("text", text, &mut searched);
        assert_eq!(searched.bytes, text.len());
        searched.found.first().map(|(_, spelling)| *spelling)
    }

    #[test]
    fn every_spelling_is_found_wherever_it_begins() {
        for before in 0..9 {
            let around = [b"x".repeat(before), SECRET.to_vec(), b"yz".to_vec()].concat();
            assert_eq!(finds(&around), Some("clear"));
            assert_eq!(finds(text::base64(&around).as_bytes()), Some("base64"), "{before}");
            assert_eq!(finds(text::base64url(&around).as_bytes()), Some("base64"), "{before}");
            assert_eq!(finds(text::hex(&around).as_bytes()), Some("hex"));
            assert_eq!(finds(text::hex(&around).to_uppercase().as_bytes()), Some("hex"));
        }
    }

    #[test]
    fn another_secret_is_not_found() {
        for other in [&b"ak_live_5f0c2d9be2"[..], b"", b"ak_live_", b"aak_live_5f0c2d9be"] {
            assert_eq!(finds(other), None);
            assert_eq!(finds(text::base64(other).as_bytes()), None);
            assert_eq!(finds(text::hex(other).as_bytes()), None);
        }
    }

    #[test]
    fn folders_are_searched_to_the_bottom() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        let env = remit_common::net::real::real();
        env.disk.replace(&deep.join("log.txt"), SECRET).unwrap();
        env.disk.replace(&folder.path().join("clean.txt"), b"nothing").unwrap();
        let mut searched = Searched::default();
        Needles::new(&Secret::new(SECRET.to_vec())).search_folder(&env, folder.path(), &mut searched).unwrap();
        assert_eq!((searched.files, searched.found.len()), (2, 1));
        assert!(searched.found[0].0.ends_with("a/b/log.txt"));
    }
}
