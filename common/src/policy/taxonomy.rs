//! Purposes and data classes, with the numbers that links carry.
//!
//! A link says `[1, 4]` and a bit, never `review.renewal_risk` and `billing`. So a number means the same for as long
//! as the mesh lives: numbers stand in the sources, they are only ever added, and one that is no longer wanted is
//! retired, never given to something else. Clauses P-5 and P-6.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::fault::{PolicyFault, Source, nearest};
use crate::lattice::{ClassSet, Names, PURPOSE_DEPTH_MAX, PurposePath};

/// Where purposes are declared.
pub const PURPOSES_FILE: &str = "purposes.toml";
/// Where data classes are declared.
pub const CLASSES_FILE: &str = "classes.toml";

/// Both vocabularies, under one version.
#[derive(Debug, Clone)]
pub struct Taxonomy {
    version: u64,
    purposes: Purposes,
    classes: Classes,
}

/// The tree of purposes.
#[derive(Debug, Clone)]
pub struct Purposes {
    by_name: BTreeMap<String, (u32, PurposePath)>,
    by_number: BTreeMap<u32, String>,
    retired: BTreeSet<u32>,
}

/// The data classes and what each includes.
#[derive(Debug, Clone)]
pub struct Classes {
    by_name: BTreeMap<String, u8>,
    by_number: BTreeMap<u8, Class>,
    retired: BTreeSet<u8>,
}

#[derive(Debug, Clone)]
struct Class {
    name: String,
    /// Itself and everything below it.
    closed: ClassSet,
}

