//! Constraints on arguments, by JSON pointer. Pointwise: a pointer that either side names is constrained.
//!
//! A constraint is a product of four small dimensions (listed values, an interval, a path prefix, a length), each with
//! an exact meet of its own, so that a listed value and an interval meet without any rule about both. There is no
//! regular expression, no expression language and no negation: their meets are not exact, or not decidable.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::SortedSet;
use crate::limits::LINK_TEXT_BYTES_MAX;

/// A JSON pointer (RFC 6901) into arguments, in which a segment `*` stands for every element and member. Never empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgumentPointer(Box<str>);

/// A text is no pointer into arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pointer into arguments starts with `/`, has at most {LINK_TEXT_BYTES_MAX} bytes, and writes `~` as `~0` and `/` as `~1`"
)]
pub struct InvalidArgumentPointer;

impl ArgumentPointer {
    /// The pointer as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArgumentPointer {
    type Err = InvalidArgumentPointer;
    fn from_str(text: &str) -> Result<Self, InvalidArgumentPointer> {
        let escaped = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        if text.starts_with('/') && escaped && text.len() <= LINK_TEXT_BYTES_MAX && !text.chars().any(char::is_control)
        {
            Ok(Self(text.into()))
        } else {
            Err(InvalidArgumentPointer)
        }
    }
}

impl fmt::Display for ArgumentPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ArgumentPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArgumentPointer({})", self.0)
    }
}

/// A value that an argument may have to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// An integer.
    Int(i64),
    /// A text.
    Text(Box<str>),
    /// A truth value.
    Bool(bool),
}

/// What a call carries at a pointer, as far as constraints can tell values apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentValue {
    /// Something that can be listed.
    Scalar(Scalar),
    /// Anything else: null, a number with a fraction, an object. No constraint admits it.
    Other,
}

/// Where a path has to lie: at this place or below it.
///
/// A place that ends in `/` holds only what is below. Paths that could leave the place where they begin (a segment
/// that starts with `..`, a `\` or a `%`, which some readers take for something else) lie nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPrefix(Box<str>);

/// A text is no path prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path prefix has 1 to {LINK_TEXT_BYTES_MAX} bytes, no segment `.` or one that starts with `..`, no `\\`, `%` or control character"
)]
pub struct InvalidPathPrefix;

impl PathPrefix {
    /// The prefix with this text.
    ///
    /// # Errors
    /// [`InvalidPathPrefix`].
    pub fn new(text: &str) -> Result<Self, InvalidPathPrefix> {
        if (1..=LINK_TEXT_BYTES_MAX).contains(&text.len()) && stays(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPathPrefix)
        }
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path lies at this place or below it.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || self.0.ends_with('/') || rest.starts_with('/');
        path.strip_prefix(&*self.0).is_some_and(below) && stays(path)
    }
}

/// Whether a path stays below wherever it begins, for every reader we know of.
fn stays(path: &str) -> bool {
    let odd = |c: char| c == '\\' || c == '%' || c.is_control();
    !path.contains(odd) && path.split('/').all(|segment| segment != "." && !segment.starts_with(".."))
}

/// Where a path has to lie after a meet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    At(PathPrefix),
    /// Two links named two places of which neither lies below the other.
    Nowhere,
}

/// What the values at one pointer must be. All that is said holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Constraint {
    listed: Option<SortedSet<Scalar>>,
    interval: Option<(i64, i64)>,
    place: Option<Place>,
    length_max: Option<u32>,
}

