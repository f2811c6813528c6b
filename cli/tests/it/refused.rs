//! What `remit bundle check` says of bundles that have to be refused: all of it, word for word, in `refused.txt`, so that
//! a change of the words is seen.

use std::fmt::Write as _;

use crate::bad_bundles::{TABLE, files, good};
use crate::process::{read, remit, stdout_of, write};

#[test]
fn check_says_where_a_bundle_is_wrong_and_what_would_help() {
    let folder = tempfile::tempdir().unwrap();
    let lay_out = |name: &str, files: &crate::bad_bundles::Files| {
        for (path, bytes) in files {
            let path = folder.path().join(name).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, bytes);
        }
    };
    lay_out("good", &good());
    assert!(stdout_of(&remit(folder.path(), &["bundle", "check", "good"]), 0).starts_with("ok"));
    let mut said = String::new();
    for (at, bad) in TABLE.iter().enumerate() {
        let name = format!("bad{at}");
        lay_out(&name, &files(bad));
        let refused = remit(folder.path(), &["bundle", "check", &name]);
        stdout_of(&refused, 4);
        let text = String::from_utf8_lossy(&refused.stderr).replace(&name, "DIR");
        writeln!(said, "# {}\n\n{}\n", bad.name, text.trim_end()).unwrap();
    }
    // For whoever meant the change: what is said now.
    let now = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("refused.txt");
    write(&now, said.as_bytes());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/refused.txt");
    let golden = String::from_utf8(read(&path)).unwrap();
    for (said, golden) in said.split("\n# ").zip(golden.split("\n# ")) {
        assert_eq!(said, golden, "all of what is said now stands in {}", now.display());
    }
    assert_eq!(said.len(), golden.len(), "the table has more cases than refused.txt, or fewer");
}
