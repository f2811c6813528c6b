//! `remit bundle watch`: a push as it arrives, edge by edge.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleVersion, EdgeId, TenantId};
use remit_control_plane::admin::model::{Bundles, EdgeStatus, Edges, RolloutView, Rollouts};
use serde::Serialize;

use super::rollback::active_of;
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Between two looks.
const POLL: Duration = Duration::from_millis(300);
/// Looks in a row that fail before it is given up: a leader may be changing.
const FAILURES_MAX: u32 = 50;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whose, where the mesh has more than one tenant with a bundle
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Give up after this long: `90s`, `10m`
    #[arg(long, value_name = "TIME", value_parser = super::waves::duration)]
    within: Option<Duration>,
}

/// What one edge does, in a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Seen {
    edge: EdgeId,
    region: String,
    /// `runs`, `waits`, `received`, `verified`, `compiled`, `refused` or `away`.
    state: String,
    detail: String,
}

/// What is on its way, and where it has come.
struct Arrival {
    version: BundleVersion,
    title: String,
    seen: Vec<Seen>,
    /// How it ended, if it did, and whether well.
    end: Option<(String, bool)>,
}

/// Follows what is on its way until it is everywhere, or taken back.
pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let tenant = match &args.tenant {
        Some(tenant) => tenant.clone(),
        None => active_of(&admin.get::<Bundles>("/v1/bundles").await?, None)?.tenant.clone(),
    };
    follow(&admin, &tenant, args.within, context).await
}

