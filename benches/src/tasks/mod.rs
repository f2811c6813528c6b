//! Agents' tasks as a benchmark: an envelope made for what a human asked should admit the calls that do it, and refuse
//! those that an attacker talks the agent into.
//!
//! Each suite has a bundle of ours ([`setting`]). What an envelope grants follows from the human's words and the tools'
//! schemas, by a rule that stands in the repository ([`rule`], [`prompt`], [`wish`]), and never from the calls that
//! solve the task: those have a type of their own, which nothing of the rule takes ([`suite`]). Every call is then put
//! to the decision that edges run ([`play`]), and counted ([`report`]). What came of it: docs/AGENT-TASKS.md.

pub mod play;
pub mod prompt;
pub mod report;
pub mod rule;
pub mod setting;
pub mod suite;
pub mod table;
pub mod wish;

pub use report::Report;
pub use setting::{SUITES, Setting};
pub use suite::Suite;
