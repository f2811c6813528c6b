//! Random bytes that a seed decides. Fit for a simulation, for nothing else.

use std::sync::{Mutex, PoisonError};

use rand::Rng as _;
use rand_pcg::Pcg64;
use remit_common::crypto::digest::Digest;
use remit_common::net::env::Entropy;

/// A generator for one purpose of one run: the same seed and purpose give the same draws.
#[must_use]
pub fn generator(seed: u64, purpose: &str) -> Pcg64 {
    let digest = Digest::of(&[&seed.to_be_bytes(), purpose.as_bytes()]);
    let mut seed = [0; 16];
    for (to, from) in seed.iter_mut().zip(digest.0) {
        *to = from;
    }
    Pcg64::new(u128::from_be_bytes(seed), 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96)
}

/// The random bytes of one host.
#[derive(Debug)]
pub struct SimEntropy(Mutex<Pcg64>);

impl SimEntropy {
    /// The bytes that `seed` decides for `purpose`.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(Mutex::new(generator(seed, purpose)))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(out);
    }
}
