//! A ceremony as people hold one: every key at a machine of its own, documents going from hand to hand, and at each
//! step the mistake that would be made there.

use std::path::{Path, PathBuf};

use remit_common::crypto::key_file;
use remit_common::crypto::sign::SigningKey;
use remit_common::net::real::real;
use remit_common::time::Timestamp;
use remit_common::trust::ceremony::{Content, Draft};
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::root::{Root, RootContent, SignedRoot};
use serde_json::{Value, json};

use crate::mesh::{Mesh, mode, read_7781};
use crate::process::{json as run, read, remit, stdout_of, write};

/// How often an edge is asked whether it has what was installed: each time is a process of some milliseconds.
const TRIES_MAX: usize = 2_000;

/// The room in which people meet; what lies here goes from hand to hand.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Somebody's own machine, on which a key is made; what others are told of it is its public half.
    fn key(&self, who: &str) -> String {
        let folder = self.machine(who);
        std::fs::create_dir(&folder).unwrap();
        let made = run(&folder, &["trust", "key", "own.key"]);
        assert_eq!(mode(&folder.join("own.key")) & 0o777, 0o600);
        let key = signing_key(&folder.join("own.key"));
        assert_eq!(made["key_id"], json!(key.public().id()), "{made}");
        made["key"].as_str().unwrap().to_owned()
    }

    fn machine(&self, who: &str) -> PathBuf {
        self.path().join(who)
    }

    /// Carries files to somebody's machine, signs there with the key that stays there, and carries the document back.
    fn sign(&self, who: &str, file: &str, others: &[&str], options: &[&str]) -> Result<Value, String> {
        for file in others.iter().chain([&file]) {
            write(&self.machine(who).join(file), &read(&self.path().join(file)));
        }
        let args = ["trust", "sign", file, "--key", "own.key"];
        let signed = told(&self.machine(who), &[&args[..], options].concat())?;
        write(&self.path().join(file), &read(&self.machine(who).join(file)));
        Ok(signed)
    }

    fn describe(&self, file: &str, text: &str) {
        write(&self.path().join(file), text.as_bytes());
    }
}

fn signing_key(path: &Path) -> SigningKey {
    key_file::parse_signing(&read(path)).unwrap()
}

/// What a command answers, or the reason for which it was refused.
fn told(folder: &Path, args: &[&str]) -> Result<Value, String> {
    let output = remit(folder, &[args, &["--json"]].concat());
    let code = output.status.code().unwrap();
    let answer: Value = serde_json::from_str(&stdout_of(&output, code)).unwrap();
    match answer["error"]["reason"].as_str() {
        Some(reason) if code == 1 || code == 2 => Err(reason.to_owned()),
        _ => {
            assert_eq!(code, 0, "{answer}");
            Ok(answer)
        }
    }
}

fn refused(folder: &Path, args: &[&str], reason: &str) {
    assert_eq!(told(folder, args), Err(reason.to_owned()), "{args:?}");
}

fn role(name: &str, threshold: usize, keys: &[&String]) -> String {
    format!("[{name}]\nthreshold = {threshold}\nkeys = {keys:?}\n")
}

/// How many have signed, of each set of keys that must.
fn counts(standing: &Value) -> Vec<(usize, u64)> {
    let quorums = standing["quorums"].as_array().unwrap().iter();
    quorums.map(|q| (q["signed"].as_array().unwrap().len(), q["missing"].as_u64().unwrap())).collect()
}

fn show(folder: &Path, args: &[&str], code: i32) -> Value {
    let output = remit(folder, &[&["trust", "show"], args, &["--json"]].concat());
    serde_json::from_str(&stdout_of(&output, code)).unwrap()
}

fn root_content(path: &Path) -> RootContent {
    match Draft::parse(&read(path)).unwrap().content() {
        Content::Root(content) => (**content).clone(),
        Content::Directory(_) => panic!("a root"),
    }
}

