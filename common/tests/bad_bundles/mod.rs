//! Bundles that have to be refused, and where they say why: one table for the desk, for a voter and for an edge, which
//! include this file. Each is the bundle of `common/tests/it/trust/sources` with one change.

#![allow(dead_code, reason = "each of the crates that include it uses a part")]

use std::collections::BTreeMap;

use remit_common::bundle::{BuildOverrides, BundleSource, FileEntry, SignedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::trust::dsse::Envelope;

/// The files of a bundle.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A bundle that is refused.
pub(crate) struct Bad {
    /// What is wrong with it: the part, and the mistake.
    pub(crate) name: &'static str,
    /// The change.
    pub(crate) change: fn(&mut Files),
    /// What a voter and an edge say of it, place included; `None` for files that do not travel.
    pub(crate) says: Option<&'static str>,
}

macro_rules! sources {
    ($($path:literal),* $(,)?) => { [$(($path, include_bytes!(concat!("../it/trust/sources/", $path)).as_slice())),*] };
}

/// The bundle without a change.
pub(crate) fn good() -> Files {
    let files = sources![
        "bundle.toml",
        "canaries.yaml",
        "catalogue/notes.toml",
        "classes.toml",
        "entities.json",
        "policies/notes.cedar",
        "purposes.toml",
        "schema.cedarschema",
    ];
    files.into_iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
}

/// The files of a bad one.
pub(crate) fn files(bad: &Bad) -> Files {
    let mut files = good();
    (bad.change)(&mut files);
    assert_ne!(files, good(), "{}: nothing was changed", bad.name);
    files
}

/// A container of such files as somebody would make it who does not check, or who means harm.
pub(crate) fn container(files: &Files, overrides: &BuildOverrides) -> SignedBundle {
    if let Ok(built) = (BundleSource { files: files.clone() }).build(overrides) {
        return built.into_container();
    }
    let built = BundleSource { files: good() }.build(overrides).expect("the good one is built").into_container();
    let mut manifest = built.dangerous_unverified_manifest().expect("a manifest");
    let travels = |path: &str| !["bundle.toml", "canaries.yaml"].contains(&path) && !path.starts_with("tests/");
    let travelling: Vec<(&String, &Vec<u8>)> = files.iter().filter(|(path, _)| travels(path)).collect();
    let entry = |(path, content): &(&String, &Vec<u8>)| FileEntry {
        path: (*path).clone(),
        len: u64::try_from(content.len()).expect("a length"),
        sha256: Digest::of(&[content]),
    };
    manifest.files = travelling.iter().map(entry).collect();
    let payload = serde_json::to_vec(&manifest).expect("JSON");
    let envelope = Envelope::new("application/vnd.remit.bundle.v1+json", payload);
    SignedBundle::from_parts(envelope, travelling.into_iter().map(|(_, content)| content.clone()).collect())
}

fn replace(files: &mut Files, file: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[file].clone()).expect("text");
    assert!(text.contains(from), "`{file}` has no `{from}`");
    files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
}

fn put(files: &mut Files, file: &str, text: &str) {
    files.insert(file.to_owned(), text.as_bytes().to_vec());
}

fn add(files: &mut Files, file: &str, text: &str) {
    files.get_mut(file).expect("a file").extend_from_slice(text.as_bytes());
}

const POLICIES: &str = "policies/notes.cedar";
const CATALOGUE: &str = "catalogue/notes.toml";
const SCHEMA: &str = "schema.cedarschema";
const CANARIES: &str = "canaries.yaml";

const RELATIONS: &str = "[entities]\nCustomer = \"customer\"\nUser = \"user\"\n";
const MODEL: &str =
    "model\n  schema 1.1\ntype user\ntype customer\n  relations\n    define owner: [user]\n    define seen: owner\n";

const SUITE: &str = "fixtures: {}\ncases: []\n";

