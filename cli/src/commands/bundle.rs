//! `remit bundle`: from a folder of sources to what every edge decides by.

pub(crate) mod diff;
mod prove;
mod rollback;
mod test;
mod watch;
mod waves;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use remit_common::bundle::source::{BuildOverrides, BundleSource, SourceFault, UnsignedBundle};
use remit_common::bundle::suite;
use remit_common::bundle::{Approved, BundleRejected, Manifest, RolloutPlan, SignedBundle};
use remit_common::id::{MeshId, TenantId};
use remit_common::limits::{BUNDLE_BYTES_MAX, BUNDLE_FILES_MAX};
use remit_common::time::Timestamp;
use remit_control_plane::admin::model::{BundlePublished, BundleStatus, Bundles, RolloutMoved};
use serde_json::json;

use crate::admin::Admin;
use crate::context::Context;
use crate::example;
use crate::failure::{Exit, Failure};
use crate::files;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit bundle new my-bundle
  remit bundle check my-bundle
  remit bundle test my-bundle --mutate
  remit bundle build my-bundle -o v1.bundle
  remit bundle sign v1.bundle --key .remit/keys/policy-1.key
  remit bundle sign v1.bundle --key .remit/keys/policy-2.key
  remit bundle show my-bundle --schema
  remit bundle diff active v1.bundle
  remit bundle push v1.bundle
  remit bundle build my-bundle -o v2.bundle --version 2 --fallback active
  remit bundle push v2.bundle --waves edge:eu-west-1,50% --bake 10m --watch
  remit bundle rollback")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a working bundle with tests to start from: the contract-renewal example, made now
    New {
        /// The folder, which must not exist
        dir: PathBuf,
    },
    /// Check sources: every file, the schema, the policies, the self-test
    Check {
        /// The folder
        dir: PathBuf,
    },
    /// Run the cases of `tests/` and `canaries.yaml`, by the decision that edges make
    Test(test::Args),
    /// Build a container; the same sources give the same bytes
    Build(Build),
    /// Add one administrator's signature to a container
    Sign {
        /// The container
        file: PathBuf,
        /// The administrator's key; may be given more than once
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
    },
    /// Show what a container says about itself, and who signed it
    Show {
        /// The container; with --schema the folder of its sources, or `active`, will do, too
        file: PathBuf,
        /// Print the Cedar schema that its policies are checked against, the arguments of tools included
        #[arg(long)]
        schema: bool,
    },
    /// Say what one bundle permits that another does not
    Diff(diff::Args),
    /// Hand a signed container to the control plane, which activates it
    Push {
        /// The container
        file: PathBuf,
        /// Push it although it newly permits something, or is not proven to permit no more: a proof is tried where
        /// there is a cvc5. It is recorded
        #[arg(long)]
        approve_widening: bool,
        /// Why it is meant: one line, recorded with the approval
        #[arg(long, value_name = "TEXT", requires = "approve_widening", default_value = "")]
        reason: String,
        #[command(flatten)]
        waves: waves::Waves,
        /// Show it arriving at every edge, until it is everywhere or taken back
        #[arg(long)]
        watch: bool,
    },
    /// Show what is on its way, at every edge, until it is everywhere or taken back
    Watch(watch::Args),
    /// Go back to a bundle that the highest one names as its fallback; nobody has to sign
    Rollback {
        /// The version to go back to; the newest that is open if nothing is said
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// Whose, where more than one tenant has a bundle
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// List the bundles that the control plane holds
    Ls,
}

