//! Rehearsals: a file says what is to fail, a backend makes it fail, and everybody's promises are checked.

pub mod action;
pub mod backend;
pub mod outcome;
