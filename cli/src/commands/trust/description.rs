//! The descriptions that people write: which keys a root names, and which rows a directory has. Clauses U-15 and U-16.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use remit_common::id::{MeshId, TenantId};
use remit_common::limits::{DIRECTORY_BYTES_MAX, DIRECTORY_DAYS_MAX, DOCUMENT_BYTES_MAX, ROOT_DOCUMENT_DAYS_MAX};
use remit_common::policy::Bounds;
use remit_common::time::Timestamp;
use remit_common::trust::role::RoleContent;
use remit_common::trust::root::RootContent;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

/// How long a root lives if its description does not say.
const ROOT_DAYS: u64 = 365;
/// Members of rows that are moments: milliseconds, or text as RFC 3339 has it.
const MOMENTS: [&str; 3] = ["from", "until", "expires"];

/// A root as people describe it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootDescription {
    pub(super) mesh_id: Option<MeshId>,
    #[serde(default)]
    dev: bool,
    #[serde(default = "root_days")]
    expires_days: u64,
    root: RoleContent,
    directory: RoleContent,
    #[serde(default)]
    policy: BTreeMap<TenantId, RoleContent>,
    #[serde(default)]
    bounds_max: BoundsDescription,
}

/// Bounds in seconds; what is not said is the most that a root usually allows.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct BoundsDescription {
    read: Option<u32>,
    write: Option<u32>,
    irreversible: Option<u32>,
    external_send: Option<u32>,
    spend: Option<u32>,
    delegate: Option<u32>,
    unseal: Option<u32>,
}

fn root_days() -> u64 {
    ROOT_DAYS
}

impl RootDescription {
    pub(super) fn read(context: &Context, path: &Path) -> Result<Self, Failure> {
        let text = files::read_text(&context.env, path, DOCUMENT_BYTES_MAX)?;
        let description: Self = toml::from_str(&text).map_err(|error| {
            Failure::new(Exit::Usage, format!("`{}` describes no root: {error}", path.display()))
                .reason("description")
                .hint("a key is the 64 hex digits that `remit trust key` prints")
        })?;
        let bad = |message: String| Failure::new(Exit::Usage, message).reason("description");
        if !(1..=ROOT_DOCUMENT_DAYS_MAX).contains(&description.expires_days) {
            return Err(bad(format!("`expires_days` is 1 to {ROOT_DOCUMENT_DAYS_MAX}")));
        }
        let bounds = description.bounds();
        let Bounds { read, write, irreversible, external_send, spend, delegate, unseal } = bounds;
        if [read, write, irreversible, external_send, spend, delegate, unseal].contains(&0) {
            return Err(bad("a bound of `bounds_max` is at least one second, or no bundle counts".to_owned()));
        }
        Ok(description)
    }

    fn bounds(&self) -> Bounds {
        let (BoundsDescription { read, write, irreversible, external_send, spend, delegate, unseal }, most) =
            (&self.bounds_max, Bounds::MOST);
        Bounds {
            read: read.unwrap_or(most.read),
            write: write.unwrap_or(most.write),
            irreversible: irreversible.unwrap_or(most.irreversible),
            external_send: external_send.unwrap_or(most.external_send),
            spend: spend.unwrap_or(most.spend),
            delegate: delegate.unwrap_or(most.delegate),
            unseal: unseal.unwrap_or(most.unseal),
        }
    }

    /// The root that this describes.
    pub(super) fn content(self, mesh_id: MeshId, version: u64, now: Timestamp) -> RootContent {
        let bounds_max = self.bounds();
        let Self { mesh_id: _, dev, expires_days, root, directory, policy, bounds_max: _ } = self;
        let expires = now.plus(Duration::from_secs(expires_days.saturating_mul(86_400)));
        RootContent { mesh_id, version, dev, expires, root, directory, policy, bounds_max }
    }
}

/// A directory's rows as people describe them: TOML, or JSON if it begins with a brace.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) life_days: Option<u64>,
    /// The lists by name, in the form that the directory has them.
    pub(super) lists: Map<String, Value>,
}

impl Rows {
    pub(super) fn read(context: &Context, path: &Path) -> Result<Self, Failure> {
        let bad = |what: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, format!("`{}` describes no directory: {what}", path.display()))
                .reason("description")
        };
        let text = files::read_text(&context.env, path, DIRECTORY_BYTES_MAX)?;
        let value = if text.trim_start().starts_with('{') {
            serde_json::from_str(&text).map_err(|error| bad(&error))?
        } else {
            from_toml(toml::Value::Table(text.parse::<toml::Table>().map_err(|error| bad(&error))?))
        };
        let Value::Object(mut lists) = value else { return Err(bad(&"it has no lists")) };
        let life_days = match lists.remove("life_days") {
            None => None,
            Some(days) => Some(
                days.as_u64()
                    .filter(|days| (1..=DIRECTORY_DAYS_MAX).contains(days))
                    .ok_or_else(|| bad(&format!("`life_days` is 1 to {DIRECTORY_DAYS_MAX}")))?,
            ),
        };
        for (name, list) in &mut lists {
            let rows = list.as_array_mut().ok_or_else(|| bad(&format!("`{name}` is no list of rows")))?;
            for row in rows {
                moments(row).map_err(|fault| bad(&format!("`{name}`: {fault}")))?;
            }
        }
        Ok(Self { life_days, lists })
    }
}

/// One row, or a list of rows, as a file has them.
pub(super) fn read_rows(context: &Context, path: &Path) -> Result<Vec<Value>, Failure> {
    let bytes = files::read(&context.env, path, DIRECTORY_BYTES_MAX)?;
    let bad = |what: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format!("`{}` is no row of a directory: {what}", path.display()))
            .reason("description")
    };
    match serde_json::from_slice(&bytes).map_err(|error| bad(&error))? {
        Value::Array(rows) if rows.iter().all(Value::is_object) => Ok(rows),
        row @ Value::Object(_) => Ok(vec![row]),
        _ => Err(bad(&"it is a JSON object, or a list of them")),
    }
}

/// Turns text where a row has a moment into what the directory has there.
fn moments(row: &mut Value) -> Result<(), String> {
    let Some(row) = row.as_object_mut() else { return Err("a row is a table".to_owned()) };
    for name in MOMENTS {
        let Some(value) = row.get_mut(name) else { continue };
        let Some(text) = value.as_str() else { continue };
        let fault = || format!("`{name}` is a moment like `2027-01-31T00:00:00Z`, or milliseconds since 1970");
        let moment = humantime::parse_rfc3339(text).map_err(|_| fault())?;
        let since = moment.duration_since(std::time::UNIX_EPOCH).map_err(|_| fault())?;
        *value = u64::try_from(since.as_millis()).map_err(|_| fault())?.into();
    }
    Ok(())
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
        toml::Value::Array(values) => values.into_iter().map(from_toml).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(name, value)| (name, from_toml(value))).collect())
        }
    }
}
