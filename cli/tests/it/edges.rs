//! Edges as holders meet them from outside: behind TLS with a private authority, and started anew.

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::agent::{Scene, reason, rows, ticket};
use crate::mesh::{Mesh, one_at_a_time, read_7781};
use crate::process::{Running, json as run, read, remit, stdout_of, write};

/// How often an edge that was just started is asked before a test gives up: each time is a request of some milliseconds.
const TRIES_MAX: usize = 20_000;

/// An edge of a mesh, which a test stops and starts.
pub(crate) struct Edge {
    pub(crate) folder: PathBuf,
    pub(crate) pid: i32,
    pub(crate) ops: String,
    /// `HOST:PORT` of the listener for agents.
    pub(crate) agent: String,
}

impl Edge {
    /// One of the mesh's, in the order of the mesh file.
    pub(crate) fn of(mesh: &Mesh, index: usize) -> Self {
        let file: Value = serde_json::from_slice(&read(&mesh.path().join(".remit/mesh.json"))).unwrap();
        let edge = &file["edges"][index];
        let text = |name: &str| edge[name].as_str().unwrap().trim_start_matches("http://").to_owned();
        let pid = i32::try_from(edge["pid"].as_i64().unwrap()).unwrap();
        Self { folder: text("dir").into(), pid, ops: text("ops"), agent: text("agent") }
    }

    /// The same edge, in the process in which a test has started it.
    pub(crate) fn of_process(&self, running: &Running) -> Self {
        let Self { folder, ops, agent, .. } = self;
        let (folder, ops, agent) = (folder.clone(), ops.clone(), agent.clone());
        Self { folder, pid: running.pid().as_raw_nonzero().get(), ops, agent }
    }

