//! `relations.toml`: who may write tuples, and how the types of the model are called in Cedar. The model stands beside
//! it, in `relations.fga`. Clause Q-8.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::schema::RelationSchema;
use super::tuple::{Object, is_id};
use crate::crypto::sign::PublicKey;
use crate::policy::fault::{PolicyFault, Source, nearest};

/// Writers, and how Cedar sees relations.
pub const RELATIONS_FILE: &str = "relations.toml";
/// The model.
pub const MODEL_FILE: &str = "relations.fga";
/// Writers of one bundle: each system of record has one, and now and then a new key.
const WRITERS_MAX: usize = 16;
/// Bytes of a writer's name.
const NAME_BYTES_MAX: usize = 64;

/// What a bundle says about relations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationRules {
    schema: Arc<RelationSchema>,
    writers: Vec<Writer>,
    pub(in crate::policy) entities: BTreeMap<String, Mapped>,
    pub(in crate::policy) ancestors: Vec<Ancestor>,
}

/// Somebody whose batches of tuples count.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writer {
    /// What people call it.
    pub name: String,
    /// The key that signs its batches.
    pub key: PublicKey,
}

/// The relation type of an entity type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Mapped {
    pub(in crate::policy) kind: String,
    /// What stands before the id in Cedar, and not in tuples.
    prefix: String,
    pub(in crate::policy) at: Range<usize>,
}

/// Whoever stands in this relation to an object is `in` its entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Ancestor {
    pub(in crate::policy) entity: String,
    pub(in crate::policy) relation: String,
    pub(in crate::policy) at: Range<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    writer: Vec<Spanned<Writer>>,
    #[serde(default)]
    entities: BTreeMap<Spanned<String>, Spanned<MappedToml>>,
    #[serde(default)]
    ancestors: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "the name of a type of the model, or { type = \"…\", prefix = \"…\" }")]
enum MappedToml {
    Plain(String),
    Full {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        prefix: String,
    },
}

impl RelationRules {
    /// Reads both files.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(rules: &[u8], model: &[u8]) -> Result<Self, Vec<PolicyFault>> {
        let schema = RelationSchema::parse(MODEL_FILE, model)?;
        let source = Source::new(RELATIONS_FILE, rules).map_err(|fault| vec![fault])?;
        let file: File = source.read_toml().map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        let writers = writers(&source, file.writer, &mut faults);
        let mut entities = BTreeMap::new();
        for (entity, mapped) in file.entities {
            let at = mapped.span();
            let (kind, prefix) = match mapped.into_inner() {
                MappedToml::Plain(kind) => (kind, String::new()),
                MappedToml::Full { kind, prefix } => (kind, prefix),
            };
            if let Err(unfit) = schema.kind(&kind) {
                faults.push(source.fault(at.start, unfit.to_string()));
            }
            if !prefix.is_empty() && !is_id(&prefix) {
                faults.push(source.fault(at.start, "a prefix is printable ASCII without spaces and `#`"));
            }
            let other = entities.values().find(|other: &&Mapped| other.kind == kind);
            if other.is_some() {
                faults.push(source.fault(at.start, format!("`{kind}` is another entity type already")));
            }
            entities.insert(entity.into_inner(), Mapped { kind, prefix, at });
        }
        let mut ancestors = Vec::new();
        for (entity, relation) in file.ancestors {
            let (at, named) = (relation.span(), relation.into_inner());
            let (kind, relation) = named.split_once('#').unwrap_or((&named, ""));
            match entities.get(entity.get_ref()) {
                None => {
                    let names = entities.keys().map(String::as_str);
                    let near = nearest(entity.get_ref(), names).map(|near| format!("did you mean `{near}`?"));
                    let message = format!("`{}` is not one of `[entities]`", entity.get_ref());
                    let help = near.unwrap_or_else(|| "say there which type of the model it is".to_owned());
                    faults.push(source.advise(&entity.span(), message, help));
                }
                Some(mapped) if mapped.kind != kind => {
                    let help = format!("write `{}#{relation}`", mapped.kind);
                    faults.push(source.advise(&at, "this is not a relation of that entity's type", help));
                }
                Some(_) => {
                    if let Err(unfit) = schema.relation(kind, relation) {
                        faults.push(source.fault(at.start, unfit.to_string()));
                    }
                }
            }
            ancestors.push(Ancestor { entity: entity.into_inner(), relation: relation.to_owned(), at });
        }
        if faults.is_empty() {
            Ok(Self { schema: Arc::new(schema), writers, entities, ancestors })
        } else {
            Err(faults)
        }
    }

    /// The model.
    #[must_use]
    pub fn schema(&self) -> &Arc<RelationSchema> {
        &self.schema
    }

    /// Whose batches count.
    #[must_use]
    pub fn writers(&self) -> &[Writer] {
        &self.writers
    }

    /// The object of an entity; `None` for an id that no object can have.
    pub(in crate::policy) fn object(&self, entity: &str, id: &str) -> Option<Object> {
        let mapped = self.entities.get(entity)?;
        Object::new(&mapped.kind, id.strip_prefix(&mapped.prefix)?).ok()
    }
}

fn writers(source: &Source<'_>, found: Vec<Spanned<Writer>>, faults: &mut Vec<PolicyFault>) -> Vec<Writer> {
    let mut writers: Vec<Writer> = Vec::new();
    for writer in found {
        let (at, writer) = (writer.span().start, writer.into_inner());
        if !(1..=NAME_BYTES_MAX).contains(&writer.name.len()) || writer.name.chars().any(char::is_control) {
            faults.push(source.fault(at, format!("the name of a writer has 1 to {NAME_BYTES_MAX} bytes")));
        }
        if writers.iter().any(|other| other.key == writer.key || other.name == writer.name) {
            faults.push(source.fault(at, format!("writer `{}`, or its key, stands here twice", writer.name)));
        }
        writers.push(writer);
    }
    if writers.len() > WRITERS_MAX {
        faults.push(source.fault(0, format!("a bundle names at most {WRITERS_MAX} writers")));
    }
    writers
}