/// The verifier of voters and edges, from the first root on.
fn verified(folder: &Path, roots: &[&str]) -> Root {
    let parse = |file: &&str| SignedRoot::parse(&read(&folder.join(file))).unwrap();
    let first = parse(&roots[0]);
    let (pin, mesh) = (first.digest(), root_content(&folder.join(roots[0])).mesh_id);
    let first = first.verify_pinned(&pin, &mesh).unwrap();
    roots[1..].iter().fold(first, |root, file| parse(file).verify_next(&root).unwrap())
}

/// Clauses T-15 to T-17 and U-15 to U-17: five root keys, three of which sign; three for policy and three for
/// directories, two of which do. Then two of the five are replaced.
#[test]
fn people_sign_at_their_own_machines_and_every_mistake_is_told() {
    let room = Room::new();
    let here = room.path();
    let root: Vec<_> = (1..=7).map(|n| room.key(&format!("root-{n}"))).collect();
    let policy: Vec<_> = (1..=3).map(|n| room.key(&format!("policy-{n}"))).collect();
    let directory: Vec<_> = (1..=3).map(|n| room.key(&format!("directory-{n}"))).collect();
    refused(&room.machine("root-1"), &["trust", "key", "own.key"], "exists");

    // The first root, and what a description must not say.
    let people = |root: &[&String], policy: &[&String], threshold| {
        let roles = [role("root", threshold, root), role("directory", 2, &directory.iter().collect::<Vec<_>>())];
        [&roles[..], &[role("policy.acme", 2, policy)]].concat().concat()
    };
    let five: Vec<_> = root.iter().take(5).collect();
    let three: Vec<_> = policy.iter().collect();
    let init = ["trust", "init", "mesh.toml", "--out", "1.root.json"];
    for (text, reason) in [
        (people(&five, &three, 6), "bad_role"),
        (people(&five, &three, 1), "bad_role"),
        (people(&five, &[&root[0], &policy[0]], 3), "key_reused"),
        (format!("expire_days = 9\n{}", people(&five, &three, 3)), "description"),
        (format!("expires_days = 400\n{}", people(&five, &three, 3)), "description"),
        (format!("{}[bounds_max]\nread = 0\n", people(&five, &three, 3)), "description"),
    ] {
        room.describe("mesh.toml", &text);
        refused(here, &init, reason);
        assert!(!here.join("1.root.json").exists());
    }
    room.describe("mesh.toml", &format!("expires_days = 20\n{}", people(&five, &three, 3)));
    let made = run(here, &init);
    assert_eq!((counts(&made), &made["complete"], &made["state"]), (vec![(0, 3)], &json!(false), &json!("ends_soon")));
    refused(here, &init, "exists");
    let (digest, mesh) = (made["digest"].as_str().unwrap(), made["mesh_id"].as_str().unwrap());

    // From hand to hand; one of them signs a copy at home.
    write(&here.join("copy.json"), &read(&here.join("1.root.json")));
    assert_eq!(counts(&room.sign("root-1", "1.root.json", &[], &[]).unwrap()), [(1, 2)]);
    assert_eq!(room.sign("root-1", "1.root.json", &[], &[]), Err("signed_already".to_owned()));
    for stranger in ["root-6", "policy-1", "directory-1"] {
        assert_eq!(room.sign(stranger, "1.root.json", &[], &[]), Err("no_part".to_owned()), "{stranger}");
    }
    assert_eq!(counts(&room.sign("root-2", "1.root.json", &[], &[]).unwrap()), [(2, 1)]);
    let early = show(here, &["1.root.json"], 4);
    assert_eq!(early["documents"][0]["refused"]["reason"], "not_enough_signatures", "{early}");
    room.describe("rows.toml", &rows(&signing_key(&room.machine("policy-1").join("own.key")), true));
    let directory_args = ["trust", "directory", "rows.toml", "--root", "1.root.json", "--out", "directory.json"];
    refused(here, &directory_args, "not_enough_signatures");
    room.sign("root-3", "copy.json", &[], &[]).unwrap();
    run(here, &["trust", "merge", "1.root.json", "copy.json", "--out", "all.json"]);
    write(&here.join("1.root.json"), &read(&here.join("all.json")));
    let shown = show(here, &["1.root.json", "--pin", digest], 0);
    assert_eq!((counts(&shown["documents"][0]), &shown["pinned"]), (vec![(3, 0)], &json!(true)));
    let other_pin = show(here, &["1.root.json", "--pin", &"0".repeat(64)], 4);
    assert_eq!(other_pin["documents"][0]["refused"]["reason"], "not_the_pinned_root");

    // The directory.
    for (from, to, reason) in
        [("identity", "identiti", "description"), ("life_days = 30", "life_days = 31", "description")]
    {
        let text = String::from_utf8(read(&here.join("rows.toml"))).unwrap().replacen(from, to, 1);
        room.describe("bad.toml", &text);
        refused(here, &["trust", "directory", "bad.toml", "--root", "1.root.json", "--out", "bad.json"], reason);
    }
    // A key of the root stands in the directory, too: what voters would refuse, nobody is asked to sign.
    refused(here, &directory_args, "key_reused");
    room.describe("rows.toml", &rows(&signing_key(&room.machine("policy-1").join("own.key")), false));
    let text = String::from_utf8(read(&here.join("rows.toml"))).unwrap().replace("install-trust", "revoke");
    room.describe("bad.toml", &text);
    let alone = run(here, &["trust", "directory", "bad.toml", "--root", "1.root.json", "--out", "alone.json"]);
    assert!(alone["warnings"][0].as_str().unwrap().contains("install-trust"), "{alone}");
    let made = run(here, &directory_args);
    assert_eq!((counts(&made), &made["warnings"]), (vec![(0, 2)], &json!([])));
    let root_option = ["--root", "1.root.json"];
    let by = |who: &str| room.sign(who, "directory.json", &["1.root.json"], &root_option);
    assert_eq!(by("root-1"), Err("no_part".to_owned()));
    assert_eq!(counts(&by("directory-1").unwrap()), [(1, 1)]);
    assert_eq!(by("directory-1"), Err("signed_already".to_owned()));
    let early = show(here, &["1.root.json", "directory.json"], 4);
    assert_eq!(early["documents"][1]["refused"]["reason"], "not_enough_signatures", "{early}");
    assert_eq!(counts(&by("directory-2").unwrap()), [(2, 0)]);
    assert_eq!(show(here, &["directory.json", "1.root.json", "--pin", digest], 0)["ok"], true);

    // What has ended, and what is another mesh's.
    expired_and_other_meshes(&room, mesh);

    // Two of the five are replaced: three of the old sign, and three of the new.
    let new: Vec<_> = [2, 3, 4, 5, 6].iter().map(|at| &root[*at]).collect();
    room.describe("mesh.toml", &people(&new, &three, 3));
    let rotate = ["trust", "rotate", "1.root.json", "mesh.toml", "--out", "2.root.json"];
    let made = run(here, &rotate);
    let changes =
        made["changes"].as_array().unwrap().iter().filter(|change| change.as_str().unwrap().contains("root.keys"));
    assert_eq!((changes.count(), counts(&made)), (4, vec![(0, 3), (0, 3)]), "{made}");
    assert_eq!(room.sign("root-1", "2.root.json", &[], &[]), Err("no_part".to_owned()), "it left, says the new root");
    let by = |who: &str| room.sign(who, "2.root.json", &["1.root.json"], &["--previous", "1.root.json"]);
    assert_eq!(by("directory-1"), Err("no_part".to_owned()));
    assert_eq!(counts(&by("root-1").unwrap()), [(1, 2), (0, 3)]);
    assert_eq!(counts(&by("root-3").unwrap()), [(2, 1), (1, 2)]);
    assert_eq!(counts(&by("root-4").unwrap()), [(3, 0), (2, 1)]);
    let chain = ["1.root.json", "2.root.json", "directory.json", "--pin", digest];
    let early = show(here, &chain, 4);
    assert_eq!(early["documents"][1]["refused"]["reason"], "not_enough_signatures", "{early}");
    assert_eq!(counts(&by("root-7").unwrap()), [(3, 0), (3, 0)]);
    let shown = show(here, &chain, 0);
    assert!(shown["documents"][1]["complete"] == true && shown["documents"][2]["kind"] == "directory", "{shown}");
    let drawn = stdout_of(&remit(here, &[&["trust", "show"], &chain[..]].concat()), 0);
    assert!(drawn.contains("signed by 3 of the root keys of root 1, 3 needed"), "{drawn}");
    assert!(drawn.contains("in 19 days: soon") || drawn.contains("in 20 days: soon"), "{drawn}");

    let root = verified(here, &["1.root.json", "2.root.json"]);
    let directory = SignedDirectory::parse(&read(&here.join("directory.json"))).unwrap();
    let directory = directory.verify(&root, real().now().wall).unwrap();
    assert_eq!((root.version(), directory.voters().count()), (2, 1));
    // The machines of those who left sign nothing any more.
    run(here, &["trust", "rotate", "2.root.json", "mesh.toml", "--out", "3.root.json"]);
    let third = room.sign("root-1", "3.root.json", &["2.root.json"], &["--previous", "2.root.json"]);
    assert_eq!(third, Err("no_part".to_owned()));
}

