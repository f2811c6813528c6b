//! Measures what `BUDGETS.md` promises, in one run, and fails where a promise is not kept.
//!
//! Answers are compared before anything is timed: an engine that is quick and wrong has no figures.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use remit_benches::biscuit::{Asked, Token};
use remit_benches::measure::{Figures, exit, measure, measure_once};
use remit_benches::oracle::{Ours, SETS, Set, Stock, in_words};
use remit_benches::warm::Warm;
use remit_benches::{bundle, chain, generated, swap};
use remit_common::bundle::diff::{Budget, compare};
use remit_common::policy::engines::cedar::Ask;
use remit_common::policy::{Decision, Relations, decide};
use remit_common::proof::Grade;

const DECISION_MEDIAN_MAX: Duration = Duration::from_micros(20);
/// By the number of permits.
const DECISION_MEDIANS_MAX: [(usize, Duration); 3] =
    [(100, DECISION_MEDIAN_MAX), (1_000, Duration::from_micros(30)), (10_000, Duration::from_micros(120))];
const STOCK_RATIO_MIN: f64 = 4.0;
const CHAIN_MINIMUM_MAX: Duration = Duration::from_micros(150);
const CHAIN_WITH_P2_MINIMUM_MAX: Duration = Duration::from_micros(180);
const WARM_STEP_MINIMUM_MAX: Duration = Duration::from_nanos(1_500);
/// Of the 99.9th percentile with swaps to that without.
const SWAP_RATIO_MAX: u32 = 2;
/// Of two bundles in which every permit differs, at a voter.
const COMPARED_MAX: Duration = Duration::from_secs(5);
/// A chain of four links with one grant each.
const CHAIN_BYTES_MAX: usize = 1_400;
/// One verification on the machine that the chain's budget was set on.
const VERIFICATION_OF_REFERENCE: Duration = Duration::from_nanos(26_100);

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<bool> {
    let mut kept = true;
    println!("{:<44} {:>10} {:>10} {:>8}", "", "min µs", "median µs", "runs");
    for set in SETS.iter().chain([&generated::set(10_000)]) {
        let (ours, stock) = oracle(set)?;
        let policies = set.permits + 3;
        line(&format!("oracle request, {policies} policies, ours"), ours);
        line(&format!("oracle request, {policies} policies, stock"), stock);
        let ratio = stock.median.as_secs_f64() / ours.median.as_secs_f64();
        println!("{:<44} {:>10} {ratio:>9.1}x", "  stock / ours", "");
        if let Some((_, most)) = DECISION_MEDIANS_MAX.into_iter().find(|(permits, _)| *permits == set.permits) {
            let what = format!("decision, {policies} policies: median at most {} µs", most.as_micros());
            kept &= promise(&what, ours.median <= most);
        }
        if set.permits == 100 {
            kept &= promise("decision, 103 policies: at least 4x quicker than stock", ratio >= STOCK_RATIO_MIN);
        }
    }
    for permits in [10, 100, 1_000] {
        let figures = whole_call(permits)?;
        line(&format!("decide() from arguments, {} policies", permits + 3), figures);
        if permits == 100 {
            kept &= promise("decide(), 103 policies: median at most 20 µs", figures.median <= DECISION_MEDIAN_MAX);
        }
    }
    kept &= swapped()?;
    kept &= compared()?;
    let slower = verification()?;
    kept &= cold_chain(slower)?;
    kept &= proven_calls(slower)?;
    beside_biscuit()?;
    Ok(kept)
}

/// A bundle that is swapped a thousand times a second shows in no decision: neither in its answer nor in its time.
fn swapped() -> Result<bool> {
    let found = swap::measure()?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{:<44} {:>10} {:>10} {:>8}",
        "decide(), 1 003 policies, best windows", "median µs", "99.9 % µs", "longest"
    );
    for (what, tail) in [("  in peace", found.peace), ("  a swap every millisecond", found.swaps)] {
        let [median, thousandth, longest] = [tail.median, tail.thousandth, tail.longest].map(micros);
        println!("{what:<44} {median:>10.2} {thousandth:>10.2} {longest:>8.1}");
    }
    println!("  {} swaps, {} answers compared, none of neither bundle", found.count, found.compared);
    let is_kept = found.swaps.thousandth <= found.peace.thousandth * SWAP_RATIO_MAX;
    Ok(promise("swaps: 99.9 % of decisions within twice the time in peace", is_kept))
}

