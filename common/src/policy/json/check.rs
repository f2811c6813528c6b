//! The rules about names and numbers, which depend on where in a document one stands.

use super::pointer::path_text;
use super::{Json, JsonFault, MalformedJson, Mode, Place, Pointer, Step};

/// Checks names and numbers of a value that [`super::parse`] has read. Below a pointer of `free` nothing is asked.
///
/// # Errors
/// [`MalformedJson`] with the pointer of the first value that breaks a rule.
pub fn check(json: &Json, mode: Mode, free: &[Pointer]) -> Result<(), MalformedJson> {
    walk(json, mode, free, &mut Vec::new())
}

fn walk<'a>(json: &'a Json, mode: Mode, free: &[Pointer], path: &mut Vec<Step<'a>>) -> Result<(), MalformedJson> {
    if is_exempt(mode, free, path) {
        return Ok(());
    }
    let refuse = |fault, path: &[Step<'_>]| Err(MalformedJson { fault, place: Place::Pointer(path_text(path)) });
    match json {
        Json::Number(_) => return refuse(JsonFault::LossyNumber, path),
        Json::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                path.push(Step::Index(index));
                walk(element, mode, free, path)?;
                path.pop();
            }
        }
        Json::Object(members) => {
            if has_folded_twins(members) {
                return refuse(JsonFault::FoldedKey, path);
            }
            for (key, value) in members {
                path.push(Step::Key(key));
                if mode == Mode::Arguments && !is_plain(key) {
                    return refuse(JsonFault::KeyAlphabet, path);
                }
                walk(value, mode, free, path)?;
                path.pop();
            }
        }
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Text(_) => {}
    }
    Ok(())
}

fn is_exempt(mode: Mode, free: &[Pointer], path: &[Step<'_>]) -> bool {
    let judged_later = match mode {
        Mode::Arguments => false,
        Mode::Document => true,
        Mode::Protocol => matches!(
            path,
            [Step::Key("params"), Step::Key("arguments")] | [Step::Key("result"), Step::Key("structuredContent")]
        ),
    };
    judged_later || free.iter().any(|pointer| pointer.is_above(path))
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.$-".contains(&byte))
}

fn has_folded_twins(members: &[(String, Json)]) -> bool {
    if members.len() < 2 {
        return false;
    }
    let mut folded: Vec<String> = members.iter().map(|(key, _)| key.to_lowercase().replace(['-', '_'], "")).collect();
    folded.sort_unstable();
    folded.array_windows().any(|[left, right]| left == right)
}