/// A voter and an administrator; `taken` gives the administrator a key that stands in the root.
fn rows(root_key: &SigningKey, taken: bool) -> String {
    let fresh = |seed: u8| {
        let key = SigningKey::from_seed(zeroize::Zeroizing::new([seed; 32])).unwrap();
        json!(key.public()).as_str().unwrap().to_owned()
    };
    let administrator = if taken { json!(root_key.public()).as_str().unwrap().to_owned() } else { fresh(9) };
    let until = real().now().wall.plus(std::time::Duration::from_secs(86_400));
    format!(
        "life_days = 30\n[[voters]]\nid = 1\nidentity = \"{}\"\n[[administrators]]\nname = \"ops\"\nkey = \
         \"{administrator}\"\ntenants = [\"acme\"]\nverbs = [\"install-trust\"]\nexpires = {until}\n",
        fresh(8)
    )
}

/// Documents that keys of the right roles could sign, and nobody does.
fn expired_and_other_meshes(room: &Room, mesh: &str) {
    let here = room.path();
    let mut ended = root_content(&here.join("1.root.json"));
    (ended.version, ended.expires) = (2, Timestamp::from_secs(1_000));
    write(&here.join("ended.json"), &Draft::root(&ended).unwrap().to_bytes());
    let previous = ["--previous", "1.root.json"];
    assert_eq!(room.sign("root-1", "ended.json", &["1.root.json"], &previous), Err("expired".to_owned()));
    let skipped =
        RootContent { version: 3, expires: real().now().wall.plus(std::time::Duration::from_secs(60)), ..ended };
    write(&here.join("skipped.json"), &Draft::root(&skipped).unwrap().to_bytes());
    let refused_at = room.sign("root-1", "skipped.json", &["1.root.json"], &previous);
    assert_eq!(refused_at, Err("not_the_next_root".to_owned()));

    // The same people found another mesh: its root takes no directory of this one.
    run(here, &["trust", "init", "mesh.toml", "--out", "other.root.json"]);
    for who in ["root-1", "root-2", "root-3"] {
        room.sign(who, "other.root.json", &[], &[]).unwrap();
    }
    let other = ["--root", "other.root.json"];
    assert_eq!(room.sign("directory-3", "directory.json", &["other.root.json"], &other), Err("wrong_mesh".to_owned()));
    let shown = show(here, &["other.root.json", "directory.json"], 4);
    assert_eq!(shown["documents"][1]["refused"]["reason"], "wrong_mesh", "{shown}");
    let text = String::from_utf8(read(&here.join("mesh.toml"))).unwrap();
    room.describe("elsewhere.toml", &format!("mesh_id = \"{mesh}\"\n{text}"));
    refused(here, &["trust", "rotate", "other.root.json", "elsewhere.toml", "--out", "x.json"], "wrong_mesh");
    refused(here, &["trust", "merge", "other.root.json", "1.root.json", "--out", "x.json"], "other_document");
    assert!(!here.join("x.json").exists());
}