/// Shows a push as it arrives. Ends well when every edge that is connected runs what it is to run.
pub(super) async fn follow(
    admin: &Admin,
    tenant: &TenantId,
    within: Option<Duration>,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut shown = Shown::new(context);
    let began = context.env.now().boot;
    let mut failures = 0;
    loop {
        match look(admin, tenant).await {
            Ok(arrival) => {
                failures = 0;
                shown.show(context, &arrival);
                if let Some((end, is_good)) = &arrival.end {
                    shown.finish(context, end, *is_good);
                    return Ok(if *is_good { Exit::Done } else { Exit::Fault });
                }
            }
            Err(failure) if failures >= FAILURES_MAX || failure.exit != Exit::Unreachable => return Err(failure),
            Err(_) => failures += 1,
        }
        if within.is_some_and(|within| context.env.now().boot.since(began) > within) {
            return Err(Failure::new(Exit::Failed, "it has not arrived everywhere in this time")
                .hint("`remit bundle watch` goes on where this ended"));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn look(admin: &Admin, tenant: &TenantId) -> Result<Arrival, Failure> {
    let [rollouts, edges, bundles] = ["rollouts", "edges", "bundles"].map(|of| format!("/v1/{of}?tenant={tenant}"));
    let (rollouts, edges, bundles) = futures::try_join!(
        admin.get::<Rollouts>(&rollouts),
        admin.get::<Edges>(&edges),
        admin.get::<Bundles>(&bundles),
    )?;
    let newest = rollouts.rollouts.last();
    let active = bundles.bundles.iter().find(|bundle| bundle.number.is_some());
    let Some(active) = active else {
        return Err(Failure::new(Exit::Failed, format!("tenant `{tenant}` has no active bundle")));
    };
    if let Some(view) = newest.filter(|view| view.rollout.status.is_under_way()) {
        let seen = edges.edges.iter().map(|edge| seen(edge, tenant, &wanted_of(view, edge))).collect();
        return Ok(Arrival { version: view.rollout.version, title: title(view), seen, end: None });
    }
    let digest = active.digest;
    let seen: Vec<Seen> = edges.edges.iter().map(|edge| seen(edge, tenant, &Wanted::New(digest))).collect();
    let arrived = seen.iter().all(|one| one.state == "runs" || one.state == "away");
    let is_settled = seen.iter().all(|one| ["runs", "away", "refused"].contains(&one.state.as_str()));
    let is_refused = is_settled && seen.iter().any(|one| one.state == "refused");
    let title = format!("{} version {}", active.name, active.version);
    // The last rollout has the last word only while nothing was pushed since.
    let ended = newest.and_then(|view| {
        let last = view.rollout.events.last()?;
        (last.index == active.number.unwrap_or_default()).then(|| (view, last.status.as_str(), last.reason.clone()))
    });
    let end = match ended {
        Some((view, status, reason)) if view.rollout.candidate != digest => {
            let version = view.rollout.version;
            arrived.then(|| {
                (format!("version {version} was {status}, version {} runs again: {reason}", active.version), false)
            })
        }
        _ if is_refused => {
            let refused = seen.iter().filter(|one| one.state == "refused").count();
            Some((format!("version {} is refused by {refused} edges", active.version), false))
        }
        _ => arrived.then(|| {
            let away = seen.iter().filter(|one| one.state == "away").count();
            let away = if away == 0 {
                String::new()
            } else {
                format!("; {away} edges are away, and get it when they are back")
            };
            (format!("every edge that is connected runs version {}{away}", active.version), true)
        }),
    };
    Ok(Arrival { version: active.version, title, seen, end })
}

fn title(view: &RolloutView) -> String {
    let RolloutView { rollout, waits, .. } = view;
    let waits = waits.as_deref().map_or_else(String::new, |waits| format!(": {waits}"));
    let (wave, waves) = (rollout.wave + 1, rollout.plan.waves.len());
    format!("{} version {}, wave {wave} of {waves}, {}{waits}", rollout.name, rollout.version, rollout.status.as_str())
}

/// What an edge is to run.
enum Wanted {
    New(Digest),
    /// What it ran before, for now; it has the new one beside it, and compares.
    Old(Digest, Digest),
}

fn wanted_of(view: &RolloutView, edge: &EdgeStatus) -> Wanted {
    let is_meant = view.edges.iter().any(|one| one.id == edge.id && one.meant);
    if is_meant { Wanted::New(view.rollout.candidate) } else { Wanted::Old(view.rollout.base, view.rollout.candidate) }
}

fn seen(edge: &EdgeStatus, tenant: &TenantId, wanted: &Wanted) -> Seen {
    let runs = edge.running.iter().find(|running| running.attestation.tenant == *tenant);
    let runs = runs.map(|running| running.attestation.manifest);
    let new = match wanted {
        Wanted::New(new) | Wanted::Old(_, new) => new,
    };
    let refused = edge.refused.as_ref().filter(|refused| refused.digest == *new);
    let stage = edge.stages.get(tenant).filter(|stage| stage.manifest == *new).map(|stage| stage.stage.clone());
    let (state, detail) = match (refused, wanted) {
        (Some(refused), _) => ("refused".to_owned(), format!("{}: {}", refused.code, refused.detail)),
        _ if edge.connected.is_empty() => ("away".to_owned(), String::new()),
        (None, Wanted::New(new)) if runs == Some(*new) => ("runs".to_owned(), String::new()),
        (None, Wanted::Old(old, _)) if runs == Some(*old) => {
            ("waits".to_owned(), stage.map(|stage| format!("has it beside: {stage}")).unwrap_or_default())
        }
        (None, _) => (stage.unwrap_or_else(|| "waits".to_owned()), String::new()),
    };
    Seen { edge: edge.id.clone(), region: edge.region.to_string(), state, detail }
}

/// What has been shown already: lines for a log, bars for a terminal.
struct Shown {
    known: BTreeMap<EdgeId, Seen>,
    title: String,
    bars: Option<Bars>,
}

struct Bars {
    all: MultiProgress,
    title: ProgressBar,
    edges: BTreeMap<EdgeId, ProgressBar>,
}

impl Shown {
    fn new(_context: &Context) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let title = all.add(ProgressBar::new_spinner());
            title.enable_steady_tick(Duration::from_millis(100));
            Bars { all, title, edges: BTreeMap::new() }
        });
        Self { known: BTreeMap::new(), title: String::new(), bars }
    }

    fn show(&mut self, context: &Context, arrival: &Arrival) {
        let is_news = self.title != arrival.title;
        self.title.clone_from(&arrival.title);
        match &mut self.bars {
            Some(bars) => bars.show(context, arrival),
            None if is_news => context.output.line(&arrival.title),
            None => {}
        }
        for seen in &arrival.seen {
            if self.known.get(&seen.edge) == Some(seen) {
                continue;
            }
            context.output.document(&Line { version: arrival.version, seen });
            if self.bars.is_none() {
                context.output.line(format!("  {}", line_of(context, seen)));
            }
            self.known.insert(seen.edge.clone(), seen.clone());
        }
    }

    fn finish(self, context: &Context, end: &str, is_good: bool) {
        if let Some(bars) = self.bars {
            bars.finish();
        }
        context.output.document(&serde_json::json!({ "ended": end, "ok": is_good }));
        context.output.line(if is_good { context.output.good(end) } else { context.output.bad(end) });
    }
}

#[derive(Serialize)]
struct Line<'s> {
    version: BundleVersion,
    #[serde(flatten)]
    seen: &'s Seen,
}

fn line_of(context: &Context, seen: &Seen) -> String {
    let state = match seen.state.as_str() {
        "runs" => context.output.good(&seen.state),
        "refused" => context.output.bad(&seen.state),
        _ => seen.state.clone(),
    };
    format!("{:<16} {:<12} {state} {}", seen.edge, seen.region, seen.detail).trim_end().to_owned()
}

impl Bars {
    fn show(&mut self, context: &Context, arrival: &Arrival) {
        self.title.set_message(arrival.title.clone());
        for seen in &arrival.seen {
            let bar = self.edges.entry(seen.edge.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("  {msg}") {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_message(line_of(context, seen));
        }
    }

    fn finish(self) {
        self.title.finish();
        for bar in self.edges.into_values() {
            bar.finish();
        }
    }
}
