//! Scope: its dimensions, and the exact meet of each.
//!
//! A link of a delegation chain is a *restriction*, not a claim. What a chain allows is the meet of all its links,
//! computed by whoever verifies it, so a hop that asks for more than its parent had gains nothing, and there is no
//! comparison of child with parent that could be got wrong. Everything rests on one law, clause L-1:
//! `admits(a ∧ b, r) ⇔ admits(a, r) ∧ admits(b, r)` for every request `r`. Each dimension has its own file and its
//! own exhaustive check of that law. `admits` allocates only to name what it refuses.
//!
//! Clauses L-1 to L-13, docs/PROTOCOL.md.

mod classes;
mod depth;
mod effects;
mod grant;
mod ids;
mod names;
mod pattern;
mod purpose;
mod scope;
mod window;

pub use classes::{ClassSet, InvalidClassSet};
pub use depth::DepthLeft;
pub use effects::{Effect, Effects, InvalidEffect};
pub use grant::{Grant, Omitted, ScopeMiss, TooManyPatterns};
pub use ids::IdSet;
pub use names::{Names, NoNames};
pub use pattern::{InvalidPattern, TOOL_SEGMENTS_MAX, ToolPattern};
pub use purpose::{InvalidPurpose, PURPOSE_DEPTH_MAX, PurposePath};
pub use scope::{CallFacts, InvalidScope, OutOfScope, Scope};
pub use window::Window;

#[cfg(test)]
mod tests;
