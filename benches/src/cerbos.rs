//! Cerbos beside our engine, where its program is found: the same permits in its language, asked over its HTTP.
//!
//! The server is a child of the bench that speaks on a socket in a temporary folder and ends with the bench. Cerbos has
//! no entity hierarchy, so that roles are its roles and collections a list among the record's attributes.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::generated;
use crate::oracle::CaseRequest;

/// What names the program, should it not be on `PATH`.
const VARIABLE: &str = "REMIT_CERBOS";
/// How long ten thousand policies may take to be read.
const READY_WITHIN: Duration = Duration::from_secs(180);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

type Connection = http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

/// A Cerbos server with a set's policies, and one connection to it.
pub struct Cerbos {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    connection: Connection,
    #[expect(dead_code, reason = "ends the server when it is dropped")]
    server: Server,
}

/// The server's process and its folder; both go with it.
struct Server {
    process: Child,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is our child: should it have ended by itself, there is nothing to end.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The program: what the variable names, or the first `cerbos` on `PATH` that is a program and not a script. A script
/// that starts the server, as npm's is, would leave it behind when it is ended.
#[expect(clippy::disallowed_methods, reason = "a bench finds the program that it measures beside ours")]
#[must_use]
pub fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Some(PathBuf::from(named));
    }
    let is_program = |path: &PathBuf| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("cerbos")).find(is_program)
}

impl Cerbos {
    /// Starts the server with a generated set of this many permits and waits until it serves.
    ///
    /// # Errors
    /// When it does not start, refuses the policies or is not ready in three minutes.
    #[expect(clippy::disallowed_methods, reason = "a bench starts the program that it measures beside ours")]
    pub fn start(program: &PathBuf, permits: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let policies = folder.path().join("policies");
        std::fs::create_dir(&policies)?;
        std::fs::write(policies.join("record.json"), rules(permits).to_string())?;
        let socket = folder.path().join("http.sock");
        let log = std::fs::File::create(folder.path().join("log"))?;
        let process = Command::new(program)
            .args(["server", "--log-level=error", "--debug-listen-addr="])
            .arg(format!("--set=server.httpListenAddr=unix:{}", socket.display()))
            .arg(format!("--set=server.grpcListenAddr=unix:{}", folder.path().join("grpc.sock").display()))
            .arg("--set=storage.driver=disk")
            .arg(format!("--set=storage.disk.directory={}", policies.display()))
            .env("CERBOS_NO_TELEMETRY", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("`{}` does not start", program.display()))?;
        let mut server = Server { process, folder };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ready = async {
            loop {
                if let Some(status) = server.process.try_wait()? {
                    let said = std::fs::read(server.folder.path().join("log")).unwrap_or_default();
                    bail!("cerbos ended ({status}): {}", String::from_utf8_lossy(&said));
                }
                if let Ok(stream) = UnixStream::connect(&socket).await {
                    let (mut sender, mut connection) = http1::handshake(TokioIo::new(stream)).await?;
                    let asked = Request::get("/_cerbos/health").header("host", "cerbos").body(Full::default())?;
                    if exchange(&mut sender, &mut connection, asked).await.is_ok_and(|said| is_serving(&said)) {
                        return Ok((sender, connection));
                    }
                }
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
        };
        // The clock of a timeout is the runtime's: it is made inside.
        let ready = runtime.block_on(async { tokio::time::timeout(READY_WITHIN, ready).await });
        let (sender, connection) = ready.context("cerbos was not ready in three minutes")??;
        Ok(Self { runtime, sender, connection, server })
    }

    /// Builds the request, sends it and reads whether it is permitted.
    ///
    /// # Errors
    /// When the server answers otherwise than with a verdict.
    pub fn permits(&mut self, request: &CaseRequest) -> Result<bool> {
        let body = Bytes::from(question(request).to_string());
        let asked = Request::post("/api/check/resources")
            .header("host", "cerbos")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let said = self.runtime.block_on(exchange(&mut self.sender, &mut self.connection, asked))?;
        let said: Answer = serde_json::from_slice(&said).context("an answer of cerbos")?;
        let [result] = said.results.as_slice() else { bail!("one resource was asked for") };
        let effect = result.actions.get(&request.action).and_then(Value::as_str);
        Ok(effect.context("no effect for the action")? == "EFFECT_ALLOW")
    }
}

fn is_serving(said: &Bytes) -> bool {
    serde_json::from_slice::<Value>(said).is_ok_and(|said| said.get("status").is_some_and(|status| status == "SERVING"))
}

/// One exchange; the connection moves on while the answer is waited for.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
) -> Result<Bytes> {
    let answer = async {
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "cerbos says {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => {
            ended?;
            bail!("cerbos closed the connection")
        }
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    results: Vec<Verdict>,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    actions: serde_json::Map<String, Value>,
}

/// The set's rules as one resource policy.
fn rules(permits: u64) -> Value {
    let forbid = |name: &str, condition: &str| {
        json!({
            "name": name, "actions": ["*"], "effect": "EFFECT_DENY", "roles": ["*"],
            "condition": { "match": { "expr": condition } },
        })
    };
    let mut rules = vec![
        forbid("f_depth", "P.attr.chain_depth > 4"),
        forbid("f_tenant", "P.attr.tenant != R.attr.tenant"),
        forbid("f_exp", "P.attr.now >= P.attr.expires_at"),
    ];
    for (number, permit) in (0..permits).map(|number| (number, generated::Permit::new(number))) {
        let conditions = [
            format!("\"coll{}\" in R.attr.collections", permit.collection),
            format!("P.attr.purpose == \"purpose{}\"", permit.purpose),
            "R.attr.data_class in P.attr.data_classes".to_owned(),
            "P.attr.requested <= P.attr.max_records".to_owned(),
            "P.attr.risk <= 70".to_owned(),
        ];
        let conditions: Vec<Value> = conditions.iter().map(|condition| json!({ "expr": condition })).collect();
        rules.push(json!({
            "name": format!("p{number}"), "actions": [format!("tool{}", permit.tool)], "effect": "EFFECT_ALLOW",
            "roles": [format!("role{}", permit.role)], "condition": { "match": { "all": { "of": conditions } } },
        }));
    }
    json!({
        "apiVersion": "api.cerbos.dev/v1",
        "resourcePolicy": { "version": "default", "resource": "record", "rules": rules },
    })
}

fn question(request: &CaseRequest) -> Value {
    let CaseRequest { principal, action, resource, context } = request;
    json!({
        "requestId": "1",
        "principal": {
            "id": principal.id, "roles": principal.roles,
            "attr": {
                "tenant": principal.tenant, "delegator": context.delegator, "purpose": context.purpose,
                "task": context.task, "data_classes": context.data_classes, "max_records": context.max_records,
                "requested": context.requested, "chain_depth": context.chain_depth, "risk": context.risk,
                "expires_at": context.expires_at, "now": context.now,
            },
        },
        "resources": [{
            "resource": {
                "kind": "record", "id": resource.id,
                "attr": {
                    "tenant": resource.tenant, "data_class": resource.data_class,
                    "collections": resource.collections,
                },
            },
            "actions": [action],
        }],
    })
}
