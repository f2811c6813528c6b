//! Looking through everything a run has written: for secrets, and for what is worth keeping.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use remit_common::net::real::real;

use super::wire::Counts;

/// The packets of a run, in its folder.
pub(super) const CAPTURE: &str = "packets.pcap";

/// Bytes that are read at once.
const PIECE: usize = 1024 * 1024;

/// Every file of a run in which this secret stands. Images of disks are left out: what is on them is mounted.
///
/// # Errors
/// What the disk says.
pub(super) fn find(folder: &Path, secret: &[u8]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk(folder, &mut |path| {
        if path.extension().is_none_or(|extension| extension != "img") && holds(path, secret)? {
            found.push(path.strip_prefix(folder).unwrap_or(path).display().to_string());
        }
        Ok(())
    })?;
    found.sort_unstable();
    Ok(found)
}

/// Copies logs and packets of a run, and writes down what became of the packets of each direction.
///
/// # Errors
/// What the disk says.
pub(super) fn keep(folder: &Path, to: &Path, counts: &BTreeMap<(Ipv4Addr, Ipv4Addr), Counts>) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    let counts: BTreeMap<String, &Counts> =
        counts.iter().map(|((from, to), counts)| (format!("{from} to {to}"), counts)).collect();
    let json = serde_json::to_vec_pretty(&counts).context("the counts of packets have no JSON form")?;
    let path = to.join("packets.json");
    real().disk.replace(&path, &json).with_context(|| format!("cannot write `{}`", path.display()))?;
    walk(folder, &mut |path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == CAPTURE || name == "log.txt" {
            let inside = path.strip_prefix(folder).unwrap_or(path).display().to_string();
            let copy = to.join(inside.replace('/', "-"));
            std::fs::copy(path, &copy).with_context(|| format!("cannot write `{}`", copy.display()))?;
        }
        Ok(())
    })
}

/// Visits every file; links are not followed.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let shown = || format!("cannot read `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let kind = entry.file_type().with_context(shown)?;
        if kind.is_dir() {
            walk(&entry.path(), visit)?;
        } else if kind.is_file() {
            visit(&entry.path())?;
        }
    }
    Ok(())
}

fn holds(path: &Path, secret: &[u8]) -> Result<bool> {
    let shown = || format!("cannot read `{}`", path.display());
    let mut file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        // A daemon removed it since it was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(shown),
    };
    let (Some(first), mut window) = (secret.first(), Vec::new()) else { return Ok(false) };
    loop {
        let read = file.by_ref().take(u64::try_from(PIECE).unwrap_or(u64::MAX)).read_to_end(&mut window);
        if read.with_context(shown)? == 0 {
            return Ok(false);
        }
        let mut rest = window.as_slice();
        while let Some(at) = rest.iter().position(|byte| byte == first) {
            rest = rest.get(at..).unwrap_or_default();
            if rest.starts_with(secret) {
                return Ok(true);
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        // The secret may lie across two pieces.
        let tail = window.len().saturating_sub(secret.len() - 1);
        window.drain(..tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_lies_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let disk = remit_common::net::real::real().disk;
        let secret = b"ak_live_secret";
        for (name, offset) in [("start", 0), ("across", PIECE - 5), ("end", 3 * PIECE)] {
            let mut bytes = vec![b'a'; offset];
            bytes.extend_from_slice(secret);
            disk.create_dir(&folder.path().join("sub")).unwrap();
            disk.replace(&folder.path().join("sub").join(name), &bytes).unwrap();
        }
        disk.replace(&folder.path().join("none"), &vec![b'a'; 2 * PIECE]).unwrap();
        disk.replace(&folder.path().join("disk.img"), secret).unwrap();
        assert_eq!(find(folder.path(), secret).unwrap(), ["sub/across", "sub/end", "sub/start"]);
    }
}
