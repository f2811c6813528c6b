//! `remit bundle diff`: what one bundle permits that another does not, in words and as a table.
//!
//! Nothing has an effect: both bundles decide the same requests side by side. Exit 0 says that none of them is newly
//! permitted, exit 4 that something is. Clauses B-35 to B-40 and B-45 to B-48, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_common::bundle::diff::{
    Budget, Comparison, Exemplar, Finding, How, Origin, Place, Question, Replay, Subject, Verdict, compare, replay,
};
use remit_common::bundle::source::{BuildOverrides, BundleSource};
use remit_common::bundle::{Approval, BundleRejected, CompiledBundle, Manifest, SignedBundle, suite};
use remit_common::policy::PolicyFault;
use remit_common::time::Timestamp;
use remit_control_plane::admin::model::{BundleStatus, Bundles};
use serde_json::Value;

use super::prove::{self, Proof};
use super::{NO_MESH, build, explain, faulty, read_container, read_source, rejected_source};
use crate::admin::Admin;
use crate::commands::decision::fetch_all;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;
use crate::output::Output;

/// The word for the bundle that the tenant's edges are to run.
const ACTIVE: &str = "active";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A bundle is a folder of sources, a container, or the word `active`: the one that the mesh at hand runs.
Exit codes: 0 nothing is newly permitted; 4 something is, or a proof was asked for and is not complete; 1, 2 and 3 as
everywhere.

Example:
  remit bundle diff active my-bundle
  remit bundle diff active my-bundle --replay --prove
  remit bundle diff v1.bundle v2.bundle --json")]
pub(crate) struct Args {
    /// The earlier bundle: a folder, a container, or `active`
    old: String,
    /// The later one
    new: String,
    /// How many requests are made up around what changed, at most
    #[arg(long, value_name = "N", default_value_t = Budget::DESK.generated)]
    requests: usize,
    /// Ask also what was decided: a file that `remit decision tail --json` wrote; may be given more than once
    #[arg(long, value_name = "FILE")]
    records: Vec<PathBuf>,
    /// Ask also everything that the voters of the mesh at hand have recorded
    #[arg(long)]
    replay: bool,
    /// Prove for every request that the later Cedar policies permit no more; also done where $REMIT_CVC5 names a solver
    #[arg(long)]
    prove: bool,
    /// The solver: cvc5 1.3 or later [default: `cvc5` on the PATH]
    #[arg(long, value_name = "PROGRAM", env = "REMIT_CVC5")]
    solver: Option<String>,
    /// What the solver may take in all; what is not proven by then is unknown
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    budget: u64,
}

/// What the command prints.
#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    found: &'a Comparison,
    /// Recorded decisions that were not asked, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_replayable: &'a BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a Proof>,
}

/// A bundle and its files, for showing where a policy stands.
pub(crate) struct Side {
    pub(crate) compiled: CompiledBundle,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// Changes that are shown, of each sort.
const LINES_MAX: usize = 200;
/// What an administrator may ask for, so that a mistyped number does not fill the memory.
const REQUESTS_MAX: usize = 1_000_000;
/// Bytes of a file of records.
const RECORDS_BYTES_MAX: usize = 1 << 30;

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let old = side(&args.old, context).await?;
    let new = side(&args.new, context).await?;
    let budget = Budget { generated: args.requests.min(REQUESTS_MAX), ..Budget::DESK };
    let progress = context.output.progress("asking both bundles");
    let Replay { mut questions, left_out } = replay(&recorded(args, context).await?, &old.compiled, &new.compiled);
    questions.extend(tests(&old, &new, context.now())?);
    let found = compare(&old.compiled, &new.compiled, &questions, context.now(), budget);
    progress.finish_and_clear();
    let mut proof = None;
    if args.prove || args.solver.is_some() {
        let progress = context.output.progress("asking the solver");
        let solver = args.solver.as_deref().unwrap_or("cvc5");
        let budget = Duration::from_secs(args.budget);
        proof = Some(Box::pin(prove::prove(&old, &new, solver, budget, context)).await);
        progress.finish_and_clear();
    }
    context.output.document(&Document { found: &found, not_replayable: &left_out, proof: proof.as_ref() });
    show(&found, &old, &new, &context.output);
    for (why, count) in &left_out {
        context.output.line(context.output.faint(&format!("not replayable: {count} recorded decisions: {why}")));
    }
    if let Some(proof) = &proof {
        prove::show(proof, &context.output);
    }
    let proven = proof.as_ref().is_none_or(Proof::holds);
    Ok(if found.widens() || !proven { Exit::Fault } else { Exit::Done })
}

