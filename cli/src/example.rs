//! `examples/contract-renewal`, compiled in: the demo plays it, `up` sets it up, `bundle new` hands it out.

use std::path::Path;

use remit_common::net::env::Env;

use crate::failure::{Exit, Failure};
use crate::files;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../examples/contract-renewal/", $path)))),*]
    };
}

/// The sources of the bundle, by path inside the example.
const BUNDLE: &[(&str, &[u8])] = files![
    "bundle/bundle.toml",
    "bundle/schema.cedarschema",
    "bundle/entities.json",
    "bundle/purposes.toml",
    "bundle/classes.toml",
    "bundle/canaries.yaml",
    "bundle/catalogue/acme.toml",
    "bundle/policies/renewal.cedar",
    "bundle/policies/limits.cedar",
];

/// The rest of the example.
const STORY: &[(&str, &[u8])] = files!["task.toml", "child.toml", "story.md"];

/// The request of the story.
pub(crate) const TASK: &str = include_str!("../../examples/contract-renewal/task.toml");
/// The restriction of the story.
pub(crate) const CHILD: &str = include_str!("../../examples/contract-renewal/child.toml");
/// The data of the tool server.
pub(crate) const TOOLS: &[u8] = include_bytes!("../../examples/contract-renewal/tools.json");

/// Where the catalogue says that the tool server is.
const TOOL_URL: &str = "http://127.0.0.1:7701/mcp";

/// Writes the bundle's sources to a folder.
pub(crate) fn write_bundle(env: &Env, dir: &Path) -> Result<(), Failure> {
    for (path, bytes) in BUNDLE {
        write(env, &dir.join(path.trim_start_matches("bundle/")), bytes)?;
    }
    Ok(())
}

/// Writes the whole example, with the tool server at `tool_url`.
pub(crate) fn write_all(env: &Env, dir: &Path, tool_url: &str) -> Result<(), Failure> {
    for (path, bytes) in BUNDLE.iter().chain(STORY) {
        let text = String::from_utf8_lossy(bytes).replace(TOOL_URL, tool_url);
        write(env, &dir.join(path), text.as_bytes())?;
    }
    Ok(())
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
    fn the_catalogue_of_a_mesh_names_its_own_tool_server() {
        let folder = tempfile::tempdir().unwrap();
        let env = remit_common::net::real::real();
        write_all(&env, folder.path(), "http://127.0.0.1:1/mcp").unwrap();
        let catalogue = std::fs::read_to_string(folder.path().join("bundle/catalogue/acme.toml")).unwrap();
        assert!(catalogue.contains("http://127.0.0.1:1/mcp") && !catalogue.contains(TOOL_URL));
    }
}
