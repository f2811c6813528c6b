//! What a voter with a thousand edges costs, and how quickly all of them know of a revocation.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use remit_benches::fanout::administrator::Desk;
use remit_benches::fanout::crowd::Crowd;
use remit_benches::fanout::mesh::Mesh;
use remit_benches::fanout::process::{VoterProcess, dropped_datagrams};
use remit_benches::fanout::report::{Beside, Etcd, Reconnects, Report, Resident, Storm, Verified};
use remit_benches::fanout::rounds::{Rounds, Spread};
use remit_benches::fanout::{beacon, etcd, rounds, slow};
use remit_benches::measure::{Stopwatch, exit};
use remit_common::net::env::Env;
use remit_common::net::real;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// For all edges to be fresh: thousands of handshakes on a busy machine.
const FRESH_WITHIN: Duration = Duration::from_secs(300);
/// For one edge.
const RECONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Before a process counts as idle, and for how long it is then looked at.
const SETTLE: Duration = Duration::from_secs(12);
/// Before the slow edge counts as slow: what it has asked for has filled what it may fill.
const SLOWED: Duration = Duration::from_secs(2);

#[derive(Debug, Parser)]
#[command(
    name = "fan-out",
    max_term_width = 110,
    about = "Measure what a thousand edges cost a voter, and how quickly all of them know of a revocation",
    after_help = "\
Examples:
  cargo run --release -p remit-benches --bin fan-out -- --etcd
  cargo run --release -p remit-benches --bin fan-out -- --edges 2800 --beacon-secs 10 --rounds 5

`etcd` is taken from $REMIT_ETCD or PATH (Debian's package is `etcd-server`).
Each edge takes a socket: `ulimit -n` has to be above their number.
Exit codes: 0 done and every budget kept; 1 failed, or a budget missed; 2 usage."
)]
struct Args {
    /// The voter to start: `cargo build --release -p remit-control-plane` makes target/release/remit-control-plane.
    #[arg(long, value_name = "FILE", default_value = "target/release/remit-control-plane")]
    voter: PathBuf,
    /// Edges.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=2_800))]
    edges: u32,
    /// Rounds of revocations; three times as many with those beside the slow edge.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Seconds between two beacons at an edge. Edges ask every two.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    beacon_secs: u64,
    /// Edges that connect anew, one after the other.
    #[arg(long, default_value_t = 50)]
    reconnects: usize,
    /// Measures `etcd` with as many watchers as well.
    #[arg(long)]
    etcd: bool,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<bool> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(Box::pin(measure(&args)))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(report.kept())
}

