//! `remit rollout`: bundles on their way.

use std::fmt::Write as _;

use clap::Subcommand;
use remit_common::bundle::Wave;
use remit_common::id::{LogIndex, TenantId};
use remit_common::wire::message::RolloutReport;
use remit_control_plane::admin::model::{RolloutEdge, RolloutMoved, RolloutView, Rollouts};
use remit_control_plane::registry::{Operation, RolloutChange, RolloutRequest};

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit bundle push v2.bundle --waves edge:eu-west-1,region:eu-west,50% --bake 10m
  remit bundle watch
  remit rollout show
  remit rollout pause --reason 'the auditors ask'
  remit rollout resume
  remit rollout abort")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List rollouts, the newest last
    Ls {
        /// Whose
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Show one: waves, gates, what happened, and what every edge reports
    Show {
        /// Its number; the one under way, or the newest, if nothing is said
        rollout: Option<u64>,
        /// Whose
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Let no further wave begin. Gates still take it back
    Pause(Change),
    /// Go on where it was paused
    Resume(Change),
    /// Take it back everywhere
    Abort(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Its number; the one under way if nothing is said
    rollout: Option<u64>,
    /// Whose
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Why: recorded with it
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Ls { tenant } => ls(tenant.as_ref(), context).await,
        Verb::Show { rollout, tenant } => show(rollout.map(LogIndex), tenant.as_ref(), context).await,
        Verb::Pause(change) => apply(change, RolloutChange::Pause, context).await,
        Verb::Resume(change) => apply(change, RolloutChange::Resume, context).await,
        Verb::Abort(change) => apply(change, RolloutChange::Abort, context).await,
    }
}

async fn read(tenant: Option<&TenantId>, context: &Context) -> Result<(Admin, Rollouts), Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let query = tenant.map_or_else(String::new, |tenant| format!("?tenant={tenant}"));
    let rollouts = admin.get(&format!("{}{query}", Operation::ChangeRollout.path())).await?;
    Ok((admin, rollouts))
}

async fn ls(tenant: Option<&TenantId>, context: &Context) -> Result<Exit, Failure> {
    let (_, rollouts) = read(tenant, context).await?;
    context.output.document(&rollouts);
    if rollouts.rollouts.is_empty() {
        context.output.line("no bundle was rolled out in waves yet: `remit bundle push FILE --waves …`");
        return Ok(Exit::Done);
    }
    let row = |view: &RolloutView| {
        let rollout = &view.rollout;
        let last = rollout.events.last().map(|event| event.reason.clone()).unwrap_or_default();
        [
            rollout.id.to_string(),
            rollout.tenant.to_string(),
            format!("{} {}", rollout.name, rollout.version),
            format!("{} of {}", rollout.wave + 1, rollout.plan.waves.len()),
            rollout.status.as_str().to_owned(),
            rollout.since.to_string(),
            view.waits.clone().unwrap_or(last),
        ]
    };
    let header = ["rollout", "tenant", "bundle", "wave", "status", "since", ""];
    context.output.table(header, rollouts.rollouts.iter().map(row));
    Ok(Exit::Done)
}

/// The one that is meant: by its number, or the one under way, or the newest.
fn pick(rollouts: &Rollouts, number: Option<LogIndex>, must_be_under_way: bool) -> Result<&RolloutView, Failure> {
    let under_way: Vec<&RolloutView> =
        rollouts.rollouts.iter().filter(|view| view.rollout.status.is_under_way()).collect();
    let found = match (number, under_way.as_slice()) {
        (Some(number), _) => rollouts.rollouts.iter().find(|view| view.rollout.id == number),
        (None, [_, _, ..]) => {
            let message = "more than one tenant has a rollout under way";
            return Err(Failure::new(Exit::Usage, message).hint("say which with --tenant, or by its number"));
        }
        (None, [one]) => Some(*one),
        (None, []) if must_be_under_way => None,
        (None, []) => rollouts.rollouts.last(),
    };
    let missing = match number {
        Some(number) => format!("there is no rollout {number}"),
        None => "no rollout is under way".to_owned(),
    };
    found.ok_or_else(|| Failure::new(Exit::Failed, missing).hint("`remit rollout ls` lists them"))
}

