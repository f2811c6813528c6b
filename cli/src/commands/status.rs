//! `remit status`: the mesh as its voters and its edges see it.

use remit_chaos::launcher::EdgeEntry;
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, LogIndex};
use remit_common::time::Timestamp;
use remit_common::trust::directory::Directory;
use remit_control_plane::admin::model::{Divergence, EdgeStatus, Running, Status};
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin::{Admin, bounded, cause, http_client};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::trust::{self, Life};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  remit status\n  remit status --json | jq '.edges[].status.mode'")]
pub(crate) struct Args {}

/// One edge's own word.
#[derive(Debug, Serialize)]
struct EdgeAnswer {
    id: String,
    region: String,
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    status: Value,
}

pub(super) async fn run(_args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let http = http_client()?;
    let (control, edges, published) = futures::join!(
        admin.get::<Status>("/v1/status"),
        futures::future::join_all(mesh.edges.iter().map(|edge| ask(&http, edge))),
        trust::published_by_all(&mesh),
    );
    let published = published.unwrap_or_default();
    let directory = trust::newest(context, &mesh, &published).ok().map(|(_, directory)| directory);
    let first = published.iter().find_map(|answer| answer.as_deref().ok());
    let trust = first.and_then(|body| trust::standing(context, &mesh, body).ok());
    let attested = control.as_ref().map(|control| attested(control, directory.as_ref())).unwrap_or_default();
    let unattested = unattested(&attested, control.as_ref().ok(), directory.as_ref());
    context.output.document(&json!({
        "control": control.as_ref().ok(),
        "control_error": control.as_ref().err().map(|failure| failure.message.clone()),
        "edges": edges,
        "attested": attested,
        "unattested": unattested,
        "trust": trust.as_ref().map(|[root, directory]| json!({ "root": root, "directory": directory })),
    }));
    match &control {
        Ok(control) => print_control(context, control),
        Err(failure) => context.output.line(format!("{} {}", context.output.bad("control plane:"), failure.message)),
    }
    print_edges(context, &edges);
    for warning in trust.iter().flatten().filter_map(Life::warning) {
        context.output.line(format!("{} {warning}", context.output.bad("warning:")));
    }
    if !attested.is_empty() {
        print_attested(context, &attested);
    }
    for edge in &unattested {
        context
            .output
            .line(context.output.bad(&format!("{edge} has attested nothing that the control plane knows of")));
    }
    if attested.iter().any(|row| row.verdict.is_fault()) {
        return Ok(Exit::Fault);
    }
    if control.as_ref().is_ok_and(|control| control.diverged.is_some()) {
        return Ok(Exit::Fault);
    }
    match control {
        Err(failure) if edges.iter().all(|edge| !edge.reachable) => Err(failure),
        _ => Ok(Exit::Done),
    }
}

/// What an edge has signed that it runs of a tenant.
#[derive(Debug, Serialize)]
struct Attested {
    edge: String,
    tenant: String,
    version: Option<BundleVersion>,
    manifest: Digest,
    /// The activation under which it runs it.
    number: LogIndex,
    /// When a voter heard of it first.
    since: Option<Timestamp>,
    verdict: Verdict,
}

/// How that stands to what is meant to run there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It is what is meant.
    Meant,
    /// It is an earlier one: the newer is on its way, or was refused.
    Behind,
    /// The control plane does not have it.
    Unknown,
    /// The edge's key has not signed it.
    NotSigned,
    /// The edge's key is not known here.
    NotVerified,
}

impl Verdict {
    fn is_fault(self) -> bool {
        matches!(self, Self::Unknown | Self::NotSigned)
    }
}

fn attested(control: &Status, directory: Option<&Directory>) -> Vec<Attested> {
    let rows = |edge: &EdgeStatus| {
        let row = |running: &Running| Attested {
            edge: edge.id.to_string(),
            tenant: running.attestation.tenant.to_string(),
            version: running.version,
            manifest: running.attestation.manifest,
            number: running.attestation.number,
            since: running.since,
            verdict: verdict(edge, running, directory),
        };
        edge.running.iter().map(row).collect::<Vec<_>>()
    };
    control.edges.iter().flat_map(rows).collect()
}

