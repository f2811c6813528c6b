//! What an edge weighs: a mesh of real processes, a bundle of 1 000 policies, 100 000 relation tuples.
//!
//! Drives the `remit` that it is given as an administrator would, in a temporary folder, reads what the kernel says of
//! the edge's process, and takes the mesh down. Fails above the budget.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use remit_benches::bundle;
use remit_benches::measure::exit;
use remit_common::crypto::key_file;
use remit_common::text;
use serde_json::Value;

/// Resident memory of the edge.
const RESIDENT_MAX_KIB: u64 = 96 * 1_024;
/// Policies, the three forbids included.
const POLICIES: usize = 1_000;
const TUPLES: u64 = 100_000;
/// How often it is looked whether the edge has everything, and for how long.
const LOOKS: u32 = 300;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug, Parser)]
#[command(about = "Measure what an edge weighs with 1 000 policies and 100 000 relation tuples")]
struct Args {
    /// The `remit` to start: `cargo build --release` makes target/release/remit.
    #[arg(long, value_name = "FILE", default_value = "target/release/remit")]
    remit: PathBuf,
}

fn main() -> ExitCode {
    exit(run())
}

/// A mesh in a folder of its own, which goes with it.
struct Mesh {
    remit: PathBuf,
    folder: tempfile::TempDir,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if let Err(error) = self.remit(&["down"]) {
            eprintln!("the mesh in `{}` may still run: {error:#}", self.folder.path().display());
        }
    }
}

impl Mesh {
    /// Runs a command to its end and gives what it wrote to standard output.
    #[expect(clippy::disallowed_methods, reason = "a bench starts the program that it measures")]
    fn remit(&self, args: &[&str]) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.remit);
        let output = command.args(args).current_dir(self.folder.path()).env_remove("REMIT_MESH").output()?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "`remit {}`: {}\n{}", args.join(" "), output.status, said());
        Ok(output.stdout)
    }

    /// The document that a command prints.
    fn json(&self, args: &[&str]) -> Result<Value> {
        let said = self.remit(&[args, &["--json"]].concat())?;
        serde_json::from_slice(&said).with_context(|| format!("what `remit {}` printed", args.join(" ")))
    }

    #[expect(clippy::disallowed_methods, reason = "a bench prepares the files of its mesh")]
    fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        Ok(std::fs::write(path, bytes)?)
    }

    #[expect(clippy::disallowed_methods, reason = "a bench reads the files of its mesh")]
    fn read(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8(std::fs::read(self.folder.path().join(path))?)?)
    }
}

fn run() -> Result<bool> {
    let args = Args::parse();
    let remit = args.remit.canonicalize().with_context(|| {
        format!("no `{}`: build one with `cargo build --release`, or name it with --remit", args.remit.display())
    })?;
    let mesh = Mesh { remit, folder: tempfile::tempdir()? };
    eprintln!("starting one voter and one edge");
    mesh.remit(&["up", "--detach", "--voters", "1", "--regions", "lab", "--edges", "1"])?;
    let edge = mesh.read(".remit/mesh.json")?;
    let edge: Value = serde_json::from_str(&edge)?;
    let edge = edge.pointer("/edges/0/pid").and_then(Value::as_u64).context("the edge's process id")?;
    println!("{:<44} {:>12} {:>12} {:>12}", "", "resident KiB", "of it heap", "at most KiB");
    line("with the example's bundle", edge)?;

    eprintln!("building and pushing {POLICIES} policies");
    for (path, bytes) in sources(&mesh)? {
        mesh.write(&format!("big/{path}"), &bytes)?;
    }
    let created = created()?;
    let build = ["bundle", "build", "big", "-o", "v2.bundle", "--version", "2", "--untested", "--created", &created];
    mesh.remit(&build)?;
    let keys = ["--key", ".remit/keys/policy-1.key", "--key", ".remit/keys/policy-2.key"];
    mesh.remit(&[&["bundle", "sign", "v2.bundle"][..], &keys[..]].concat())?;
    let why = "a measurement on a mesh of its own";
    mesh.remit(&["bundle", "push", "v2.bundle", "--approve-widening", "--reason", why])?;
    let active = |status: &Value| status.pointer("/edges/0/status/bundle_version").and_then(Value::as_u64) == Some(2);
    wait(&mesh, "the bundle", active)?;
    line(&format!("with {POLICIES} policies"), edge)?;

    eprintln!("writing {TUPLES} tuples");
    mesh.write("tuples.txt", tuples().as_bytes())?;
    mesh.remit(&["relation", "import", "tuples.txt"])?;
    let revision = mesh.json(&["relation", "ls"])?;
    let revision = revision.get("revision").and_then(Value::as_u64).context("the revision of the relations")?;
    let follows = |status: &Value| {
        status.pointer("/edges/0/status/tenants/0/relations/revision").and_then(Value::as_u64) == Some(revision)
    };
    wait(&mesh, "the tuples", follows)?;
    let (resident, most) = line(&format!("and {TUPLES} tuples"), edge)?;
    let kept = resident <= RESIDENT_MAX_KIB;
    println!(
        "  {} an edge's resident memory: at most 96 MiB (it was {most} KiB at most)",
        if kept { "kept  " } else { "BROKEN" }
    );
    Ok(kept)
}

