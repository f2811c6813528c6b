//! What of a result may be released.
//!
//! The filter is pure: a descriptor, a result and the obligations of one grant give what the agent sees. A result is
//! closed like the arguments are. A field is released because the descriptor gives it a class and the grant has that
//! class, never because nobody thought of it; records are counted and cut; and the readable `content`, in which a
//! tool repeats its answer, is written anew from what is left of the structured one. Clauses P-20 to P-24.

use super::catalogue::Tool;
use super::decision::Obligations;
use super::json::{Json, MalformedJson, Mode, Pointer, Step, check, encode, encode_text};

/// What an agent reads instead of a tool's own error text.
pub const TOOL_ERROR_TEXT: &str = "The tool reported an error. Its text is withheld.";
/// What an agent reads instead of a result without any class, where its envelope shows none.
pub const UNCLASSIFIED_TEXT: &str = "The result has no class and is withheld: the envelope shows only what has one.";
/// The key in a result's `_meta` under which a cut is announced.
pub const CUT_META: &str = "remit/cut";

/// A result that may be released, and what was done to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Filtered {
    /// The result: `content`, and `structuredContent`, `isError` and `_meta` where there is something to say.
    pub json: Json,
    /// Figures for the record and the budget.
    pub figures: ResultFigures,
}

/// What a filter did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResultFigures {
    /// Records that the tool returned.
    pub records_before: u64,
    /// Records that were released.
    pub records_released: u64,
    /// Fields that were dropped, the largest dropped part counting once.
    pub fields_dropped: u64,
    /// Bytes of the released result, encoded.
    pub bytes: u64,
}

/// A result that cannot be judged, hence not released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableResult {
    /// Not an object with a `content` array, or members of another type than the protocol says.
    #[error("not the result of a tool call")]
    Shape,
    /// The tool asks for something instead of answering; no descriptor allows that.
    #[error("a result of type `{0}`")]
    NotComplete(String),
    /// Structured content that is not strict JSON.
    #[error("malformed structured content")]
    Malformed(#[source] MalformedJson),
    /// The descriptor names parts of the result, and there is nothing structured to find them in.
    #[error("no structured content, where the descriptor names parts of it")]
    NotStructured,
    /// Where records should be there is something else than a list of records.
    #[error("something else than a list of records at `{0}`")]
    NotRecords(String),
}

/// Whether these obligations let a result of this tool pass as it is, so that nobody has to see it to release it.
#[must_use]
pub fn releases_everything(tool: &Tool, limits: &Obligations) -> bool {
    !tool.is_classified() && !limits.demands.redact.unclassified
}

/// Filters the result of a call by its tool's descriptor and the obligations of the grant that admitted it.
///
/// # Errors
/// [`UnusableResult`] when the result cannot be judged.
pub fn filter(tool: &Tool, result: &Json, limits: &Obligations) -> Result<Filtered, UnusableResult> {
    let parts = Parts::of(result)?;
    // An envelope can close what the tool's descriptor leaves open, never the other way round.
    let closed = limits.demands.redact.unclassified;
    let open = tool.open && !closed;
    if parts.is_error && open && parts.structured.is_none() {
        return Ok(released(parts.as_they_are(), ResultFigures::default()));
    }
    if parts.is_error && !open {
        let json = Json::object([("content", texts([TOOL_ERROR_TEXT.to_owned()])), ("isError", Json::Bool(true))]);
        return Ok(released(json, ResultFigures::default()));
    }
    if let Some(structured) = parts.structured {
        check(structured, Mode::Arguments, &[]).map_err(UnusableResult::Malformed)?;
    }
    if !tool.is_classified() && closed {
        let json = Json::object([("content", texts([UNCLASSIFIED_TEXT.to_owned()]))]);
        return Ok(released(json, ResultFigures { fields_dropped: 1, ..ResultFigures::default() }));
    }
    if !tool.is_classified() {
        return Ok(released(parts.as_they_are(), ResultFigures::default()));
    }
    let structured = parts.structured.ok_or(UnusableResult::NotStructured)?;
    let mut sieve = Sieve {
        tool,
        limits,
        open,
        records_left: if tool.records.is_some() { limits.max_records.unwrap_or(0) } else { u64::MAX },
        figures: ResultFigures::default(),
    };
    let kept = sieve.keep(structured, &mut Vec::new(), Cover::None)?.unwrap_or(Json::Object(Vec::new()));
    let figures = sieve.figures;
    let mut blocks = vec![encode_text(&kept)];
    let cut = figures.records_released < figures.records_before;
    if cut {
        blocks.push(format!("Cut at {} records, the most that the envelope allows.", figures.records_released));
    }
    let mut members = vec![("content".to_owned(), texts(blocks)), ("structuredContent".to_owned(), kept)];
    if parts.is_error {
        members.push(("isError".to_owned(), Json::Bool(true)));
    }
    if cut {
        let released = i64::try_from(figures.records_released).map_or(Json::Null, Json::Int);
        members.push(("_meta".to_owned(), Json::object([(CUT_META, Json::object([("records", released)]))])));
    }
    Ok(released(Json::Object(members), figures))
}

fn released(json: Json, figures: ResultFigures) -> Filtered {
    let bytes = u64::try_from(encode(&json).len()).unwrap_or(u64::MAX);
    Filtered { json, figures: ResultFigures { bytes, ..figures } }
}

