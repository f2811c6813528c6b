//! Nothing that people run can have planted bugs in it.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn members() -> Result<Vec<(String, Table)>> {
    let manifest: Table = std::fs::read_to_string(root().join("Cargo.toml"))?.parse()?;
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members")).and_then(Value::as_array);
    let names = members.context("a workspace without members")?.iter().filter_map(Value::as_str);
    names
        .map(|name| {
            let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml"))?.parse()?;
            Ok((name.to_owned(), manifest))
        })
        .collect()
}

/// Every text in a value, however deep.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Table(table) => table.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The feature is passed on by `chaos` alone, asked for by its mutation program alone, and nowhere on by default.
#[test]
fn only_the_mutation_program_asks_for_planted_bugs() -> Result<()> {
    let (mut passed_on, mut asked_for) = (Vec::new(), Vec::new());
    for (member, manifest) in members()? {
        let features = manifest.get("features").and_then(Value::as_table).cloned().unwrap_or_default();
        for (feature, turns_on) in &features {
            if texts(turns_on).iter().any(|name| name.ends_with("planted")) {
                passed_on.push(format!("{member} {feature}"));
            }
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies", "target"] {
            if let Some(section) = manifest.get(section) {
                assert!(!texts(section).contains(&"planted"), "{member} depends on something with planted bugs");
            }
        }
        for target in ["bin", "test", "bench", "example"] {
            for program in manifest.get(target).and_then(Value::as_array).into_iter().flatten() {
                let needs = program.get("required-features").map(texts).unwrap_or_default();
                if needs.contains(&"planted") {
                    let name = program.get("name").and_then(Value::as_str).unwrap_or_default();
                    asked_for.push(format!("{member} {target} {name}"));
                }
            }
        }
    }
    assert_eq!(passed_on, ["chaos planted"]);
    assert_eq!(asked_for, ["chaos bin remit-mutation"]);
    Ok(())
}

/// Programs that people run do not compile with planted bugs, whatever features somebody asks for.
#[test]
fn every_program_refuses_to_be_built_with_them() -> Result<()> {
    let mut looked_at = 0;
    for (member, _) in members()? {
        let main = root().join(&member).join("src").join("main.rs");
        if main.exists() {
            let source = std::fs::read_to_string(&main)?;
            assert!(source.contains("const _: () = assert!(!remit_common::planted::COMPILED_IN"), "{member}");
            looked_at += 1;
        }
    }
    assert_eq!(looked_at, 3, "remit, remit-control-plane and remit-edge-node");
    Ok(())
}

/// From one first byte to the next with the standard library's search, which is fast in a test build, too.
fn contains(mut bytes: &[u8], wanted: &[u8]) -> Result<bool> {
    let (first, rest) = wanted.split_first().context("nothing is wanted")?;
    while bytes.skip_until(*first)? > 0 {
        if bytes.starts_with(rest) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What `remit-mutation` finds in itself before it begins is not in the program under test, nor in this one.
#[test]
fn the_marker_is_in_no_other_program() -> Result<()> {
    let source = std::fs::read_to_string(root().join("common/src/planted.rs"))?;
    let (_, after) = source.split_once("pub const MARKER: &str = \"").context("the marker is gone")?;
    let (marker, _) = after.split_once('"').context("the marker does not end")?;
    assert!(marker.len() > 20);
    assert!(contains(source.as_bytes(), marker.as_bytes())?);
    for program in [PathBuf::from(env!("CARGO_BIN_EXE_remit")), std::env::current_exe()?] {
        #[expect(clippy::disallowed_methods, reason = "a test looks at the machine's files")]
        let bytes = std::fs::read(&program)?;
        assert!(bytes.len() > 1_000_000, "{} is no program", program.display());
        assert!(!contains(&bytes, marker.as_bytes())?, "{} can have planted bugs", program.display());
    }
    Ok(())
}
