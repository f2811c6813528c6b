//! Server-sent events, as far as an MCP answer needs them (WHATWG HTML, section 9.2.6).
//!
//! The body is complete and bounded when it comes here, so this is a function of bytes: the data of each event, in
//! order. Event types other than `message`, ids and retry times carry nothing for us and are skipped.

/// The data of every `message` event of a complete stream. An event that the stream does not end is dropped, as the
/// standard has it.
pub(super) fn messages(body: &[u8]) -> Vec<Vec<u8>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    let mut is_message = true;
    for line in Lines(body) {
        if line.is_empty() {
            if let Some(mut data) = data.take()
                && is_message
            {
                data.pop();
                events.push(data);
            }
            is_message = true;
            continue;
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => line.split_at(colon),
            None => (line, [].as_slice()),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                let data = data.get_or_insert_with(Vec::new);
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            b"event" => is_message = value.is_empty() || value == b"message",
            _ => {}
        }
    }
    events
}

/// Lines that end in LF, CR or CRLF. What no line end follows is not a line.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|b| matches!(b, b'\r' | b'\n'))?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
        Some(line)
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
        fn one_line_comes_out_as_it_went_in(text in "[ -~]{1,80}") {
            let body = format!("id: 1\ndata: {text}\n\n");
            prop_assert_eq!(messages(body.as_bytes()), vec![text.into_bytes()]);
        }
    }
}