fn texts(blocks: impl IntoIterator<Item = String>) -> Json {
    let block = |text| Json::object([("type", Json::text("text")), ("text", Json::Text(text))]);
    Json::Array(blocks.into_iter().map(block).collect())
}

/// The members of a result that are known; everything else stays behind.
struct Parts<'a> {
    content: &'a Json,
    structured: Option<&'a Json>,
    is_error: bool,
}

impl<'a> Parts<'a> {
    fn of(result: &'a Json) -> Result<Self, UnusableResult> {
        result.as_object().ok_or(UnusableResult::Shape)?;
        match result.get("resultType") {
            None => {}
            Some(Json::Text(kind)) if kind == "complete" => {}
            Some(Json::Text(kind)) => return Err(UnusableResult::NotComplete(kind.chars().take(64).collect())),
            Some(_) => return Err(UnusableResult::Shape),
        }
        let content = result.get("content").ok_or(UnusableResult::Shape)?;
        let blocks = content.as_array().ok_or(UnusableResult::Shape)?;
        if !blocks.iter().all(|block| block.get("type").and_then(Json::as_text).is_some()) {
            return Err(UnusableResult::Shape);
        }
        let structured = result.get("structuredContent");
        if structured.is_some_and(|json| json.as_object().is_none()) {
            return Err(UnusableResult::Shape);
        }
        let is_error = match result.get("isError") {
            None => false,
            Some(Json::Bool(value)) => *value,
            Some(_) => return Err(UnusableResult::Shape),
        };
        Ok(Self { content, structured, is_error })
    }

    /// For a tool whose descriptor says nothing about its result.
    fn as_they_are(&self) -> Json {
        let mut members = vec![("content".to_owned(), self.content.clone())];
        members.extend(self.structured.map(|json| ("structuredContent".to_owned(), json.clone())));
        if self.is_error {
            members.push(("isError".to_owned(), Json::Bool(true)));
        }
        Json::Object(members)
    }
}

/// What the classes say about a part of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cover {
    /// No class covers it.
    None,
    /// Every class of the nearest pointers above it is one that the grant has.
    Granted,
    /// Some class of the nearest pointers above it is one that the grant lacks.
    Withheld,
}

struct Sieve<'a> {
    tool: &'a Tool,
    limits: &'a Obligations,
    /// Whether parts without a class are released.
    open: bool,
    records_left: u64,
    figures: ResultFigures,
}

impl Sieve<'_> {
    /// What is left of a value; `None` when nothing is.
    fn keep<'j>(
        &mut self,
        value: &'j Json,
        path: &mut Vec<Step<'j>>,
        above: Cover,
    ) -> Result<Option<Json>, UnusableResult> {
        let cover = self.cover_at(path).unwrap_or(above);
        let holds_records = self.tool.records.as_ref().is_some_and(|records| records.is_at(path));
        if holds_records && value.as_array().is_none_or(|list| list.iter().any(|record| record.as_array().is_some())) {
            return Err(UnusableResult::NotRecords(super::json::path_text(path)));
        }
        // Something inside may have another class, or be records: the value around it is only structure.
        let has_parts = self.pointers().any(|pointer| pointer.is_below(path));
        let whole = cover == Cover::Granted || (cover == Cover::None && self.open);
        if !whole && !has_parts && !holds_records {
            return Ok(self.drop(path));
        }
        let kept = match value {
            Json::Object(members) => {
                let mut kept = Vec::new();
                for (key, member) in members {
                    path.push(Step::Field(key));
                    kept.extend(self.keep(member, path, cover)?.map(|member| (key.clone(), member)));
                    path.pop();
                }
                Json::Object(kept)
            }
            Json::Array(elements) => {
                let mut kept = Vec::new();
                for (index, element) in elements.iter().enumerate() {
                    if holds_records && !self.count_record() {
                        continue;
                    }
                    path.push(Step::Index(index));
                    kept.extend(self.keep(element, path, cover)?);
                    path.pop();
                }
                Json::Array(kept)
            }
            _ if whole => return Ok(Some(value.clone())),
            _ => return Ok(self.drop(path)),
        };
        // A withheld container whose parts are all withheld says nothing by being there, either.
        let empty = kept.as_object().is_some_and(<[_]>::is_empty) || kept.as_array().is_some_and(<[_]>::is_empty);
        if cover == Cover::Withheld && empty && !holds_records {
            return Ok(self.drop(path));
        }
        Ok(Some(kept))
    }

    fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.tool.classes.iter().map(|(pointer, _)| pointer).chain(&self.tool.records)
    }

    /// What the pointers that end exactly here say; `None` where there is none, and what is above holds.
    fn cover_at(&self, path: &[Step<'_>]) -> Option<Cover> {
        let mut here = self.tool.classes.iter().filter(|(pointer, _)| pointer.is_at(path)).peekable();
        here.peek()?;
        let granted = here.all(|(_, class)| self.limits.classes.contains(*class));
        Some(if granted { Cover::Granted } else { Cover::Withheld })
    }

    /// Counts a record; false when no more may be released.
    fn count_record(&mut self) -> bool {
        self.figures.records_before += 1;
        let Some(left) = self.records_left.checked_sub(1) else { return false };
        self.records_left = left;
        self.figures.records_released += 1;
        true
    }

    fn drop(&mut self, path: &[Step<'_>]) -> Option<Json> {
        if !path.is_empty() {
            self.figures.fields_dropped += 1;
        }
        None
    }
}
