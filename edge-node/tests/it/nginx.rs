//! A real nginx, with the configuration that the examples ship, guarded by a real edge. Clauses G-97 to G-99.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use remit_common::crypto::digest::Digest;
use remit_common::net::env::Env;
use remit_common::proof::Grade;
use remit_common::revocation::CutKind;
use remit_edge_node::config::EnforcementPointEntry;
use serde::Deserialize;

use crate::plain::{scene_with, task};
use crate::support::agent::{Agent, Answered};
use crate::support::eventually;
use crate::support::keys;

const TOKEN: &str = "token-of-the-front-0123456789abcdef";
const CONF: &str = include_str!("../../../examples/nginx/nginx.conf");
const EDGE: &str = include_str!("../../../examples/nginx/edge.toml");

#[derive(Deserialize)]
struct Example {
    enforcement_points: Vec<EnforcementPointEntry>,
}

/// nginx, which ends with it.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the program under test is not ours")]
fn nginx() -> Command {
    Command::new("nginx")
}

fn start(folder: &Path, (front, edge, application): (SocketAddr, SocketAddr, SocketAddr)) -> Nginx {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|of| format!("{of}_temp_path {of};\n")).collect();
    let replaced = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "the example has no `{from}`");
        text.replace(from, to)
    };
    let conf = replaced(CONF.to_owned(), "127.0.0.1:7511", &edge.to_string());
    let conf = replaced(conf, "127.0.0.1:9100", &application.to_string());
    // The fixture's tools stand below another path.
    let conf = replaced(conf, "/app/", "/api/");
    let conf = replaced(conf, "127.0.0.1:8080", &front.to_string());
    let conf =
        replaced(conf, "http {", &format!("error_log stderr;\npid nginx.pid;\nhttp {{\naccess_log off;\n{temporary}"));
    let token = format!("proxy_set_header Remit-Enforcement-Token \"{TOKEN}\";\n");
    for (name, text) in [("nginx.conf", conf), ("remit-token.conf", token)] {
        #[expect(clippy::disallowed_methods, reason = "files of a program that is not ours")]
        std::fs::write(folder.join(name), text).unwrap();
    }
    let mut command = nginx();
    command.arg("-p").arg(folder).arg("-c").arg("nginx.conf").args([
        "-e",
        "stderr",
        "-g",
        "daemon off; master_process off;",
    ]);
    Nginx(command.stdin(Stdio::null()).spawn().unwrap())
}

fn free_port(env: &Env) -> SocketAddr {
    env.socket.listen(([127, 0, 0, 1], 0).into()).unwrap().local_addr()
}