/// The test cases of both, each once; a container brings none (clause B-48).
fn tests(old: &Side, new: &Side, now: Timestamp) -> Result<Vec<Question>, Failure> {
    let (mut questions, mut seen) = (Vec::new(), BTreeSet::new());
    for side in [old, new] {
        let cells =
            suite::read(&side.files).map_err(|faults| faulty(&faults, &BundleSource { files: side.files.clone() }))?;
        for cell in cells {
            let at = cell.as_of.unwrap_or(now);
            if seen.insert(format!("{at} {:?}", cell.request)) {
                let name = format!("{}: {}, {}", cell.file, cell.case, cell.cell);
                questions.push(Question::of_canary(&cell.request, Origin::Test { name }, at));
            }
        }
    }
    Ok(questions)
}

/// What was decided, as the command was told to find it.
async fn recorded(args: &Args, context: &Context) -> Result<Vec<Value>, Failure> {
    let mut records = Vec::new();
    for path in &args.records {
        let shown = path.display();
        let bytes = files::read(&context.env, path, RECORDS_BYTES_MAX)?;
        // One document, or one on each line.
        for document in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
            let document = document.map_err(|error| {
                Failure::new(Exit::Usage, format!("`{shown}` holds no records: {error}"))
                    .hint("`remit decision tail -n 200 --json` prints some")
            })?;
            let listed = ["decisions", "records"].iter().find_map(|name| document.get(name)).unwrap_or(&document);
            match listed {
                Value::Array(all) => records.extend(all.iter().cloned()),
                one => records.push(one.clone()),
            }
        }
    }
    if args.replay {
        let mesh = context.mesh()?;
        records.extend(fetch_all(&Admin::new(context, &mesh)?, &mesh.tenant).await?);
    }
    Ok(records)
}

pub(super) async fn side(name: &str, context: &Context) -> Result<Side, Failure> {
    if name == ACTIVE {
        let mesh = context.mesh()?;
        let active = active(&Admin::new(context, &mesh)?, &mesh.tenant).await?;
        return active.ok_or_else(|| {
            Failure::new(Exit::Failed, format!("tenant `{}` has no active bundle", mesh.tenant))
                .hint("`remit bundle push` activates one")
        });
    }
    let path = Path::new(name);
    if path.is_dir() {
        let source = read_source(context, path)?;
        let overrides = BuildOverrides { mesh_id: Some(NO_MESH), ..BuildOverrides::default() };
        let built = build(&source, &overrides)?;
        let compiled = built.check().map_err(|rejected| rejected_source(&rejected, &source))?;
        return Ok(Side { compiled, files: source.files });
    }
    of_container(read_container(context, path)?)
}

/// The bundle of a container. Its signatures are not checked: whoever pushes or runs it does that.
pub(crate) fn of_container(container: SignedBundle) -> Result<Side, Failure> {
    let rejected = |error: BundleRejected| match &error {
        BundleRejected::Policy { faults } => faulty(faults, &BundleSource::default()),
        other => Failure::caused(Exit::Fault, other).reason(other.reason_code()),
    };
    let manifest = container.dangerous_unverified_manifest().map_err(rejected)?;
    let (_, contents) = container.parts();
    let files = manifest.files.iter().map(|entry| entry.path.clone()).zip(contents.iter().cloned()).collect();
    let compiled = container.dangerous_unverified_compile().map_err(rejected)?;
    Ok(Side { compiled, files })
}

/// The bundle that a tenant's edges are to run.
pub(crate) async fn active(admin: &Admin, tenant: &remit_common::id::TenantId) -> Result<Option<Side>, Failure> {
    let listing: Bundles = admin.get("/v1/bundles").await?;
    let is_active = |bundle: &&BundleStatus| bundle.tenant == *tenant && bundle.number.is_some();
    let Some(active) = listing.bundles.iter().find(is_active) else { return Ok(None) };
    let container = admin.get_bytes(&format!("/v1/bundles/{}", active.digest)).await?;
    let container = SignedBundle::parse(&container).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    of_container(container).map(Some)
}

/// What a push was compared with, and what goes with it.
pub(super) struct Cleared {
    /// The approval, where something is wider and meant.
    pub(super) approval: Option<Approval>,
    /// What became of the proof, in words; `None` where there was nothing to compare with.
    pub(super) proof: Option<String>,
}