/// A constraint as one link says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// The value.
    Is(&'a Scalar),
    /// One of these.
    OneOf(&'a SortedSet<Scalar>),
    /// An integer from the first to the second, both included.
    Within(i64, i64),
    /// A path at or below this place.
    Below(&'a PathPrefix),
    /// A text of at most so many bytes.
    LengthMax(u32),
    /// Something that only a meet makes, and no link can say.
    Met,
}

/// What is left of a constraint, dimension by dimension; after a meet more than one may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// One of these.
    pub listed: Option<&'a SortedSet<Scalar>>,
    /// An integer from the first to the second, both included.
    pub within: Option<(i64, i64)>,
    /// A path at or below this place. `None` also where no place is left, see [`Constraint::is_nothing`].
    pub below: Option<&'a PathPrefix>,
    /// A text of at most so many bytes.
    pub length_max: Option<u32>,
}

impl Constraint {
    /// One of these values.
    #[must_use]
    pub fn one_of(values: impl IntoIterator<Item = Scalar>) -> Self {
        Self { listed: Some(values.into_iter().collect()), ..Self::default() }
    }

    /// An integer from the first to the second, both included.
    #[must_use]
    pub fn within(low: i64, high: i64) -> Self {
        Self { interval: Some((low, high)), ..Self::default() }
    }

    /// A path at or below this place.
    #[must_use]
    pub fn below(prefix: PathPrefix) -> Self {
        Self { place: Some(Place::At(prefix)), ..Self::default() }
    }

    /// A text of at most so many bytes of UTF-8.
    #[must_use]
    pub fn length_max(bytes: u32) -> Self {
        Self { length_max: Some(bytes), ..Self::default() }
    }

    /// What a link says with it.
    #[must_use]
    pub fn said(&self) -> Said<'_> {
        match self {
            Self { listed: Some(listed), interval: None, place: None, length_max: None } => {
                let mut values = listed.iter();
                match (values.next(), values.next()) {
                    (Some(only), None) => Said::Is(only),
                    (Some(_), Some(_)) => Said::OneOf(listed),
                    (None, _) => Said::Met,
                }
            }
            Self { listed: None, interval: Some((low, high)), place: None, length_max: None } => {
                Said::Within(*low, *high)
            }
            Self { listed: None, interval: None, place: Some(Place::At(prefix)), length_max: None } => {
                Said::Below(prefix)
            }
            Self { listed: None, interval: None, place: None, length_max: Some(bytes) } => Said::LengthMax(*bytes),
            Self { .. } => Said::Met,
        }
    }

    /// What is left of it, for whoever shows it.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        let below = match &self.place {
            Some(Place::At(prefix)) => Some(prefix),
            Some(Place::Nowhere) | None => None,
        };
        Parts { listed: self.listed.as_ref(), within: self.interval, below, length_max: self.length_max }
    }

    /// Whether the value is one of those meant.
    #[must_use]
    pub fn admits(&self, value: &ArgumentValue) -> bool {
        let ArgumentValue::Scalar(value) = value else { return false };
        let text = || match value {
            Scalar::Text(text) => Some(&**text),
            Scalar::Int(_) | Scalar::Bool(_) => None,
        };
        self.listed.as_ref().is_none_or(|listed| listed.contains(value))
            && self
                .interval
                .is_none_or(|(low, high)| matches!(value, Scalar::Int(number) if (low..=high).contains(number)))
            && self.place.as_ref().is_none_or(|place| match place {
                Place::At(prefix) => text().is_some_and(|path| prefix.covers(path)),
                Place::Nowhere => false,
            })
            && self
                .length_max
                .is_none_or(|max| text().is_some_and(|text| u32::try_from(text.len()).is_ok_and(|len| len <= max)))
    }

    /// Texts and other values that it keeps.
    pub(super) fn texts(&self) -> usize {
        self.listed.as_ref().map_or(1, SortedSet::len)
    }

    /// Whether no value at all is admitted, as far as one dimension alone shows it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.listed.as_ref().is_some_and(SortedSet::is_empty)
            || self.interval.is_some_and(|(low, high)| low > high)
            || self.place == Some(Place::Nowhere)
    }

    /// Narrows this constraint, in place, to what the other admits as well.
    pub fn meet(&mut self, other: Self) {
        let Self { listed, interval, place, length_max } = other;
        match (&mut self.listed, listed) {
            (Some(mine), Some(theirs)) => mine.retain(|value| theirs.contains(value)),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
        self.interval = match (self.interval, interval) {
            (Some((low, high)), Some((from, to))) => Some((low.max(from), high.min(to))),
            (one, None) | (None, one) => one,
        };
        self.place = match (self.place.take(), place) {
            (Some(mine), Some(theirs)) => Some(mine.meet(theirs)),
            (one, None) | (None, one) => one,
        };
        self.length_max = match (self.length_max, length_max) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (one, None) | (None, one) => one,
        };
    }
}

