//! Deterministic CBOR (RFC 8949 section 4.2.1) and nothing else.
//!
//! The reader refuses whatever has a second encoding: a length or integer that is not the shortest, an indefinite
//! length, map keys and set items out of order or twice. Tags, floats and other simple values have no place in a
//! link, so it has no method for them. Lengths are compared with their bounds before anything is kept.

use std::cmp::Ordering;

use minicbor::{Decoder, Encoder};

use super::error::ShapeFault;
use crate::limits::LINK_TEXT_BYTES_MAX;

/// The order of map keys and set items (clause E-4): bytewise by their encoding, which for texts is by length first.
pub(super) fn text_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The items in the order of clause E-4.
pub(super) fn in_order<T>(items: impl IntoIterator<Item = T>, text: impl Fn(&T) -> &str) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_by(|a, b| text_order(text(a), text(b)));
    items
}

/// Reads items one after the other; each method names the field for the error.
pub(super) struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    pub(super) fn position(&self) -> usize {
        self.0.position()
    }

    /// The number of items of an array, within bounds.
    pub(super) fn array(&mut self, at: &'static str, min: usize, max: usize) -> Result<usize, ShapeFault> {
        let start = self.0.position();
        let count = self.0.array().map_err(|_| ShapeFault::Cbor { at })?.ok_or(ShapeFault::Indefinite { at })?;
        self.shortest(at, start, count, 0)?;
        bounded(at, count, min, max)
    }

    /// The number of entries of a map, within bounds.
    pub(super) fn map(&mut self, at: &'static str, min: usize, max: usize) -> Result<usize, ShapeFault> {
        let start = self.0.position();
        let count = self.0.map().map_err(|_| ShapeFault::Cbor { at })?.ok_or(ShapeFault::Indefinite { at })?;
        self.shortest(at, start, count, 0)?;
        bounded(at, count, min, max)
    }

    pub(super) fn uint(&mut self, at: &'static str) -> Result<u64, ShapeFault> {
        let start = self.0.position();
        let value = self.0.u64().map_err(|_| ShapeFault::Cbor { at })?;
        self.shortest(at, start, value, 0)?;
        Ok(value)
    }

    /// An unsigned integer that fits a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self, at: &'static str) -> Result<T, ShapeFault> {
        T::try_from(self.uint(at)?).map_err(|_| ShapeFault::Value { at })
    }

    pub(super) fn int(&mut self, at: &'static str) -> Result<i64, ShapeFault> {
        let start = self.0.position();
        let value = self.0.i64().map_err(|_| ShapeFault::Cbor { at })?;
        // CBOR writes a negative n as -1 - n, which is what is left when all bits are flipped.
        let argument = u64::try_from(value).or_else(|_| u64::try_from(!value)).unwrap_or(u64::MAX);
        self.shortest(at, start, argument, 0)?;
        Ok(value)
    }

    pub(super) fn bool(&mut self, at: &'static str) -> Result<bool, ShapeFault> {
        self.0.bool().map_err(|_| ShapeFault::Cbor { at })
    }

    pub(super) fn bytes(&mut self, at: &'static str, max: usize) -> Result<&'b [u8], ShapeFault> {
        self.definite(at)?;
        let start = self.0.position();
        let bytes = self.0.bytes().map_err(|_| ShapeFault::Cbor { at })?;
        self.shortest(at, start, u64::try_from(bytes.len()).unwrap_or(u64::MAX), bytes.len())?;
        if bytes.len() > max {
            return Err(ShapeFault::TooLong { found: bytes.len(), max });
        }
        Ok(bytes)
    }

    /// A byte string of fixed length.
    pub(super) fn exactly<const N: usize>(&mut self, at: &'static str) -> Result<[u8; N], ShapeFault> {
        self.bytes(at, usize::MAX)?.try_into().map_err(|_| ShapeFault::Value { at })
    }

    /// A text of at most 128 bytes, not empty and without control characters.
    pub(super) fn text(&mut self, at: &'static str) -> Result<&'b str, ShapeFault> {
        self.definite(at)?;
        let start = self.0.position();
        let text = self.0.str().map_err(|_| ShapeFault::Cbor { at })?;
        self.shortest(at, start, u64::try_from(text.len()).unwrap_or(u64::MAX), text.len())?;
        if text.len() > LINK_TEXT_BYTES_MAX {
            return Err(ShapeFault::TooLong { found: text.len(), max: LINK_TEXT_BYTES_MAX });
        }
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(ShapeFault::Value { at });
        }
        Ok(text)
    }

    /// A text that is something more particular, such as an id.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self, at: &'static str) -> Result<T, ShapeFault> {
        self.text(at)?.parse().map_err(|_| ShapeFault::Value { at })
    }

    /// Whether the next item is a text; for the few places where a value may have several types.
    pub(super) fn next_type(&self) -> Option<minicbor::data::Type> {
        self.0.datatype().ok()
    }

    /// That nothing follows.
    pub(super) fn end(&self, at: &'static str) -> Result<(), ShapeFault> {
        if self.0.position() == self.0.input().len() { Ok(()) } else { Err(ShapeFault::Trailing { at }) }
    }

    fn definite(&self, at: &'static str) -> Result<(), ShapeFault> {
        use minicbor::data::Type::{BytesIndef, StringIndef};
        match self.next_type() {
            Some(BytesIndef | StringIndef) => Err(ShapeFault::Indefinite { at }),
            _ => Ok(()),
        }
    }

    /// That the head which began at `start` is the shortest for its argument; `body` bytes followed it.
    fn shortest(&self, at: &'static str, start: usize, argument: u64, body: usize) -> Result<(), ShapeFault> {
        let head = match argument {
            0..=23 => 1,
            24..=0xff => 2,
            0x100..=0xffff => 3,
            0x1_0000..=0xffff_ffff => 5,
            _ => 9,
        };
        if self.0.position() == start.saturating_add(head).saturating_add(body) {
            Ok(())
        } else {
            Err(ShapeFault::NotDeterministic { at })
        }
    }
}

