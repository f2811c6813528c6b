//! Where a suite is played: its bundle, compiled as an edge compiles it, and its rule.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use remit_common::bundle::{BuildOverrides, BundleSource, CompiledBundle};
use remit_common::id::MeshId;
use remit_common::policy::Catalogue;

use super::rule::Rule;

/// A suite's files, as they stand in the repository.
#[derive(Debug, Clone, Copy)]
pub struct Files {
    /// The suite.
    pub name: &'static str,
    rule: &'static str,
    /// A handful of tasks of ours in the same form, for whoever has not the suite itself.
    pub own: &'static [u8],
    bundle: [(&'static str, &'static str); 7],
}

macro_rules! files {
    ($name:literal, $catalogue:literal) => {
        Files {
            name: $name,
            rule: include_str!(concat!("../../tasks/", $name, "/rule.toml")),
            own: include_bytes!(concat!("../../tasks/own/", $name, ".json")),
            bundle: [
                ("bundle.toml", include_str!(concat!("../../tasks/", $name, "/bundle/bundle.toml"))),
                ("canaries.yaml", include_str!(concat!("../../tasks/", $name, "/bundle/canaries.yaml"))),
                ("classes.toml", include_str!(concat!("../../tasks/", $name, "/bundle/classes.toml"))),
                ("purposes.toml", include_str!(concat!("../../tasks/", $name, "/bundle/purposes.toml"))),
                ("schema.cedarschema", include_str!(concat!("../../tasks/", $name, "/bundle/schema.cedarschema"))),
                (
                    "policies/assistant.cedar",
                    include_str!(concat!("../../tasks/", $name, "/bundle/policies/assistant.cedar")),
                ),
                (
                    concat!("catalogue/", $catalogue, ".toml"),
                    include_str!(concat!("../../tasks/", $name, "/bundle/catalogue/", $catalogue, ".toml")),
                ),
            ],
        }
    };
}

/// The suites that there are bundles for.
pub const SUITES: [Files; 2] = [files!("banking", "bank"), files!("workspace", "office")];

/// A mesh of nobody's.
pub(super) const MESH: MeshId = MeshId([0x42; 16]);

/// What decides, and the rule by which envelopes are made.
#[derive(Debug)]
pub struct Setting {
    /// The bundle.
    pub bundle: CompiledBundle,
    /// The rule.
    pub rule: Rule,
}

impl Setting {
    /// Builds and checks the bundle of a suite, canaries included, and reads its rule.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn load(files: &Files) -> Result<Self> {
        let of = |(path, text): (&str, &str)| (path.to_owned(), text.as_bytes().to_vec());
        let source = BundleSource { files: files.bundle.into_iter().map(of).collect::<BTreeMap<_, _>>() };
        let overrides = BuildOverrides { mesh_id: Some(MESH), ..BuildOverrides::default() };
        let unsigned = source.build(&overrides).map_err(|faults| anyhow!("{faults:#?}"))?;
        let bundle = unsigned.check().with_context(|| format!("the bundle of `{}`", files.name))?;
        let rule = Rule::parse(files.rule, bundle.policy().catalogue())
            .with_context(|| format!("the rule of `{}`", files.name))?;
        Ok(Self { bundle, rule })
    }

    /// What the suite's tools are.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        self.bundle.policy().catalogue()
    }
}
