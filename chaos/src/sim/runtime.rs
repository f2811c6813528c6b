//! The runtime of a simulation: one thread, a clock that jumps to the next timer, and choices that a seed decides.

/// Runs a future to its end on simulated time.
///
/// # Panics
/// When the machine gives no runtime: there is nothing to simulate on then.
#[expect(clippy::expect_used, reason = "a runtime without I/O needs nothing that a machine could refuse")]
pub fn block_on<F: Future>(seed: u64, future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    #[cfg(not(tokio_unstable))]
    let _ = seed;
    builder.build().expect("a runtime without I/O").block_on(future)
}
