//! The build: the same sources, the same bytes; and faults with a place.

use remit_common::bundle::{BuildOverrides, BundleSource, SourceFault};
use remit_common::id::{BundleVersion, MeshId};
use remit_common::text;
use remit_common::trust::dsse::pae;

use super::mesh::*;

fn faults(sources: &BundleSource) -> Vec<SourceFault> {
    sources.build(&BuildOverrides::default()).map(|_| ()).unwrap_err()
}

fn fault(sources: &BundleSource, file: &str, line: u32, says: &str) {
    let faults = faults(sources);
    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert_eq!((fault.file.as_str(), fault.line), (file, line), "{fault}");
    assert!(fault.to_string().contains(says), "{fault}");
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    // Clause B-19.
    let one = sources().build(&BuildOverrides::default()).unwrap();
    let two = sources().build(&BuildOverrides::default()).unwrap();
    assert_eq!(one.clone().into_container().to_bytes(), two.into_container().to_bytes());
    assert_eq!(one.check().unwrap().digest(), &one.digest());
}

#[test]
fn the_container_and_what_is_signed_are_golden() {
    // Clauses B-1, B-3 and T-2. A change of these bytes is a change of the format.
    let bundle = signed();
    let (envelope, files) = bundle.parts();
    let payload = String::from_utf8(envelope.payload.clone()).unwrap();
    assert_eq!(payload, include_str!("golden/manifest.json").trim_end());
    let signed = pae("application/vnd.remit.bundle.v1+json", payload.as_bytes());
    let expected = format!("DSSEv1 36 application/vnd.remit.bundle.v1+json {} {payload}", payload.len());
    assert_eq!(signed, expected.into_bytes());

    let bytes = bundle.to_bytes();
    let json = envelope.to_bytes();
    let len = |len: usize| u32::try_from(len).unwrap().to_be_bytes().to_vec();
    let mut expected = [b"REMITBDL\0\x01".to_vec(), len(json.len()), json, len(files.len())].concat();
    for file in files {
        expected.extend([len(file.len()), file.clone()].concat());
    }
    assert_eq!(bytes, expected);
    assert_eq!(text::hex(&bytes[..10]), "52454d495442444c0001");
    let names: Vec<_> = bundle.dangerous_unverified_manifest().unwrap().files;
    let names: Vec<_> = names.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(
        names,
        [
            "catalogue/notes.toml",
            "classes.toml",
            "entities.json",
            "policies/notes.cedar",
            "purposes.toml",
            "schema.cedarschema"
        ]
    );
}

#[test]
fn a_tool_for_whoever_has_a_copy_is_refused_unless_the_manifest_says_that_it_is_meant() {
    // Clause B-15.
    let mut bearer = sources_with("catalogue/notes.toml", |text| text.replace("\"P0\"", "\"none\""));
    let check = |sources: &BundleSource| sources.build(&BuildOverrides::default()).unwrap().check().map(|_| ());
    let refused = check(&bearer).unwrap_err();
    assert_eq!(refused.reason_code(), "bearer_not_allowed");
    assert!(
        refused.to_string().contains("`notes.read`") && refused.to_string().contains("allow_bearer = true"),
        "{refused}"
    );
    let toml = bearer.files.get_mut("bundle.toml").unwrap();
    *toml = [b"allow_bearer = true\n", toml.as_slice()].concat();
    check(&bearer).unwrap();
    let built = bearer.build(&BuildOverrides::default()).unwrap().into_container();
    let payload = String::from_utf8(built.parts().0.payload.clone()).unwrap();
    assert!(payload.ends_with(",\"allow_bearer\":true}"), "{payload}");
}

#[test]
fn the_command_line_overrides_what_the_file_says() {
    // Clause B-18.
    let overrides =
        BuildOverrides { created: Some(at(5)), mesh_id: Some(MeshId([2; 16])), version: Some(12), fallback: None };
    let built = sources().build(&overrides).unwrap();
    let manifest = built.manifest();
    assert_eq!((manifest.created, manifest.mesh_id, manifest.version), (at(5), MeshId([2; 16]), BundleVersion(12)));
    assert_eq!(manifest.expires, at(5 + 90 * 86_400));
}

#[test]
fn times_have_a_date_and_an_offset() {
    let built = |created: &str| {
        let sources = sources_with("bundle.toml", |text| text.replace("2026-11-01T00:00:00Z", created));
        sources.build(&BuildOverrides::default()).map(|built| built.manifest().created.to_string())
    };
    for (written, expected) in [
        ("2026-11-01T02:30:00+02:30", "2026-11-01T00:00:00.000Z"),
        ("2024-02-29T23:59:59.123Z", "2024-02-29T23:59:59.123Z"),
        ("2000-03-01T00:00:00Z", "2000-03-01T00:00:00.000Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(built(written).as_deref(), Ok(expected));
    }
    for bad in ["2026-11-01T00:00:00", "2026-11-01", "00:00:00", "1969-12-31T23:59:59Z"] {
        assert!(built(bad).is_err(), "{bad}");
    }
}

#[test]
fn faults_name_their_place() {
    // Clauses B-18 and B-20.
    let toml = |from: &str, to: &str| sources_with("bundle.toml", |text| text.replace(from, to));
    fault(&toml("tenant    = \"acme\"", "tenant = \"Acme!\""), "bundle.toml", 2, "tenant");
    fault(&toml("floor     = 5", "flor = 5"), "bundle.toml", 7, "flor");
    fault(&toml("floor     = 5", "floor = 8"), "bundle.toml", 1, "floor");
    fault(&toml("life_days = 90", "life_days = 91"), "bundle.toml", 1, "90 days");
    fault(&toml("2026-11-01T00:00:00Z", "2026-11-01"), "bundle.toml", 4, "offset");
    fault(&toml("created   = 2026-11-01T00:00:00Z\n", ""), "bundle.toml", 1, "--created");
    fault(&toml("mesh_id   = \"11111111111111111111111111111111\"\n", ""), "bundle.toml", 1, "--mesh-id");
    fault(&toml("[bounds]", "[engines]\nrego = \"1\"\n[bounds]"), "bundle.toml", 1, "engine `rego 1`");
    fault(&toml("[bounds]", "[combination]\ndefault = \"all-of\"\n[bounds]"), "bundle.toml", 1, "all-of");
    let yaml = sources_with("canaries.yaml", |text| text.replacen("expect: permit", "expct: permit", 1));
    fault(&yaml, "canaries.yaml", 8, "expct");
    let mut missing = sources();
    missing.files.remove("bundle.toml");
    fault(&missing, "bundle.toml", 1, "missing");
}

#[test]
fn files_travel_stay_behind_or_are_faults() {
    // Clause B-17.
    let with = |path: &str| {
        let mut sources = sources();
        sources.files.insert(path.to_owned(), b"x".to_vec());
        sources
    };
    let plain = built(&sources()).digest();
    for path in ["README.md", "tests/cases.yaml", ".gitignore", "policies/.notes.cedar.swp"] {
        assert_eq!(built(&with(path)).digest(), plain, "{path}");
    }
    for (path, says) in [
        ("policies/a.rego", "Rego cannot be evaluated"),
        ("policies/a.polar", "Polar cannot be evaluated"),
        ("policies/deep/a.cedar", "nothing would read"),
        ("policies/a.ceder", "nothing would read"),
        ("other.fga", "nothing would read"),
        ("policies/a b.cedar", "nothing would read"),
    ] {
        fault(&with(path), path, 1, says);
    }
}