/// Edges of which nobody knows what they run although there is something to run: also such as an answer leaves out.
fn unattested(attested: &[Attested], control: Option<&Status>, directory: Option<&Directory>) -> Vec<String> {
    let is_due = control.is_some_and(|control| !control.bundles.is_empty());
    let listed = directory.filter(|_| is_due).into_iter().flat_map(Directory::edges).map(|edge| edge.id.to_string());
    listed.filter(|edge| attested.iter().all(|row| row.edge != *edge)).collect()
}

fn verdict(edge: &EdgeStatus, running: &Running, directory: Option<&Directory>) -> Verdict {
    let Some((directory, listed)) = directory.and_then(|all| Some((all, all.edge(&edge.id)?))) else {
        return Verdict::NotVerified;
    };
    let mesh = &directory.content().mesh_id;
    let is_own = running.attestation.edge == edge.id;
    if !is_own || running.attestation.verify(mesh, &listed.identity).is_err() {
        return Verdict::NotSigned;
    }
    match (running.version, running.current) {
        (None, _) => Verdict::Unknown,
        (Some(_), true) => Verdict::Meant,
        (Some(_), false) => Verdict::Behind,
    }
}

fn print_attested(context: &Context, attested: &[Attested]) {
    let output = &context.output;
    let row = |row: &Attested| {
        let version = row.version.map_or_else(|| row.manifest.to_string(), |version| format!("version {version}"));
        let since = row.since.map_or_else(String::new, |at| at.to_string());
        [row.edge.clone(), row.tenant.clone(), version, format!("activation {}", row.number), since]
    };
    output.line("\nWhat the edges have signed that they run:");
    output.table(["edge", "tenant", "runs", "by", "since"], attested.iter().map(row));
    for row in attested {
        let Attested { edge, tenant, manifest, .. } = row;
        let diverged = match row.verdict {
            Verdict::Meant => continue,
            Verdict::Behind => format!("{edge} does not run the bundle of {tenant} that is meant for it"),
            Verdict::Unknown => format!("{edge} RUNS WHAT THE CONTROL PLANE DOES NOT HAVE for {tenant}: {manifest}"),
            Verdict::NotSigned => {
                format!("{edge} HAS NOT SIGNED what the control plane says that it runs for {tenant}")
            }
            Verdict::NotVerified => format!("{edge} is not in the directory that can be verified here"),
        };
        output.line(output.bad(&diverged));
    }
}

