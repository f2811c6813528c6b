//! Records as bytes: deterministic CBOR, with one encoding for each value and nothing a reader does not know.
//!
//! Both halves are maps with small unsigned keys in ascending order; a member that is absent or empty is left out
//! . A reader decodes, encodes again, and takes only what gives the same bytes.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::{Detail, Gap, GapCause, Public, Record, RecordKind, ResultFigures};
use crate::crypto::digest::Digest;
use crate::crypto::sign::Signature;
use crate::id::{BootId, DecisionId, LinkId, LogIndex, RevocationEpoch};
use crate::lattice::{ClassSet, Effects};
use crate::limits::RECORD_BYTES_MAX;
use crate::policy::Stage;
use crate::time::{BootTime, Timestamp};

/// Bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record: {rule}")]
pub struct MalformedRecord {
    /// The rule that is broken.
    pub rule: &'static str,
}

const fn malformed(rule: &'static str) -> MalformedRecord {
    MalformedRecord { rule }
}

const NOT_CBOR: MalformedRecord = malformed("cbor of the shape of R-1");
const NOT_CANONICAL: MalformedRecord = malformed("the one deterministic encoding");
const NOT_A_VALUE: MalformedRecord = malformed("a member has a value that it cannot have");

/// Entries of any list of a record. With the bound on the whole it only keeps decoding cheap.
const LIST_MAX: u64 = 1_024;

impl Record {
    /// An array of the public half, the digest of the detail, the detail or null, and the signature of a gap or null.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encoded(|out| {
            out.array(4)?.bytes(&self.public_bytes)?.bytes(&self.detail_digest.0)?;
            match &self.detail_bytes {
                Some(detail) => out.bytes(detail)?,
                None => out.null()?,
            };
            match &self.signature {
                Some(signature) => out.bytes(&signature.0)?,
                None => out.null()?,
            };
            Ok(())
        })
    }

    /// Reads a record. Its place in the chain and the signature of a gap are checked elsewhere.
    ///
    /// # Errors
    /// [`MalformedRecord`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(malformed("at most 16 KiB"));
        }
        let input = &mut Decoder::new(bytes);
        if read(input.array())? != Some(4) {
            return Err(NOT_CBOR);
        }
        let public_bytes = read(input.bytes())?.to_vec();
        let detail_digest = Digest(fixed(read(input.bytes())?)?);
        let detail_bytes = nullable(input)?.map(<[u8]>::to_vec);
        let signature = match nullable(input)? {
            Some(signature) => Some(Signature(fixed(signature)?)),
            None => None,
        };
        let public = Public::parse(&public_bytes)?;
        let detail = detail_bytes.as_deref().map(Detail::parse).transpose()?;
        let record = Self { public, detail, public_bytes, detail_bytes, detail_digest, signature };
        if record.to_bytes() != bytes {
            return Err(NOT_CANONICAL);
        }
        record.check()?;
        Ok(record)
    }

    /// What writer and reader both insist on.
    pub(super) fn check(&self) -> Result<(), MalformedRecord> {
        let Public { seq, kind, decision, reason, gap, .. } = &self.public;
        let is_gap = *kind == RecordKind::Gap;
        if *seq == 0 {
            return Err(malformed("records are counted from 1"));
        }
        let is_word = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        if !is_word(reason) {
            return Err(malformed("the reason is a word of 1 to 64 lower-case letters, digits and hyphens"));
        }
        if is_gap != gap.is_some() || is_gap != self.signature.is_some() || is_gap == decision.is_some() {
            return Err(malformed("a gap says what was lost and is signed; everything else names its decision"));
        }
        if self.detail_bytes.as_ref().is_some_and(|detail| Digest::of(&[detail]) != self.detail_digest) {
            return Err(malformed("the digest of the detail is not that of the detail"));
        }
        Ok(())
    }
}