fn bounded(at: &'static str, count: u64, min: usize, max: usize) -> Result<usize, ShapeFault> {
    usize::try_from(count).ok().filter(|count| (min..=max).contains(count)).ok_or(ShapeFault::Count { at })
}

/// Checks that integer keys of a map rise.
pub(super) struct Keys {
    at: &'static str,
    last: Option<u64>,
}

impl Keys {
    pub(super) const fn of(at: &'static str) -> Self {
        Self { at, last: None }
    }

    pub(super) fn next(&mut self, reader: &mut Reader<'_>) -> Result<u64, ShapeFault> {
        let key = reader.uint(self.at)?;
        if self.last.is_some_and(|last| key <= last) {
            return Err(ShapeFault::KeyOrder { at: self.at });
        }
        self.last = Some(key);
        Ok(key)
    }
}

/// Checks that texts, keys of a map or items of a set, rise in the order of clause E-4.
pub(super) struct Texts<'b> {
    last: Option<&'b str>,
}

impl<'b> Texts<'b> {
    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    pub(super) fn check(&mut self, text: &'b str, fault: ShapeFault) -> Result<(), ShapeFault> {
        if self.last.is_some_and(|last| text_order(last, text) != Ordering::Less) {
            return Err(fault);
        }
        self.last = Some(text);
        Ok(())
    }
}

/// Writes the shortest encoding of each item.
pub(crate) struct Writer(Encoder<Vec<u8>>);

impl Writer {
    /// A writer with room for so many bytes; more are taken as needed.
    pub(crate) fn sized(bytes: usize) -> Self {
        Self(Encoder::new(Vec::with_capacity(bytes)))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_writer()
    }

    // INVARIANT: a `Vec` takes every write, so none of these results is an error.

    pub(crate) fn array(&mut self, count: usize) -> &mut Self {
        let _infallible = self.0.array(u64::try_from(count).unwrap_or(u64::MAX));
        self
    }

    pub(crate) fn map(&mut self, count: usize) -> &mut Self {
        let _infallible = self.0.map(u64::try_from(count).unwrap_or(u64::MAX));
        self
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        let _infallible = self.0.u64(value);
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        let _infallible = self.0.i64(value);
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        let _infallible = self.0.bool(value);
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let _infallible = self.0.bytes(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let _infallible = self.0.str(text);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uint(bytes: &[u8]) -> Result<u64, ShapeFault> {
        Reader::new(bytes).uint("n")
    }

    #[test]
    fn only_the_shortest_integer_is_read() {
        for value in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let mut writer = Writer::sized(9);
            writer.uint(value);
            assert_eq!(uint(&writer.finish()), Ok(value));
        }
        let long: [&[u8]; 4] =
            [&[0x18, 23], &[0x19, 0, 255], &[0x1a, 0, 0, 255, 255], &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255]];
        for bytes in long {
            assert_eq!(uint(bytes), Err(ShapeFault::NotDeterministic { at: "n" }), "{bytes:x?}");
        }
        for value in [-1, -24, -25, -19, -70_010, i64::MIN, 0, i64::MAX] {
            let mut writer = Writer::sized(9);
            writer.int(value);
            assert_eq!(Reader::new(&writer.finish()).int("n"), Ok(value));
        }
        assert_eq!(Reader::new(&[0x38, 0]).int("n"), Err(ShapeFault::NotDeterministic { at: "n" }));
    }

    #[test]
    fn what_has_a_second_encoding_is_refused() {
        let fault = Err(ShapeFault::Indefinite { at: "x" });
        assert_eq!(Reader::new(&[0x9f, 0xff]).array("x", 0, 9), fault);
        assert_eq!(Reader::new(&[0xbf, 0xff]).map("x", 0, 9), fault);
        assert_eq!(Reader::new(&[0x5f, 0x41, 0, 0xff]).bytes("x", 9).map(<[u8]>::len), fault);
        assert_eq!(Reader::new(&[0x7f, 0x61, 0x61, 0xff]).text("x").map(str::len), fault);
        let fault = Err(ShapeFault::NotDeterministic { at: "x" });
        assert_eq!(Reader::new(&[0x98, 1, 0]).array("x", 0, 9), fault);
        assert_eq!(Reader::new(&[0xb8, 1, 0, 0]).map("x", 0, 9), fault);
        assert_eq!(Reader::new(&[0x58, 1, 0]).bytes("x", 9).map(<[u8]>::len), fault);
        assert_eq!(Reader::new(&[0x78, 1, 0x61]).text("x").map(str::len), fault);
    }

    #[test]
    fn tags_floats_and_null_are_refused() {
        for bytes in [&[0xc1u8, 0][..], &[0xf9, 0, 0], &[0xf6], &[0xf7], &[0xf8, 32], &[0x20], &[]] {
            assert_eq!(uint(bytes), Err(ShapeFault::Cbor { at: "n" }), "{bytes:x?}");
        }
        assert_eq!(Reader::new(&[0xc1, 0x40]).bytes("x", 9).map(<[u8]>::len), Err(ShapeFault::Cbor { at: "x" }));
    }

    #[test]
    fn lengths_are_bounded_before_they_are_believed() {
        let huge = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new(&huge).array("x", 0, 9), Err(ShapeFault::Count { at: "x" }));
        let huge = [0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Reader::new(&huge).bytes("x", 9).map(<[u8]>::len), Err(ShapeFault::Cbor { at: "x" }));
    }
}