/// A voter compares what is pushed with what is active before it proposes it, and somebody waits.
fn compared() -> Result<bool> {
    let old = bundle::compiled(1_000, 1, "context.max_records <= 25")?;
    let new = bundle::compiled(1_000, 2, "context.max_records <= 120")?;
    let found = compare(&old, &new, &[], bundle::NOW, Budget::VOTER);
    anyhow::ensure!(found.widens(), "every permit is wider, and none is found to be");
    let figures = measure(&[()], 3, |()| compare(&old, &new, &[], bundle::NOW, Budget::VOTER).widens());
    line("a voter's comparison, 1 003 policies", figures);
    Ok(promise("a voter's comparison of 1 003 policies: minimum at most 5 s", figures.minimum <= COMPARED_MAX))
}

/// How much longer one verification takes here than on the reference machine, and no less than 1.
fn verification() -> Result<f64> {
    let one = chain::OneSignature::new()?;
    one.verify()?;
    let verification = measure(&[()], 5_000, |()| one.verify());
    line("one Ed25519 verification", verification);
    let slower = (verification.minimum.as_secs_f64() / VERIFICATION_OF_REFERENCE.as_secs_f64()).max(1.0);
    println!("  a verification takes {slower:.2} times as long here as on the reference machine");
    Ok(slower)
}

/// Nine tenths of a cold chain are five Ed25519 verifications, so its budget is one in those: on a machine that needs
/// longer than the reference for one, it may need longer for five. The absolute figure is printed, kept or not.
fn cold_chain(slower: f64) -> Result<bool> {
    let fixture = chain::Fixture::new(4)?;
    line("4-link chain, shape only", measure(&[()], 5_000, |()| fixture.parse()));
    fixture.verify_cold()?;
    let chain = measure(&[()], 5_000, |()| fixture.verify_cold());
    line("4-link chain, cold, 2 of 3 issuers", chain);
    let bytes = chain::Fixture::lean(4)?.presentation.len();
    println!("  4 links with one grant each are {bytes} B, with two {} B", fixture.presentation.len());
    // Not a promise of this run: a test holds it to what it is.
    println!("  {} 4-link chain with one grant a link: at most 1 400 B", kept_or_missed(bytes <= CHAIN_BYTES_MAX));
    Ok(scaled_promise("4-link chain, cold", chain, CHAIN_MINIMUM_MAX, slower))
}

fn kept_or_missed(is_kept: bool) -> &'static str {
    if is_kept { "kept  " } else { "MISSED" }
}

/// A promise about work that is nearly all hashing and curve arithmetic: held on this machine, or at the reference's speed.
fn scaled_promise(what: &str, found: Figures, most: Duration, slower: f64) -> bool {
    let micros = most.as_secs_f64() * 1e6;
    println!("  {} {what}: minimum at most {micros} µs on this machine", kept_or_missed(found.minimum <= most));
    let scaled = found.minimum.as_secs_f64() <= most.as_secs_f64() * slower;
    promise(&format!("{what}: minimum at most {micros} µs at the reference's 26.1 µs per verification"), scaled)
}