#[derive(Debug, clap::Args)]
struct Build {
    /// The folder
    dir: PathBuf,
    /// Where the container goes
    #[arg(short, value_name = "FILE")]
    output: PathBuf,
    /// When it is made, in seconds since 1970, instead of what `bundle.toml` says
    #[arg(long, value_name = "SECONDS")]
    created: Option<u64>,
    /// For which mesh, instead of what `bundle.toml` says
    #[arg(long, value_name = "HEX")]
    mesh_id: Option<MeshId>,
    /// Its number, instead of what `bundle.toml` says
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// What it may be taken back to while it counts: `active`, a container, or the digest of a manifest
    #[arg(long, value_name = "BUNDLE")]
    fallback: Option<String>,
    /// Build although a case of `tests/` fails
    #[arg(long)]
    untested: bool,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::New { dir } => new(dir, context),
        Verb::Check { dir } => check(dir, context),
        Verb::Test(args) => test::run(args, context),
        Verb::Build(args) => build_to_file(args, context).await,
        Verb::Sign { file, key } => sign(file, key, context),
        Verb::Show { file, schema: true } => show_schema(file, context).await,
        Verb::Show { file, schema: false } => show(file, context),
        Verb::Diff(args) => diff::run(args, context).await,
        Verb::Push { file, approve_widening, reason, waves, watch } => {
            let plan = waves.plan(*approve_widening)?;
            push_file(file, approve_widening.then_some(reason.as_str()), plan.as_ref(), *watch, context).await
        }
        Verb::Watch(args) => watch::run(args, context).await,
        Verb::Rollback { to, tenant, reason } => rollback::run(*to, tenant.as_ref(), reason, context).await,
        Verb::Ls => ls(context).await,
    }
}

/// What `new` writes.
const CONTENTS: [(&str, &str); 8] = [
    ("policies/*.cedar", "who may do what"),
    ("catalogue/*.toml", "the tools: where they are, what their arguments and results mean"),
    ("schema.cedarschema", "what rules may speak of; arguments come from the catalogue"),
    ("entities.json", "who is in which group"),
    ("purposes.toml, classes.toml", "what data is used for, and of which kind it is"),
    ("tests/*.yaml", "what you expect; stays with you"),
    ("canaries.yaml", "what every edge asks the bundle before it runs it"),
    ("bundle.toml", "whose it is, its version, how long it counts"),
];

/// What comes after it.
const NEXT: [(&str, &str); 6] = [
    ("remit bundle check DIR", "what is wrong, and where"),
    ("remit bundle test DIR --coverage --mutate", "what it decides, and whether tests would notice a mistake"),
    ("remit bundle build DIR -o v2.bundle --version 2", "the same sources give the same bytes"),
    ("remit bundle sign v2.bundle --key FILE", "each administrator on their own machine; two of three"),
    ("remit bundle diff active v2.bundle", "what it newly permits"),
    ("remit bundle push v2.bundle", "to the control plane, and from there to every edge"),
];

fn new(dir: &Path, context: &Context) -> Result<Exit, Failure> {
    if dir.exists() {
        return Err(Failure::new(Exit::Usage, format!("`{}` exists already", dir.display())));
    }
    // With a mesh at hand, the tools are where that mesh has them, and its own keys write relations and name agents.
    let mesh = context.mesh().ok();
    let tool_url = mesh.as_ref().and_then(|mesh| mesh.upstreams.first().map(|upstream| upstream.url.clone()));
    example::write_bundle(&context.env, dir, tool_url.as_deref(), context.now())?;
    let key = |path: Option<&PathBuf>| path.and_then(|path| files::read_key(&context.env, path).ok());
    if let Some(writer) = mesh.as_ref().and_then(|mesh| key(mesh.keys.relations.as_ref())) {
        example::write_writer(&context.env, dir, writer.public())?;
    }
    if let Some(agents) = mesh.as_ref().and_then(|mesh| key(mesh.keys.agents.as_ref())) {
        example::write_trust_domain(&context.env, dir, agents.public())?;
    }
    context.output.document(&json!({ "bundle": dir }));
    let (dir, output) = (dir.display(), &context.output);
    output.line(format!("wrote {dir}: a policy that works, to be changed"));
    for (file, what) in CONTENTS {
        output.line(format!("  {file:<28} {what}"));
    }
    output.line("next:");
    for (command, what) in NEXT {
        output.line(format!("  {:<60} {what}", command.replace("DIR", &dir.to_string())));
    }
    Ok(Exit::Done)
}

