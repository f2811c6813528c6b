//! Rehearsals: a file says what is to fail, a backend makes it fail, and everybody's promises are checked.

pub mod action;
pub mod backend;
pub mod complaint;
pub mod crew;
pub mod engine;
mod fields;
pub mod file;
pub mod limit;
pub mod outcome;
pub mod plan;
pub mod probe;
mod pulse;
pub mod radius;
mod read_rollout;
mod read_step;
pub mod select;
pub mod shipped;
mod stage;
pub mod step;
mod yaml;

#[cfg(test)]
mod tests;
