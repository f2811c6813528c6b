//! What a chain costs that an edge has never seen: parsing, signatures and the meet.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use remit_benches::chain::Fixture;

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

criterion_group!(chain, benches);
criterion_main!(chain);