/// An edge's `/status`.
pub(crate) async fn edge_status(http: &reqwest::Client, ops: &str) -> Result<Value, String> {
    let response = http.get(format!("{ops}/status")).send().await.map_err(|error| cause(&error))?;
    let body = bounded(response).await.map_err(|failure| failure.message)?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

async fn ask(http: &reqwest::Client, edge: &EdgeEntry) -> EdgeAnswer {
    let (id, region) = (edge.id.to_string(), edge.region.to_string());
    match edge_status(http, &edge.ops).await {
        Ok(status) => EdgeAnswer { id, region, reachable: true, error: None, status },
        Err(error) => EdgeAnswer { id, region, reachable: false, error: Some(error), status: Value::Null },
    }
}

fn print_divergence(context: &Context, diverged: &Divergence) {
    let say = |line: String| context.output.line(context.output.bad(&line));
    say(format!("THE VOTERS HAVE DIVERGED: they have not applied the same up to entry {}.", diverged.index));
    for (voter, digest) in &diverged.digests {
        say(format!("  voter {voter} has {digest}"));
    }
    say("Stop the voter that stands alone, keep its disk for whoever looks into it, and put a new one in its place \
         (`remit voter add`, `remit voter remove`). If no two agree, stop writing and restore from a backup."
        .to_owned());
}

fn print_control(context: &Context, status: &Status) {
    if let Some(diverged) = &status.diverged {
        print_divergence(context, diverged);
    }
    let row = |voter: &remit_control_plane::admin::model::VoterStatus| {
        let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        let (last, applied) = (number(voter.last.map(|at| at.0)), number(voter.applied.map(|at| at.0)));
        [format!("voter {}", voter.id), voter.state.clone(), number(voter.term), last, applied]
    };
    context.output.table(["", "state", "term", "last", "applied"], status.voters.iter().map(row));
    context.output.line("");
    let row = |bundle: &remit_control_plane::admin::model::BundleStatus| {
        let active = bundle.number.map_or_else(String::new, |number| format!("active since entry {number}"));
        let relations = status.relations.iter().find(|relations| relations.tenant == bundle.tenant);
        let relations =
            relations.map_or_else(String::new, |known| format!("revision {}, {} tuples", known.revision, known.tuples));
        [bundle.tenant.to_string(), format!("{} {}", bundle.name, bundle.version), active, relations]
    };
    context.output.table(["tenant", "bundle", "", "relations"], status.bundles.iter().map(row));
    context.output.line(format!("revocation epoch {}\n", status.revocation_epoch));
}

fn print_edges(context: &Context, edges: &[EdgeAnswer]) {
    let row = |edge: &EdgeAnswer| {
        let value = |path: &str| match edge.status.pointer(path) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let draining = edge.status.pointer("/draining") == Some(&Value::Bool(true));
        let mode = match &edge.error {
            Some(error) => error.clone(),
            None if draining => format!("{}, draining", value("/mode")),
            None => value("/mode"),
        };
        let versions = value("/bundle_version");
        let staleness = match value("/staleness_ms") {
            none if none.is_empty() => none,
            millis => format!("{millis} ms"),
        };
        [
            edge.id.clone(),
            edge.region.clone(),
            mode,
            versions,
            value("/revocation_epoch"),
            value("/tenants/0/relations/revision"),
            staleness,
            value("/spool/records"),
        ]
    };
    let header = ["edge", "region", "mode", "bundle", "epoch", "relations", "staleness", "spool"];
    context.output.table(header, edges.iter().map(row));
    for line in edges.iter().flat_map(|edge| crash_loops(&edge.id, &edge.status)) {
        context.output.line(context.output.bad(&line));
    }
}

/// Bundles that an edge has turned away because its process died with them, and what became of their tenants.
fn crash_loops(edge: &str, status: &Value) -> Vec<String> {
    let tenants = status.get("tenants").and_then(Value::as_array).into_iter().flatten();
    let say = |tenant: &Value| {
        let newest = tenant.get("crash_loop")?.as_array()?.last()?;
        let name = tenant.get("tenant").and_then(Value::as_str).unwrap_or_default();
        let instead = match tenant.get("bundle_version").and_then(Value::as_u64) {
            Some(version) => format!("version {version} decides instead"),
            None => "everything of that tenant is refused there".to_owned(),
        };
        let number = newest.get("activation").and_then(Value::as_u64).unwrap_or_default();
        Some(format!(
            "{edge} died twice with the bundle of {name} that activation {number} named; {instead}, until a newer one is published"
        ))
    };
    tenants.filter_map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause B-33.
    #[test]
    fn an_edge_that_turned_its_bundle_away_is_told_of() {
        let of = |version: Value, crash_loop: Value| {
            let tenant = json!({ "tenant": "acme", "bundle_version": version, "crash_loop": crash_loop });
            crash_loops("eu-west-1", &json!({ "tenants": [tenant] }))
        };
        assert_eq!(of(json!(2), Value::Null), Vec::<String>::new());
        assert_eq!(crash_loops("eu-west-1", &Value::Null), Vec::<String>::new());
        let crash = json!([{ "activation": 9, "bundle_digest": "aa" }]);
        let [line] = of(json!(1), crash.clone()).try_into().unwrap();
        assert!(line.contains("activation 9 named; version 1 decides instead"), "{line}");
        let [line] = of(Value::Null, crash).try_into().unwrap();
        assert!(line.contains("everything of that tenant is refused there"), "{line}");
    }
}
