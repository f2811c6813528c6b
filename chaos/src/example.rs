//! `examples/contract-renewal`, compiled in: the demo plays it, local meshes run it, drills work in it.

use std::collections::BTreeMap;

use remit_common::bundle::BundleSource;
use remit_common::crypto::sign::PublicKey;
use remit_common::policy::relations::RELATIONS_FILE;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../examples/contract-renewal/", $path)))),*]
    };
}

/// The sources of the bundle, by path inside the example.
pub const BUNDLE: &[(&str, &[u8])] = files![
    "bundle/bundle.toml",
    "bundle/schema.cedarschema",
    "bundle/entities.json",
    "bundle/purposes.toml",
    "bundle/classes.toml",
    "bundle/canaries.yaml",
    "bundle/catalogue/acme.toml",
    "bundle/policies/renewal.cedar",
    "bundle/policies/limits.cedar",
    "bundle/relations.fga",
    "bundle/relations.toml",
    "bundle/tests/renewal.yaml",
];

/// The rest of the example.
pub const STORY: &[(&str, &[u8])] = files!["task.toml", "child.toml", "propose.toml", "story.md"];

/// The request of the story.
pub const TASK: &str = include_str!("../../examples/contract-renewal/task.toml");
/// The restriction of the story.
pub const CHILD: &str = include_str!("../../examples/contract-renewal/child.toml");
/// The request for an envelope under which relations decide.
pub const PROPOSE: &str = include_str!("../../examples/contract-renewal/propose.toml");
/// The data of the tool server.
pub const TOOLS: &[u8] = include_bytes!("../../examples/contract-renewal/tools.json");

/// The credential that the catalogue names.
pub const CREDENTIAL: &str = "acme-contracts-api";

/// Where the catalogue says that the tool server is.
const TOOL_URL: &str = "http://127.0.0.1:7701/mcp";

/// A file of the example, with the tool server at `tool_url`.
#[must_use]
pub fn with_tools_at(bytes: &[u8], tool_url: &str) -> Vec<u8> {
    String::from_utf8_lossy(bytes).replace(TOOL_URL, tool_url).into_bytes()
}

/// Says in a bundle's `relations.toml` whose batches of tuples count.
#[must_use]
pub fn writer(key: &PublicKey) -> String {
    let key = remit_common::text::hex(key.as_bytes());
    format!(
        "\n# Whose batches of tuples count: `remit relation add` and `rm` sign with keys/relations.key of this mesh.\n\
         [[writer]]\nname = \"this-mesh\"\nkey  = \"{key}\"\n"
    )
}

/// Has a bundle take relations from this key.
pub fn add_writer(source: &mut BundleSource, key: &PublicKey) {
    if let Some(rules) = source.files.get_mut(RELATIONS_FILE) {
        rules.extend_from_slice(writer(key).as_bytes());
    }
}

/// The sources of the bundle, with the tool server at `tool_url`.
#[must_use]
pub fn bundle_source(tool_url: &str) -> BundleSource {
    let file =
        |(path, bytes): &(&str, &[u8])| (path.trim_start_matches("bundle/").to_owned(), with_tools_at(bytes, tool_url));
    BundleSource { files: BUNDLE.iter().map(file).collect::<BTreeMap<_, _>>() }
}
