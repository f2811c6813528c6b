//! `remit trust directory`: the machines and people of a mesh, from rows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_common::identity::Verb;
use remit_common::limits::DIRECTORY_DAYS_MAX;
use remit_common::time::Timestamp;
use remit_common::trust::ceremony::{Content, Draft};
use remit_common::trust::directory::DirectoryContent;
use serde_json::{Map, Value};

use super::description::{Rows, read_rows};
use super::documents::{self, Standing};
use super::{changes, sign};
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// The lists of people, whose rows stay after they have left (clause T-14), and until when a row counts.
const STAYING: [(&str, &str); 2] = [("issuers", "until"), ("administrators", "expires")];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: rows.toml, each row as the directory has it; a list that is named replaces that of the old directory
  life_days = 30                        # at most 30
  [[voters]]
  id = 1
  identity = \"64 hex digits\"
  [[administrators]]
  name = \"ops\"
  key = \"64 hex digits\"
  tenants = [\"acme\"]
  verbs = [\"publish-bundle\", \"revoke\", \"install-trust\"]
  expires = 2027-01-31T00:00:00Z
Example:
  remit trust directory rows.toml --root 1.root.json --out directory.json
  remit trust directory --from directory.json --edge eu-west-3.json --root 1.root.json --out 2.directory.json")]
pub(super) struct Args {
    /// Rows in TOML or JSON; may be left out with --from
    #[arg(required_unless_present = "from")]
    description: Option<PathBuf>,
    /// The newest root, which is to vouch for it
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The directory before it: what is not said otherwise stays, and the version rises by one
    #[arg(long, value_name = "OLD")]
    from: Option<PathBuf>,
    /// An edge to list, in JSON: a row, or a list of them; one of the same name is replaced
    #[arg(long, value_name = "ROW")]
    edge: Vec<PathBuf>,
    /// A voter to list, in the same form
    #[arg(long, value_name = "ROW")]
    voter: Vec<PathBuf>,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign it with this directory key at once; may be given more than once
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let root = documents::read_root(context, &args.root)?;
    let rows = args.description.as_deref().map(|path| Rows::read(context, path)).transpose()?.unwrap_or_default();
    let old = args.from.as_deref().map(|path| read_directory(context, path)).transpose()?;
    let mut lists = match &old {
        Some(old) => object(changes::value(old)?)?,
        None => Map::new(),
    };
    lists.extend(rows.lists);
    for (list, files) in [("edges", &args.edge), ("voters", &args.voter)] {
        for file in files {
            for row in read_rows(context, file)? {
                put(&mut lists, list, row);
            }
        }
    }
    let now = context.now();
    let life = Duration::from_secs(rows.life_days.unwrap_or(DIRECTORY_DAYS_MAX).saturating_mul(86_400));
    // What a directory says of itself is not for a description to say, the mesh and the version least of all.
    let version = old.as_ref().map_or(1, |old| old.version().saturating_add(1));
    for (name, value) in [
        ("mesh_id", Value::String(root.mesh_id().to_string())),
        ("version", version.into()),
        ("created", now.as_millis().into()),
        ("expires", now.plus(life).as_millis().into()),
    ] {
        lists.insert(name.to_owned(), value);
    }
    let mut draft = Draft::directory(&content(lists)?).map_err(|error| documents::refused(&error))?;
    if old.as_ref().is_some_and(|old| old.mesh_id() != root.mesh_id()) {
        let message = "the directory of `--from` is of another mesh than the root";
        return Err(Failure::new(Exit::Failed, message).reason("wrong_mesh"));
    }
    draft.check(Some(&root), now).map_err(|error| documents::refused(&error))?;
    sign::with_keys(&mut draft, &args.key, Some(&root), context)?;
    let changes = changes::between(old.as_ref(), draft.content())?;
    documents::write_new(context, &args.out, &draft.to_bytes())?;
    let mut standing = Standing::of(&args.out, &draft, Some(&root), changes, now);
    if let Some(old) = &old {
        standing.warnings = left_too_soon(&changes::value(old)?, &changes::value(draft.content())?, now);
    }
    if let Content::Directory(content) = draft.content()
        && !content.administrators.iter().any(|it| it.verbs.contains(&Verb::InstallTrust) && it.expires > now)
    {
        let warning = "no administrator has the verb `install-trust`: nobody can push what comes after this directory";
        standing.warnings.push(warning.to_owned());
    }
    context.output.document(&standing);
    standing.print(context);
    context.output.line(standing.next(&format!("--root {} ", args.root.display())));
    Ok(Exit::Done)
}

fn read_directory(context: &Context, path: &Path) -> Result<Content, Failure> {
    let draft = documents::read_draft(context, path)?;
    match draft.content() {
        Content::Directory(_) => Ok(draft.content().clone()),
        Content::Root(_) => Err(Failure::new(Exit::Usage, format!("`{}` is a root, not a directory", path.display()))),
    }
}

fn object(value: Value) -> Result<Map<String, Value>, Failure> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Failure::new(Exit::Failed, "a directory is a JSON object")),
    }
}

