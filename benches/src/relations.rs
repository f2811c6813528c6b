//! A million relation tuples: users in nested groups, documents in nested folders.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use remit_common::policy::relations::{Object, RelationSchema, Relations, Subject, Tuple, TupleKey};
use remit_common::time::Timestamp;

/// When questions are asked.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type folder
  relations
    define parent: [folder]
    define viewer: [user, group#member] or viewer from parent
type document
  relations
    define parent: [folder]
    define owner: [user]
    define blocked: [user]
    define viewer: [user, group#member] or owner or viewer from parent
    define editor: (owner or viewer from parent) but not blocked
";

/// How much of everything there is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Users; each is in three groups.
    pub users: u32,
    /// Groups; four of five are in an earlier one.
    pub groups: u32,
    /// Folders; all but a hundredth lie in an earlier one.
    pub folders: u32,
    /// Documents; each lies in a folder, every third has an owner.
    pub documents: u32,
}

/// A million tuples.
pub const MILLION: Size = Size { users: 100_000, groups: 10_000, folders: 20_000, documents: 500_000 };

/// Numbers that look drawn: the same ones each time (SplitMix64, Steele et al. 2014).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(bound.max(1))).unwrap_or(0)
    }
}

fn tuple(object: (&str, u32), relation: &str, subject: Subject) -> Result<Tuple> {
    let object = Object::new(object.0, &object.1.to_string())?;
    Ok(Tuple::from(TupleKey { object, relation: relation.to_owned(), subject }))
}

fn one(kind: &str, number: u32) -> Result<Subject> {
    Ok(Subject::Object(Object::new(kind, &number.to_string())?))
}

/// The tuples, in a table with its closure.
///
/// # Errors
/// Should the model not be one.
pub fn relations(size: Size) -> Result<Relations> {
    let schema = RelationSchema::parse("relations.fga", MODEL.as_bytes());
    let schema = schema.map_err(|faults| anyhow!("{faults:?}"))?;
    let mut draws = Draws(7);
    let mut tuples = Vec::new();
    let members = |group| {
        Ok::<_, anyhow::Error>(Subject::Userset(Object::new("group", &format!("{group}"))?, "member".to_owned()))
    };
    for user in 0..size.users {
        for _ in 0..3 {
            tuples.push(tuple(("group", draws.below(size.groups)), "member", one("user", user)?)?);
        }
    }
    for group in 1..size.groups {
        if draws.below(5) > 0 {
            // Whoever is in the later group is in the earlier one, too.
            tuples.push(tuple(("group", draws.below(group)), "member", members(group)?)?);
        }
    }
    for folder in 1..size.folders {
        if draws.below(100) > 0 {
            tuples.push(tuple(("folder", folder), "parent", one("folder", draws.below(folder))?)?);
        }
        for _ in 0..2 {
            tuples.push(tuple(("folder", folder), "viewer", members(draws.below(size.groups))?)?);
        }
    }
    for document in 0..size.documents {
        tuples.push(tuple(("document", document), "parent", one("folder", draws.below(size.folders))?)?);
        if document % 3 == 0 {
            tuples.push(tuple(("document", document), "owner", one("user", draws.below(size.users))?)?);
        }
        if document % 50 == 0 {
            tuples.push(tuple(("document", document), "blocked", one("user", draws.below(size.users))?)?);
        }
    }
    Ok(Relations::new(Arc::new(schema), 1, tuples))
}

/// Questions about drawn documents and users; every other one about the document's owner or a viewer by folder is
/// left to chance.
///
/// # Errors
/// None that this model gives.
pub fn questions(size: Size, count: u32) -> Result<Vec<TupleKey>> {
    let mut draws = Draws(11);
    let question = |number: u32, document, user| {
        let relation = if number % 4 == 3 { "editor" } else { "viewer" };
        tuple(("document", document), relation, one("user", user)?).map(|tuple| tuple.key)
    };
    (0..count).map(|number| question(number, draws.below(size.documents), draws.below(size.users))).collect()
}