fn outcome(answered: &Answered) -> (u16, String) {
    let reason = answered.headers.get("remit-reason").map_or("", |reason| reason.to_str().unwrap());
    (answered.status.as_u16(), reason.to_owned())
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx with its auth_request module: .ci/nginx.sh installs it, or says why not"]
async fn nginx_passes_what_the_edge_lets_pass_and_nothing_else() {
    let modules = nginx().arg("-V").output().expect("nginx is not installed").stderr;
    assert!(String::from_utf8_lossy(&modules).contains("http_auth_request_module"), "this nginx cannot ask");
    let example: Example =
        toml::from_str(&EDGE.replace("TOKEN_SHA256", &Digest::of(&[TOKEN.as_bytes()]).to_string())).unwrap();
    let (scene, seen, stop) = scene_with(|scene| scene.config.enforcement_points = example.enforcement_points).await;
    let folder = tempfile::tempdir().unwrap();
    let front = free_port(&scene.world.env);
    let _nginx = start(folder.path(), (front, scene.agent(None).addr, seen.addr));
    let agent = Agent::at(&scene.world.env, front, Some(&scene.envelope(&task())), (keys::edge_id(), keys::EDGE));
    eventually("nginx listens", || async { agent.try_get("/").await.ok().map(drop) }).await;
    let ask = async |method: &str, path: &str| agent.plain(Grade::P1, method, path, None).await;

    let passed = ask("GET", "/api/pages/30?draft=true").await;
    assert_eq!((outcome(&passed), passed.body.as_slice()), (is(200, "permit"), b"a page".as_slice()));
    assert!(passed.headers.contains_key("remit-decision"));
    // What nobody judged does not go on: a body, and whatever was for the edge.
    let mut more = agent.plain_request(Grade::P1, "DELETE", "/api/pages/30", None).await;
    *more.body_mut() = bytes::Bytes::from_static(b"{\"all\":true}");
    for name in ["remit-enforcement-token", "authorization", "x-original-uri", "x-original-method"] {
        more.headers_mut().insert(name, "mine".parse().unwrap());
    }
    assert_eq!(outcome(&agent.exchange(more).await), is(200, "permit"));
    let passed = seen.lock().unwrap().clone();
    let lines: Vec<_> =
        passed.iter().map(|(method, path, key, _)| (method.as_str(), path.as_str(), key.clone())).collect();
    assert!(passed.iter().all(|(.., body)| body.is_null()), "a body went on");
    assert_eq!(lines, [("GET", "/api/pages/30?draft=true", None), ("DELETE", "/api/pages/30", None)]);

    for path in ["/api/secrets", "/api/nothing", "/api/pages/%2e%2e/secrets", "/api//pages/30", "/api/pages/30/"] {
        assert_eq!(outcome(&ask("GET", path).await), is(403, "out_of_scope"), "{path}");
    }
    assert_eq!(outcome(&ask("GET", "/api/pages/30?admin=1").await), is(403, "malformed"));
    assert_eq!(outcome(&ask("POST", "/api/pages/30").await), is(403, "unmapped_dimension"));
    assert_eq!(ask("GET", "/remit").await.status, 404, "nobody asks from outside");
    assert_eq!(ask("GET", "/elsewhere").await.status, 404);

    // A caller who brings the proxy's own headers does not get its way.
    let mut forged = agent.plain_request(Grade::P1, "GET", "/api/secrets", None).await;
    for (name, value) in [("x-original-uri", "/api/pages/30"), ("remit-enforcement-token", "guessed")] {
        forged.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(outcome(&agent.exchange(forged).await), is(403, "out_of_scope"), "overwritten");
    let mut overridden = agent.plain_request(Grade::P1, "GET", "/api/pages/30", None).await;
    overridden.headers_mut().insert("x-http-method-override", "DELETE".parse().unwrap());
    assert_eq!(outcome(&agent.exchange(overridden).await), is(403, "malformed"));
    let mut forwarded = agent.plain_request(Grade::P1, "GET", "/api/secrets", None).await;
    forwarded.headers_mut().insert("x-forwarded-uri", "/api/pages/30".parse().unwrap());
    assert_eq!(outcome(&agent.exchange(forwarded).await), is(403, "malformed"));
    let mut stolen = agent.plain_request(Grade::P1, "GET", "/api/pages/30", None).await;
    stolen.headers_mut().remove("remit-proof");
    let stolen = agent.exchange(stolen).await;
    assert_eq!(outcome(&stolen), is(401, "bad_proof"));
    assert!(stolen.headers["www-authenticate"].to_str().unwrap().contains("bad_proof"), "{stolen:?}");

    scene.revoke(CutKind::Session, "session-1");
    scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
    assert_eq!(outcome(&ask("GET", "/api/pages/30").await), is(401, "revoked"));
    assert_eq!(seen.lock().unwrap().len(), 2, "nothing else reached the application");
    // Without an edge nobody passes.
    scene.stop_edge().await;
    let alone = agent.try_get("/api/pages/30").await.unwrap();
    assert_eq!(alone.status, 500);
    assert_eq!(seen.lock().unwrap().len(), 2);
    stop.trigger();
}
