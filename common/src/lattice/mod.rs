//! Scope: its dimensions, and the exact meet of each.
//!
//! A link of a delegation chain is a *restriction*, not a claim. What a chain allows is the meet of all its links,
//! computed by whoever verifies it, so a hop that asks for more than its parent had gains nothing, and there is no
//! comparison of child with parent that could be got wrong. Everything rests on one law, clause L-1:
//! `admits(a ∧ b, r) ⇔ admits(a, r) ∧ admits(b, r)` for every request `r`. Each dimension has its own file and its
//! own exhaustive check of that law. A meet works in place, on storage that its caller has made, and `admits` allocates
//! only to name what it refuses.
//!
//! Clauses L-1 to L-19, docs/PROTOCOL.md.

mod argument;
mod audience;
mod beyond;
mod classes;
mod delegation;
mod demands;
mod effects;
mod grade;
mod grant;
mod ids;
mod names;
mod pattern;
mod pin;
mod purpose;
mod scope;
mod sorted;
mod window;

pub use argument::{
    ArgumentPointer, ArgumentValue, Constraint, InvalidArgumentPointer, InvalidPathPrefix, Parts, PathPrefix, Said,
    Scalar,
};
pub use audience::Audience;
pub use beyond::{BEYOND_MAX, Beyond, beyond};
pub use classes::{ClassSet, InvalidClassSet};
pub use delegation::Delegation;
pub use demands::{Demands, Log, Redact};
pub use effects::{Effect, Effects, InvalidEffect};
pub use grade::{Grade, UnknownGrade};
pub use grant::{Grant, Omitted, ScopeMiss, TooManyPatterns};
pub use ids::IdSet;
pub use names::{Names, NoNames};
pub use pattern::{InvalidPattern, TOOL_SEGMENTS_MAX, ToolPattern};
pub use pin::Pin;
pub use purpose::{InvalidPurpose, PURPOSE_DEPTH_MAX, PurposePath};
pub use scope::{CallFacts, InvalidScope, OutOfScope, Scope};
pub use sorted::{SortedMap, SortedSet};
pub use window::Window;

#[cfg(test)]
mod tests;
