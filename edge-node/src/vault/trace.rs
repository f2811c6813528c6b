//! What a credential looks like when a tool gives it back.
//!
//! A tool that echoes its request, an error page or a debugging header would hand the agent the one thing it must
//! never hold. So every answer of a call that spent a credential is searched before any of it is released: for the
//! bytes, and for the usual spellings of them. This is the second line of defence. The first is that the credential
//! goes to one origin only; no search finds an encoding it does not know. Clauses G-30 and G-31.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use remit_common::text;
use zeroize::Zeroizing;

/// Shorter credentials would be found in innocent text, and left in guilty text were they not searched for: they are
/// not spent at all.
pub(crate) const SECRET_BYTES_MIN: usize = 8;

/// The credential was found in an answer. Says no more: where and how would help whoever tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer carries the credential")]
pub(crate) struct CarriesCredential;

/// The spellings of one credential.
pub(crate) struct Traces {
    /// Compared byte by byte.
    exact: Vec<Zeroizing<Vec<u8>>>,
    /// Lower-case hex, compared without regard to case.
    hex: Zeroizing<Vec<u8>>,
}

impl Traces {
    /// Builds the spellings of `secret`.
    pub(crate) fn of(secret: &[u8]) -> Self {
        let mut exact = vec![Zeroizing::new(secret.to_vec())];
        for alphabet in [&STANDARD, &URL_SAFE] {
            for before in 0..3 {
                exact.push(base64_core(alphabet, secret, before));
            }
        }
        Self { exact, hex: Zeroizing::new(text::hex(secret).into_bytes()) }
    }

    /// Searches `bytes`, as they are and with percent-encoding undone.
    ///
    /// # Errors
    /// [`CarriesCredential`] when a spelling is found.
    pub(crate) fn check_absent(&self, bytes: &[u8]) -> Result<(), CarriesCredential> {
        self.check_spelling(bytes)?;
        match percent_decoded(bytes) {
            Some(decoded) => self.check_spelling(&decoded),
            None => Ok(()),
        }
    }

    fn check_spelling(&self, bytes: &[u8]) -> Result<(), CarriesCredential> {
        let found = self.exact.iter().any(|spelling| contains(bytes, spelling, |a, b| a == b))
            || contains(bytes, &self.hex, |a, b| a.to_ascii_lowercase() == b);
        if found { Err(CarriesCredential) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Traces")
    }
}

/// The base64 characters that depend on `secret` alone when `before` (modulo 3) other bytes stand in front of it.
fn base64_core(alphabet: &GeneralPurpose, secret: &[u8], before: usize) -> Zeroizing<Vec<u8>> {
    let mut padded = Zeroizing::new(vec![0; before]);
    padded.extend_from_slice(secret);
    let bits_end = padded.len() * 8;
    let whole = padded.len().next_multiple_of(3);
    padded.resize(whole, 0);
    let encoded = Zeroizing::new(alphabet.encode(padded.as_slice()).into_bytes());
    let (first, end) = ((before * 8).div_ceil(6), bits_end / 6);
    Zeroizing::new(encoded.get(first..end).unwrap_or_default().to_vec())
}

fn contains(haystack: &[u8], needle: &[u8], equal: impl Fn(u8, u8) -> bool) -> bool {
    let Some(first) = needle.first() else { return false };
    haystack.windows(needle.len()).any(|window| {
        window.first().is_some_and(|b| equal(*b, *first)) && window.iter().zip(needle).all(|(a, b)| equal(*a, *b))
    })
}

/// `bytes` with every `%XX` replaced, or `None` when there is none.
fn percent_decoded(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if !bytes.contains(&b'%') {
        return None;
    }
    let mut decoded = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%'
            && let Some(([high, low], tail)) = after.split_first_chunk::<2>()
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            decoded.push(u8::try_from(high << 4 | low).unwrap_or_default());
            rest = tail;
        } else {
            decoded.push(*byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"sk-live-7f+Q/9?canary";

    #[test]
    fn every_usual_spelling_is_found() {
        let traces = Traces::of(KEY);
        let check = |what: &str, text: &[u8]| {
            assert_eq!(traces.check_absent(text), Err(CarriesCredential), "{what}");
        };
        check("raw", b"you sent Authorization: Bearer sk-live-7f+Q/9?canary.");
        check("hex", format!("x{}y", text::hex(KEY)).as_bytes());
        check("upper-case hex", text::hex(KEY).to_uppercase().as_bytes());
        check("percent", b"k=sk-live-7f%2BQ%2f9%3Fcanary&x=1");
        check("percent of every byte", KEY.iter().map(|b| format!("%{b:02X}")).collect::<String>().as_bytes());
        for before in ["", "B", "Be", "Bearer ", "Basic user:"] {
            let whole = [before.as_bytes(), KEY, b" tail"].concat();
            check(before, STANDARD.encode(&whole).as_bytes());
            check(before, URL_SAFE.encode(&whole).as_bytes());
            check(before, STANDARD.encode([before.as_bytes(), KEY].concat()).as_bytes());
        }
    }

    #[test]
    fn other_text_is_left_alone() {
        let traces = Traces::of(KEY);
        for clean in ["", "%", "%zz", "sk-live-7f+Q/9?canar", "100% of contracts", "c2stbGl2ZS03"] {
            assert_eq!(traces.check_absent(clean.as_bytes()), Ok(()), "{clean}");
        }
    }

    #[test]
    fn spellings_do_not_print() {
        assert_eq!(format!("{:?}", Traces::of(KEY)), "Traces");
    }

    proptest! {
        #[test]
        fn base64_is_found_wherever_it_stands(
            secret in prop::collection::vec(any::<u8>(), SECRET_BYTES_MIN..40),
            before in prop::collection::vec(any::<u8>(), 0..7),
            after in prop::collection::vec(any::<u8>(), 0..7),
        ) {
            let encoded = STANDARD.encode([before, secret.clone(), after].concat());
            prop_assert_eq!(Traces::of(&secret).check_absent(encoded.as_bytes()), Err(CarriesCredential));
        }

        #[test]
        fn no_bytes_panic(secret in prop::collection::vec(any::<u8>(), 0..20), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Traces::of(&secret).check_absent(&bytes);
        }
    }
}
