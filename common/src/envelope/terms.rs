//! The terms of a link beside its grants: who it may be handed to, where it holds, what else it demands (clause E-3).

use super::cbor::{Keys, Reader, Texts, Writer, in_order};
use super::error::ShapeFault;
use crate::crypto::digest::Digest;
use crate::lattice::{Audience, Delegation, Demands, Grade, Log, Redact, SortedSet};

/// Regions or edges of one audience.
const AUDIENCE_MAX: usize = 64;
/// Keys that may have to approve.
const APPROVALS_MAX: usize = 16;

/// `deleg`, and what of it could not be enforced.
pub(super) fn delegation(reader: &mut Reader<'_>) -> Result<(Delegation, Option<&'static str>), ShapeFault> {
    reader.map("deleg", 4, 4)?;
    let mut keys = Keys::of("deleg");
    let mut known = |reader: &mut Reader<'_>, expected| match keys.next(reader)? {
        key if key == expected => Ok(()),
        _ => Err(ShapeFault::UnknownKey { at: "deleg" }),
    };
    known(reader, 1)?;
    let depth_left = reader.small("deleg.depth_left")?;
    known(reader, 2)?;
    let fanout_max = reader.small("deleg.fanout_max")?;
    known(reader, 3)?;
    let offline = reader.bool("deleg.offline")?;
    known(reader, 4)?;
    let unenforceable = match reader.uint("deleg.handoff")? {
        0 => None,
        1 => Some("deleg.handoff exclusive"),
        _ => return Err(ShapeFault::Value { at: "deleg.handoff" }),
    };
    Ok((Delegation { depth_left, fanout_max, offline }, unenforceable))
}

pub(super) fn write_delegation(out: &mut Writer, delegation: &Delegation) {
    let Delegation { depth_left, fanout_max, offline } = delegation;
    out.map(4);
    out.uint(1).uint(u64::from(*depth_left));
    out.uint(2).uint(u64::from(*fanout_max));
    out.uint(3).bool(*offline);
    out.uint(4).uint(0);
}

/// `aud`: where the link holds.
pub(super) fn audience(reader: &mut Reader<'_>) -> Result<Audience, ShapeFault> {
    let entries = reader.map("aud", 1, 2)?;
    let mut keys = Keys::of("aud");
    let mut audience = Audience::EVERYWHERE;
    for _ in 0..entries {
        match keys.next(reader)? {
            1 => audience.regions = Some(names(reader, "aud.regions")?),
            2 => audience.edges = Some(names(reader, "aud.edges")?),
            _ => return Err(ShapeFault::UnknownKey { at: "aud" }),
        }
    }
    Ok(audience)
}

fn names<T: std::str::FromStr + Ord>(reader: &mut Reader<'_>, at: &'static str) -> Result<SortedSet<T>, ShapeFault> {
    let count = reader.array(at, 0, AUDIENCE_MAX)?;
    let mut order = Texts::new();
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.text(at)?;
        order.check(name, ShapeFault::Unsorted { at })?;
        names.push(name.parse().map_err(|_| ShapeFault::Value { at })?);
    }
    Ok(names.into_iter().collect())
}

/// Writes an audience that is not everywhere.
pub(super) fn write_audience(out: &mut Writer, audience: &Audience) {
    let Audience { regions, edges } = audience;
    out.map(usize::from(regions.is_some()) + usize::from(edges.is_some()));
    if let Some(regions) = regions {
        out.uint(1).array(regions.len());
        for region in in_order(regions, |region| region.as_str()) {
            out.text(region.as_str());
        }
    }
    if let Some(edges) = edges {
        out.uint(2).array(edges.len());
        for edge in in_order(edges, |edge| edge.as_str()) {
            out.text(edge.as_str());
        }
    }
}

/// `obligations`: what must be met besides being permitted, and what of it could not be enforced. A demand of nothing
/// is left out, so that it has one encoding.
pub(super) fn obligations(reader: &mut Reader<'_>) -> Result<(Demands, Option<&'static str>), ShapeFault> {
    let entries = reader.map("obligations", 1, 4)?;
    let mut keys = Keys::of("obligations");
    let (mut demands, mut unenforceable) = (Demands::NONE, None);
    for _ in 0..entries {
        match keys.next(reader)? {
            1 => demands.min_pop = min_pop(reader)?,
            2 => {
                approvals(reader)?;
                unenforceable.get_or_insert("obligations.approvals");
            }
            3 => match positive(reader, "obligations.redact").map(Redact::from_bits)? {
                Some(redact) => demands.redact = redact,
                None => drop(unenforceable.get_or_insert("obligations.redact")),
            },
            4 => match positive(reader, "obligations.log").map(Log::from_number)? {
                Some(log) => demands.log = log,
                None => drop(unenforceable.get_or_insert("obligations.log")),
            },
            _ => return Err(ShapeFault::UnknownKey { at: "obligations" }),
        }
    }
    Ok((demands, unenforceable))
}

fn min_pop(reader: &mut Reader<'_>) -> Result<Grade, ShapeFault> {
    const AT: &str = "obligations.min_pop";
    let number: usize = usize::from(positive::<u8>(reader, AT)?);
    Grade::ALL.get(number).copied().ok_or(ShapeFault::Value { at: AT })
}

/// A number that is not zero.
fn positive<T: TryFrom<u64> + Default + PartialEq>(reader: &mut Reader<'_>, at: &'static str) -> Result<T, ShapeFault> {
    let number = reader.small(at)?;
    if number == T::default() { Err(ShapeFault::Value { at }) } else { Ok(number) }
}

/// Keys of whom has to approve. Nothing asks them yet.
fn approvals(reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    const AT: &str = "obligations.approvals";
    let count = reader.array(AT, 1, APPROVALS_MAX)?;
    let mut last = None;
    for _ in 0..count {
        let digest = Digest(reader.exactly(AT)?);
        if last.is_some_and(|last| digest <= last) {
            return Err(ShapeFault::Unsorted { at: AT });
        }
        last = Some(digest);
    }
    Ok(())
}

/// Writes demands of something.
pub(super) fn write_obligations(out: &mut Writer, demands: &Demands) {
    let Demands { min_pop, redact, log } = demands;
    let grade = Grade::ALL.iter().position(|grade| grade == min_pop).and_then(|at| u64::try_from(at).ok());
    let numbers = [(1, grade.unwrap_or(0)), (3, u64::from(redact.bits())), (4, u64::from(log.number()))];
    out.map(numbers.iter().filter(|(_, number)| *number > 0).count());
    for (key, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        out.uint(key).uint(number);
    }
}
