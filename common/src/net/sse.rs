//! Server-sent events, as far as an MCP answer needs them (WHATWG HTML, section 9.2.6).
//!
//! The stream comes in pieces that may be cut anywhere, and is bounded before it comes here. What counts is the data of
//! each event, in order; event types other than `message`, ids and retry times carry nothing for us and are skipped.

/// The data of every `message` event of a complete stream. An event that the stream does not end is dropped, as the
/// standard has it.
#[must_use]
pub fn messages(body: &[u8]) -> Vec<Vec<u8>> {
    Events::default().push(body)
}

/// A stream, as far as it has come.
#[derive(Debug)]
pub struct Events {
    line: Vec<u8>,
    /// The line before ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    /// Nothing has come yet but perhaps the beginning of the first line.
    is_first: bool,
    data: Option<Vec<u8>>,
    is_message: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self { line: Vec::new(), after_cr: false, is_first: true, data: None, is_message: true }
    }
}

impl Events {
    /// Takes the next piece, and gives the data of the `message` events that end in it.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut ended = Vec::new();
        for byte in piece {
            let follows_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\r' | b'\n' => {
                    let mut line = std::mem::take(&mut self.line);
                    if std::mem::replace(&mut self.is_first, false) && line.starts_with(b"\xef\xbb\xbf") {
                        line.drain(..3);
                    }
                    ended.extend(self.end_line(&line));
                }
                other => self.line.push(*other),
            }
        }
        ended
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if line.is_empty() {
            let is_message = std::mem::replace(&mut self.is_message, true);
            let mut data = self.data.take().filter(|_| is_message)?;
            data.pop();
            return Some(data);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => line.split_at(colon),
            None => (line, [].as_slice()),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                let data = self.data.get_or_insert_default();
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            b"event" => self.is_message = value.is_empty() || value == b"message",
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_as_servers_send_them() {
        let check = |body: &str, expected: &[&str]| {
            let found = messages(body.as_bytes());
            assert_eq!(found, expected.iter().map(|e| e.as_bytes().to_vec()).collect::<Vec<_>>(), "{body:?}");
        };
        check("data: {\"a\":1}\n\n", &["{\"a\":1}"]);
        check("event: message\r\nid: 7\r\nretry: 3000\r\ndata: x\r\n\r\n", &["x"]);
        check(": keep alive\n\ndata:x\ndata: y\n\ndata: z\r\r", &["x\ny", "z"]);
        check("data:\ndata:x\n\n", &["\nx"]);
        check("event: ping\ndata: no\n\ndata: yes\n\n", &["yes"]);
        check("\u{feff}data\n\ndata: unfinished\n", &[""]);
        check("data: unfinished", &[]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = messages(&bytes);
        }

        #[test]
        fn where_a_stream_is_cut_into_pieces_changes_nothing(
            body in "(data|event|: x|\u{feff}|message|a|\r|\n|\r\n|\n\n){0,30}",
            size in 1usize..6,
        ) {
            let mut events = Events::default();
            let pieces: Vec<Vec<u8>> = body.as_bytes().chunks(size).flat_map(|piece| events.push(piece)).collect();
            prop_assert_eq!(pieces, messages(body.as_bytes()));
        }

        #[test]
        fn one_line_comes_out_as_it_went_in(text in "[ -~]{1,80}") {
            let body = format!("id: 1\ndata: {text}\n\n");
            prop_assert_eq!(messages(body.as_bytes()), vec![text.into_bytes()]);
        }
    }
}