/// Reads the sources of a bundle.
pub(crate) fn read_source(context: &Context, dir: &Path) -> Result<BundleSource, Failure> {
    // What is too much for a bundle is a fault with a place, up to what nobody wants to read.
    let files = files::read_tree(&context.env, dir, 2 * BUNDLE_FILES_MAX, BUNDLE_BYTES_MAX)?;
    if !files.contains_key("bundle.toml") {
        let message = format!("`{}` holds no bundle: there is no bundle.toml in it", dir.display());
        return Err(Failure::new(Exit::Usage, message).hint("`remit bundle new DIR` writes one to start from"));
    }
    Ok(BundleSource { files })
}

/// Builds, and turns faults into what people read.
pub(crate) fn build(source: &BundleSource, overrides: &BuildOverrides) -> Result<UnsignedBundle, Failure> {
    source.build(overrides).map_err(|faults| faulty(&faults, source))
}

/// Faults as people read them: each with its line.
pub(crate) fn faulty(faults: &[SourceFault], source: &BundleSource) -> Failure {
    let text = faults.iter().map(|fault| explain(fault, &source.files)).collect::<Vec<_>>().join("\n\n");
    let many = if faults.len() == 1 { "one fault".to_owned() } else { format!("{} faults", faults.len()) };
    Failure::new(Exit::Fault, format!("{many} in the bundle\n\n{text}")).reason("bundle_faults")
}

/// What voters and edges would say to the sources.
fn rejected_source(rejected: &BundleRejected, source: &BundleSource) -> Failure {
    match rejected {
        BundleRejected::Policy { faults } => faulty(faults, source),
        BundleRejected::BadCanary { name, .. } | BundleRejected::Canary { name, .. } => {
            let cells = suite::canaries(&source.files).unwrap_or_default();
            let Some(cell) = cells.into_iter().find(|cell| cell.case == *name) else {
                return Failure::caused(Exit::Fault, rejected).reason(rejected.reason_code());
            };
            let help =
                "edges ask a bundle its canaries, and take none that answers otherwise: mend the rule, or the canary";
            let (message, help) = (rejected.to_string(), Some(help.to_owned()));
            let fault = SourceFault { file: cell.file, line: cell.line, column: cell.column, message, help };
            faulty(&[fault], source).reason(rejected.reason_code())
        }
        other => Failure::caused(Exit::Fault, other).reason(other.reason_code()),
    }
}

/// Characters of a line that are shown with a fault, and how many of them before its place.
const SHOWN: usize = 160;
const SHOWN_BEFORE: usize = 120;

/// A fault with the line it stands in and a caret below it.
fn explain(fault: &SourceFault, files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = fault.to_string();
    let line = files.get(&fault.file).map(|bytes| String::from_utf8_lossy(bytes)).and_then(|source| {
        let index = usize::try_from(fault.line).ok()?.checked_sub(1)?;
        source.lines().nth(index).map(str::to_owned)
    });
    if let Some(line) = line {
        let column = usize::try_from(fault.column).unwrap_or(1).saturating_sub(1);
        // Of a line that no screen has room for, what lies around the place.
        let from = column.saturating_sub(SHOWN_BEFORE);
        let shown: String = line.chars().skip(from).take(SHOWN).collect();
        let cut = if from > 0 { "…" } else { "" };
        let more = if line.chars().count() > from.saturating_add(SHOWN) { "…" } else { "" };
        let caret = " ".repeat(cut.chars().count().saturating_add(column.saturating_sub(from)));
        let _ = write!(text, "\n  | {cut}{shown}{more}\n  | {caret}^");
    }
    if let Some(help) = &fault.help {
        let _ = write!(text, "\n  = {help}");
    }
    text
}

