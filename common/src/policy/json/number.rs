//! Which numbers mean the same to every reader.
//!
//! Readers differ in what they do with a number that a double cannot hold: some round, some keep the digits, some
//! fail. A number is accepted as a value only where all of them agree.

use super::Json;

/// The largest integer up to which a double tells every integer from the next.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// Reads a number that satisfies the grammar. Never fails: what does not survive a double keeps its text.
pub(super) fn read(text: &str) -> Json {
    lossless(text).unwrap_or_else(|| Json::Number(text.into()))
}

fn lossless(text: &str) -> Option<Json> {
    if !text.contains(['.', 'e', 'E']) && text != "-0" {
        let value = text.parse::<i64>().ok()?;
        return (-INTEGER_MAX..=INTEGER_MAX).contains(&value).then_some(Json::Int(value));
    }
    let value = text.parse::<f64>().ok()?;
    let bound = 9_007_199_254_740_991.0; // INTEGER_MAX
    let survives = value.abs() <= bound && Decimal::read(text) == Decimal::read(&format!("{value:e}"));
    survives.then_some(Json::Float(value))
}

/// The shortest text that reads back as this double, and is not read as an integer.
pub(super) fn float_text(value: f64) -> String {
    format!("{value:?}")
}

/// A decimal number in a form in which equal numbers are equal: `0.d1d2… × 10^exponent`, without outer zeros.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let from_first = all.trim_start_matches('0');
        let digits = from_first.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative, digits, exponent: 0 });
        }
        // An exponent beyond i64 belongs to a number that no double holds: no equality to be found.
        let written = exponent.strip_prefix('+').unwrap_or(exponent).parse::<i64>().ok()?;
        let point = i64::try_from(whole.len()).ok()?;
        let leading = i64::try_from(all.len() - from_first.len()).ok()?;
        Some(Self { negative, digits, exponent: written.checked_add(point)?.checked_sub(leading)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_every_reader_agrees_on_are_values_and_others_keep_their_text() {
        let check = |text: &str, expected: Json| assert_eq!(read(text), expected, "{text}");
        check("0", Json::Int(0));
        check("-7", Json::Int(-7));
        check("9007199254740991", Json::Int(9_007_199_254_740_991));
        check("-9007199254740991", Json::Int(-9_007_199_254_740_991));
        check("0.1", Json::Float(0.1));
        check("1.50", Json::Float(1.5));
        check("1e2", Json::Float(100.0));
        check("0.0000001", Json::Float(1e-7));
        check("5e-324", Json::Float(5e-324));
        check("0e99999999999999999999", Json::Float(0.0));
        for lossy in [
            "9007199254740992",
            "-9007199254740992",
            "123456789012345678901234567890",
            "0.10000000000000000001",
            "0.3000000000000000444",
            "1e300",
            "1e-400",
            "1e99999999999999999999",
            "9007199254740992.0",
        ] {
            check(lossy, Json::Number(lossy.into()));
        }
        assert!(matches!(read("-0"), Json::Float(zero) if zero == 0.0 && zero.is_sign_negative()));
        assert_eq!(
            (float_text(100.0), float_text(1e-7), float_text(-0.0)),
            ("100.0".into(), "1e-7".into(), "-0.0".into())
        );
    }
}