/// A bundle of [`POLICIES`] policies with a model of relations, which the mesh's own key may write.
fn sources(mesh: &Mesh) -> Result<Vec<(String, Vec<u8>)>> {
    let mut sources: Vec<(String, Vec<u8>)> = bundle::sources(POLICIES - 3).into_iter().collect();
    let key = key_file::parse_signing(mesh.read(".remit/keys/relations.key")?.as_bytes())?;
    let rules = format!(
        "[[writer]]\nname = \"desk\"\nkey = \"{}\"\n\n[entities]\nUser = {{ type = \"user\", prefix = \"user:\" }}\nRecord = \
         \"record\"\nCollection = \"collection\"\n",
        text::hex(key.public().as_bytes())
    );
    let model = "model\n  schema 1.1\ntype user\ntype collection\n  relations\n    define reader: [user]\ntype record\n  \
                 relations\n    define held: [collection]\n    define reader: [user] or reader from held\n";
    let manifest = "name = \"big\"\ntenant = \"acme\"\nversion = 1\ncreated = 2026-11-01T00:00:00Z\nlife_days = 90\n\
                    floor = 1\n[bounds]\nread = 300\nwrite = 60\nirreversible = 10\nexternal-send = 10\nspend = 10\n\
                    delegate = 60\n[limits]\nchain_links = 5\n";
    // The mesh runs the example, whose numbers of purposes and classes are never given to something else.
    for (path, retired) in [("purposes.toml", "1, 2, 3, 4"), ("classes.toml", "1, 2, 3, 4, 5, 6")] {
        let (_, text) = sources.iter_mut().find(|(name, _)| name == path).context(path)?;
        let numbered = String::from_utf8(std::mem::take(text))?.replace("number = ", "number = 1");
        *text = numbered.replace("version = 1\n", &format!("version = 2\nretired = [{retired}]\n")).into_bytes();
    }
    sources.push(("relations.toml".to_owned(), rules.into_bytes()));
    sources.push(("relations.fga".to_owned(), model.into()));
    sources.push(("bundle.toml".to_owned(), manifest.into()));
    Ok(sources)
}

/// Now, in seconds since the Unix epoch: from when the bundle counts.
#[expect(clippy::disallowed_methods, reason = "a mesh of real processes lives by the clock of this machine")]
fn created() -> Result<String> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().to_string())
}

/// Users who read records, by themselves and by collections.
fn tuples() -> String {
    let mut text = String::new();
    for number in 0..TUPLES {
        _ = match number % 10 {
            0 => writeln!(text, "collection:c{}#reader@user:u{}", number % 997, number / 10),
            1 => writeln!(text, "record:r{}#held@collection:c{}", number / 10, number % 991),
            _ => writeln!(text, "record:r{}#reader@user:u{}", number / 10, number * 7 % 20_011),
        };
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "a bench waits for processes that it started")]
fn wait(mesh: &Mesh, what: &str, there: impl Fn(&Value) -> bool) -> Result<()> {
    for _ in 0..LOOKS {
        if there(&mesh.json(&["status"])?) {
            return Ok(());
        }
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
    bail!("the edge did not have {what} in time: `remit status` says {}", mesh.json(&["status"])?)
}

/// For the process to be done with what it was given.
const SETTLE: Duration = Duration::from_secs(5);

/// Prints what the kernel says of a process, once it is quiet and at most so far, in KiB.
#[expect(clippy::disallowed_methods, reason = "a bench waits for processes that it started")]
fn line(what: &str, process: u64) -> Result<(u64, u64)> {
    std::thread::sleep(SETTLE);
    let status = status_of(&PathBuf::from(format!("/proc/{process}/status")))?;
    let of = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let found = (of("VmRSS:")?, of("VmHWM:")?);
    println!("{what:<44} {:>12} {:>12} {:>12}", found.0, of("RssAnon:")?, found.1);
    Ok(found)
}

#[expect(clippy::disallowed_methods, reason = "the kernel tells what a process weighs in a file")]
fn status_of(path: &Path) -> Result<String> {
    Ok(String::from_utf8(std::fs::read(path)?)?)
}
