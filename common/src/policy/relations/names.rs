//! Objects as numbers. A table of numbers finds them by hash; short ids stand in their slots, long ones one behind the
//! other. A lookup waits for memory more than for anything, so it touches the table, one slot, and seldom more.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use super::base::usize_of;
use super::schema::TypeId;

/// Bytes of an id that stand in its slot.
const SHORT: usize = 13;

/// Objects by number, from a first number on.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    first: u32,
    slots: Vec<Slot>,
    /// The ids that are longer than [`SHORT`].
    text: Vec<u8>,
    /// Numbers above `first`, plus one, each beside its hash; 0 is free. Its length is a power of two, and half of it
    /// stays free.
    table: Vec<(u32, u32)>,
}

/// An object: 16 bytes, four of them to a line of the cache.
#[derive(Debug, Clone, Copy)]
struct Slot {
    kind: TypeId,
    length: u8,
    /// The id, or where it begins in the text.
    short: [u8; SHORT],
}

impl Names {
    /// Numbers that follow those of `earlier`.
    pub(super) fn after(earlier: &Self) -> Self {
        Self { first: earlier.end(), ..Self::default() }
    }

    /// The number after the last.
    pub(super) fn end(&self) -> u32 {
        self.first.saturating_add(u32::try_from(self.slots.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn get(&self, kind: TypeId, id: &str) -> Option<u32> {
        let mask = self.table.len().checked_sub(1)?;
        let hash = hash(kind, id.as_bytes());
        let mut at = usize_of(hash) & mask;
        loop {
            let (held, of) = self.table.get(at)?;
            let place = held.checked_sub(1)?;
            if *of == hash
                && self.slot(place).is_some_and(|slot| slot.kind == kind && self.bytes_of(slot) == id.as_bytes())
            {
                return self.first.checked_add(place);
            }
            at = (at + 1) & mask;
        }
    }

    /// The number of an object; a new one if it has none.
    pub(super) fn intern(&mut self, kind: TypeId, id: &str) -> u32 {
        if let Some(known) = self.get(kind, id) {
            return known;
        }
        let number = self.end();
        // INVARIANT: an id has at most 128 bytes.
        let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
        let mut short = [0; SHORT];
        if id.len() <= SHORT {
            short.iter_mut().zip(id.bytes()).for_each(|(to, from)| *to = from);
        } else {
            let begins = u32::try_from(self.text.len()).unwrap_or(u32::MAX).to_le_bytes();
            short.iter_mut().zip(begins).for_each(|(to, from)| *to = from);
            self.text.extend(id.bytes().take(usize::from(length)));
        }
        self.slots.push(Slot { kind, length, short });
        if self.slots.len() * 2 >= self.table.len() {
            self.table = vec![(0, 0); (self.table.len() * 2).max(16)];
            (0..self.slots.len()).for_each(|place| self.place(u32::try_from(place).unwrap_or(u32::MAX)));
        } else {
            self.place(number - self.first);
        }
        number
    }

    fn place(&mut self, place: u32) {
        let Some(hash) = self.slot(place).map(|slot| hash(slot.kind, self.bytes_of(slot))) else { return };
        let mask = self.table.len().saturating_sub(1);
        let mut at = usize_of(hash) & mask;
        while let Some(held) = self.table.get_mut(at) {
            if held.0 == 0 {
                *held = (place.saturating_add(1), hash);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn slot(&self, place: u32) -> Option<&Slot> {
        self.slots.get(usize_of(place))
    }

    fn bytes_of<'s>(&'s self, slot: &'s Slot) -> &'s [u8] {
        let length = usize::from(slot.length);
        if length <= SHORT {
            return slot.short.get(..length).unwrap_or_default();
        }
        let begins = slot.short.first_chunk().map_or(u32::MAX, |begins| u32::from_le_bytes(*begins));
        self.text.get(usize_of(begins)..usize_of(begins).saturating_add(length)).unwrap_or_default()
    }

    /// The type of an object.
    pub(super) fn kind(&self, number: u32) -> Option<TypeId> {
        self.slot(number.checked_sub(self.first)?).map(|slot| slot.kind)
    }

    /// The id of an object.
    pub(super) fn id(&self, number: u32) -> Option<&str> {
        let slot = self.slot(number.checked_sub(self.first)?)?;
        std::str::from_utf8(self.bytes_of(slot)).ok()
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + self.slots.capacity() * size_of::<Slot>() + self.table.capacity() * 8
    }

    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.slots.shrink_to_fit();
    }
}

/// Keyed anew in every process: whoever chooses ids does not choose where they fall.
fn hash(kind: TypeId, id: &[u8]) -> u32 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let hash = KEY.get_or_init(RandomState::new).hash_one((kind, id));
    u32::try_from(hash >> 32).unwrap_or(0)
}