/// How long a push waits for a solver.
const PUSH_PROOF_WITHIN: Duration = Duration::from_secs(60);

/// Compares what is about to be pushed with what runs, and proves it where there is a solver. Refuses what newly
/// permits something or is not proven, or, with the reason why it is meant, gives the approval that goes with it
/// (clauses B-41, B-42 and B-53). Where nothing is wider, there is nothing to approve.
pub(super) async fn approve(
    admin: &Admin,
    bundle: &SignedBundle,
    manifest: &Manifest,
    reason: Option<&str>,
    context: &Context,
) -> Result<Cleared, Failure> {
    let nothing = Cleared { approval: None, proof: None };
    let Some(old) = active(admin, &manifest.tenant).await? else { return Ok(nothing) };
    // What does not compile is for the voters to refuse, with their reason.
    let Ok(new) = of_container(bundle.clone()) else { return Ok(nothing) };
    let progress = context.output.progress("comparing with the active bundle");
    let compare = |budget| compare(&old.compiled, &new.compiled, &[], context.now(), budget);
    // The voter asks less than a desk does, and says more often that it could not ask.
    let (found, voters) = (compare(Budget::DESK), compare(Budget::VOTER));
    progress.finish_and_clear();
    let solver = files::environment().remove("REMIT_CVC5").unwrap_or_else(|| "cvc5".to_owned());
    let proof = if prove::has_solver(&solver) {
        let progress = context.output.progress("asking the solver");
        let proof = Box::pin(prove::prove(&old, &new, &solver, PUSH_PROOF_WITHIN, context)).await;
        progress.finish_and_clear();
        Some(proof)
    } else {
        None
    };
    let unproven = proof.as_ref().map_or(0, Proof::unproven);
    let said = match &proof {
        None => {
            "no proof was made: there is no cvc5 on the PATH or in $REMIT_CVC5; requests alone were compared".to_owned()
        }
        Some(_) if unproven == 0 => {
            "a proof was made: the Cedar policies permit no more than the active ones".to_owned()
        }
        Some(_) => format!("a proof was tried: {unproven} of its claims are not proven"),
    };
    if !found.widens() && !voters.widens() && unproven == 0 {
        return Ok(Cleared { proof: Some(said), ..nothing });
    }
    if let Some(reason) = reason {
        let approval = Approval::of(&found, reason).map_err(|error| {
            Failure::new(Exit::Usage, error.rule)
                .hint("`--reason TEXT` takes one short line: the place for more is elsewhere")
        })?;
        let approval = approval.and(&voters).and_unproven(unproven);
        return Ok(Cleared { approval: Some(approval), proof: Some(said) });
    }
    let widest = if found.widens() { &found } else { &voters };
    show(widest, &old, &new, &context.output);
    if let Some(proof) = &proof {
        prove::show(proof, &context.output);
    }
    let (version, runs) = (manifest.version, old.compiled.manifest().version);
    let message = if widest.widens() {
        format!("version {version} permits what the active version {runs} does not: {}", widest.summary())
    } else {
        format!("it is not proven that version {version} permits no more than the active version {runs}: {said}")
    };
    let hint = "if that is meant, push again with --approve-widening and --reason TEXT, which are recorded";
    Err(Failure::new(Exit::Failed, message).reason("widening").hint(hint))
}

