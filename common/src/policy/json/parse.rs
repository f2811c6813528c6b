//! The parser: one pass, recursion bounded by depth, memory bounded by the number of values.

use super::{Json, JsonFault, MalformedJson, Mode, Place, check, number};
use crate::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};

/// Reads one document. The caller has bounded the number of bytes.
///
/// # Errors
/// [`MalformedJson`] says what strict JSON refuses, and where.
pub fn parse(bytes: &[u8], mode: Mode) -> Result<Json, MalformedJson> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(at(JsonFault::NotUtf8, error.valid_up_to())),
    };
    let mut parser = Parser { text, bytes, position: 0, values: 0 };
    let json = parser.value(0)?;
    parser.skip_space();
    if parser.position < bytes.len() {
        return Err(parser.fault(JsonFault::TrailingBytes));
    }
    check(&json, mode, &[])?;
    Ok(json)
}

fn at(fault: JsonFault, offset: usize) -> MalformedJson {
    MalformedJson { fault, place: Place::Byte(offset) }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
    values: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, MalformedJson> {
        self.values += 1;
        if self.values > JSON_VALUES_MAX {
            return Err(self.fault(JsonFault::TooManyValues));
        }
        self.skip_space();
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number(),
            b'[' | b'{' if depth >= JSON_DEPTH_MAX => Err(self.fault(JsonFault::TooDeep)),
            b'[' => self.array(depth + 1),
            b'{' => self.object(depth + 1),
            _ => Err(self.fault(JsonFault::Syntax)),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, MalformedJson> {
        self.position += 1;
        let mut elements = Vec::new();
        if self.take_if(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            if !self.another(b']')? {
                return Ok(Json::Array(elements));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, MalformedJson> {
        let start = self.position;
        self.position += 1;
        let mut members = Vec::new();
        if self.take_if(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek()? != b'"' {
                return Err(self.fault(JsonFault::Syntax));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek()? != b':' {
                return Err(self.fault(JsonFault::Syntax));
            }
            self.position += 1;
            members.push((key, self.value(depth)?));
            if !self.another(b'}')? {
                break;
            }
        }
        let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys.array_windows().any(|[left, right]| left == right) {
            return Err(at(JsonFault::DuplicateKey, start));
        }
        Ok(Json::Object(members))
    }

    /// After an element: a comma means that another one follows, `close` that none does.
    fn another(&mut self, close: u8) -> Result<bool, MalformedJson> {
        self.skip_space();
        let byte = self.peek()?;
        if byte != b',' && byte != close {
            return Err(self.fault(JsonFault::Syntax));
        }
        self.position += 1;
        Ok(byte == b',')
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, MalformedJson> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.position += word.len();
            return Ok(value);
        }
        let fault = if word.as_bytes().starts_with(rest) { JsonFault::Truncated } else { JsonFault::Syntax };
        Err(self.fault(fault))
    }

    fn number(&mut self) -> Result<Json, MalformedJson> {
        let start = self.position;
        if self.bytes.get(self.position) == Some(&b'-') {
            self.position += 1;
        }
        if self.peek()? == b'0' {
            self.position += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.position) == Some(&b'.') {
            self.position += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.position), Some(b'e' | b'E')) {
            self.position += 1;
            if matches!(self.bytes.get(self.position), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.digits()?;
        }
        if matches!(self.bytes.get(self.position), Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
            return Err(self.fault(JsonFault::Syntax));
        }
        Ok(number::read(self.text.get(start..self.position).unwrap_or_default()))
    }

    fn digits(&mut self) -> Result<(), MalformedJson> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.fault(JsonFault::Syntax));
        }
        while self.bytes.get(self.position).is_some_and(u8::is_ascii_digit) {
            self.position += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, MalformedJson> {
        self.position += 1;
        let mut out = String::new();
        loop {
            let start = self.position;
            while self.bytes.get(self.position).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
                self.position += 1;
            }
            // INVARIANT: both ends lie beside ASCII bytes, hence on character boundaries.
            out.push_str(self.text.get(start..self.position).unwrap_or_default());
            match self.peek()? {
                b'"' => {
                    self.position += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                0 => return Err(self.fault(JsonFault::NulCharacter)),
                _ => return Err(self.fault(JsonFault::Syntax)), // a bare control character
            }
        }
    }

    fn escape(&mut self) -> Result<char, MalformedJson> {
        let start = self.position;
        self.position += 1;
        let byte = self.peek()?;
        self.position += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(start),
            _ => return Err(at(JsonFault::Syntax, start)),
        })
    }

    fn unicode(&mut self, start: usize) -> Result<char, MalformedJson> {
        let lone = || at(JsonFault::LoneSurrogate, start);
        let first = self.hex4()?;
        let code = match first {
            0 => return Err(at(JsonFault::NulCharacter, start)),
            0xd800..0xdc00 => {
                if self.bytes.get(self.position..self.position + 2) != Some(b"\\u".as_slice()) {
                    return Err(lone());
                }
                self.position += 2;
                let second = self.hex4()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(lone());
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(lone)
    }

    fn hex4(&mut self) -> Result<u32, MalformedJson> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.peek()?).to_digit(16);
            let Some(digit) = digit else { return Err(self.fault(JsonFault::Syntax)) };
            value = value * 16 + digit;
            self.position += 1;
        }
        Ok(value)
    }

    fn take_if(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.bytes.get(self.position) == Some(&byte);
        if found {
            self.position += 1;
        }
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.position), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }

    fn peek(&self) -> Result<u8, MalformedJson> {
        self.bytes.get(self.position).copied().ok_or_else(|| self.fault(JsonFault::Truncated))
    }

    fn fault(&self, fault: JsonFault) -> MalformedJson {
        at(fault, self.position)
    }
}