/// For a check the mesh is not known and does not matter.
const NO_MESH: MeshId = MeshId([0; 16]);

fn check(dir: &Path, context: &Context) -> Result<Exit, Failure> {
    let source = read_source(context, dir)?;
    let overrides = BuildOverrides { mesh_id: Some(NO_MESH), ..BuildOverrides::default() };
    let built = build(&source, &overrides)?;
    let bundle = built.check().map_err(|rejected| rejected_source(&rejected, &source))?;
    // Suites are only read here: what they expect is for `test` to find out.
    let cells = suite::read(&source.files).map_err(|faults| faulty(&faults, &source))?;
    suite::check(&cells, &bundle, &source.files).map_err(|faults| faulty(&faults, &source))?;
    let manifest = built.manifest();
    context.output.document(
        &json!({ "ok": true, "name": manifest.name, "version": manifest.version, "files": manifest.files.len() }),
    );
    let line = format!("{} version {}: {} files", manifest.name, manifest.version, manifest.files.len());
    context.output.line(format!("{} {line}", context.output.good("ok")));
    Ok(Exit::Done)
}

async fn build_to_file(args: &Build, context: &Context) -> Result<Exit, Failure> {
    let source = read_source(context, &args.dir)?;
    let mesh_id = match args.mesh_id {
        Some(mesh_id) => Some(mesh_id),
        // A mesh at hand is meant, unless `bundle.toml` names another.
        None if !names_mesh(&source) => context.mesh().ok().map(|mesh| mesh.mesh_id),
        None => None,
    };
    let fallback = match &args.fallback {
        Some(named) => Some(rollback::digest_of(named, &source, context).await?),
        None => None,
    };
    let created = args.created.map(Timestamp::from_secs);
    let overrides = BuildOverrides { created, mesh_id, version: args.version, fallback };
    let built = build(&source, &overrides)?;
    if !args.untested {
        test::passes(&source, &built)?;
    }
    let (manifest, digest) = (built.manifest().clone(), built.digest());
    let bytes = built.into_container().to_bytes();
    files::write(&context.env, &args.output, &bytes)?;
    context.output.document(&json!({
        "file": args.output, "digest": digest, "version": manifest.version, "tenant": manifest.tenant,
        "mesh_id": manifest.mesh_id, "bytes": bytes.len(),
    }));
    let output = args.output.display();
    context.output.line(format!("built {} version {} for tenant {}", manifest.name, manifest.version, manifest.tenant));
    context.output.line(format!("{output}  {digest}  {} bytes", bytes.len()));
    context.output.line(format!("next: remit bundle sign {output} --key KEY, once for each of the administrators"));
    Ok(Exit::Done)
}

fn names_mesh(source: &BundleSource) -> bool {
    let text = source.files.get("bundle.toml").map(|bytes| String::from_utf8_lossy(bytes));
    text.and_then(|text| text.parse::<toml::Table>().ok()).is_some_and(|table| table.contains_key("mesh_id"))
}

/// Reads a container; looks at its shape only.
pub(crate) fn read_container(context: &Context, file: &Path) -> Result<SignedBundle, Failure> {
    let bytes = files::read(&context.env, file, BUNDLE_BYTES_MAX)?;
    SignedBundle::parse(&bytes)
        .map_err(|error| Failure::new(Exit::Usage, format!("`{}` is no bundle: {error}", file.display())))
}

fn claimed(bundle: &SignedBundle) -> Result<Manifest, Failure> {
    bundle.dangerous_unverified_manifest().map_err(|error| Failure::caused(Exit::Failed, &error))
}

/// The ids of the keys that are said to have signed.
fn signers(bundle: &SignedBundle) -> Vec<String> {
    let (envelope, _) = bundle.parts();
    envelope.signatures.iter().map(|signature| signature.keyid.to_string()).collect()
}