impl Public {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self {
            edge,
            boot,
            seq,
            prev,
            wall,
            mono,
            kind,
            decision,
            tenant,
            effects,
            reason,
            tick,
            epoch,
            manifest,
            age_millis,
            gap,
        } = self;
        let mut map = Map::default();
        map.put(1, |out| out.str(edge.as_str())?.ok());
        map.put(2, |out| out.bytes(&boot.0)?.ok());
        map.put(3, |out| out.u64(*seq)?.ok());
        map.put(4, |out| out.bytes(&prev.0)?.ok());
        map.put(5, |out| out.u64(wall.as_millis())?.ok());
        map.put(6, |out| out.u64(mono.as_millis())?.ok());
        map.put(7, |out| out.u8(number_of(&RecordKind::ALL, kind))?.ok());
        map.maybe(8, decision.as_ref(), |decision, out| out.bytes(&decision.to_bytes())?.ok());
        map.maybe(9, tenant.as_ref(), |tenant, out| out.str(tenant.as_str())?.ok());
        map.put(10, |out| out.u64(effects.bits().into())?.ok());
        map.put(11, |out| out.str(reason)?.ok());
        map.put(12, |out| out.u64(tick.0)?.ok());
        map.put(13, |out| out.u64(epoch.0)?.ok());
        map.maybe(14, manifest.as_ref(), |manifest, out| out.bytes(&manifest.0)?.ok());
        map.maybe(15, *age_millis, |age, out| out.u64(age)?.ok());
        map.maybe(16, gap.as_ref(), |gap, out| {
            let Gap { cause, boot, after, records } = gap;
            out.array(4)?.u8(number_of(&GapCause::ALL, cause))?.bytes(&boot.0)?.u64(*after)?;
            match records {
                Some(records) => out.u64(*records)?.ok(),
                None => out.null()?.ok(),
            }
        });
        map.finish()
    }

    fn parse(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        let mut map = Members::of(bytes)?;
        let public = Self {
            edge: map.need(1, name)?,
            boot: BootId(map.need(2, array)?),
            seq: map.need(3, number)?,
            prev: Digest(map.need(4, array)?),
            wall: Timestamp::from_millis(map.need(5, number)?),
            mono: BootTime::from_millis(map.need(6, number)?),
            kind: map.need(7, |input| of_number(&RecordKind::ALL, number(input)?))?,
            decision: map.take(8, array)?.map(DecisionId::from_bytes),
            tenant: map.take(9, name)?,
            effects: map.need(10, |input| Effects::from_bits(number(input)?).ok_or(NOT_A_VALUE))?,
            reason: map.need(11, text)?,
            tick: LogIndex(map.need(12, number)?),
            epoch: RevocationEpoch(map.need(13, number)?),
            manifest: map.take(14, array)?.map(Digest),
            age_millis: map.take(15, number)?,
            gap: map.take(16, |input| {
                if read(input.array())? != Some(4) {
                    return Err(NOT_CBOR);
                }
                let cause = of_number(&GapCause::ALL, number(input)?)?;
                let (boot, after) = (BootId(array(input)?), number(input)?);
                let records = match read(input.datatype())? {
                    Type::Null => read(input.null()).map(|()| None)?,
                    _ => Some(number(input)?),
                };
                Ok(Gap { cause, boot, after, records })
            })?,
        };
        if public.to_bytes() == bytes { Ok(public) } else { Err(NOT_CANONICAL) }
    }
}

