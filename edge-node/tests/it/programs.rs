//! Tool servers that are programs: a shell script that speaks MCP over its standard input and output. Clause G-88.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use remit_common::revocation::CutKind;
use remit_edge_node::config::ProgramEntry;
use serde_json::{Value, json};

use crate::older::tools;
use crate::plain::task;
use crate::support::bundle::Variant;
use crate::support::eventually;
use crate::support::scene::Scene;

/// Answers as its tool is called, and writes down that it started, and what it was told.
const SCRIPT: &str = r#"
echo "started $GREETING ${HOME:-nowhere}" >> log
echo "words that nobody declared" >&2
begun=
say() { printf '%s\n' "$1"; }
while IFS= read -r line; do
    echo "$line" >> log
    id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    result() { say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":$1}"; }
    case "$line" in
    *'"method":"initialize"'*)
        case "$MODE" in
        dies) exit 3 ;;
        nonsense) say 'hello, world'; continue ;;
        older) result '{"protocolVersion":"2024-11-05","capabilities":{}}'; continue ;;
        esac
        result '{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"0"}}' ;;
    *'"method":"notifications/initialized"'*) begun=yes ;;
    *'"name":"pages.read"'*)
        [ -n "$begun" ] || exit 4
        say '{"jsonrpc":"2.0","id":"theirs","method":"sampling/createMessage","params":{}}'
        say '{"jsonrpc":"2.0","id":4711,"result":{"content":[]}}'
        say '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}'
        result '{"content":[{"type":"text","text":"a page"}]}' ;;
    *'"name":"pages.drop"'*) exit 5 ;;
    *'"name":"pages.search"'*) head -c 9000000 /dev/zero | tr '\0' 'a' ;;
    *'"name":"notes.add"'*) say '{"jsonrpc":"2.0","id":1,' ;;
    esac
done
"#;

async fn scene(mode: &str) -> (Scene, PathBuf) {
    let mut scene = Scene::before_the_edge();
    let folder = scene.folder.path().join("program");
    let disk = Arc::clone(&scene.world.env.disk);
    disk.create_dir(&folder).unwrap();
    disk.replace(&folder.join("server.sh"), SCRIPT.as_bytes()).unwrap();
    let environment = [("PATH", "/usr/bin:/bin"), ("GREETING", "hello"), ("MODE", mode)];
    scene.config.programs = vec![ProgramEntry {
        name: "notebook".parse().unwrap(),
        executable: "/bin/sh".into(),
        arguments: vec!["server.sh".to_owned()],
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        folder: Some(folder.clone()),
    }];
    let upstream = "[[upstream]]\nname = \"crm\"\nurl = \"stdio:notebook\"\n";
    let catalogue = Box::leak(format!("{upstream}{}", tools()).into_boxed_str());
    scene.publish(&Variant { plain_http: catalogue, ..Variant::new(1, &scene.upstream.url()) });
    scene.start_edge().await;
    scene.until_fresh(1).await;
    (scene, folder)
}

fn log(scene: &Scene, folder: &Path) -> Vec<String> {
    let bytes = scene.world.env.disk.read(&folder.join("log"), 1 << 24).unwrap().unwrap_or_default();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn starts(scene: &Scene, folder: &Path) -> usize {
    log(scene, folder).iter().filter(|line| line.starts_with("started")).count()
}

fn customer() -> Value {
    json!({"customer_id": "cust_1042"})
}

fn page() -> Value {
    json!({"page": 7})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_started_for_a_call_and_serves_many() {
    let (scene, folder) = scene("").await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    assert_eq!(starts(&scene, &folder), 0, "nobody has called");
    let calls = (0..5).map(|_| agent.call("pages.read", page()));
    for called in futures::future::join_all(calls).await {
        assert_eq!(called.json["result"]["content"][0]["text"], "a page", "{}", called.json);
    }
    let log = log(&scene, &folder);
    assert_eq!(log[0], "started hello nowhere", "nothing of our environment is inherited");
    assert_eq!(starts(&scene, &folder), 1);
    let calls: Vec<Value> = log[1..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let called = calls.iter().find(|call| call["method"] == "tools/call").unwrap();
    assert_eq!(called["params"], json!({"name": "pages.read", "arguments": {"page": 7}, "_meta": {}}));
    eventually("what it asked for was refused", || async {
        let refused = self::log(&scene, &folder).iter().any(|line| line.contains("theirs") && line.contains("-32601"));
        refused.then_some(())
    })
    .await;
    scene.stop_edge().await;
}

/// One that ends, talks nonsense or talks too much fails the calls that wait, and comes back after a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_ends_comes_back_after_a_pause() {
    let (scene, folder) = scene("").await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    for (started, fatal) in (1..).zip(["pages.drop", "pages.search", "notes.add"]) {
        assert_eq!(agent.call("pages.read", page()).await.reason(), "permit", "before {fatal}");
        assert_eq!(starts(&scene, &folder), started);
        assert_eq!(
            agent.call(fatal, if fatal == "notes.add" { customer() } else { page() }).await.reason(),
            "upstream_unreachable",
            "{fatal}"
        );
        assert_eq!(agent.call("pages.read", page()).await.reason(), "upstream_unreachable", "a pause after {fatal}");
        assert_eq!(starts(&scene, &folder), started, "no start in the pause after {fatal}");
        scene.forward(Duration::from_secs(10));
    }
    assert_eq!(agent.call("pages.read", page()).await.reason(), "permit");
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_begin_to_talk_is_no_server() {
    for mode in ["dies", "nonsense", "older"] {
        let (scene, folder) = scene(mode).await;
        let agent = scene.agent(Some(&scene.envelope(&task())));
        assert_eq!(agent.call("pages.read", page()).await.reason(), "upstream_unreachable", "{mode}");
        let log = log(&scene, &folder);
        assert!(!log.iter().any(|line| line.contains("tools/call")), "{mode}: {log:?}");
        scene.stop_edge().await;
    }
}

/// A cut ends the waiting at once, and the program is told; it goes on for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_calls_off_what_a_program_works_on() {
    let (scene, folder) = scene("").await;
    let other = task().replace("session-1", "session-2").replace("task-1", "task-2");
    let other = scene.agent(Some(&scene.envelope(&other)));
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let held = async {
        let called = agent.call("notes.more", customer()).await;
        assert_eq!(called.reason(), "revoked", "{}", called.json);
    };
    let cut = async {
        eventually("the call is there", || async {
            log(&scene, &folder).iter().any(|line| line.contains("notes.more")).then_some(())
        })
        .await;
        scene.revoke(CutKind::Session, "session-1");
    };
    tokio::join!(held, cut);
    eventually("the program is told", || async {
        log(&scene, &folder).iter().any(|line| line.contains("notifications/cancelled")).then_some(())
    })
    .await;
    assert_eq!(other.call("pages.read", page()).await.reason(), "permit");
    assert_eq!(starts(&scene, &folder), 1);
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_names_a_program_and_does_not_say_what_runs() {
    let mut scene = Scene::before_the_edge();
    let upstream = "[[upstream]]\nname = \"crm\"\nurl = \"stdio:notebook\"\n";
    let catalogue = Box::leak(format!("{upstream}{}", tools()).into_boxed_str());
    scene.config.programs.clear();
    scene.publish(&Variant { plain_http: catalogue, ..Variant::new(1, &scene.upstream.url()) });
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    assert_eq!(agent.call("pages.read", page()).await.reason(), "upstream_unreachable");
    scene.stop_edge().await;
}