fn sign(file: &Path, keys: &[PathBuf], context: &Context) -> Result<Exit, Failure> {
    let mut bundle = read_container(context, file)?;
    let manifest = claimed(&bundle)?;
    for path in keys {
        bundle.add_signature(&files::read_key(&context.env, path)?);
    }
    files::write(&context.env, file, &bundle.to_bytes())?;
    let signatures = signers(&bundle);
    context.output.document(&json!({ "file": file, "digest": bundle.digest(), "signatures": signatures }));
    let line = format!("{} version {} for tenant {}", manifest.name, manifest.version, manifest.tenant);
    context.output.line(format!("signed {line}; {} signatures", signatures.len()));
    Ok(Exit::Done)
}

/// The schema in force: what the bundle's own says, and what its catalogue says of arguments (clause P-51).
async fn show_schema(name: &Path, context: &Context) -> Result<Exit, Failure> {
    let side = diff::side(&name.to_string_lossy(), context).await?;
    let schema = side.compiled.policy().schema_text();
    context.output.document(&json!({ "schema": schema }));
    context.output.line(schema.trim_end());
    Ok(Exit::Done)
}

fn show(file: &Path, context: &Context) -> Result<Exit, Failure> {
    let bundle = read_container(context, file)?;
    let manifest = claimed(&bundle)?;
    context.output.document(&json!({
        "verified": false, "digest": bundle.digest(), "manifest": manifest, "signatures": signers(&bundle),
    }));
    let output = &context.output;
    output.line(format!("{} version {} for tenant {}", manifest.name, manifest.version, manifest.tenant));
    output.line(format!("  mesh       {}", manifest.mesh_id));
    output.line(format!("  digest     {}", bundle.digest()));
    output.line(format!("  holds      {} to {}", manifest.created, manifest.expires));
    for key in signers(&bundle) {
        output.line(format!("  signed by  {key}"));
    }
    output.line("");
    let row =
        |file: &remit_common::bundle::FileEntry| [file.path.clone(), file.len.to_string(), file.sha256.to_string()];
    output.table(["file", "bytes", "sha256"], manifest.files.iter().map(row));
    output.line(output.faint("No signature was checked; the control plane and every edge do that."));
    Ok(Exit::Done)
}

/// Hands a container to the control plane, with an approval in front if there is one.
pub(crate) async fn push(admin: &Admin, body: Vec<u8>) -> Result<BundlePublished, Failure> {
    admin.post("/v1/bundles", body).await
}

/// Comparisons of one push, when other bundles become active meanwhile.
const TRIES_MAX: u32 = 3;