    /// Ends it at once, and starts it again when nobody listens at its addresses any more, with its configuration
    /// changed. Returns when it listens. `meanwhile` happens in between.
    pub(crate) fn start_anew(&self, change: impl FnOnce(String) -> String, meanwhile: impl FnOnce()) -> Running {
        let _ports_are_taken_again = one_at_a_time();
        kill_process(Pid::from_raw(self.pid).unwrap(), Signal::KILL).unwrap();
        while [&self.agent, &self.ops].into_iter().any(|addr| is_open(addr)) {
            std::thread::yield_now();
        }
        meanwhile();
        let config = self.folder.join("edge.toml");
        write(&config, change(String::from_utf8(read(&config)).unwrap()).as_bytes());
        let mut running = Running::start(&self.folder, &["edge-node", "--config", config.to_str().unwrap()]);
        while !is_open(&self.agent) {
            assert!(!running.has_ended(), "the edge did not start again; its log is in {:?}", self.folder);
            std::thread::yield_now();
        }
        running
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests are about processes")]
fn is_open(addr: &str) -> bool {
    TcpStream::connect(addr).is_ok()
}

/// A certificate for a host, and the authority that issued it, in files.
fn issue(folder: &Path, name: &str, host: &str) -> [PathBuf; 3] {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let chain = leaf.signed_by(&key, &issuer).unwrap().pem();
    [("ca", authority), ("pem", chain), ("key", key.serialize_pem())].map(|(kind, text)| {
        let path = folder.join(format!("{name}.{kind}"));
        write(&path, text.as_bytes());
        path
    })
}

/// Clause G-80. The sidecar, a registration and a cut go to an edge behind TLS the same way.
#[test]
fn a_holder_registers_and_cuts_at_an_edge_behind_tls() {
    let mesh = Mesh::up("1");
    let here = mesh.path();
    let restrict = here.join(".remit/example/child.toml");
    let task = ".remit/example/task.toml";
    run(here, &["envelope", "issue", "--task", task, "-o", "maya.envelope", "--key", "agent.key"]);

    let [_, chain, key] = issue(here, "edge", "localhost");
    issue(here, "other", "localhost");
    write(&here.join("empty.ca"), b"no certificate\n");
    let edge = Edge::of(&mesh, 0);
    let tls = format!("\n[listen.tls]\ncertificate = {chain:?}\nkey = {key:?}\n");
    let _running = edge.start_anew(|config| config + &tls, || {});
    let port = edge.agent.rsplit_once(':').unwrap().1;
    let (url, by_address) = (format!("https://localhost:{port}"), format!("https://127.0.0.1:{port}"));

    // Without a mesh file: the envelope's says by which root the mesh is known.
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["maya.envelope", "agent.key", "edge.ca", "other.ca", "empty.ca"] {
        write(&elsewhere.path().join(name), &read(&here.join(name)));
    }
    let here = elsewhere.path();
    write(&here.join("child.toml"), &read(&restrict));
    let delegate = |edge: &str, ca: &[&str]| {
        let args = ["envelope", "delegate", "--parent", "maya.envelope", "--key", "agent.key", "--json"];
        let files = ["--restrict", "child.toml", "-o", "child.envelope", "--child-key", "helper.key", "--edge", edge];
        remit(here, &[&args[..], &files, ca].concat())
    };
    let wrong: [(&str, &[&str], i32, &str); 5] = [
        (&url, &[], 2, "with --edge-ca FILE"),
        (&url, &["--edge-ca", "empty.ca"], 2, "`empty.ca` does not say whom to believe"),
        (&url, &["--edge-ca", "other.ca"], 3, "does not lead to an authority of --edge-ca"),
        (&by_address, &["--edge-ca", "edge.ca"], 3, "its certificate is not for `127.0.0.1`"),
        (&format!("http://localhost:{port}"), &[], 3, "name another edge"),
    ];
    for (edge, ca, code, why) in wrong {
        let told = stdout_of(&delegate(edge, ca), code);
        assert!(told.contains(why), "{told}");
        assert!(!here.join("child.envelope").exists(), "what is not registered is not written");
    }
    // The edge may still be verifying its state: it says so, and is asked again.
    let mut tries = (0..TRIES_MAX).map(|_| delegate(&url, &["--edge-ca", "edge.ca"]));
    let delegated = tries.find(|output| output.status.code() != Some(3)).expect("the edge is ready at some time");
    let delegated = stdout_of(&delegated, 0);
    assert!(delegated.contains("decision_id"), "{delegated}");
    let shown = run(here, &["envelope", "show", "child.envelope"]);
    assert_eq!(shown["links"][1]["registered"]["edge"], "lab-1", "{shown}");

    let child = shown["links"][1]["link"].as_str().unwrap();
    let revoke = |ca: &[&str]| {
        let args = ["revoke", "link", child, "--envelope", "child.envelope", "--key", "agent.key", "--edge", &url];
        remit(here, &[&args[..], ca, &["--json"]].concat())
    };
    assert!(stdout_of(&revoke(&[]), 2).contains("with --edge-ca FILE"));
    let told = stdout_of(&revoke(&["--edge-ca", "other.ca"]), 3);
    assert!(told.contains("does not lead to an authority of --edge-ca"), "{told}");
    let cut: Value = serde_json::from_str(&stdout_of(&revoke(&["--edge-ca", "edge.ca"]), 0)).unwrap();
    assert_eq!(cut["epoch"], json!(1));
}

/// Asks until the edge knows what it has to: one that was just started says that it does not, and has not acted then.
fn until_fresh(mut ask: impl FnMut() -> Value) -> Value {
    let is_settled = |answer: &Value| !["stale", "isolated", "edge_unreachable"].contains(&reason(answer));
    (0..TRIES_MAX).map(|_| ask()).find(is_settled).expect("the edge is fresh at some time")
}

/// Clauses X-9, G-65 and G-66: a channel is the edge's memory, and ends with its process.
#[test]
fn a_sidecar_goes_on_with_an_edge_that_was_started_anew() {
    let scene = Scene::new();
    let edge = Edge::of(&scene.mesh, 0);
    let mut talk = scene.talk(&[&scene.edges[0]]);
    assert_eq!(rows(&talk.call("contracts.read", read_7781())), 25);
    assert!(talk.call("tickets.create", ticket())["result"].is_object());
    let tickets = scene.tickets();

    let _running = edge.start_anew(
        |config| config,
        || {
            // A connection that is gone may have taken the request with it; whether it has, nobody can always know.
            let gone = talk.call("contracts.read", read_7781());
            assert!(["edge_unreachable", "outcome_unknown"].contains(&reason(&gone)), "{gone}");
        },
    );
    let created = until_fresh(|| talk.call("tickets.create", ticket()));
    assert!(created["result"].is_object(), "{created}");
    assert_eq!(scene.tickets(), tickets + 1, "it was carried out once");
    assert_eq!(rows(&talk.call("contracts.read", read_7781())), 25);
    talk.end();
}

/// Clause G-65: what speaks of the edge sends the next request elsewhere; what speaks of the request does not.
#[test]
fn an_edge_that_is_stale_says_so_and_another_one_is_asked() {
    let scene = Scene::new();
    // One of the edges is started anew and hears of no voter: what is on its disk does for a while for reads, and for
    // nothing else.
    let edge = Edge::of(&scene.mesh, 1);
    let deaf = |config: String| {
        let lines =
            config.lines().map(|line| if line.starts_with("dist = ") { "dist = \"127.0.0.1:1\"" } else { line });
        lines.collect::<Vec<_>>().join("\n")
    };
    let _running = edge.start_anew(deaf, || {});
    let mut alone = scene.talk(&[&scene.edges[1]]);
    until_fresh(|| alone.call("contracts.read", read_7781()));
    alone.end();
    let both = [scene.edges[1].as_str(), scene.edges[0].as_str()];
    let mut talk = scene.talk(&both);
    let tickets = scene.tickets();
    assert_eq!(rows(&talk.call("contracts.read", read_7781())), 25, "for a read it still knows enough");
    // The edge has refused it, and still it is not carried out elsewhere unasked.
    let told = talk.call("tickets.create", ticket());
    assert_eq!((reason(&told), &told["error"]["code"]), ("stale", &json!(-32001)), "{told}");
    assert!(told["error"]["data"]["decision_id"].is_string(), "{told}");
    assert_eq!(scene.tickets(), tickets);
    assert!(talk.call("tickets.create", ticket())["result"].is_object(), "whoever asks again asks another edge");
    assert!(talk.call("tickets.create", ticket())["result"].is_object(), "and goes on there");
    assert_eq!(scene.tickets(), tickets + 2);
    talk.end();

    // A denial is the answer: the other edge would have carried nothing out either, and is not asked.
    let mut talk = scene.talk(&both);
    let refused = talk.call("billing.update", json!({ "customer_id": "cust_acme_1042", "plan": "free" }));
    assert_eq!(reason(&refused), "out_of_scope", "{refused}");
    let told = talk.call("tickets.create", ticket());
    assert_eq!(reason(&told), "stale", "the first edge is still the one that is asked: {told}");
    talk.end();
}
