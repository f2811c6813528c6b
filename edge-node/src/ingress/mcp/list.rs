//! `tools/list`: the tools that this caller's envelope reaches, in order of their names.
//!
//! The cursor is the name of the last tool of a page. A client keeps it for us, so it is sealed, and bound to the leaf
//! of the envelope: it tells nobody anything, and nobody can make one. Clauses G-18 and G-19.

use std::sync::Arc;

use remit_common::crypto::aead::{AeadKey, NONCE_BYTES};
use remit_common::envelope::Effective;
use remit_common::id::MeshId;
use remit_common::lattice::{Effect, Effects};
use remit_common::net::env::Env;
use remit_common::policy::catalogue::Tool;
use remit_common::policy::decide::visible_tools;
use remit_common::policy::json::Json;
use remit_common::text;
use zeroize::Zeroizing;

use crate::active::ActiveBundle;

/// Tools of one page.
const PAGE_MAX: usize = 50;
/// Characters of a cursor: a tool's name, nonce and tag, in base64url.
const CURSOR_CHARS_MAX: usize = 512;
/// In front of what a cursor is bound to.
const CURSOR_DOMAIN: &[u8] = b"remit/cursor/v1";

/// Seals cursors. The key lives as long as the process: a cursor of an earlier one is refused, and the client begins
/// again.
pub(crate) struct Cursors {
    key: AeadKey,
    mesh: MeshId,
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors")
    }
}

/// A cursor is none of ours, or of another envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not valid for this envelope")]
pub(crate) struct BadCursor;

impl Cursors {
    pub(crate) fn new(env: &Env, mesh: MeshId) -> Option<Self> {
        Some(Self { key: AeadKey::from_random(Zeroizing::new(env.random()))?, mesh })
    }

    fn bound_to(&self, effective: &Effective) -> Vec<u8> {
        let leaf = effective.leaf().map(|leaf| leaf.0.0).unwrap_or_default();
        [CURSOR_DOMAIN, &self.mesh.0, &leaf].concat()
    }

    fn seal(&self, env: &Env, effective: &Effective, last: &str) -> Option<String> {
        let nonce: [u8; NONCE_BYTES] = env.random();
        let sealed = self.key.seal(nonce, &self.bound_to(effective), last.as_bytes()).ok()?;
        Some(text::base64url(&sealed))
    }

    fn open(&self, effective: &Effective, cursor: &str) -> Result<String, BadCursor> {
        if cursor.len() > CURSOR_CHARS_MAX {
            return Err(BadCursor);
        }
        let sealed = text::from_base64url(cursor).ok_or(BadCursor)?;
        let last = self.key.open(&self.bound_to(effective), &sealed).map_err(|_| BadCursor)?;
        String::from_utf8(last).map_err(|_| BadCursor)
    }
}

/// One page; tools that are out of reach for a reason beside the scope are left out.
///
/// # Errors
/// [`BadCursor`].
pub(super) fn page(
    env: &Env,
    cursors: &Cursors,
    active: &ActiveBundle,
    effective: &Effective,
    cursor: Option<&str>,
    out_of_reach: impl Fn(&Tool) -> bool,
) -> Result<Json, BadCursor> {
    let after = cursor.map(|cursor| cursors.open(effective, cursor)).transpose()?;
    let mut tools = visible_tools(active.bundle.policy(), effective.authority());
    tools.retain(|tool| !out_of_reach(tool));
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(after) = &after {
        tools.retain(|tool| tool.name.as_str() > after.as_str());
    }
    let more = tools.len() > PAGE_MAX;
    tools.truncate(PAGE_MAX);
    let next = tools.last().filter(|_| more).and_then(|last| cursors.seal(env, effective, last.name.as_str()));
    let mut members = vec![
        ("resultType".to_owned(), Json::text("complete")),
        ("tools".to_owned(), Json::Array(tools.iter().map(definition).collect())),
    ];
    members.extend(next.map(|next| ("nextCursor".to_owned(), Json::Text(next))));
    members.push(("ttlMs".to_owned(), Json::Int(0)));
    members.push(("cacheScope".to_owned(), Json::text("private")));
    Ok(Json::Object(members))
}

/// A tool as MCP describes it. The hints follow from the effects that the bundle declares.
fn definition(tool: &Arc<Tool>) -> Json {
    let reads_only = tool.effects.is_within(Effects::from_iter([Effect::Read]));
    let mut members = vec![("name".to_owned(), Json::text(tool.name.as_str()))];
    members.extend(tool.title.as_ref().map(|title| ("title".to_owned(), Json::text(title.as_str()))));
    members.push(("description".to_owned(), Json::text(tool.description.as_str())));
    members.push(("inputSchema".to_owned(), tool.input_schema.clone()));
    members.push((
        "annotations".to_owned(),
        Json::object([
            ("readOnlyHint", Json::Bool(reads_only)),
            ("destructiveHint", Json::Bool(tool.effects.contains(Effect::Irreversible))),
        ]),
    ));
    Json::Object(members)
}
