//! What the benches measure is also right.

mod bundle;
mod chain;
mod oracle;