/// Puts a row in the place of the one that has its name, or at the end.
fn put(lists: &mut Map<String, Value>, list: &str, row: Value) {
    let rows = lists.entry(list.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(rows) = rows {
        let name = changes::name(&row);
        match rows.iter_mut().find(|there| changes::name(there) == name) {
            Some(there) => *there = row,
            None => rows.push(row),
        }
    }
}

/// The directory that these members make; lists that nobody named are empty.
fn content(mut members: Map<String, Value>) -> Result<DirectoryContent, Failure> {
    for list in ["voters", "edges", "issuers", "administrators", "sealers"] {
        members.entry(list.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    }
    let read = |members: &Map<String, Value>| {
        serde_json::from_value::<DirectoryContent>(Value::Object(members.clone())).map_err(|error| error.to_string())
    };
    read(&members).map_err(|fault| {
        let place = faulty_row(&members, |members| read(members).is_ok());
        let place = place.map_or_else(String::new, |place| format!("{place}: "));
        Failure::new(Exit::Usage, format!("the directory would be malformed: {place}{fault}")).reason("description")
    })
}

/// The row without whose like the rest can be read: the decoder does not say where it was.
fn faulty_row(members: &Map<String, Value>, reads: impl Fn(&Map<String, Value>) -> bool) -> Option<String> {
    let mut bare = members.clone();
    let lists: Vec<(String, Vec<Value>)> = bare
        .iter_mut()
        .filter_map(|(name, value)| value.as_array_mut().map(|rows| (name.clone(), std::mem::take(rows))))
        .collect();
    lists.into_iter().find_map(|(name, rows)| {
        rows.into_iter().zip(1..).find_map(|(row, number): (Value, usize)| {
            let mut alone = bare.clone();
            alone.insert(name.clone(), Value::Array(vec![row]));
            (!reads(&alone)).then(|| format!("row {number} of `{name}`"))
        })
    })
}

/// Clause T-14: whom the old directory lists for longer than now, and the new one does not list.
fn left_too_soon(old: &Value, new: &Value, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    for (list, until) in STAYING {
        let rows = |directory: &Value| directory.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        let kept: Vec<_> = rows(new).into_iter().filter_map(|row| row.get("key").cloned()).collect();
        for row in rows(old) {
            let counts = row.get(until).and_then(Value::as_u64).is_some_and(|until| until > now.as_millis());
            let gone = row.get("key").is_none_or(|key| !kept.contains(key));
            if counts && gone {
                let name = row.get("name").unwrap_or_else(|| row.get("key").unwrap_or(&Value::Null)).clone();
                found.push(format!(
                    "{name} of `{list}` is deleted while it counts: what it signed will not hold any more; \
                     let the row stay, with an `{until}`"
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_that_is_wrong_is_named() {
        let voter = json!({ "id": 1, "identity": "00" });
        let Value::Object(members) = json!({
            "mesh_id": "11".repeat(16), "version": 1, "created": 0, "expires": 1,
            "voters": [], "edges": [], "issuers": [],
            "administrators": [], "sealers": [{ "nme": "x" }],
        }) else {
            panic!("an object")
        };
        assert!(content(members.clone()).unwrap_err().message.contains("row 1 of `sealers`: unknown field `nme`"));
        let mut members = members;
        members.insert("sealers".to_owned(), json!([]));
        assert!(content(members.clone()).is_ok());
        put(&mut members, "voters", voter.clone());
        put(&mut members, "voters", voter);
        assert_eq!(members["voters"].as_array().unwrap().len(), 1);
        assert!(content(members).unwrap_err().message.contains("row 1 of `voters`"));
    }

    #[test]
    fn who_leaves_too_soon_is_told() {
        let row = |key: &str, until: u64| json!({ "name": key, "key": key, "expires": until });
        let old = json!({ "administrators": [row("a", 5), row("b", 50), row("c", 50)], "issuers": [] });
        let new = json!({ "administrators": [row("c", 50)] });
        let told = left_too_soon(&old, &new, Timestamp::from_millis(10));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("\"b\" of `administrators`"), "{told:?}");
    }
}
