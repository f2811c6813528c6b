//! What a chain allows, found without any meet: each link along the path that `of` names is asked whether its own words
//! admit the call. The oracle of `narrowing`.

use remit_common::lattice::{ArgumentValue, CallFacts, Grant, IdSet, Pin, Said, Scalar};

pub(super) fn glob(pattern: &[&str], tool: &[&str]) -> bool {
    match (pattern, tool) {
        (["**"], _) | ([], []) => true,
        (["*", pattern @ ..], [_, tool @ ..]) => glob(pattern, tool),
        ([literal, pattern @ ..], [segment, tool @ ..]) => literal == segment && glob(pattern, tool),
        _ => false,
    }
}

pub(super) fn segments(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

/// What one link says of a call, read on its own.
pub(super) fn says(grant: &Grant, is_root: bool, call: &CallFacts) -> bool {
    let tool = grant.tools.iter().any(|p| glob(&segments(p.as_str()), &segments(call.tool.as_str())));
    let effects = !call.effects.is_empty()
        && call.effects.iter().all(|effect| grant.effects.is_none_or(|granted| granted.contains(effect)));
    let ids = grant.ids.iter().all(|(name, set)| {
        call.ids.get(name).is_some_and(|values| {
            !values.is_empty()
                && values.iter().all(|id| match set {
                    IdSet::In(ids) => ids.contains(id),
                    IdSet::NotIn(ids) => !ids.contains(id),
                })
        })
    });
    let maxima = grant.maxima.iter().all(|(name, max)| match call.amounts.get(name) {
        Some(amount) => amount <= max,
        None => call.result_maxima.contains(name),
    });
    let silent = !is_root
        || (call.ids.keys().all(|name| grant.ids.contains_key(name))
            && call.amounts.keys().all(|name| grant.maxima.contains_key(name))
            && call.result_maxima.iter().all(|name| grant.maxima.contains_key(name)));
    let age = grant.future || !call.is_newer;
    let definition = match grant.pins.get(&call.tool) {
        None => true,
        Some(Pin::Is(digest)) => call.definition == Some(*digest),
        Some(Pin::Never) => false,
    };
    let args = grant.args.iter().all(|(pointer, constraint)| {
        call.arguments
            .get(pointer)
            .is_some_and(|values| !values.is_empty() && values.iter().all(|value| may_be(constraint.said(), value)))
    });
    tool && age && definition && effects && ids && maxima && silent && args
}

/// What a link says of one argument. Paths are compared segment by segment.
fn may_be(said: Said<'_>, value: &ArgumentValue) -> bool {
    match (said, value) {
        (_, ArgumentValue::Other) | (Said::Met, _) => false,
        (Said::Is(only), ArgumentValue::Scalar(value)) => only == value,
        (Said::OneOf(listed), ArgumentValue::Scalar(value)) => listed.iter().any(|one| one == value),
        (Said::Within(low, high), ArgumentValue::Scalar(Scalar::Int(value))) => low <= *value && *value <= high,
        (Said::Below(place), ArgumentValue::Scalar(Scalar::Text(path))) => {
            let (place, path): (Vec<&str>, Vec<&str>) =
                (place.as_str().split('/').collect(), path.split('/').collect());
            let inside = match place.split_last() {
                // A place that ends in a slash holds what is below it.
                Some((&"", above)) => path.len() > above.len() && path.starts_with(above),
                _ => path.starts_with(&place),
            };
            inside && !path.contains(&"..")
        }
        (Said::LengthMax(most), ArgumentValue::Scalar(Scalar::Text(text))) => {
            usize::try_from(most).is_ok_and(|most| text.len() <= most)
        }
        (Said::Within(..) | Said::Below(_) | Said::LengthMax(_), ArgumentValue::Scalar(_)) => false,
    }
}

/// The grants along the path from a leaf's grant to the root's.
pub(super) fn path(chain: &[Vec<Grant>], leaf: usize) -> Vec<(bool, &Grant)> {
    let mut at = leaf;
    let mut found: Vec<(bool, &Grant)> = Vec::new();
    for (hop, grants) in chain.iter().enumerate().rev() {
        found.push((hop == 0, &grants[at]));
        at = usize::from(grants[at].of);
    }
    found
}

pub(super) fn reference(chain: &[Vec<Grant>], leaf: usize, call: &CallFacts) -> bool {
    path(chain, leaf).into_iter().all(|(is_root, grant)| says(grant, is_root, call))
}

/// The result side: so many records of so many classes.
pub(super) fn reference_result(chain: &[Vec<Grant>], leaf: usize, records: u64, class: u8) -> bool {
    path(chain, leaf).into_iter().all(|(_, grant)| {
        grant.maxima.get("records").is_none_or(|max| records <= *max)
            && grant.classes.is_none_or(|classes| classes.contains(class))
    })
}
