//! Writes `examples/contract-renewal` where people look at it: the demo plays it, `up` sets it up, `bundle new` hands
//! it out.

use std::path::Path;

use remit_chaos::example::{BUNDLE, STORY, with_tools_at, writer};
pub(crate) use remit_chaos::example::{CHILD, PROPOSE, TASK, TOOLS};
use remit_common::crypto::sign::PublicKey;
use remit_common::net::env::Env;
use remit_common::policy::trust_domains::TRUST_DOMAINS_FILE;
use remit_common::time::Timestamp;

use crate::failure::{Exit, Failure};
use crate::files;

/// Who writes relations, in a bundle.
const RELATIONS_FILE: &str = "relations.toml";
/// The tuples of the story.
const TUPLES_FILE: &str = "tuples.txt";
/// Bytes of either.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// When the example's bundle says that it was made.
const CREATED: &str = "2026-11-01T00:00:00Z";

/// Writes the bundle's sources to a folder, made at `now`: what counts for 90 days should not begin long ago.
pub(crate) fn write_bundle(env: &Env, dir: &Path, tool_url: Option<&str>, now: Timestamp) -> Result<(), Failure> {
    let now = Timestamp::from_secs(now.as_secs()).to_string().replace(".000Z", "Z");
    for (path, bytes) in BUNDLE {
        let made_now = match *path {
            "bundle/bundle.toml" => String::from_utf8_lossy(bytes).replace(CREATED, &now).into_bytes(),
            _ => tool_url.map_or_else(|| bytes.to_vec(), |url| with_tools_at(bytes, url)),
        };
        write(env, &dir.join(path.trim_start_matches("bundle/")), &made_now)?;
    }
    Ok(())
}

/// Writes the whole example, with the tool server at `tool_url`.
pub(crate) fn write_all(env: &Env, dir: &Path, tool_url: &str) -> Result<(), Failure> {
    for (path, bytes) in BUNDLE.iter().chain(STORY) {
        write(env, &dir.join(path), &with_tools_at(bytes, tool_url))?;
    }
    Ok(())
}

/// Has the bundle in a folder know the story's agents: by an authority that this mesh alone has.
pub(crate) fn write_trust_domain(env: &Env, dir: &Path, authority: &PublicKey) -> Result<(), Failure> {
    let file = format!(
        "# Whose agents this policy knows, and of which class they are. An agent that shows an identity of this trust\n\
         # domain acts as itself; any other acts as the one that handed it its envelope.\n\
         # `remit identity issue --agent spiffe://customer-success.example/agent/… --key F -o SVID` makes one.\n\n\
         [[trust_domain]]\n\
         name        = \"customer-success.example\"\n\
         authorities = [\"{}\"]\n\n\
         [trust_domain.classes]\n\
         renewal-analyst   = [\"/agent/renewal-analyst\"]\n\
         clause-classifier = [\"/agent/clause-classifier\"]\n",
        remit_common::text::hex(authority.as_bytes())
    );
    write(env, &dir.join(TRUST_DOMAINS_FILE), file.as_bytes())
}

/// Has the bundle in a folder, if it knows relations, take them from the key that this mesh alone has.
pub(crate) fn write_writer(env: &Env, dir: &Path, key: &PublicKey) -> Result<(), Failure> {
    let path = dir.join(RELATIONS_FILE);
    let Some(mut rules) = read(env, &path)? else { return Ok(()) };
    rules.push_str(&writer(key));
    write(env, &path, rules.as_bytes())
}

/// The tuples that the story begins with; none where the example knows no relations.
pub(crate) fn tuples(env: &Env, dir: &Path) -> Result<Option<String>, Failure> {
    read(env, &dir.join(TUPLES_FILE))
}

fn read(env: &Env, path: &Path) -> Result<Option<String>, Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot read `{}`: {error}", path.display()));
    let bytes = env.disk.read(path, FILE_BYTES_MAX).map_err(failed)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn write(env: &Env, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        env.disk
            .create_dir(folder)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot make `{}`: {error}", folder.display())))?;
    }
    files::write(env, path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_example_is_compiled_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/contract-renewal");
        let env = remit_common::net::real::real();
        let on_disk: Vec<_> = files::read_tree(&env, &folder, 100, 1 << 20).unwrap().into_keys().collect();
        let mut compiled: Vec<_> = BUNDLE.iter().chain(STORY).map(|(path, _)| (*path).to_owned()).collect();
        compiled.push("tools.json".to_owned());
        compiled.sort();
        assert_eq!(compiled, on_disk);
    }

    #[test]
    fn a_bundle_to_start_from_was_made_now() {
        let folder = tempfile::tempdir().unwrap();
        let env = remit_common::net::real::real();
        write_bundle(&env, folder.path(), None, Timestamp::from_millis(1_800_000_000_999)).unwrap();
        let bundle = std::fs::read_to_string(folder.path().join("bundle.toml")).unwrap();
        assert!(bundle.contains("created   = 2027-01-15T08:00:00Z ") && !bundle.contains(CREATED), "{bundle}");
    }

    #[test]
    fn the_catalogue_of_a_mesh_names_its_own_tool_server() {
        let folder = tempfile::tempdir().unwrap();
        let env = remit_common::net::real::real();
        write_all(&env, folder.path(), "http://127.0.0.1:1/mcp").unwrap();
        let catalogue = std::fs::read_to_string(folder.path().join("bundle/catalogue/acme.toml")).unwrap();
        assert!(catalogue.contains("http://127.0.0.1:1/mcp") && !catalogue.contains(":7701/"));
    }
}
