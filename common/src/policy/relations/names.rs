//! Objects as numbers. The texts lie one behind the other, and a table of numbers finds them by hash.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::base::usize_of;
use super::schema::TypeId;

/// Objects by number, from a first number on.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    first: u32,
    text: String,
    /// Where each text ends.
    ends: Vec<u32>,
    kinds: Vec<TypeId>,
    /// Numbers above `first`, plus one; 0 is free. Its length is a power of two.
    table: Vec<u32>,
}

impl Names {
    /// Numbers that follow those of `earlier`.
    pub(super) fn after(earlier: &Self) -> Self {
        Self { first: earlier.end(), ..Self::default() }
    }

    /// The number after the last.
    pub(super) fn end(&self) -> u32 {
        self.first.saturating_add(u32::try_from(self.ends.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn get(&self, kind: TypeId, id: &str) -> Option<u32> {
        let mask = self.table.len().checked_sub(1)?;
        let mut slot = hash(kind, id) & mask;
        loop {
            let place = self.table.get(slot)?.checked_sub(1)?;
            if self.kinds.get(usize_of(place)) == Some(&kind) && self.text_at(place) == id {
                return self.first.checked_add(place);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The number of an object; a new one if it has none.
    pub(super) fn intern(&mut self, kind: TypeId, id: &str) -> u32 {
        if let Some(known) = self.get(kind, id) {
            return known;
        }
        let number = self.end();
        self.text.push_str(id);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        self.kinds.push(kind);
        if self.ends.len() * 3 >= self.table.len() * 2 {
            self.table = vec![0; (self.table.len() * 2).max(16)];
            (0..self.ends.len()).for_each(|place| self.place(u32::try_from(place).unwrap_or(u32::MAX)));
        } else {
            self.place(number - self.first);
        }
        number
    }

    fn place(&mut self, place: u32) {
        let Some(kind) = self.kinds.get(usize_of(place)).copied() else { return };
        let mask = self.table.len().saturating_sub(1);
        let mut slot = hash(kind, self.text_at(place)) & mask;
        while let Some(held) = self.table.get_mut(slot) {
            if *held == 0 {
                *held = place.saturating_add(1);
                return;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The type of an object.
    pub(super) fn kind(&self, number: u32) -> Option<TypeId> {
        self.kinds.get(usize_of(number.checked_sub(self.first)?)).copied()
    }

    /// The id of an object.
    pub(super) fn id(&self, number: u32) -> Option<&str> {
        let place = number.checked_sub(self.first)?;
        self.kinds.get(usize_of(place)).map(|_| self.text_at(place))
    }

    fn text_at(&self, place: u32) -> &str {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(usize_of(before))).copied().unwrap_or(0);
        let end = self.ends.get(usize_of(place)).copied().unwrap_or(start);
        self.text.get(usize_of(start)..usize_of(end)).unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4 + self.kinds.capacity() * 2 + self.table.capacity() * 4
    }

    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.kinds.shrink_to_fit();
    }
}

fn hash(kind: TypeId, id: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    (kind, id).hash(&mut hasher);
    usize_of(u32::try_from(hasher.finish() >> 32).unwrap_or(0))
}