/// Clause U-18: a mesh for trying things out grows up. Its one root key and its one directory key give way to several.
#[tokio::test]
async fn a_running_mesh_takes_the_next_root_and_directory() {
    let mesh = Mesh::up("1");
    let here = mesh.path();
    let status = run(here, &["status"]);
    assert_eq!(status["trust"]["root"]["state"], "counts", "{status}");
    run(here, &["envelope", "issue", "--task", ".remit/example/task.toml", "-o", "m.envelope", "--key", "agent.key"]);

    let key = |name: &str| run(here, &["trust", "key", name])["key"].as_str().unwrap().to_owned();
    let [root_1, root_2, directory_1, directory_2] = ["r1.key", "r2.key", "d1.key", "d2.key"].map(key);
    let old = root_content(&here.join(".remit/root.json"));
    let tenant = old.policy.keys().next().unwrap().to_string();
    let hex = |content: &remit_common::trust::role::RoleContent| -> Vec<String> {
        content.keys.iter().map(|key| json!(key).as_str().unwrap().to_owned()).collect()
    };
    let policy = hex(old.policy.values().next().unwrap());
    let text = [
        "dev = false\n".to_owned(),
        role("root", 2, &[&root_1, &root_2]),
        role("directory", 2, &[&directory_1, &directory_2]),
        role(&format!("policy.{tenant}"), 2, &policy.iter().collect::<Vec<_>>()),
    ];
    write(&here.join("mesh.toml"), text.concat().as_bytes());
    let rotate = ["trust", "rotate", ".remit/root.json", "mesh.toml", "--out", "2.root.json"];
    let keys = ["--key", "r1.key", "--key", "r2.key"];
    let made = run(here, &[&rotate[..], &keys].concat());
    assert_eq!(counts(&made), [(0, 1), (2, 0)], "the old root has not let go: {made}");
    refused(here, &["trust", "push", "2.root.json"], "not_enough_signatures");
    let old_key = ["trust", "sign", "2.root.json", "--previous", ".remit/root.json", "--key", ".remit/keys/root.key"];
    assert_eq!(counts(&run(here, &old_key)), [(1, 0), (2, 0)]);
    // The directory that is installed was signed by the key that goes: one without the other is refused here.
    refused(here, &["trust", "push", "2.root.json"], "not_enough_signatures");

    let directory = ["trust", "directory", "--from", ".remit/directory.json", "--root", "2.root.json"];
    let next = ["--out", "2.directory.json", "--key", "d1.key"];
    let made = run(here, &[&directory[..], &next].concat());
    assert_eq!((&made["version"], counts(&made)), (&json!(2), vec![(1, 1)]), "{made}");
    refused(here, &["trust", "push", "2.root.json", "2.directory.json"], "not_enough_signatures");
    let sign = ["trust", "sign", "2.directory.json", "--root", "2.root.json", "--key"];
    refused(here, &[&sign[..], &[".remit/keys/directory.key"]].concat(), "no_part");
    run(here, &[&sign[..], &["d2.key"]].concat());
    let pushed = run(here, &["trust", "push", "2.root.json", "2.directory.json"]);
    assert_eq!((&pushed["root"], &pushed["directory"]), (&json!(2), &json!(2)), "{pushed}");

    let arrived = (0..TRIES_MAX).any(|_| {
        let status = run(here, &["status"]);
        let edge = &status["edges"][0]["status"];
        (&edge["root_version"], &edge["directory_version"]) == (&json!(2), &json!(2)) && edge["mode"] == "fresh"
    });
    assert!(arrived, "the edge has the next root and directory at some time");
    let answer = mesh.call_with(("m.envelope", "agent.key"), "contracts.read", read_7781(), &[]).await;
    assert_eq!(answer["result"]["structuredContent"]["contracts"].as_array().unwrap().len(), 25, "{answer}");

    // Back to what was is no way: neither by its keys nor by its version.
    refused(here, &["trust", "push", ".remit/directory.json"], "not_enough_signatures");
    run(here, &[&directory[..], &["--out", "again.json", "--key", "d1.key", "--key", "d2.key"]].concat());
    refused(here, &["trust", "push", "again.json"], "same_version");
}
