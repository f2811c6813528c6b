//! Policy engines. Cedar is the first; each answers with rules that permit, rules that forbid, and rules that failed.

pub mod cedar;
