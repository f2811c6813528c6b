//! What rules read of `context.args`: for faults that name the argument, and so that a context is made of no more than
//! what somebody reads. Clauses P-51 and P-52.

use std::collections::BTreeSet;

use cedar_policy_core::ast::{Expr, ExprKind, Var};

use super::parse::Rule;
use super::{CedarEngine, Subject};
use crate::policy::fault::{PolicyFault, Source};

/// The member of the context that arguments are in.
const ARGS: &str = "args";

/// A place where a rule reads an argument.
pub(crate) struct ArgumentRead {
    /// The argument.
    pub(crate) name: String,
    /// The place, without words.
    pub(crate) place: PolicyFault,
}

/// The arguments that rules about one action read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reads {
    /// None; not even whether there are any.
    Nothing,
    /// These.
    Some(BTreeSet<String>),
    /// They may read any: a rule uses the arguments, or the context, as a whole.
    Any,
}

impl CedarEngine {
    /// What the rules about an action read of its arguments.
    pub(crate) fn reads_of_arguments(&self, action: &Subject) -> Reads {
        let mut names = BTreeSet::new();
        let mut touched = false;
        for rule in self.rules.iter().filter(|rule| rule.is_about(action)) {
            let Some(conditions) = rule.policy.non_scope_constraints() else { continue };
            // Every use of the context, and of `context.args`, has to be one that names a member.
            let (mut contexts, mut members, mut args, mut arguments) = (0usize, 0usize, 0usize, 0usize);
            for part in conditions.subexpressions() {
                match part.expr_kind() {
                    ExprKind::Var(Var::Context) => contexts += 1,
                    ExprKind::GetAttr { expr, attr } if is_context(expr) => {
                        members += 1;
                        args += usize::from(attr == ARGS);
                        touched |= attr == ARGS;
                    }
                    ExprKind::HasAttr { expr, attr } if is_context(expr) => {
                        members += 1;
                        touched |= attr == ARGS;
                    }
                    _ => {}
                }
                match argument(part) {
                    Some((name, Through::Args)) => {
                        arguments += 1;
                        names.insert(name);
                    }
                    Some((name, Through::Context)) => {
                        members += 1;
                        touched = true;
                        names.insert(name);
                    }
                    None if matches!(part.expr_kind(), ExprKind::ExtHasAttr { expr, .. } if is_context(expr)) => {
                        members += 1;
                    }
                    None => {}
                }
            }
            if contexts != members || args != arguments {
                return Reads::Any;
            }
        }
        if touched { Reads::Some(names) } else { Reads::Nothing }
    }

    /// Every place where a rule reads an argument, with a test of which actions the rule is about.
    pub(crate) fn argument_reads(&self, mut take: impl FnMut(&dyn Fn(&Subject) -> bool, ArgumentRead)) {
        for rule in &self.rules {
            let Some(conditions) = rule.policy.non_scope_constraints() else { continue };
            for part in conditions.subexpressions() {
                if let Some((name, _)) = argument(part) {
                    take(&|action: &Subject| rule.is_about(action), ArgumentRead { name, place: place(rule, part) });
                }
            }
        }
    }
}

/// How an argument is reached.
enum Through {
    /// `context.args.x`, `context.args has x`
    Args,
    /// `context has args.x`
    Context,
}

fn argument(part: &Expr) -> Option<(String, Through)> {
    match part.expr_kind() {
        ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } if is_args(expr) => {
            Some((attr.to_string(), Through::Args))
        }
        ExprKind::ExtHasAttr { expr, attrs } if is_args(expr) => Some((attrs.first().to_string(), Through::Args)),
        ExprKind::ExtHasAttr { expr, attrs } if is_context(expr) && attrs.first() == ARGS => {
            attrs.get(1).map(|name| (name.to_string(), Through::Context))
        }
        _ => None,
    }
}

fn is_args(expr: &Expr) -> bool {
    matches!(expr.expr_kind(), ExprKind::GetAttr { expr, attr } if attr == ARGS && is_context(expr))
}

fn is_context(expr: &Expr) -> bool {
    matches!(expr.expr_kind(), ExprKind::Var(Var::Context))
}

fn place(rule: &Rule, part: &Expr) -> PolicyFault {
    let loc = part.source_loc().or_else(|| rule.policy.loc());
    let (text, at) = loc.map_or(("", 0), |loc| (&*loc.src, loc.start()));
    Source { file: &rule.file, text }.fault(at, "")
}
