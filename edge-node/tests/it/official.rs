//! Official tool servers, unchanged, as programs and in sessions over HTTP. Clauses G-87 and G-88.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use remit_edge_node::config::ProgramEntry;
use serde_json::{Value, json};

use crate::plain::task;
use crate::support::agent::Agent;
use crate::support::bundle::Variant;
use crate::support::eventually;
use crate::support::scene::Scene;

/// Where the script beside `tests/servers` has put them.
fn servers() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("servers")
}

fn of_npm(name: &str) -> String {
    servers().join(format!("node/node_modules/@modelcontextprotocol/{name}/dist/index.js")).display().to_string()
}

fn program(name: &str, executable: PathBuf, arguments: &[&str]) -> ProgramEntry {
    ProgramEntry {
        name: name.parse().unwrap(),
        executable,
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        environment: [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into(),
        folder: None,
    }
}

/// One of the names that the tests' schema knows, as a tool of a server.
fn tool(name: &str, upstream: &str, upstream_tool: &str, takes: &str) -> String {
    format!(
        "[[tool]]\nname = \"{name}\"\nupstream = \"{upstream}\"\nupstream_tool = \"{upstream_tool}\"\neffects = [\"read\"]\npurposes = [\"review\"]\nfree = [{takes}]\n"
    )
}

/// The rest of the names, so that no policy is about nothing.
const REST: &str = r#"
[[tool]]
name = "notes.list"
upstream = "time"
effects = ["read"]
purposes = ["review"]
resource = { type = "Customer", id = "/customer_id" }
[[tool]]
name = "notes.add"
upstream = "time"
effects = ["write"]
purposes = ["review"]
resource = { type = "Customer", id = "/customer_id" }
[[tool]]
name = "notes.more"
upstream = "time"
effects = ["read"]
purposes = ["review"]
resource = { type = "Customer", id = "/customer_id" }
[[tool]]
name = "secret.read"
upstream = "time"
effects = ["read"]
purposes = ["review"]
"#;

async fn scene(upstreams: &str, tools: [String; 3], programs: Vec<ProgramEntry>) -> (Scene, Agent) {
    let mut scene = Scene::before_the_edge();
    scene.config.programs = programs;
    let catalogue = Box::leak(format!("{upstreams}{}{REST}", tools.concat()).into_boxed_str());
    scene.publish(&Variant { plain_http: catalogue, ..Variant::new(1, &scene.upstream.url()) });
    scene.start_edge().await;
    scene.until_fresh(1).await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    (scene, agent)
}

fn text(called: &crate::support::agent::Answered) -> &str {
    called.json["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{}", called.json))
}

#[expect(clippy::disallowed_methods, reason = "the programs under test are not ours")]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs servers from PyPI and npm: tests/servers/run.sh installs them, or says why not"]
async fn official_servers_are_called_as_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().display().to_string();
    assert!(command("git").args(["init", "--quiet", &path]).status().unwrap().success());
    let python = servers().join("python/bin");
    let node = servers().join("node/node");
    let programs = vec![
        program("time", python.join("mcp-server-time"), &["--local-timezone", "UTC"]),
        program("git", python.join("mcp-server-git"), &["--repository", &path]),
        program("files", node.clone(), &[&of_npm("server-filesystem"), &path]),
    ];
    let upstreams =
        ["time", "git", "files"].map(|name| format!("[[upstream]]\nname = \"{name}\"\nurl = \"stdio:{name}\"\n"));
    let tools = [
        tool("pages.read", "time", "get_current_time", "\"/timezone\""),
        tool("pages.drop", "git", "git_status", "\"/repo_path\""),
        tool("pages.search", "files", "list_directory", "\"/path\""),
    ];
    let (scene, agent) = scene(&upstreams.concat(), tools, programs).await;
    let time = agent.call("pages.read", json!({"timezone": "UTC"})).await;
    assert_eq!(time.json["result"]["structuredContent"]["timezone"], "UTC", "{}", time.json);
    let status = agent.call("pages.drop", json!({"repo_path": path})).await;
    assert!(text(&status).contains("No commits yet"), "{}", status.json);
    let listed = agent.call("pages.search", json!({"path": path})).await;
    assert!(text(&listed).contains("[DIR] .git"), "{}", listed.json);
    // What the server refuses stays with the server.
    let beyond = agent.call("pages.search", json!({"path": "/"})).await;
    assert_eq!(beyond.json["result"]["isError"], true, "{}", beyond.json);
    scene.stop_edge().await;
}

/// A server over HTTP, which ends with it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs servers from PyPI and npm: tests/servers/run.sh installs them, or says why not"]
async fn an_official_server_is_called_in_a_session_and_as_a_program_alike() {
    let node = servers().join("node/node");
    let script = of_npm("server-everything");
    let at: SocketAddr = {
        let scene = Scene::before_the_edge();
        scene.world.env.socket.listen(([127, 0, 0, 1], 0).into()).unwrap().local_addr()
    };
    let mut served = command(&node);
    served.args([&script, "streamableHttp"]).env_clear().env("PORT", at.port().to_string());
    let _served = Served(served.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let upstreams = format!(
        "[[upstream]]\nname = \"everything\"\nurl = \"http://{at}/mcp\"\nprotocol = \"mcp-2025\"\n[[upstream]]\nname = \"time\"\nurl = \"stdio:everything\"\n"
    );
    let tools = [
        tool("pages.read", "everything", "echo", "\"/message\""),
        tool("pages.drop", "time", "echo", "\"/message\""),
        tool("pages.search", "everything", "get-sum", "\"/a\", \"/b\""),
    ];
    let (scene, agent) = scene(&upstreams, tools, vec![program("everything", node, &[&script, "stdio"])]).await;
    let hello = json!({"message": "hello"});
    eventually("the server listens", || async {
        (agent.call("pages.read", hello.clone()).await.reason() == "permit").then_some(())
    })
    .await;
    let results: Vec<Value> = [
        agent.call("pages.read", hello.clone()).await,
        agent.call("pages.drop", hello.clone()).await,
        agent.call("pages.search", json!({"a": 2, "b": 3})).await,
    ]
    .iter()
    .map(|called| json!(text(called)))
    .collect();
    assert_eq!(results, [json!("Echo: hello"), json!("Echo: hello"), json!("The sum of 2 and 3 is 5.")]);
    scene.stop_edge().await;
}
