//! The types that policies see of a tool's arguments. They come from its catalogue entry: what `input_schema` tells
//! agents is what `context.args` is, so that a policy about an argument that the tool does not have is a fault at a
//! desk, and not a rule that never holds. Clauses P-50 to P-52.

use super::catalogue::Tool;
use super::engines::cedar::{ArgumentRead, CedarEngine, Member, Shape, Subject};
use super::fault::{PolicyFault, nearest};
use super::json::Json;

/// Arguments that a suggestion lists.
const LISTED_MAX: usize = 12;

/// The arguments that a call of this tool may carry and policies may read; `None` if its entry says nothing of types.
pub(super) fn members(tool: &Tool) -> Option<Vec<Member>> {
    let Some(Shape::Record(members)) = shape(&tool.input_schema) else { return None };
    let members: Vec<Member> = members.into_iter().filter(|member| accepts(tool, &member.name)).collect();
    Some(members).filter(|members| !members.is_empty())
}

/// Whether a call may carry an argument of this name.
pub(super) fn accepts(tool: &Tool, name: &str) -> bool {
    tool.mapped().chain(&tool.free).any(|pointer| pointer.first_name().is_none_or(|first| first == name))
}

/// What a part of a JSON Schema is to policies; `None` for what they have no type for.
pub(super) fn shape(schema: &Json) -> Option<Shape> {
    match schema.get("type") {
        Some(Json::Text(name)) => match name.as_str() {
            "string" => Some(Shape::Text),
            "integer" => Some(Shape::Long),
            "boolean" => Some(Shape::Bool),
            "array" => Some(Shape::Set(Box::new(shape(schema.get("items")?)?))),
            "object" => record(schema),
            _ => None,
        },
        // More than one type.
        Some(_) => None,
        None => {
            let values = schema.get("enum").and_then(Json::as_array)?;
            let all = |is: fn(&Json) -> bool| !values.is_empty() && values.iter().all(is);
            match () {
                () if all(|value| matches!(value, Json::Text(_))) => Some(Shape::Text),
                () if all(|value| matches!(value, Json::Int(_))) => Some(Shape::Long),
                () if all(|value| matches!(value, Json::Bool(_))) => Some(Shape::Bool),
                () => None,
            }
        }
    }
}

fn record(schema: &Json) -> Option<Shape> {
    let properties = schema.get("properties").and_then(Json::as_object)?;
    let required = schema.get("required").and_then(Json::as_array).unwrap_or_default();
    let is_required = |name: &str| required.iter().any(|one| one.as_text() == Some(name));
    let member = |(name, schema): &(String, Json)| {
        Some(Member { name: name.clone(), required: is_required(name), shape: shape(schema)? })
    };
    let mut members: Vec<Member> = properties.iter().filter_map(member).collect();
    members.sort_by(|one, other| one.name.cmp(&other.name));
    Some(Shape::Record(members))
}

/// Whether every value of the entry's shape is one of the declared shape, which may leave members of objects out.
fn covers(declared: &Shape, entry: &Shape) -> bool {
    match (declared, entry) {
        (Shape::Set(declared), Shape::Set(entry)) => covers(declared, entry),
        (Shape::Record(declared), Shape::Record(entry)) => declared.iter().all(|declared| {
            let there = entry.iter().find(|entry| entry.name == declared.name);
            there.is_some_and(|entry| covers(&declared.shape, &entry.shape) && (entry.required || !declared.required))
        }),
        (declared, entry) => declared == entry,
    }
}

/// What is wrong with how the schema declares an argument of which the catalogue entry says more.
pub(super) fn disagreement(declared: &Member, tool: &Tool) -> Option<(String, String)> {
    let properties = tool.input_schema.get("properties")?;
    let entry = properties.get(&declared.name)?;
    // An entry that says nothing of a type leaves it to the schema.
    entry.get("type").or_else(|| entry.get("enum"))?;
    let what = format!("`args.{}` of `{}`", declared.name, tool.name);
    let Some(shape) = shape(entry) else {
        let message = format!("{what} has no type for policies in its catalogue entry");
        return Some((
            message,
            "types that policies know are string, integer and boolean, arrays and objects of these".to_owned(),
        ));
    };
    if !covers(&declared.shape, &shape) {
        let message = format!("{what} is {} here, and {} in its catalogue entry", declared.shape, shape);
        return Some((message, "leave `args` out: the schema of arguments comes from the catalogue entry".to_owned()));
    }
    let required = tool.input_schema.get("required").and_then(Json::as_array).unwrap_or_default();
    let is_optional = declared.required && !required.iter().any(|one| one.as_text() == Some(&declared.name));
    is_optional.then(|| {
        let message = format!("{what} has to be there, and its catalogue entry lets calls leave it out");
        (message, format!("declare it optional, `{}?`, or leave `args` out", declared.name))
    })
}

/// A tool, as rules ask about it: its action, and the arguments that the schema in force shows of it.
pub(super) struct Readable<'a> {
    pub(super) tool: &'a Tool,
    pub(super) action: Subject,
    pub(super) shown: Vec<Member>,
}

/// Rules that read an argument which none of the tools that they are about has.
pub(super) fn unreadable(engine: &CedarEngine, tools: &[Readable<'_>]) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    engine.argument_reads(|is_about, ArgumentRead { name, place }| {
        let about: Vec<&Readable<'_>> = tools.iter().filter(|readable| is_about(&readable.action)).collect();
        let shown = || about.iter().flat_map(|readable| &readable.shown);
        // A tool that takes it and does not show it would be passed over by a rule that asks whether it is there.
        let hidden = about
            .iter()
            .find(|readable| accepts(readable.tool, &name) && !readable.shown.iter().any(|member| member.name == name));
        let is_shown = shown().any(|member| member.name == name);
        if about.is_empty() || (is_shown && hidden.is_none()) {
            return;
        }
        if let Some(hidden) = hidden.filter(|_| is_shown) {
            let message = format!("`{}` takes `{name}`, and policies cannot read it there", hidden.tool.name);
            let typed = hidden.tool.input_schema.get("properties").and_then(|all| all.get(&name)).and_then(shape);
            let help = match typed {
                Some(shape) => format!("declare `{name}?: {shape}` in its `args`, or leave `args` out of the schema"),
                None => help(&[*hidden], &name),
            };
            faults.push(PolicyFault { message, help: Some(help), ..place });
            return;
        }
        let message = match about.as_slice() {
            [only] => format!("`{}` has no argument `{name}` that a policy can read", only.tool.name),
            _ => format!("none of the {} tools that this rule is about has an argument `{name}`", about.len()),
        };
        let help = match nearest(&name, shown().map(|member| member.name.as_str())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => help(&about, &name),
        };
        faults.push(PolicyFault { message, help: Some(help), ..place });
    });
    faults
}

fn help(about: &[&Readable<'_>], name: &str) -> String {
    if let Some(untyped) = about.iter().find(|readable| accepts(readable.tool, name)) {
        return format!(
            "give `{name}` a type that policies know in `input_schema` of `{}`: string, integer or boolean, or an array \
             or object of these",
            untyped.tool.name
        );
    }
    let mut names: Vec<String> = about
        .iter()
        .flat_map(|readable| &readable.shown)
        .map(|member| format!("{}{}: {}", member.name, if member.required { "" } else { "?" }, member.shape))
        .collect();
    names.sort();
    names.dedup();
    names.truncate(LISTED_MAX);
    match names.as_slice() {
        [] => "give the tool an `input_schema` in the catalogue: it says which arguments there are".to_owned(),
        names => format!("its catalogue entry has {}", names.join(", ")),
    }
}
