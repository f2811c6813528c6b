//! As much of gRPC and of protocol buffers as `etcd` is asked with: three messages and their first fields.

use anyhow::{Context as _, Result, ensure};

/// Behind a message, its length on four bytes; in front of it, that it is not compressed.
const PREFIX_BYTES: usize = 5;
/// Protocol buffers: a field with a length in front of it.
const WITH_LENGTH: u64 = 2;

/// A message as it travels.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &len.to_be_bytes(), message].concat()
}

/// Takes the first whole message off what has arrived.
pub(super) fn take_message(arrived: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (_, rest) = arrived.split_first()?;
    let len = usize::try_from(u32::from_be_bytes(*rest.first_chunk::<4>()?)).ok()?;
    let end = PREFIX_BYTES.checked_add(len)?;
    let message = arrived.get(PREFIX_BYTES..end)?.to_vec();
    arrived.drain(..end);
    Some(message)
}

/// A field of bytes.
pub(super) fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, number << 3 | WITH_LENGTH);
    put_number(&mut out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
    out
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

fn take_number(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().context("a number breaks off")?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    anyhow::bail!("a number does not end")
}

/// The fields of a message that have bytes in them, in their order. Others are stepped over.
pub(super) fn fields(mut message: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = take_number(&mut message)?;
        match tag & 7 {
            0 => drop(take_number(&mut message)?),
            WITH_LENGTH => {
                let len = usize::try_from(take_number(&mut message)?)?;
                let bytes = message.get(..len).context("a field breaks off")?;
                found.push((tag >> 3, bytes.to_vec()));
                message = message.get(len..).unwrap_or_default();
            }
            1 | 5 => {
                let len = if tag & 7 == 1 { 8 } else { 4 };
                ensure!(message.len() >= len, "a field breaks off");
                message = message.get(len..).unwrap_or_default();
            }
            other => anyhow::bail!("a field of kind {other}"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_fields_come_back() {
        let message = [field(1, b"key"), field(300, &[7; 300]), vec![0x10, 0xac, 0x02]].concat();
        let found = fields(&message).unwrap();
        assert_eq!(found, [(1, b"key".to_vec()), (300, vec![7; 300])]);
        assert!(fields(&message[..20]).is_err());
        let mut arrived = [framed(&message), framed(b"x")].concat();
        arrived.pop();
        assert_eq!(take_message(&mut arrived), Some(message));
        assert_eq!(take_message(&mut arrived), None);
        arrived.push(b'x');
        assert_eq!(take_message(&mut arrived), Some(b"x".to_vec()));
    }
}
