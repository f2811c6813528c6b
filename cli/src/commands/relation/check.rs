//! Whether somebody stands in a relation to something, as an edge would answer, and by which tuples.

use remit_common::policy::relations::{Relations, TupleKey};
use remit_common::relation_log::{because, relations_of};
use serde_json::json;

use super::read;
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Question {
    /// `object#relation@subject`, written like a tuple
    question: TupleKey,
}

pub(super) async fn run(context: &Context, Question { question }: &Question) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let read::Proven { log, bundle } = read::proven(context, &admin, &mesh).await?;
    let relations: Relations = relations_of(bundle.policy(), log.head().revision, log.live().to_tuples());
    if relations.is_none() {
        return Err(Failure::new(
            Exit::Failed,
            "the active bundle has no model of relations, or none for these tuples",
        )
        .hint("relations.fga and relations.toml in a bundle say which relations there are"));
    }
    let TupleKey { object, relation, subject } = question;
    let now = context.now();
    let unanswered = |error| Failure::caused(Exit::Failed, &error).hint("no answer denies, at an edge, too");
    let holds = relations.check(object, relation, subject, now).map_err(unanswered)?;
    let tuples = because(&relations, question, now).map_err(unanswered)?;
    let revision = relations.revision();
    context.output.document(&json!({ "holds": holds, "revision": revision, "because": tuples }));
    context.output.line(format!("{}, as of revision {revision}", if holds { "yes" } else { "no" }));
    for tuple in &tuples {
        context.output.line(format!("  by {tuple}"));
    }
    if !holds && log.live().contains(question) {
        context.output.line("  the tuple is there, and has ended, or the model takes it away");
    }
    Ok(if holds { Exit::Done } else { Exit::Failed })
}