/// The envelope's part of a call: known chain and open channel, and a chain never seen with a signed proof.
fn proven_calls(slower: f64) -> Result<bool> {
    let mut warm = Warm::new()?;
    let header = warm.headers(Grade::P1, 1).remove(0);
    let (effective, grade) = warm.step(&header)?;
    ensure!((effective.links().len(), grade) == (4, Grade::P1), "it is the chain of the channel");
    ensure!(warm.step(&header).is_err(), "a proof is good once");
    let headers = warm.headers(Grade::P1, 50_000);
    let tagged = measure_once(&headers, |header| warm.step(header));
    line("warm envelope step, P1, 100 000 cut ids", tagged);
    let headers = warm.headers(Grade::P2, 2_000);
    line("warm envelope step, P2, 100 000 cut ids", measure_once(&headers, |header| warm.step(header)));
    let header = warm.headers(Grade::P2, 1).remove(0);
    ensure!(warm.step_cold(&header)?.1 == Grade::P2, "a signed proof");
    let headers = warm.headers(Grade::P2, 3_000);
    let signed = measure_once(&headers, |header| warm.step_cold(header));
    line("4-link chain, cold, with a P2 proof", signed);
    let kept = scaled_promise("warm envelope step with P1", tagged, WARM_STEP_MINIMUM_MAX, slower);
    Ok(kept & scaled_promise("4-link chain, cold, with P2", signed, CHAIN_WITH_P2_MINIMUM_MAX, slower))
}

/// The same content as a Biscuit: for comparison, not a promise.
fn beside_biscuit() -> Result<()> {
    let (token, fixture) = (Token::new()?, chain::Fixture::new(4)?);
    let (asked, refused) = (Asked::read_of("contract_7781")?, Asked::read_of("contract_9001")?);
    ensure!(token.authorize_cold(&asked).is_ok() && token.authorize_cold(&refused).is_err(), "the Biscuit differs");
    let ours = |contract: &str| fixture.admits_cold(contract);
    ensure!(ours("contract_7781")? && !ours("contract_9001")?, "the chain differs");
    let biscuit = measure(&[()], 2_000, |()| token.authorize_cold(&asked));
    let own = measure(&[()], 2_000, |()| ours("contract_7781"));
    line("4 links and one call, cold, ours", own);
    line("4 blocks and one call, cold, biscuit-auth", biscuit);
    let ratio = biscuit.minimum.as_secs_f64() / own.minimum.as_secs_f64();
    println!("{:<44} {ratio:>9.1}x {:>10}", "  biscuit / ours, minima", "");
    println!("  {} B as a Biscuit, {} B as a chain", token.bytes.len(), fixture.presentation.len());
    Ok(())
}

fn oracle(set: &Set) -> Result<(Figures, Figures)> {
    let (cases, ours, stock) = (set.cases()?, Ours::new(set)?, Stock::new(set)?);
    for (number, case) in cases.iter().enumerate() {
        let expect = &case.expect;
        ensure!(in_words(&ours.answer(&case.request, Ask::Everything)) == *expect, "case {number}: we are wrong");
        let decided_by = if expect.forbids.is_empty() { &expect.permits } else { &expect.forbids };
        ensure!(stock.verdict(&case.request)? == (expect.permit, decided_by.clone()), "case {number}: stock differs");
    }
    let rounds = match set.permits {
        0..=100 => 20,
        101..=1_000 => 3,
        _ => 1,
    };
    let stock = measure(&cases, rounds, |case| stock.answer(&case.request));
    let ours = measure(&cases, 20, |case| ours.answer(&case.request, Ask::Decision));
    Ok((ours, stock))
}

fn whole_call(permits: usize) -> Result<Figures> {
    let fixture = bundle::Fixture::new(permits)?;
    let mut calls = Vec::new();
    for (authority, call) in &fixture.calls {
        calls.push((fixture.authorities.get(*authority).context("an authority")?, call));
    }
    let permitted = calls
        .iter()
        .filter(|(authority, call)| {
            matches!(decide(&fixture.policy, authority, call, &Relations::none(), bundle::NOW), Decision::Permit(_))
        })
        .count();
    ensure!((200..800).contains(&permitted), "{permitted} of {} calls permitted: a lopsided fixture", calls.len());
    Ok(measure(&calls, 20, |(authority, call)| {
        decide(&fixture.policy, authority, call, &Relations::none(), bundle::NOW)
    }))
}

fn line(what: &str, figures: Figures) {
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    println!("{what:<44} {:>10.2} {:>10.2} {:>8}", micros(figures.minimum), micros(figures.median), figures.runs);
}

fn promise(what: &str, is_kept: bool) -> bool {
    println!("  {} {what}", if is_kept { "kept  " } else { "BROKEN" });
    is_kept
}