/// Words first, then a table, then one request for each row.
pub(crate) fn show(found: &Comparison, old: &Side, new: &Side, output: &Output) {
    for change in found.changes.iter().take(LINES_MAX) {
        let what = match change.subject {
            Subject::Policy => "policy",
            Subject::Tool => "tool",
            Subject::Upstream => "upstream",
            Subject::File => "file",
            Subject::Entity => "entity",
            Subject::Manifest => "manifest",
        };
        let how = match change.how {
            How::Added => "added",
            How::Changed => "changed",
            How::Removed => "removed",
        };
        let place = change.new.as_ref().map(|place| (place, new)).or(change.old.as_ref().map(|place| (place, old)));
        let place = place.map(|(place, side)| format!("  {}", line_of(place, side))).unwrap_or_default();
        output.line(format!("{how:8} {what} {}{place}", change.name));
    }
    let more = |count: usize, what: &str| {
        if count > LINES_MAX {
            output.line(output.faint(&format!("and {} more {what}; --json lists all", count - LINES_MAX)));
        }
    };
    more(found.changes.len(), "changes");
    for change in found.loosened().take(LINES_MAX) {
        output.line(format!("{}: {}", output.bad("wider"), change.loosens.as_deref().unwrap_or_default()));
    }
    more(found.loosened().count(), "that are wider");
    for finding in &found.findings {
        let kind = finding.kind.words();
        let kind = if finding.kind.widens() { output.bad(kind) } else { kind.to_owned() };
        output.line("");
        output.line(format!("{kind}: `{}` for agents of class `{}`", finding.action, finding.role));
        for exemplar in &finding.exemplars {
            example(exemplar, old, new, output);
        }
    }
    if !found.findings.is_empty() {
        output.line("");
        let row = |finding: &Finding| {
            [
                finding.action.to_string(),
                finding.role.to_string(),
                finding.kind.words().to_owned(),
                finding.count.to_string(),
            ]
        };
        output.table(["action", "role", "", "requests"], found.findings.iter().map(row));
    }
    output.line("");
    if !found.widens() {
        output.line(format!("{} nothing is newly permitted", output.good("ok")));
    }
    let asked = found.asked;
    output.line(output.faint(&format!(
        "{} requests were decided under both: {} canaries, {} tests, {} recorded, {} made up around what changed.",
        asked.total(),
        asked.canaries,
        asked.tests,
        asked.recorded,
        asked.generated
    )));
    output.line(output.faint(
        "Made-up requests get a grant that admits them: envelopes narrow further. What was not asked may differ, too.",
    ));
    for line in &found.uncovered {
        output.line(output.faint(&format!("not covered: {line}")));
    }
}

fn example(exemplar: &Exemplar, old: &Side, new: &Side, output: &Output) {
    let request = &exemplar.request;
    let source = match &exemplar.origin {
        Origin::Canary { name } => format!(" (canary `{name}`)"),
        Origin::Test { name } => format!(" (test `{name}`)"),
        Origin::Recorded { id } => format!(" (recorded as {id})"),
        Origin::Generated { .. } => String::new(),
    };
    output.line(format!(
        "  for example: agent `{}` of class `{}`, for `{}`, purpose `{}`, {} link{} in the chain{source}",
        request.agent,
        request.class,
        request.delegator,
        request.purpose,
        request.chain_depth,
        if request.chain_depth == 1 { "" } else { "s" },
    ));
    let arguments = serde_json::to_string(&request.arguments).unwrap_or_default();
    output.line(format!("    calls {} {arguments}", request.action));
    let records = request.max_records.map_or_else(|| "any number of".to_owned(), |max| format!("at most {max}"));
    output.line(format!("    under a grant for {records} records, classes [{}]", request.classes.join(", ")));
    output.line(format!("    before: {}", answer(&exemplar.old)));
    output.line(format!("    now:    {}", answer(&exemplar.new)));
    // What decides now, or, where that is nothing, what decided before.
    let deciding = exemplar.new.policies.iter().map(|place| (place, new));
    let decided = exemplar.old.policies.iter().map(|place| (place, old));
    for (place, side) in deciding.chain(decided).take(2) {
        for line in explain(&fault_at(place, side), &side.files).lines() {
            output.line(format!("      {line}"));
        }
    }
}

fn answer(verdict: &Verdict) -> String {
    let policies: Vec<String> = verdict.policies.iter().map(|place| format!("`{}`", place.policy)).collect();
    let by = if policies.is_empty() { String::new() } else { format!(" by {}", policies.join(", ")) };
    let released = verdict.released.as_ref().map(|released| {
        let records = released.records.map_or_else(String::new, |records| format!("{records} records, "));
        let rest = if released.unclassified { " and what has no class" } else { "" };
        format!("; releases {records}classes [{}]{rest}", released.classes.join(", "))
    });
    match verdict.reason {
        Some(remit_common::policy::Reason::Permit) => format!("permitted{by}{}", released.unwrap_or_default()),
        Some(reason) => format!("denied as {reason}{by}: {}", verdict.detail),
        None => format!("cannot be asked: {}", verdict.detail),
    }
}

/// The place of a policy in lines and columns, with its name as the message.
fn fault_at(place: &Place, side: &Side) -> PolicyFault {
    let text = side.files.get(&place.file).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let before = text.get(..place.start).unwrap_or_default();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    PolicyFault {
        file: place.file.clone(),
        line: count(before.matches('\n').count().saturating_add(1)),
        column: count(before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1)),
        message: format!("`{}`", place.policy),
        help: None,
    }
}

fn line_of(place: &Place, side: &Side) -> String {
    let fault = fault_at(place, side);
    format!("{}:{}", fault.file, fault.line)
}