async fn measure(args: &Args) -> Result<Report> {
    let env = real::real();
    let program = args.voter.canonicalize().with_context(|| {
        let build = "`cargo build --release -p remit-control-plane`";
        format!("no `{}`: build one with {build}, or name it with --voter", args.voter.display())
    })?;
    let folder = tempfile::tempdir()?;
    let dropped = dropped_datagrams()?;

    eprintln!("making the documents of a mesh with {} edges", args.edges);
    // One more is slow.
    let mut mesh = Mesh::make(&env, folder.path(), args.edges + 1)?;
    let mut voter = VoterProcess::start(&env, &program, &mesh).await?;
    let pushed = Desk::new(&env, &mesh).push().await?;
    ensure!(pushed.digest == mesh.bundle.1, "another bundle is active than the one that was pushed");
    tokio::time::sleep(SETTLE).await;
    let before_kib = voter.resident_kib()?;

    eprintln!("connecting {} edges at once", args.edges);
    let gathered = Crowd::gather(&env, &mut mesh, 1, pushed.number, Duration::from_secs(args.beacon_secs))?;
    let worked = voter.worked_secs()?;
    let (mut crowd, started) = gathered.start();
    let fresh = crowd.fresh(FRESH_WITHIN).await?;
    let times = fresh.iter().map(|at| at.saturating_duration_since(started)).collect();
    let start = storm(times, voter.worked_secs()? - worked, Duration::ZERO, &mut crowd);

    eprintln!("resting");
    crowd.rest(SETTLE).await;
    let worked = voter.worked_secs()?;
    crowd.rest(SETTLE).await;
    let idle_percent = (voter.worked_secs()? - worked) / SETTLE.as_secs_f64() * 100.0;
    let after_kib = voter.resident_kib()?;
    let per_edge_kib = f64::from(u32::try_from(after_kib.saturating_sub(before_kib))?) / f64::from(args.edges);
    let resident = Resident { before_kib, after_kib, per_edge_kib, idle_percent };

    let desk = Desk::new(&env, &mesh);
    let count = usize::from(args.rounds);
    eprintln!("{count} revocations, then as many beside an edge that reads nothing, then as many without it");
    let revocation = rounds::measure(&desk, &mut crowd, count).await?;
    let seat = mesh.seats.first().context("no seat is left for the slow edge")?;
    let slowed = slow::Slow::start(&env, &crowd.world, seat, mesh.directory_object)?;
    crowd.rest(SLOWED).await;
    let with = rounds::measure(&desk, &mut crowd, count).await?;
    let connections = slowed.stop();
    ensure!(connections > 0, "the slow edge was never connected");
    crowd.rest(SLOWED).await;
    let after = rounds::measure(&desk, &mut crowd, count).await?;
    let with_slow_edge = beside(with, [revocation.clone(), after]);

    eprintln!("{} reconnects, one after the other", args.reconnects);
    let mut crossed = Vec::with_capacity(args.reconnects);
    for number in 0..args.reconnects {
        crossed.push(crowd.reconnect(number % crowd.len(), RECONNECT_WITHIN).await?);
    }
    crossed.sort_unstable_by_key(|crossed| crossed.sent + crossed.received);
    let total = |place: usize| crossed.get(place).map_or(0, |crossed| crossed.sent + crossed.received);
    let median = crossed.get(crossed.len() / 2).copied().unwrap_or_default();
    let reconnect = Reconnects {
        count: crossed.len(),
        bytes: total(crossed.len() / 2),
        bytes_max: total(crossed.len().saturating_sub(1)),
        bytes_sent: median.sent,
        datagrams: median.datagrams,
    };

    eprintln!("killing the voter, and starting it again");
    let after_kill = kill(&mut voter, &mut crowd).await?;
    // All of them are back, and still hear of a cut.
    rounds::measure(&desk, &mut crowd, 1).await?;
    voter.kill().await?;

    let revocation_bytes = crowd.world.frame_bytes.get().copied().context("no revocation has come")?;
    let edges = crowd.len();
    drop(crowd);
    let verified = beacon::verifying(args.edges)?;
    let beacon =
        Verified { minimum_us: verified.minimum.as_secs_f64() * 1e6, median_us: verified.median.as_secs_f64() * 1e6 };
    let etcd = beside_etcd(args, &env, folder.path(), edges, revocation_bytes).await?;
    Ok(Report {
        edges,
        beacon_secs: args.beacon_secs,
        directory_bytes: mesh.directory_bytes,
        revocation_bytes,
        start,
        resident,
        revocation,
        with_slow_edge,
        reconnect,
        after_kill,
        beacon,
        dropped_datagrams: dropped_datagrams()?.saturating_sub(dropped),
        etcd,
    })
}

fn storm(times: Vec<Duration>, worked: f64, away: Duration, crowd: &mut Crowd) -> Storm {
    let each = Spread::of(times);
    let edges = u32::try_from(crowd.len()).map_or(f64::MAX, f64::from);
    Storm {
        until_all_fresh_ms: each.max_ms,
        edges_per_sec: edges / each.max_ms * 1e3,
        each,
        voter_worked_secs: worked,
        away_ms: away.as_secs_f64() * 1e3,
        troubles: std::mem::take(&mut crowd.troubles).values().sum(),
    }
}

/// Edges find out that their voter is gone by its silence, and come back each at a time of its own.
async fn kill(voter: &mut VoterProcess, crowd: &mut Crowd) -> Result<Storm> {
    crowd.troubles.clear();
    crowd.forget();
    let killed = Stopwatch::start();
    voter.kill().await?;
    voter.restart().await?;
    let (back, away) = (Stopwatch::start(), killed.elapsed());
    let fresh = crowd.fresh(FRESH_WITHIN).await?;
    let times = fresh.iter().map(|at| back.until(*at)).collect();
    Ok(storm(times, voter.worked_secs()?, away, crowd))
}

fn beside(with: Rounds, without: [Rounds; 2]) -> Beside {
    let mean = |of: fn(&Rounds) -> f64| without.iter().map(of).sum::<f64>() / 2.0;
    Beside {
        ratio_p99: with.all.p99_ms / mean(|rounds| rounds.all.p99_ms),
        ratio_p50: with.all.p50_ms / mean(|rounds| rounds.all.p50_ms),
        with,
        without,
    }
}

async fn beside_etcd(
    args: &Args,
    env: &Env,
    folder: &std::path::Path,
    watchers: usize,
    payload_bytes: usize,
) -> Result<Etcd> {
    let skipped = |why: &str| Etcd::Skipped { skipped: why.to_owned() };
    if !args.etcd {
        return Ok(skipped("not asked for; --etcd"));
    }
    let Some(program) = etcd::program() else {
        let why = "no `etcd` on PATH; Debian's is in `etcd-server`, and $REMIT_ETCD names one elsewhere";
        eprintln!("etcd is skipped: {why}");
        return Ok(skipped(why));
    };
    eprintln!("{watchers} watchers at {}", program.display());
    let counts = (watchers, usize::from(args.rounds));
    Ok(Etcd::Watched(etcd::measure(env, (&program, &folder.join("beside")), counts, payload_bytes).await?))
}