/// A taxonomy that gives an old number a new meaning, or forgets one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaxonomyBroken {
    /// The version fell, or something changed under the same version.
    #[error("the taxonomy changed, and its version is {new} after {old}")]
    Version {
        /// The version before.
        old: u64,
        /// The version now.
        new: u64,
    },
    /// A number stands for something else than before.
    #[error("{kind} {number} was `{old}` and is `{new}`")]
    Reused {
        /// `purpose` or `class`.
        kind: &'static str,
        /// The number.
        number: u32,
        /// What it meant.
        old: String,
        /// What it would mean.
        new: String,
    },
    /// A number is gone without being retired, or a retired one is no longer listed.
    #[error("{kind} {number} is gone; a number that is no longer wanted is listed under `retired`")]
    Forgotten {
        /// `purpose` or `class`.
        kind: &'static str,
        /// The number.
        number: u32,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurposesFile {
    version: Spanned<u64>,
    #[serde(default)]
    retired: Vec<Spanned<u32>>,
    #[serde(default)]
    purpose: Vec<PurposeEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurposeEntry {
    number: Spanned<u32>,
    name: Spanned<String>,
    #[serde(default, rename = "description")]
    _description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassesFile {
    version: Spanned<u64>,
    #[serde(default)]
    retired: Vec<Spanned<u8>>,
    #[serde(default)]
    class: Vec<ClassEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassEntry {
    number: Spanned<u8>,
    name: Spanned<String>,
    #[serde(default)]
    includes: Vec<Spanned<String>>,
    #[serde(default, rename = "description")]
    _description: String,
}

fn read<'a, T: DeserializeOwned>(file: &'a str, bytes: &'a [u8]) -> Result<(Source<'a>, T), PolicyFault> {
    Source::new(file, bytes).and_then(|source| Ok((source, source.read_toml()?)))
}

impl Taxonomy {
    /// Reads both files.
    ///
    /// # Errors
    /// Every fault that was found in them.
    pub fn parse(purposes: &[u8], classes: &[u8]) -> Result<Self, Vec<PolicyFault>> {
        let purposes = read::<PurposesFile>(PURPOSES_FILE, purposes);
        let classes = read::<ClassesFile>(CLASSES_FILE, classes);
        let ((purposes_source, purposes_file), (classes_source, classes_file)) = match (purposes, classes) {
            (Ok(purposes), Ok(classes)) => (purposes, classes),
            (purposes, classes) => return Err(purposes.err().into_iter().chain(classes.err()).collect()),
        };
        let version = *purposes_file.version.get_ref();
        let mut faults = Vec::new();
        if *classes_file.version.get_ref() != version {
            faults.push(classes_source.advise(
                &classes_file.version.span(),
                format!("version {} beside version {version} of {PURPOSES_FILE}", classes_file.version.get_ref()),
                "purposes and classes are one taxonomy: raise both versions together",
            ));
        }
        let purposes = Purposes::read(&purposes_source, &purposes_file, &mut faults);
        let classes = Classes::read(&classes_source, &classes_file, &mut faults);
        if faults.is_empty() { Ok(Self { version, purposes, classes }) } else { Err(faults) }
    }

    /// The number of this taxonomy; envelopes say which one they were written with.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The path of a purpose.
    #[must_use]
    pub fn purpose(&self, name: &str) -> Option<PurposePath> {
        self.purposes.by_name.get(name).map(|(_, path)| *path)
    }

    /// The dotted name of a path; `None` for a path that this taxonomy does not know.
    #[must_use]
    pub fn purpose_name(&self, path: &PurposePath) -> Option<&str> {
        let last = path.numbers().last()?;
        let name = self.purposes.by_number.get(last)?;
        let (_, known) = self.purposes.by_name.get(name)?;
        (known == path).then_some(name.as_str())
    }

    /// Every purpose, by name.
    pub fn purposes(&self) -> impl Iterator<Item = (&str, PurposePath)> {
        self.purposes.by_name.iter().map(|(name, (_, path))| (name.as_str(), *path))
    }

    /// The number of a class.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<u8> {
        self.classes.by_name.get(name).copied()
    }

    /// The name of a class.
    #[must_use]
    pub fn class_name(&self, number: u8) -> Option<&str> {
        self.classes.by_number.get(&number).map(|class| class.name.as_str())
    }

    /// Every class, by name.
    pub fn classes(&self) -> impl Iterator<Item = (&str, u8)> {
        self.classes.by_name.iter().map(|(name, number)| (name.as_str(), *number))
    }

    /// A set of classes with everything that they include.
    #[must_use]
    pub fn closed(&self, classes: ClassSet) -> ClassSet {
        let below = classes.iter().filter_map(|number| self.classes.by_number.get(&number));
        below.fold(classes, |all, class| all.join(class.closed))
    }

    /// Clause P-6: every number of `old` means what it meant, or is retired, and stays so.
    ///
    /// # Errors
    /// The first number that would change its meaning.
    pub fn check_succeeds(&self, old: &Self) -> Result<(), TaxonomyBroken> {
        let purposes = |taxonomy: &Self| -> BTreeMap<u32, String> { taxonomy.purposes.by_number.clone() };
        let classes = |taxonomy: &Self| -> BTreeMap<u32, String> {
            let named = |(number, class): (&u8, &Class)| (u32::from(*number), class.name.clone());
            taxonomy.classes.by_number.iter().map(named).collect()
        };
        let retired_classes = |taxonomy: &Self| taxonomy.classes.retired.iter().copied().map(u32::from).collect();
        check_numbers("purpose", &purposes(old), &old.purposes.retired, &purposes(self), &self.purposes.retired)?;
        check_numbers("class", &classes(old), &retired_classes(old), &classes(self), &retired_classes(self))?;
        let widened = self.version == old.version && !self.says_the_same(old);
        if self.version < old.version || widened {
            return Err(TaxonomyBroken::Version { old: old.version, new: self.version });
        }
        Ok(())
    }

    fn says_the_same(&self, old: &Self) -> bool {
        let includes = |taxonomy: &Self| -> Vec<(u8, ClassSet)> {
            taxonomy.classes.by_number.iter().map(|(number, class)| (*number, class.closed)).collect()
        };
        self.purposes.by_number == old.purposes.by_number
            && self.classes.by_name == old.classes.by_name
            && includes(self) == includes(old)
            && (&self.purposes.retired, &self.classes.retired) == (&old.purposes.retired, &old.classes.retired)
    }
}

impl Names for Taxonomy {
    fn purpose(&self, name: &str) -> Option<PurposePath> {
        Taxonomy::purpose(self, name)
    }

    fn class(&self, name: &str) -> Option<ClassSet> {
        Taxonomy::class(self, name).map(|number| self.closed(ClassSet::from_iter([number])))
    }
}

fn check_numbers(
    kind: &'static str,
    old: &BTreeMap<u32, String>,
    old_retired: &BTreeSet<u32>,
    new: &BTreeMap<u32, String>,
    new_retired: &BTreeSet<u32>,
) -> Result<(), TaxonomyBroken> {
    for (number, was) in old {
        match new.get(number) {
            Some(is) if is == was => {}
            Some(is) => {
                return Err(TaxonomyBroken::Reused { kind, number: *number, old: was.clone(), new: is.clone() });
            }
            None if new_retired.contains(number) => {}
            None => return Err(TaxonomyBroken::Forgotten { kind, number: *number }),
        }
    }
    for number in old_retired {
        if let Some(is) = new.get(number) {
            let old = "retired".to_owned();
            return Err(TaxonomyBroken::Reused { kind, number: *number, old, new: is.clone() });
        }
        if !new_retired.contains(number) {
            return Err(TaxonomyBroken::Forgotten { kind, number: *number });
        }
    }
    Ok(())
}

fn is_segment(segment: &str) -> bool {
    (1..=64).contains(&segment.len())
        && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

impl Purposes {
    fn read(source: &Source<'_>, file: &PurposesFile, faults: &mut Vec<PolicyFault>) -> Self {
        let retired: BTreeSet<u32> = file.retired.iter().map(|number| *number.get_ref()).collect();
        let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
        let mut by_number: BTreeMap<u32, String> = BTreeMap::new();
        for entry in &file.purpose {
            let (number, name) = (*entry.number.get_ref(), entry.name.get_ref());
            if retired.contains(&number) {
                faults.push(source.fault(entry.number.span().start, format!("number {number} is retired")));
            } else if let Some(other) = by_number.insert(number, name.clone()) {
                let help = "numbers are only ever added; take the next free one";
                faults.push(source.advise(&entry.number.span(), format!("number {number} is `{other}` already"), help));
            }
            if numbers.insert(name, number).is_some() {
                faults.push(source.fault(entry.name.span().start, format!("purpose `{name}` is declared twice")));
            }
        }
        let mut by_name = BTreeMap::new();
        for entry in &file.purpose {
            let name = entry.name.get_ref();
            let at = entry.name.span();
            let segments: Vec<&str> = name.split('.').collect();
            if segments.len() > PURPOSE_DEPTH_MAX || !segments.iter().all(|segment| is_segment(segment)) {
                let help = format!("1 to {PURPOSE_DEPTH_MAX} segments of a-z, 0-9, `-` and `_`, joined by dots");
                faults.push(source.advise(&at, format!("`{name}` is not a purpose"), help));
                continue;
            }
            let ends = name.match_indices('.').map(|(end, _)| end).chain([name.len()]);
            let path: Vec<Option<u32>> =
                ends.map(|end| numbers.get(name.get(..end).unwrap_or_default()).copied()).collect();
            let path: Option<PurposePath> =
                path.into_iter().collect::<Option<Vec<u32>>>().and_then(|numbers| PurposePath::new(&numbers).ok());
            match path {
                Some(path) => _ = by_name.insert(name.clone(), (*entry.number.get_ref(), path)),
                None => faults.push(source.advise(
                    &at,
                    format!("purpose `{name}` has no parent"),
                    "every purpose above it is declared with a number of its own",
                )),
            }
        }
        Self { by_name, by_number, retired }
    }
}

impl Classes {
    fn read(source: &Source<'_>, file: &ClassesFile, faults: &mut Vec<PolicyFault>) -> Self {
        let retired: BTreeSet<u8> = file.retired.iter().map(|number| *number.get_ref()).collect();
        let mut by_name: BTreeMap<String, u8> = BTreeMap::new();
        let mut by_number: BTreeMap<u8, Class> = BTreeMap::new();
        for entry in &file.class {
            let (number, name) = (*entry.number.get_ref(), entry.name.get_ref());
            if !is_segment(name) {
                let help = "1 to 64 of a-z, 0-9, `-` and `_`";
                faults.push(source.advise(&entry.name.span(), format!("`{name}` is not a class"), help));
            }
            if by_name.insert(name.clone(), number).is_some() {
                faults.push(source.fault(entry.name.span().start, format!("class `{name}` is declared twice")));
            }
            let closed = ClassSet::from_iter([number]);
            if retired.contains(&number) {
                faults.push(source.fault(entry.number.span().start, format!("number {number} is retired")));
            } else if let Some(other) = by_number.insert(number, Class { name: name.clone(), closed }) {
                let help = "numbers are only ever added; take the next free one";
                let message = format!("number {number} is `{}` already", other.name);
                faults.push(source.advise(&entry.number.span(), message, help));
            }
        }
        let mut below: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for entry in &file.class {
            for included in &entry.includes {
                match by_name.get(included.get_ref()) {
                    Some(number) => below.entry(*entry.number.get_ref()).or_default().push(*number),
                    None => {
                        let message = format!("there is no class `{}`", included.get_ref());
                        let mut fault = source.fault(included.span().start, message);
                        fault.help = nearest(included.get_ref(), by_name.keys().map(String::as_str))
                            .map(|name| format!("did you mean `{name}`?"));
                        faults.push(fault);
                    }
                }
            }
        }
        for entry in &file.class {
            let number = *entry.number.get_ref();
            let closed = descend(number, &below);
            if below.get(&number).into_iter().flatten().any(|child| descend(*child, &below).contains(number)) {
                let message = format!("class `{}` includes itself", entry.name.get_ref());
                faults.push(source.fault(entry.name.span().start, message));
            }
            if let Some(class) = by_number.get_mut(&number) {
                class.closed = closed;
            }
        }
        Self { by_name, by_number, retired }
    }
}

/// A class and everything below it. Ends on a cycle, too, because it enters each class once.
fn descend(number: u8, below: &BTreeMap<u8, Vec<u8>>) -> ClassSet {
    let mut closed = ClassSet::EMPTY;
    let mut todo = vec![number];
    while let Some(next) = todo.pop() {
        if !closed.contains(next) {
            closed.insert(next);
            todo.extend(below.get(&next).into_iter().flatten());
        }
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSES: &str = "version = 1\nretired = [9]\n\
        [[purpose]]\nnumber = 1\nname = \"review\"\n\
        [[purpose]]\nnumber = 4\nname = \"review.renewal_risk\"\n\
        [[purpose]]\nnumber = 2\nname = \"renew\"\n";
    const CLASSES: &str = "version = 1\n\
        [[class]]\nnumber = 0\nname = \"contract_metadata\"\n\
        [[class]]\nnumber = 1\nname = \"renewal_terms\"\nincludes = [\"contract_metadata\"]\n\
        [[class]]\nnumber = 7\nname = \"billing\"\nincludes = [\"renewal_terms\"]\n";

    fn taxonomy(purposes: &str, classes: &str) -> Result<Taxonomy, Vec<String>> {
        Taxonomy::parse(purposes.as_bytes(), classes.as_bytes())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_and_numbers_belong_together() {
        let taxonomy = taxonomy(PURPOSES, CLASSES).expect("sound");
        let path = taxonomy.purpose("review.renewal_risk").expect("declared");
        assert_eq!(path.numbers(), [1, 4]);
        assert_eq!(taxonomy.purpose_name(&path), Some("review.renewal_risk"));
        let stray = PurposePath::new(&[2, 4]).expect("short");
        assert_eq!(taxonomy.purpose_name(&stray), None, "a number under another parent is another purpose");
        assert_eq!((taxonomy.class("billing"), taxonomy.class_name(7)), (Some(7), Some("billing")));
        let billing = ClassSet::from_iter([7]);
        assert_eq!(taxonomy.closed(billing).iter().collect::<Vec<_>>(), [0, 1, 7]);
    }

    #[test]
    fn faults_have_a_place() {
        let check = |purposes: &str, classes: &str, expected: &str| {
            let faults = taxonomy(purposes, classes).expect_err("faulty");
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
        };
        let reused = PURPOSES.replace("number = 2", "number = 4");
        check(&reused, CLASSES, "purposes.toml:10:10: number 4 is `review.renewal_risk` already");
        let retired = PURPOSES.replace("number = 2", "number = 9");
        check(&retired, CLASSES, "purposes.toml:10:10: number 9 is retired");
        let orphan = PURPOSES.replace("\"review\"", "\"audit\"");
        check(&orphan, CLASSES, "purposes.toml:8:8: purpose `review.renewal_risk` has no parent");
        let odd = PURPOSES.replace("renew\"", "re new\"");
        check(&odd, CLASSES, "purposes.toml:11:8: `re new` is not a purpose");
        let unknown = CLASSES.replace("[\"renewal_terms\"]", "[\"renewal_term\"]");
        check(PURPOSES, &unknown, "classes.toml:12:13: there is no class `renewal_term` (help: did you mean");
        let cyclic = CLASSES.replace("\"contract_metadata\"\n", "\"contract_metadata\"\nincludes = [\"billing\"]\n");
        check(PURPOSES, &cyclic, "classes.toml:4:8: class `contract_metadata` includes itself");
        let apart = CLASSES.replace("version = 1", "version = 2");
        check(PURPOSES, &apart, "classes.toml:1:11: version 2 beside version 1");
        check("version = 1\ncolour = 3\n", CLASSES, "purposes.toml:2:1: unknown field `colour`");
        check(PURPOSES, "version = 1\n[[class]]\nnumber = 256\nname = \"x\"\n", "classes.toml:3:10:");
    }

    #[test]
    fn a_number_never_changes_its_meaning() {
        let raise = |text: &str| text.replace("version = 1", "version = 2");
        let old = taxonomy(PURPOSES, CLASSES).expect("sound");
        let check = |purposes: &str, classes: &str, expected: &str| {
            let new = taxonomy(&raise(purposes), &raise(classes)).expect("sound by itself");
            let result = new.check_succeeds(&old).map_err(|broken| broken.to_string());
            assert_eq!(result.err().as_deref().unwrap_or("fine"), expected);
        };
        check(PURPOSES, CLASSES, "fine");
        check(&format!("{PURPOSES}[[purpose]]\nnumber = 5\nname = \"audit\"\n"), CLASSES, "fine");
        check(&PURPOSES.replace("\"renew\"", "\"audit\""), CLASSES, "purpose 2 was `renew` and is `audit`");
        let gone = PURPOSES.replace("[[purpose]]\nnumber = 2\nname = \"renew\"\n", "");
        check(&gone, CLASSES, "purpose 2 is gone; a number that is no longer wanted is listed under `retired`");
        check(&gone.replace("[9]", "[9, 2]"), CLASSES, "fine");
        check(
            &PURPOSES.replace("[9]", "[]"),
            CLASSES,
            "purpose 9 is gone; a number that is no longer wanted is listed under `retired`",
        );
        let revived = PURPOSES.replace("[9]", "[]") + "[[purpose]]\nnumber = 9\nname = \"audit\"\n";
        check(&revived, CLASSES, "purpose 9 was `retired` and is `audit`");
        check(PURPOSES, &CLASSES.replace("\"billing\"", "\"health\""), "class 7 was `billing` and is `health`");
        let same_version = taxonomy(&PURPOSES.replace("number = 2", "number = 3"), CLASSES).expect("sound by itself");
        assert!(same_version.check_succeeds(&old).is_err());
        let wider = CLASSES.replace("includes = [\"contract_metadata\"]", "includes = []");
        let same_version = taxonomy(PURPOSES, &wider).expect("sound by itself");
        assert_eq!(same_version.check_succeeds(&old), Err(TaxonomyBroken::Version { old: 1, new: 1 }));
        assert!(old.check_succeeds(&old).is_ok());
    }
}