/// Every one of them.
pub(crate) const TABLE: &[Bad] = &[
    // Malformed.
    Bad {
        name: "catalogue: a text without an end",
        change: |files| replace(files, CATALOGUE, "\"notes.read\"", "\"notes.read"),
        says: Some("catalogue/notes.toml:6:"),
    },
    Bad {
        name: "catalogue: a key that nobody reads",
        change: |files| replace(files, CATALOGUE, "resource     =", "resorce      ="),
        says: Some("catalogue/notes.toml:11:"),
    },
    Bad {
        name: "catalogue: a class that is not there",
        change: |files| replace(files, CATALOGUE, "= \"note\"", "= \"notes\""),
        says: Some("catalogue/notes.toml:15:"),
    },
    Bad {
        name: "schema: a declaration without an end",
        change: |files| replace(files, SCHEMA, "entity Customer;", "entity Customer"),
        says: Some("schema.cedarschema:5:"),
    },
    Bad {
        name: "schema: a type that is not there",
        change: |files| replace(files, SCHEMA, "delegator: String", "delegator: Strng"),
        says: Some("schema.cedarschema:8:"),
    },
    Bad {
        name: "policies: a comma is missing",
        change: |files| replace(files, POLICIES, "Action::\"notes.read\", resource", "Action::\"notes.read\" resource"),
        says: Some("policies/notes.cedar:2:"),
    },
    Bad {
        name: "policies: a rule without a name",
        change: |files| replace(files, POLICIES, "@id(\"notes.send\")\n", ""),
        says: Some("policies/notes.cedar:4:"),
    },
    Bad {
        name: "policies: two rules of one name",
        change: |files| replace(files, POLICIES, "@id(\"notes.send\")", "@id(\"notes.read\")"),
        says: Some("policies/notes.cedar:4:"),
    },
    Bad {
        name: "policies: not text",
        change: |files| {
            files.get_mut(POLICIES).expect("a file").push(0xff);
        },
        says: Some("policies/notes.cedar:9:"),
    },
    Bad {
        name: "purposes: a number that stands for two",
        change: |files| add(files, "purposes.toml", "[[purpose]]\nnumber = 1\nname   = \"bill\"\n"),
        says: Some("purposes.toml:"),
    },
    Bad {
        name: "classes: one that includes what is not there",
        change: |files| add(files, "classes.toml", "includes = [\"secret\"]\n"),
        says: Some("classes.toml:5:"),
    },
    Bad {
        name: "entities: a type that the schema does not have",
        change: |files| replace(files, "entities.json", "\"User\"", "\"Usr\""),
        says: Some("entities.json:"),
    },
    Bad {
        name: "relations.fga: a relation without a definition",
        change: |files| {
            put(files, "relations.toml", RELATIONS);
            put(files, "relations.fga", &MODEL.replace("define seen: owner", "define seen:"));
        },
        says: Some("relations.fga:8:"),
    },
    Bad {
        name: "relations.toml: a type that the model does not have",
        change: |files| {
            put(files, "relations.toml", &RELATIONS.replace("\"customer\"", "\"costumer\""));
            put(files, "relations.fga", MODEL);
        },
        says: Some("relations.toml:2:"),
    },
    Bad {
        name: "bundle.toml: a key that nobody reads",
        change: |files| replace(files, "bundle.toml", "floor     =", "flor      ="),
        says: None,
    },
    Bad {
        name: "canaries: a key that nobody reads",
        change: |files| replace(files, CANARIES, "expect: permit", "expct: permit"),
        says: None,
    },
    Bad {
        name: "tests: a key that nobody reads",
        change: |files| put(files, "tests/notes.yaml", &SUITE.replace("cases", "case")),
        says: None,
    },
    // Oversized.
    Bad {
        name: "policies: a file of more than four mebibytes",
        change: |files| add(files, POLICIES, &"// padding\n".repeat(400_000)),
        says: Some("4 MiB"),
    },
    Bad {
        name: "policies: files of more than eight mebibytes together",
        change: |files| {
            for name in ["a", "b", "c"] {
                put(files, &format!("policies/{name}.cedar"), &"// padding\n".repeat(254_600));
            }
        },
        says: Some("8 MiB"),
    },
    Bad {
        name: "policies: more than five hundred and twelve files",
        change: |files| (0..600).for_each(|n| put(files, &format!("policies/p{n}.cedar"), "// nothing\n")),
        says: Some("512 files"),
    },
    Bad {
        name: "tests: a suite of more than 256 KiB",
        change: |files| put(files, "tests/notes.yaml", &format!("{SUITE}{}", "# padding\n".repeat(30_000))),
        says: None,
    },
    // Cyclic.
    Bad {
        name: "classes: each includes the other",
        change: |files| {
            let other = "includes = [\"more\"]\n[[class]]\nnumber = 2\nname   = \"more\"\nincludes = [\"note\"]\n";
            add(files, "classes.toml", other);
        },
        says: Some("classes.toml:"),
    },
    Bad {
        name: "schema: a type that is made of itself",
        change: |files| add(files, SCHEMA, "type One = Set<One>;\n"),
        says: Some("schema.cedarschema:1"),
    },
    Bad {
        name: "entities: one that is in itself",
        change: |files| {
            replace(files, SCHEMA, "entity AgentClass;", "entity AgentClass in [AgentClass];");
            let in_itself = "\"parents\": [{ \"type\": \"AgentClass\", \"id\": \"analyst\" }] },\n";
            replace(files, "entities.json", "\"parents\": [] },\n", in_itself);
        },
        says: Some("entities.json:"),
    },
    Bad {
        name: "relations.fga: two relations that are each other",
        change: |files| {
            put(files, "relations.toml", RELATIONS);
            put(files, "relations.fga", &MODEL.replace("define owner: [user]", "define owner: seen"));
        },
        says: Some("relations.fga:"),
    },
    // Unsatisfiable.
    Bad {
        name: "policies: a resource that the action is never about",
        change: |files| replace(files, POLICIES, "\"notes.read\", resource)", "\"notes.read\", resource is Agent)"),
        says: Some("policies/notes.cedar:"),
    },
    Bad {
        name: "policies: a condition that never holds",
        change: |files| replace(files, POLICIES, "resource);\n\n", "resource)\nwhen { context.now > 3 && false };\n\n"),
        says: Some("policies/notes.cedar:"),
    },
    Bad {
        name: "policies: an attribute that no call has",
        change: |files| {
            replace(files, POLICIES, "resource);\n\n", "resource)\nwhen { context.purpos == \"review\" };\n\n")
        },
        says: Some("policies/notes.cedar:3:"),
    },
    Bad {
        name: "policies: brackets inside brackets, ten thousand deep",
        change: |files| {
            let deep = format!("resource)\nwhen {{ {}true{} }};\n\n", "(".repeat(10_000), ")".repeat(10_000));
            replace(files, POLICIES, "resource);\n\n", &deep);
        },
        says: Some("policies/notes.cedar:3:"),
    },
    Bad {
        name: "policies: a hundred thousand negations",
        change: |files| {
            let deep = format!("resource)\nwhen {{ {}true }};\n\n", "!".repeat(100_000));
            replace(files, POLICIES, "resource);\n\n", &deep);
        },
        says: Some("policies/notes.cedar:3:"),
    },
    Bad {
        name: "schema: sets of sets, ten thousand deep",
        change: |files| {
            let deep = format!("type Deep = {}String{};\nentity Customer;", "Set<".repeat(10_000), ">".repeat(10_000));
            replace(files, SCHEMA, "entity Customer;", &deep);
        },
        says: Some("schema.cedarschema:4:"),
    },
    Bad {
        name: "policies: an argument that the tool does not have",
        change: |files| {
            replace(files, POLICIES, "resource);\n\n", "resource)\nwhen { context.args.custmer == \"c1\" };\n\n");
        },
        says: Some("policies/notes.cedar:3:"),
    },
    Bad {
        name: "policies: a question after an argument that the tool does not have",
        change: |files| {
            replace(files, POLICIES, "resource);\n\n", "resource)\nunless { context.args has secret };\n\n");
        },
        says: Some("policies/notes.cedar:3:"),
    },
    Bad {
        name: "policies: an argument of another type",
        change: |files| {
            replace(files, POLICIES, "resource);\n\n", "resource)\nwhen { context.args.customer > 3 };\n\n")
        },
        says: Some("policies/notes.cedar:3:"),
    },
    Bad {
        name: "schema: an argument of another type than the catalogue says",
        change: |files| replace(files, SCHEMA, "now: Long }", "now: Long, args: { customer: Long } }"),
        says: Some("schema.cedarschema:5:"),
    },
    Bad {
        name: "schema: a tool that is no action",
        change: |files| replace(files, SCHEMA, "\"notes.read\", \"notes.send\"", "\"notes.send\""),
        says: Some("policies/notes.cedar:1:"),
    },
    // Failing its own canaries.
    Bad {
        name: "canaries: another answer",
        change: |files| replace(files, POLICIES, "\"analyst\"", "\"clerk\""),
        says: Some("canary `an analyst reads the notes of her customer` should be `permit`"),
    },
    Bad {
        name: "canaries: by another rule",
        change: |files| replace(files, CANARIES, "policies: [notes.read]", "policies: [notes.send]"),
        says: Some("canary `an analyst reads the notes of her customer`"),
    },
    Bad {
        name: "canaries: for a purpose that is not there",
        change: |files| replace(files, CANARIES, "purpose: review", "purpose: reviews"),
        says: Some("canary `an analyst reads the notes of her customer`: there is no purpose `reviews`"),
    },
];