async fn push_file(
    file: &Path,
    approved: Option<&str>,
    plan: Option<&RolloutPlan>,
    watch: bool,
    context: &Context,
) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let bundle = read_container(context, file)?;
    let manifest = claimed(&bundle)?;
    let admin = Admin::new(context, &mesh)?;
    let container = bundle.to_bytes();
    let mut tries = 0;
    let (pushed, proof) = loop {
        let diff::Cleared { approval, proof } = diff::approve(&admin, &bundle, &manifest, approved, context).await?;
        let body = approval.as_ref().map_or_else(|| container.clone(), |approval| approval.with(&container));
        let progress = context.output.progress("pushing");
        let pushed = match plan {
            Some(plan) => admin.post("/v1/bundles", plan.with(&body)).await.map(Pushed::InWaves),
            None => push(&admin, body).await.map(Pushed::AtOnce),
        };
        progress.finish_and_clear();
        tries += 1;
        match pushed {
            // Another bundle became active in between: compared anew, it may go out, or be wider.
            Err(failure) if failure.reason.as_deref() == Some("compared_with_another_base") && tries < TRIES_MAX => {}
            pushed => break (pushed, proof),
        }
    };
    let pushed =
        pushed.map_err(|failure| match failure.reason.as_deref().filter(|_| failure.exit == Exit::Failed) {
            Some("approval_of_another_base") => failure.hint(
                "another bundle has become active meanwhile: `remit bundle diff active FILE` shows the difference",
            ),
            Some("approval_of_other_findings") => failure.hint(
                "the voters found what this program did not: are both of one version? `remit bundle diff` shows more",
            ),
            Some("no_way_back") => {
                failure.hint("`remit bundle build DIR -o FILE --fallback active` names the active one as the way back")
            }
            Some("rollout_under_way") => failure.hint("`remit rollout show` says where it stands"),
            Some("widening_not_approved" | "nothing_to_approve" | "compared_with_another_base" | "already_active") => {
                failure
            }
            _ if failure.exit == Exit::Failed => {
                failure.hint("`remit bundle show FILE` shows who signed; two administrators of three must")
            }
            _ => failure,
        })?;
    let line = format!("{} version {}", manifest.name, manifest.version);
    let line = match &pushed {
        Pushed::AtOnce(published) => {
            context.output.document(published);
            format!("{line} is active as of entry {}; `remit bundle watch` shows it arriving", published.number)
        }
        Pushed::InWaves(moved) => {
            context.output.document(moved);
            let waves = plan.map_or(0, |plan| plan.waves.len());
            format!(
                "{line} begins in the first of {waves} waves, rollout {}; `remit bundle watch` shows it",
                moved.rollout
            )
        }
    };
    context.output.line(line);
    if let Some(proof) = proof {
        context.output.line(context.output.faint(&proof));
    }
    if watch { watch::follow(&admin, &manifest.tenant, None, context).await } else { Ok(Exit::Done) }
}

/// What came of a push.
enum Pushed {
    AtOnce(BundlePublished),
    InWaves(RolloutMoved),
}

async fn ls(context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let listing: Bundles = Admin::new(context, &mesh)?.get("/v1/bundles").await?;
    context.output.document(&listing);
    let row = |bundle: &BundleStatus| {
        let active = bundle.number.map_or_else(String::new, |number| format!("active since entry {number}"));
        let (version, expires) = (bundle.version.to_string(), bundle.expires.to_string());
        [bundle.tenant.to_string(), bundle.name.to_string(), version, active, expires, bundle.digest.to_string()]
    };
    context.output.table(["tenant", "name", "version", "", "expires", "digest"], listing.bundles.iter().map(row));
    for bundle in &listing.bundles {
        let Some(Approved { by, name, index, at, approval }) = &bundle.approved else { continue };
        let of = format!("{} {} version {}", bundle.tenant, bundle.name, bundle.version);
        context.output.line("");
        context.output.line(format!("{of}: approved by `{name}` at {at}, in entry {index}"));
        let actions: Vec<String> = approval.actions.iter().map(|(action, count)| format!("{action} {count}")).collect();
        let actions = if actions.is_empty() { "none".to_owned() } else { actions.join(", ") };
        context.output.line(format!("  newly permitted or released, of the requests asked: {actions}"));
        if approval.loosened > 0 {
            context.output.line(format!("  changes that are wider by themselves: {}", approval.loosened));
        }
        if !approval.reason.is_empty() {
            context.output.line(format!("  because: {}", approval.reason));
        }
        context.output.line(context.output.faint(&format!("  key {by}, comparison {}", approval.comparison)));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_its_line_and_a_caret() {
        let fault = SourceFault {
            file: "bundle.toml".to_owned(),
            line: 2,
            column: 3,
            message: "unknown key".to_owned(),
            help: Some("did you mean `name`?".to_owned()),
        };
        let files = BTreeMap::from([("bundle.toml".to_owned(), b"a = 1\n  nmae = 2\n".to_vec())]);
        let shown = explain(&fault, &files);
        assert!(shown.contains("bundle.toml:2:3"), "{shown}");
        assert!(shown.contains("  |   nmae = 2\n  |   ^"), "{shown}");
        assert!(shown.contains("= did you mean `name`?"), "{shown}");
    }
}
