//! What a chain costs that an edge has never seen, what a proven call of a known one costs, and what a Biscuit with the
//! same content does.

use std::cell::RefCell;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use remit_benches::biscuit::{Asked, Token};
use remit_benches::chain::Fixture;
use remit_benches::warm::Warm;
use remit_common::proof::Grade;

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cold chain");
    for links in 1..=4u8 {
        match Fixture::new(links) {
            Ok(fixture) => {
                group.bench_function(BenchmarkId::from_parameter(links), |bencher| {
                    bencher.iter(|| fixture.verify_cold())
                });
            }
            Err(error) => eprintln!("{links} links: {error:#}"),
        }
    }
    group.finish();
}

/// Each proof is good once, so each run of the work is given one that was made for it, which is not timed.
fn proven(criterion: &mut Criterion) {
    let warm = match Warm::new() {
        Ok(warm) => RefCell::new(warm),
        Err(error) => return eprintln!("warm calls: {error:#}"),
    };
    let mut group = criterion.benchmark_group("envelope step with 100 000 cut ids");
    for grade in [Grade::P1, Grade::P2] {
        let header = || warm.borrow_mut().headers(grade, 1).pop().unwrap_or_default();
        group.bench_function(BenchmarkId::new("warm", grade), |bencher| {
            bencher.iter_batched(header, |header| warm.borrow_mut().step(&header).is_ok(), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("cold", grade), |bencher| {
            bencher.iter_batched(header, |header| warm.borrow_mut().step_cold(&header).is_ok(), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn beside(criterion: &mut Criterion) {
    let (Ok(token), Ok(asked), Ok(fixture)) = (Token::new(), Asked::read_of("contract_7781"), Fixture::new(4)) else {
        return eprintln!("a fixture of the comparison is faulty");
    };
    let mut group = criterion.benchmark_group("four links and one call, cold");
    group.bench_function("ours", |bencher| bencher.iter(|| fixture.admits_cold("contract_7781").is_ok_and(|yes| yes)));
    group.bench_function("biscuit-auth", |bencher| bencher.iter(|| token.authorize_cold(&asked).is_ok()));
    group.finish();
}

criterion_group!(chain, benches, proven, beside);
criterion_main!(chain);
