//! What a decision costs: the engine beside stock Cedar on the oracle's requests, and the whole way of a call.

use std::hint::black_box;

use anyhow::Result;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use remit_benches::bundle::{self, NOW};
use remit_benches::oracle::{Ours, SETS, Stock};
use remit_common::policy::engines::cedar::Ask;
use remit_common::policy::{Relations, decide};

fn oracle(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("oracle request");
    for set in &SETS {
        let (cases, ours, stock) = (set.cases()?, Ours::new(set)?, Stock::new(set)?);
        let mut next = cases.iter().cycle();
        group.bench_function(BenchmarkId::new("ours", set.permits), |bencher| {
            bencher.iter(|| next.next().map(|case| ours.answer(black_box(&case.request), Ask::Decision)));
        });
        let mut next = cases.iter().cycle();
        group.bench_function(BenchmarkId::new("stock", set.permits), |bencher| {
            bencher.iter(|| next.next().map(|case| stock.answer(black_box(&case.request))));
        });
    }
    group.finish();
    Ok(())
}

fn whole(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("decide");
    for permits in [10, 100, 1_000] {
        let fixture = bundle::Fixture::new(permits)?;
        let mut next = fixture.calls.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(permits), |bencher| {
            bencher.iter(|| {
                let (authority, call) = next.next()?;
                let authority = fixture.authorities.get(*authority)?;
                Some(decide(&fixture.policy, black_box(authority), black_box(call), &Relations::none(), NOW))
            });
        });
    }
    group.finish();
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    for (name, result) in [("oracle", oracle(criterion)), ("decide", whole(criterion))] {
        if let Err(error) = result {
            eprintln!("{name}: {error:#}");
        }
    }
}

criterion_group!(decision, benches);
criterion_main!(decision);
