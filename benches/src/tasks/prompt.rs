//! What stands in a prompt: sentences of words, and values by kind. Words only; nothing here understands a text.

use std::collections::BTreeSet;

use super::rule::Kind;

/// Values of one kind that stand in a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The values.
    pub values: BTreeSet<String>,
    /// Whether they can be nothing else than values of this kind. The human has then said where to: nobody is asked
    /// about others.
    pub closes: bool,
}

const QUOTES: [(char, char); 4] = [('\'', '\''), ('"', '"'), ('‘', '’'), ('“', '”')];

/// Texts in quotes, and the text with a gap in the place of each. A quote that stands in a word is an apostrophe.
fn take_quoted(text: &str) -> (Vec<String>, String) {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied();
    let is_open = |index: usize| index == 0 || at(index - 1).is_some_and(|c| c.is_whitespace() || c == '(');
    let (mut quoted, mut rest, mut index) = (Vec::new(), String::new(), 0);
    while let Some(c) = at(index) {
        let closing = QUOTES.into_iter().find(|(open, _)| *open == c && is_open(index)).and_then(|(_, close)| {
            let ends = |end: &usize| at(*end) == Some(close) && !at(*end + 1).is_some_and(char::is_alphanumeric);
            (index + 2..chars.len()).find(ends)
        });
        match closing {
            Some(end) => {
                quoted.push(chars.iter().skip(index + 1).take(end - index - 1).collect());
                rest.push(' ');
                index = end + 1;
            }
            None => {
                rest.push(c);
                index += 1;
            }
        }
    }
    (quoted, rest)
}

/// The words of each sentence, in lower case; what stands in quotes is no word.
#[must_use]
pub fn sentences(text: &str) -> Vec<Vec<String>> {
    let (_, unquoted) = take_quoted(text);
    let mut sentences = vec![Vec::new()];
    for token in unquoted.split_whitespace() {
        let words = token.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| !word.is_empty());
        if let Some(sentence) = sentences.last_mut() {
            sentence.extend(words.map(str::to_lowercase));
        }
        if token.ends_with(['.', '?', '!']) {
            sentences.push(Vec::new());
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// Whether the words of the phrase stand in the sentence, one after the other.
#[must_use]
pub fn has_phrase(sentence: &[String], phrase: &str) -> bool {
    let phrase: Vec<&str> = phrase.split_whitespace().collect();
    !phrase.is_empty() && sentence.windows(phrase.len()).any(|words| words.iter().eq(phrase.iter()))
}

/// The values of this kind that stand in the text. `no_names`, in small letters, are words that name nobody.
#[must_use]
pub fn named(text: &str, kind: Kind, no_names: &BTreeSet<String>) -> Named {
    let closing = |values: BTreeSet<String>| Named { closes: !values.is_empty(), values };
    match kind {
        Kind::Account => {
            closing(tokens(text).filter(|token| is_iban(token)).chain(capitalised(text, no_names)).collect())
        }
        Kind::Address => closing(tokens(text).filter(|token| is_address(token)).collect()),
        Kind::Id => closing(announced_ids(text)),
        Kind::File => closing(tokens(text).filter(|token| is_file_name(token)).collect()),
        Kind::Quoted => {
            let is_word = |text: &String| !text.contains(char::is_whitespace) && !is_file_name(text);
            closing(take_quoted(text).0.into_iter().filter(is_word).collect())
        }
        Kind::Postal => closing(postal(text)),
        Kind::Name => Named { values: capitalised(text, no_names).collect(), closes: false },
    }
}

fn tokens(text: &str) -> impl Iterator<Item = String> {
    let mark = |c: char| "'\"‘’“”()[],.;:!?".contains(c);
    text.split_whitespace().map(move |token| token.trim_matches(mark).to_owned()).filter(|token| !token.is_empty())
}

/// Words with a capital letter that may be a name.
fn capitalised(text: &str, no_names: &BTreeSet<String>) -> impl Iterator<Item = String> {
    tokens(text).filter(|token| {
        let is_capital = token.starts_with(|c: char| c.is_ascii_uppercase());
        let is_word = token.len() > 1 && token.chars().all(char::is_alphabetic);
        is_capital && is_word && !no_names.contains(&token.to_lowercase())
    })
}

/// Two letters, two digits, 10 to 30 letters and digits. Its check digits are not looked at: accounts in examples have
/// none that are right.
fn is_iban(token: &str) -> bool {
    let mut bytes = token.bytes();
    let letters = bytes.by_ref().take(2).all(|byte| byte.is_ascii_uppercase());
    let digits = bytes.by_ref().take(2).all(|byte| byte.is_ascii_digit());
    letters && digits && (10..=30).contains(&bytes.len()) && bytes.all(|byte| byte.is_ascii_alphanumeric())
}

fn is_address(token: &str) -> bool {
    let Some((local, domain)) = token.split_once('@') else { return false };
    !local.is_empty()
        && !domain.contains('@')
        && domain.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
}

fn is_file_name(token: &str) -> bool {
    let Some((stem, ending)) = token.rsplit_once('.') else { return false };
    let letters = ending.chars().any(char::is_alphabetic) && ending.chars().all(char::is_alphanumeric);
    !stem.is_empty() && !token.contains('@') && letters && (2..=5).contains(&ending.len())
}

/// What follows the word `id`, if a digit is in it. A number alone is no id: it may be a day, an hour or an amount.
fn announced_ids(text: &str) -> BTreeSet<String> {
    let tokens: Vec<String> = tokens(text).collect();
    let pairs = tokens.iter().zip(tokens.iter().skip(1));
    let ids = pairs.filter(|(word, id)| word.eq_ignore_ascii_case("id") && id.contains(|c: char| c.is_ascii_digit()));
    ids.map(|(_, id)| id.clone()).collect()
}

/// What follows `address:` or `address is` up to `and` or the end of the sentence: every run of the parts between commas.
fn postal(text: &str) -> BTreeSet<String> {
    let lower = text.to_ascii_lowercase();
    let mut found = BTreeSet::new();
    for announced in ["address:", "address is"] {
        let Some(begin) = lower.find(announced).and_then(|at| at.checked_add(announced.len())) else { continue };
        let Some(rest) = text.get(begin..) else { continue };
        let end = [" and ", ". ", "? ", "! ", "\n"].iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        let Some(address) = rest.get(..end).map(|address| address.trim().trim_end_matches('.')) else { continue };
        if address.contains('@') {
            continue;
        }
        let parts: Vec<&str> = address.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        for first in 0..parts.len() {
            for count in 1..=parts.len() - first {
                let run: Vec<&str> = parts.iter().skip(first).take(count).copied().collect();
                found.insert(run.join(", "));
            }
        }
    }
    found
}