impl Place {
    /// The narrower of the two, or nowhere when neither lies below the other.
    fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::At(mine), Self::At(theirs)) if mine.covers(&theirs.0) => Self::At(theirs),
            (Self::At(mine), Self::At(theirs)) if theirs.covers(&mine.0) => Self::At(mine),
            _ => Self::Nowhere,
        }
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// The order of map keys and set items of links is that of their encodings; see `envelope::encode`.
impl Scalar {
    /// Compares as the encodings compare: integers from zero on, then negative ones from -1 down, then texts by length
    /// and bytes, then false and true.
    #[must_use]
    pub fn encoded_order(&self, other: &Self) -> Ordering {
        let kind = |scalar: &Self| match scalar {
            Self::Int(0..) => 0u8,
            Self::Int(_) => 1,
            Self::Text(_) => 2,
            Self::Bool(_) => 3,
        };
        kind(self).cmp(&kind(other)).then_with(|| match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.unsigned_abs().cmp(&b.unsigned_abs()),
            (Self::Text(a), Self::Text(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            _ => Ordering::Equal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> PathPrefix {
        PathPrefix::new(text).expect("a prefix")
    }

    /// Every path of up to three segments, with and without a slash at either end, and some that leave.
    fn paths() -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for first in ["a", "b", "ab", ""] {
            for second in ["", "/", "/a", "/b", "/ab", "//"] {
                for third in ["", "/", "/a", "/..", "/./b", "/..b", "/b%2e", "\\b"] {
                    all.push(format!("{first}{second}{third}"));
                }
            }
        }
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn the_meet_of_places_is_exact() {
        let paths = paths();
        let all: Vec<PathPrefix> = paths.iter().filter_map(|path| PathPrefix::new(path).ok()).collect();
        assert!(all.len() > 40 && paths.len() > 100, "{} prefixes, {} paths", all.len(), paths.len());
        let mut covered = 0u32;
        for a in &all {
            for b in &all {
                let mut meet = Constraint::below(a.clone());
                meet.meet(Constraint::below(b.clone()));
                for path in &paths {
                    let both = a.covers(path) && b.covers(path);
                    let found = meet.admits(&ArgumentValue::Scalar(path.as_str().into()));
                    assert_eq!(found, both, "{a:?} ∧ {b:?} on {path}");
                    covered += u32::from(both);
                }
                let nothing = paths.iter().all(|path| !(a.covers(path) && b.covers(path)));
                assert_eq!(meet.is_nothing(), nothing, "{a:?} ∧ {b:?}");
            }
        }
        assert!(covered > 700, "{covered} paths were covered");
    }

    #[test]
    fn a_path_lies_below_its_place_and_does_not_leave_it() {
        let check = |place: &str, path: &str, expected| assert_eq!(prefix(place).covers(path), expected, "{path}");
        for path in ["/srv/", "/srv/a", "/srv/a/b", "/srv//a", "/srv/.git"] {
            check("/srv/", path, true);
            check("/srv", path, true);
        }
        check("/srv", "/srv", true);
        check("/srv/", "/srv", false);
        for path in [
            "/srvx",
            "/srv/../etc",
            "/srv/a/..",
            "/srv/..;/etc",
            "/srv/.",
            "/srv/%2e%2e/etc",
            "/srv/..\\etc",
            "srv/a",
            "",
            "/srv/a\n",
        ] {
            check("/srv", path, false);
            check("/srv/", path, false);
        }
        for bad in ["", "..", "/a/../b", "/a/.", "a\\b", "%2f", "a\tb", &"a".repeat(129)] {
            assert_eq!(PathPrefix::new(bad), Err(InvalidPathPrefix), "{bad}");
        }
    }

    fn values() -> Vec<ArgumentValue> {
        let ints = [i64::MIN, -2, -1, 0, 1, 2, 5, i64::MAX].map(Scalar::Int);
        let texts = ["", "a", "b", "ab", "a/b", "a/..", "1"].map(Scalar::from);
        let bools = [false, true].map(Scalar::Bool);
        let scalars = ints.into_iter().chain(texts).chain(bools).map(ArgumentValue::Scalar);
        scalars.chain([ArgumentValue::Other]).collect()
    }

    /// Some of each kind, what listing nothing and an empty interval are, and every pair of two kinds.
    fn constraints() -> Vec<Constraint> {
        let listed = [vec![], vec!["a"], vec!["a", "b"], vec!["a/b", "b"]]
            .map(|texts| Constraint::one_of(texts.into_iter().map(Scalar::from)));
        let mixed = Constraint::one_of([Scalar::Int(1), "a".into(), Scalar::Bool(true)]);
        let intervals = [(-1, 1), (1, 5), (2, 2), (i64::MIN, 0), (3, 4), (5, 1)].map(|(a, b)| Constraint::within(a, b));
        let places = ["a", "a/", "a/b", "b"].map(|text| Constraint::below(prefix(text)));
        let lengths = [0, 1, 2, u32::MAX].map(Constraint::length_max);
        let single: Vec<Constraint> = listed
            .into_iter()
            .chain([mixed, Constraint::default()])
            .chain(intervals)
            .chain(places)
            .chain(lengths)
            .collect();
        let mut all = single.clone();
        for a in &single {
            for b in &single {
                let mut both = a.clone();
                both.meet(b.clone());
                all.push(both);
            }
        }
        all
    }

    /// Clause L-1 over every pair of some four hundred constraints.
    #[test]
    fn the_meet_is_exact() {
        let (all, values) = (constraints(), values());
        assert_eq!((all.len(), values.len()), (420, 18));
        let mut admitted = 0u32;
        for a in &all {
            let in_a: Vec<bool> = values.iter().map(|value| a.admits(value)).collect();
            assert!(!(a.is_nothing() && in_a.contains(&true)), "{a:?}");
            for b in &all {
                let mut meet = a.clone();
                meet.meet(b.clone());
                for (value, in_a) in values.iter().zip(&in_a) {
                    let both = *in_a && b.admits(value);
                    assert_eq!(meet.admits(value), both, "{a:?} ∧ {b:?} on {value:?}");
                    admitted += u32::from(both);
                }
            }
        }
        assert!(admitted > 10_000, "{admitted} were admitted");
    }

    #[test]
    fn each_kind_admits_what_it_says_and_nothing_else() {
        let admitted = |constraint: &Constraint| {
            let admits = |value: &&ArgumentValue| constraint.admits(value);
            values().iter().filter(admits).cloned().collect::<Vec<_>>()
        };
        let ints = |numbers: &[i64]| numbers.iter().map(|n| ArgumentValue::Scalar(Scalar::Int(*n))).collect::<Vec<_>>();
        let texts = |texts: &[&str]| texts.iter().map(|t| ArgumentValue::Scalar((*t).into())).collect::<Vec<_>>();
        assert_eq!(admitted(&Constraint::within(-1, 2)), ints(&[-1, 0, 1, 2]));
        assert_eq!(admitted(&Constraint::within(i64::MIN, i64::MAX)).len(), 8);
        assert_eq!(admitted(&Constraint::one_of(["1".into()])), texts(&["1"]));
        assert_eq!(admitted(&Constraint::one_of([Scalar::Int(1)])), ints(&[1]));
        assert_eq!(admitted(&Constraint::below(prefix("a"))), texts(&["a", "a/b"]));
        assert_eq!(admitted(&Constraint::length_max(1)), texts(&["", "a", "b", "1"]));
        assert!(Constraint::length_max(2).admits(&texts(&["ö"])[0]), "bytes, not characters");
        assert!(!Constraint::length_max(1).admits(&texts(&["ö"])[0]), "bytes, not characters");
        assert_eq!(admitted(&Constraint::default()).len(), values().len() - 1);
    }

    #[test]
    fn a_link_says_one_thing_per_pointer() {
        let two = Constraint::one_of(["a".into(), "b".into()]);
        assert!(matches!(two.said(), Said::OneOf(set) if set.len() == 2));
        assert_eq!(Constraint::one_of(["a".into()]).said(), Said::Is(&"a".into()));
        assert_eq!(Constraint::within(1, 2).said(), Said::Within(1, 2));
        assert_eq!(Constraint::below(prefix("/a")).said(), Said::Below(&prefix("/a")));
        assert_eq!(Constraint::length_max(7).said(), Said::LengthMax(7));
        let mut met = Constraint::within(1, 2);
        met.meet(Constraint::length_max(7));
        assert_eq!(met.said(), Said::Met);
        assert_eq!(Constraint::one_of([]).said(), Said::Met);
        assert_eq!(Constraint::default().said(), Said::Met);
    }

    /// Clause E-4: the order of the encodings 00, 17, 18 18, 20, 37, 61.., 62.., f4, f5.
    #[test]
    fn values_are_ordered_by_their_encodings() {
        let ints = |numbers: &[i64]| numbers.iter().map(|n| Scalar::Int(*n)).collect::<Vec<_>>();
        let texts = ["b", "c", "aa"].map(Scalar::from).to_vec();
        let bools = [false, true].map(Scalar::Bool).to_vec();
        let order = [ints(&[0, 23, 24, i64::MAX, -1, -24, i64::MIN]), texts, bools].concat();
        for (at, a) in order.iter().enumerate() {
            for (other, b) in order.iter().enumerate() {
                assert_eq!(a.encoded_order(b), at.cmp(&other), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn pointers_are_those_of_rfc_6901() {
        for good in ["/", "/a", "/a/*/b", "/a~0b~1c", "/ä"] {
            assert_eq!(good.parse::<ArgumentPointer>().map(|pointer| pointer.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "a", "/a~", "/a~2", "/~~0", "/a\n", &format!("/{}", "a".repeat(128))] {
            assert_eq!(bad.parse::<ArgumentPointer>(), Err(InvalidArgumentPointer), "{bad}");
        }
    }
}