async fn show(number: Option<LogIndex>, tenant: Option<&TenantId>, context: &Context) -> Result<Exit, Failure> {
    let (_, rollouts) = read(tenant, context).await?;
    let view = pick(&rollouts, number, false)?;
    context.output.document(view);
    let (rollout, output) = (&view.rollout, &context.output);
    output.line(format!(
        "rollout {}: {} version {} after version {}, tenant {}",
        rollout.id, rollout.name, rollout.version, rollout.base_version, rollout.tenant
    ));
    let waits = view.waits.as_deref().map_or_else(String::new, |waits| format!(": {waits}"));
    output.line(format!("{} since {}{waits}", output.strong(rollout.status.as_str()), rollout.since));
    output.line("");
    let row = |(number, wave): (usize, &Wave)| {
        let at = u32::try_from(number).unwrap_or(u32::MAX);
        let mark = if at == rollout.wave && rollout.status.is_under_way() { ">" } else { "" };
        [mark.to_owned(), (number + 1).to_string(), whom(wave), format!("{:?}", wave.bake())]
    };
    output.table(["", "wave", "edges", "bakes"], rollout.plan.waves.iter().enumerate().map(row));
    output.line("");
    for event in &rollout.events {
        let by = event.by.as_deref().map_or_else(String::new, |by| format!(", by `{by}`"));
        let reason = if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
        output.line(format!("{}  wave {}  {}{by}{reason}", event.at, event.wave + 1, event.status.as_str()));
    }
    if !view.edges.is_empty() {
        output.line("");
        output.table(
            ["edge", "region", "", "compared", "newly denied", "newly permitted", "failed", "p99"],
            view.edges.iter().map(edge_row),
        );
        examples(view, context);
    }
    Ok(Exit::Done)
}

fn whom(Wave { edges, regions, per_mille, bake_ms: _ }: &Wave) -> String {
    let mut text = String::new();
    let items =
        edges.iter().map(|edge| format!("edge:{edge}")).chain(regions.iter().map(|name| format!("region:{name}")));
    for item in items {
        let _ = write!(text, "{}{item}", if text.is_empty() { "" } else { " + " });
    }
    if *per_mille > 0 {
        let _ = write!(text, "{}{}%", if text.is_empty() { "" } else { " + " }, f64::from(*per_mille) / 10.0);
    }
    text
}

fn edge_row(edge: &RolloutEdge) -> [String; 8] {
    let state = match edge {
        RolloutEdge { refused: Some(why), .. } => format!("refused it: {why}"),
        RolloutEdge { connected: false, .. } => "away".to_owned(),
        RolloutEdge { runs: true, .. } => "runs it".to_owned(),
        RolloutEdge { meant: true, .. } => "is to run it".to_owned(),
        RolloutEdge { report: Some(_), .. } => "compares".to_owned(),
        _ => "waits".to_owned(),
    };
    let number =
        |of: fn(&RolloutReport) -> u64| edge.report.as_ref().map_or_else(String::new, |one| of(one).to_string());
    [
        edge.id.to_string(),
        edge.region.to_string(),
        state,
        number(|report| report.compared),
        number(|report| report.newly_denied),
        number(|report| report.newly_permitted),
        number(|report| report.failed),
        edge.report.as_ref().map_or_else(String::new, |report| format!("{} ms", report.p99_ms)),
    ]
}

/// One line for each kind of difference, whichever edge saw it first.
fn examples(view: &RolloutView, context: &Context) {
    let mut known = std::collections::BTreeSet::new();
    for example in view.edges.iter().filter_map(|edge| edge.report.as_ref()).flat_map(|report| &report.examples) {
        if known.insert((&example.action, &example.before, &example.after)) {
            let by = if example.rules.is_empty() { String::new() } else { format!(" ({})", example.rules.join(", ")) };
            let line = format!(
                "{} for class `{}`: {} before, {} now{by}",
                example.action, example.class, example.before, example.after
            );
            context.output.line(line);
        }
    }
}

async fn apply(asked: &Change, change: RolloutChange, context: &Context) -> Result<Exit, Failure> {
    let (admin, rollouts) = read(asked.tenant.as_ref(), context).await?;
    let rollout = &pick(&rollouts, asked.rollout.map(LogIndex), true)?.rollout;
    let (tenant, id, reason) = (rollout.tenant.clone(), rollout.id, asked.reason.clone());
    let body = serde_json::to_vec(&RolloutRequest { tenant, rollout: id, change, reason });
    let body = body.map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let moved: RolloutMoved = admin.post(Operation::ChangeRollout.path(), body).await?;
    context.output.document(&moved);
    let next = match change {
        RolloutChange::Pause => "`remit rollout resume` goes on, `remit rollout abort` takes it back",
        RolloutChange::Resume | RolloutChange::Abort => "`remit bundle watch` shows it at every edge",
    };
    let (version, status) = (moved.version, moved.status.as_str());
    context.output.line(format!("version {version} is {status} as of entry {}; {next}", moved.index));
    Ok(Exit::Done)
}