impl Detail {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self {
            salt,
            delegator,
            session,
            task,
            purpose,
            links,
            agents,
            tool,
            resources,
            ids,
            amounts,
            arguments,
            grant,
            policies,
            policies_total,
            dimension,
            hop,
            max_records,
            classes,
            result,
            credential,
            credential_version,
            note,
            stage,
            class,
            relations,
            absent,
            offline,
            asked_by,
            subject,
        } = self;
        let mut map = Map::default();
        map.put(1, |out| out.bytes(salt)?.ok());
        map.maybe(2, delegator.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.maybe(3, session.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.maybe(4, task.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.maybe(5, purpose.as_ref(), |v, out| out.str(v)?.ok());
        map.list(6, links, |link, out| out.bytes(&link.0.0)?.ok());
        map.list(7, agents, |agent, out| out.str(agent.as_str())?.ok());
        map.maybe(8, tool.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.list(9, resources, |resource, out| out.str(resource)?.ok());
        map.list(10, ids, |(dimension, ids), out| {
            out.array(2)?.str(dimension.as_str())?.array(len(ids))?;
            ids.iter().try_for_each(|id| out.str(id.as_str())?.ok())
        });
        map.list(11, amounts, |(dimension, amount), out| out.array(2)?.str(dimension.as_str())?.u64(*amount)?.ok());
        map.maybe(12, arguments.as_ref(), |v, out| out.bytes(&v.0)?.ok());
        map.maybe(13, *grant, |v, out| out.u16(v)?.ok());
        map.list(14, policies, |policy, out| out.str(policy.as_str())?.ok());
        map.maybe(15, (*policies_total > 0).then_some(*policies_total), |v, out| out.u32(v)?.ok());
        map.maybe(16, dimension.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.maybe(17, *hop, |v, out| out.u8(v)?.ok());
        map.maybe(18, *max_records, |v, out| out.u64(v)?.ok());
        map.maybe(19, classes.as_ref(), |v, out| out.bytes(&v.to_bytes())?.ok());
        map.maybe(20, result.as_ref(), |v, out| {
            let ResultFigures { records_before, records_released, fields_dropped, bytes } = v;
            out.array(4)?.u64(*records_before)?.u64(*records_released)?.u64(*fields_dropped)?.u64(*bytes)?.ok()
        });
        map.maybe(21, credential.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.maybe(22, *credential_version, |v, out| out.u64(v)?.ok());
        map.maybe(23, note.as_ref(), |v, out| out.str(v)?.ok());
        map.maybe(24, stage.as_ref(), |v, out| out.u8(number_of(&Stage::ALL, v))?.ok());
        map.maybe(25, class.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.maybe(26, *relations, |v, out| out.u64(v)?.ok());
        map.list(27, absent, |relation, out| out.str(relation)?.ok());
        map.maybe(28, offline.as_ref(), |v, out| out.bytes(&v.0)?.ok());
        map.maybe(29, asked_by.as_ref(), |v, out| out.str(v.as_str())?.ok());
        map.maybe(30, subject.as_ref(), |v, out| out.str(v)?.ok());
        map.finish()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        let mut map = Members::of(bytes)?;
        let detail = Self {
            salt: map.need(1, array)?,
            delegator: map.take(2, name)?,
            session: map.take(3, name)?,
            task: map.take(4, name)?,
            purpose: map.take(5, text)?,
            links: map.list(6, |input| Ok(LinkId(Digest(array(input)?))))?,
            agents: map.list(7, name)?,
            tool: map.take(8, name)?,
            resources: map.list(9, text)?,
            ids: map.list(10, |input| {
                pair(input)?;
                Ok((name(input)?, list(input, name)?))
            })?,
            amounts: map.list(11, |input| {
                pair(input)?;
                Ok((name(input)?, number(input)?))
            })?,
            arguments: map.take(12, array)?.map(Digest),
            grant: map.take(13, number)?,
            policies: map.list(14, name)?,
            policies_total: map.take(15, number)?.unwrap_or_default(),
            dimension: map.take(16, name)?,
            hop: map.take(17, number)?,
            max_records: map.take(18, number)?,
            classes: map.take(19, |input| ClassSet::from_bytes(read(input.bytes())?).map_err(|_| NOT_A_VALUE))?,
            result: map.take(20, |input| {
                if read(input.array())? != Some(4) {
                    return Err(NOT_CBOR);
                }
                Ok(ResultFigures {
                    records_before: number(input)?,
                    records_released: number(input)?,
                    fields_dropped: number(input)?,
                    bytes: number(input)?,
                })
            })?,
            credential: map.take(21, name)?,
            credential_version: map.take(22, number)?,
            note: map.take(23, text)?,
            stage: map.take(24, |input| of_number(&Stage::ALL, number(input)?))?,
            class: map.take(25, name)?,
            relations: map.take(26, number)?,
            absent: map.list(27, text)?,
            offline: map.take(28, array)?.map(Digest),
            asked_by: map.take(29, name)?,
            subject: map.take(30, text)?,
        };
        if detail.to_bytes() == bytes { Ok(detail) } else { Err(NOT_CANONICAL) }
    }
}

type Out<'a> = Encoder<&'a mut Vec<u8>>;
type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn encoded(write: impl FnOnce(&mut Out<'_>) -> Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = write(&mut Encoder::new(&mut bytes));
    debug_assert!(written.is_ok(), "a vector takes everything");
    bytes
}

/// Members of a map, in ascending order of their keys.
#[derive(Default)]
struct Map {
    count: u64,
    members: Vec<u8>,
}

impl Map {
    fn put(&mut self, key: u8, write: impl FnOnce(&mut Out<'_>) -> Written) {
        let mut out = Encoder::new(&mut self.members);
        let written = out.u8(key).map(drop).and_then(|()| write(&mut out));
        debug_assert!(written.is_ok(), "a vector takes everything");
        self.count += 1;
    }

    fn maybe<T>(&mut self, key: u8, value: Option<T>, write: impl FnOnce(T, &mut Out<'_>) -> Written) {
        if let Some(value) = value {
            self.put(key, |out| write(value, out));
        }
    }

    fn list<T>(&mut self, key: u8, items: &[T], mut write: impl FnMut(&T, &mut Out<'_>) -> Written) {
        if !items.is_empty() {
            self.put(key, |out| {
                out.array(len(items))?;
                items.iter().try_for_each(|item| write(item, out))
            });
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = encoded(|out| out.map(self.count)?.ok());
        bytes.extend_from_slice(&self.members);
        bytes
    }
}

fn len<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

fn number_of<T: PartialEq>(all: &[T], value: &T) -> u8 {
    all.iter().position(|one| one == value).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn of_number<T: Copy>(all: &[T], number: u8) -> Result<T, MalformedRecord> {
    all.get(usize::from(number)).copied().ok_or(NOT_A_VALUE)
}

/// Reads the members of a map in ascending order. One that nobody asks for stops the reader.
struct Members<'a> {
    input: Decoder<'a>,
    left: u64,
    next: Option<u8>,
}

impl<'a> Members<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, MalformedRecord> {
        let mut input = Decoder::new(bytes);
        let left = read(input.map())?.ok_or(NOT_CANONICAL)?;
        let mut map = Self { input, left, next: None };
        map.advance()?;
        Ok(map)
    }

    fn advance(&mut self) -> Result<(), MalformedRecord> {
        self.next = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(read(self.input.u8())?)
            }
            None => None,
        };
        Ok(())
    }

    fn take<T>(
        &mut self,
        key: u8,
        value: impl FnOnce(&mut Decoder<'a>) -> Result<T, MalformedRecord>,
    ) -> Result<Option<T>, MalformedRecord> {
        if self.next != Some(key) {
            return Ok(None);
        }
        let value = value(&mut self.input)?;
        self.advance()?;
        Ok(Some(value))
    }

    fn need<T>(
        &mut self,
        key: u8,
        value: impl FnOnce(&mut Decoder<'a>) -> Result<T, MalformedRecord>,
    ) -> Result<T, MalformedRecord> {
        self.take(key, value)?.ok_or(malformed("a member is missing"))
    }

    fn list<T>(
        &mut self,
        key: u8,
        item: impl FnMut(&mut Decoder<'a>) -> Result<T, MalformedRecord>,
    ) -> Result<Vec<T>, MalformedRecord> {
        Ok(self.take(key, |input| list(input, item))?.unwrap_or_default())
    }
}

fn list<'a, T>(
    input: &mut Decoder<'a>,
    mut item: impl FnMut(&mut Decoder<'a>) -> Result<T, MalformedRecord>,
) -> Result<Vec<T>, MalformedRecord> {
    let count = read(input.array())?.filter(|count| *count <= LIST_MAX).ok_or(NOT_CBOR)?;
    (0..count).map(|_| item(input)).collect()
}

fn pair(input: &mut Decoder<'_>) -> Result<(), MalformedRecord> {
    if read(input.array())? == Some(2) { Ok(()) } else { Err(NOT_CBOR) }
}

fn read<T>(read: Result<T, minicbor::decode::Error>) -> Result<T, MalformedRecord> {
    read.map_err(|_| NOT_CBOR)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], MalformedRecord> {
    bytes.try_into().map_err(|_| NOT_A_VALUE)
}

fn array<const N: usize>(input: &mut Decoder<'_>) -> Result<[u8; N], MalformedRecord> {
    fixed(read(input.bytes())?)
}

fn number<N: TryFrom<u64>>(input: &mut Decoder<'_>) -> Result<N, MalformedRecord> {
    N::try_from(read(input.u64())?).map_err(|_| NOT_A_VALUE)
}

fn text(input: &mut Decoder<'_>) -> Result<String, MalformedRecord> {
    read(input.str()).map(str::to_owned)
}

fn name<T: std::str::FromStr>(input: &mut Decoder<'_>) -> Result<T, MalformedRecord> {
    read(input.str())?.parse().map_err(|_| NOT_A_VALUE)
}

fn nullable<'a>(input: &mut Decoder<'a>) -> Result<Option<&'a [u8]>, MalformedRecord> {
    match read(input.datatype())? {
        Type::Null => read(input.null()).map(|()| None),
        _ => read(input.bytes()).map(Some),
    }
}
