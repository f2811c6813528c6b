//! From `catalogue/*.toml` to descriptors, with a place for every fault.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::http::{PathTemplate, is_name, placed_as};
use super::{Catalogue, HttpCall, Injection, InvalidUpstream, Protocol, ResourceRule, Tool, Upstream};
use crate::crypto::digest::Digest;
use crate::id::{CredentialId, DimensionName, ToolName, UpstreamName};
use crate::lattice::{Effect, PurposePath, TOOL_SEGMENTS_MAX};
use crate::policy::engines::cedar::Shape;
use crate::policy::fault::{PolicyFault, Source, nearest};
use crate::policy::json::{Json, Mode, Pointer, check};
use crate::policy::taxonomy::Taxonomy;
use crate::proof::Grade;

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    #[serde(default)]
    upstream: Vec<UpstreamEntry>,
    #[serde(default)]
    tool: Vec<ToolEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamEntry {
    name: Text,
    url: Text,
    protocol: Option<Text>,
    inject: Option<Spanned<InjectEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InjectEntry {
    header: String,
    #[serde(default = "whole")]
    format: String,
}

fn whole() -> String {
    "{}".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolEntry {
    name: Text,
    upstream: Text,
    upstream_tool: Option<Text>,
    http: Option<Spanned<HttpEntry>>,
    title: Option<String>,
    #[serde(default)]
    description: String,
    input_schema: Option<Spanned<toml::Value>>,
    effects: Spanned<Vec<Text>>,
    purposes: Spanned<Vec<Text>>,
    credential: Option<Text>,
    resource: Option<ResourceEntry>,
    #[serde(default)]
    dimensions: BTreeMap<String, Text>,
    #[serde(default)]
    amounts: BTreeMap<String, Text>,
    records: Option<Text>,
    #[serde(default)]
    classes: BTreeMap<String, Text>,
    #[serde(default)]
    free: Vec<Text>,
    #[serde(default)]
    open: bool,
    definition: Option<Text>,
    #[serde(default)]
    since: u64,
    min_pop: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpEntry {
    method: Text,
    path: Text,
    #[serde(default)]
    query: Vec<Text>,
    #[serde(default)]
    body: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceEntry {
    #[serde(rename = "type")]
    kind: String,
    id: Text,
}

/// A catalogue as read, and where each tool was declared, for faults that other parts find.
pub(crate) struct ReadCatalogue {
    pub(crate) catalogue: Catalogue,
    pub(crate) places: BTreeMap<ToolName, PolicyFault>,
}

/// Reads every file of the catalogue.
///
/// # Errors
/// Every fault that was found in them.
pub(crate) fn read(files: &[(&str, &[u8])], taxonomy: &Taxonomy) -> Result<ReadCatalogue, Vec<PolicyFault>> {
    let mut faults = Vec::new();
    let mut read: Vec<(Source<'_>, CatalogueFile)> = Vec::new();
    for (file, bytes) in files {
        match Source::new(file, bytes).and_then(|source| Ok((source, source.read_toml()?))) {
            Ok(entry) => read.push(entry),
            Err(fault) => faults.push(fault),
        }
    }
    let (mut catalogue, mut places) = (Catalogue::default(), BTreeMap::new());
    for (source, file) in &read {
        for entry in &file.upstream {
            match read_upstream(source, entry) {
                Ok(upstream) => {
                    let name = upstream.name.clone();
                    if catalogue.upstreams.insert(name.clone(), upstream).is_some() {
                        let message = format!("upstream `{name}` is declared twice");
                        faults.push(source.fault(entry.name.span().start, message));
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
    }
    for (source, file) in &read {
        for entry in &file.tool {
            let reader = ToolReader { source, taxonomy, upstreams: &catalogue.upstreams, faults: &mut faults };
            let Some(tool) = reader.read(entry) else { continue };
            let name = tool.name.clone();
            let place = source.fault(entry.name.span().start, "");
            if catalogue.tools.insert(name.clone(), Arc::new(tool)).is_some() {
                let message = format!("tool `{name}` is declared twice");
                faults.push(PolicyFault { message, ..place.clone() });
            }
            places.insert(name, place);
        }
    }
    faults.extend(same_requests(&catalogue, &places));
    if faults.is_empty() { Ok(ReadCatalogue { catalogue, places }) } else { Err(faults) }
}

/// Two tools of one upstream whose requests nobody could tell apart.
fn same_requests(catalogue: &Catalogue, places: &BTreeMap<ToolName, PolicyFault>) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    let tools: Vec<_> = catalogue.tools.values().filter_map(|tool| Some((tool, tool.http.as_ref()?))).collect();
    for (at, (tool, http)) in tools.iter().enumerate() {
        let same = |(other, of): &&(&Arc<Tool>, &HttpCall)| {
            let upstreams = catalogue.upstreams.get(&tool.upstream).zip(catalogue.upstreams.get(&other.upstream));
            upstreams.is_some_and(|(its, others)| http.is_same_as(its, of, others))
        };
        if let Some((other, _)) = tools.iter().take(at).find(same) {
            let place = places.get(&tool.name).cloned();
            let message = format!("a request of `{}` is one of `{}`, too", tool.name, other.name);
            faults.extend(place.map(|place| PolicyFault { message, ..place }));
        }
    }
    faults
}

fn read_upstream(source: &Source<'_>, entry: &UpstreamEntry) -> Result<Upstream, PolicyFault> {
    let name = UpstreamName::new(entry.name.get_ref())
        .map_err(|error| source.fault(entry.name.span().start, error.to_string()))?;
    let inject = entry.inject.as_ref().map(|inject| {
        let InjectEntry { header, format } = inject.get_ref();
        Injection { header: header.clone(), format: format.clone() }
    });
    let protocol = entry.protocol.as_ref().map(|text| {
        text.get_ref().parse().map_err(|error: InvalidUpstream| source.fault(text.span().start, error.to_string()))
    });
    let protocol = protocol.transpose()?;
    let upstream = Upstream::new(name, entry.url.get_ref(), inject).map_err(|error| {
        let in_injection =
            matches!(error, InvalidUpstream::Header | InvalidUpstream::Format | InvalidUpstream::NoHeaders);
        let inject = entry.inject.as_ref().filter(|_| in_injection).map(Spanned::span);
        source.fault(inject.unwrap_or_else(|| entry.url.span()).start, error.to_string())
    })?;
    let is_program = upstream.protocol == Protocol::Stdio;
    match (protocol, &entry.protocol) {
        (Some(protocol), Some(said)) if is_program != (protocol == Protocol::Stdio) => {
            Err(source.fault(said.span().start, "`stdio` goes with the address `stdio:program`, and nothing else does"))
        }
        (protocol, _) => Ok(Upstream { protocol: protocol.unwrap_or(upstream.protocol), ..upstream }),
    }
}

struct ToolReader<'a> {
    source: &'a Source<'a>,
    taxonomy: &'a Taxonomy,
    upstreams: &'a BTreeMap<UpstreamName, Upstream>,
    faults: &'a mut Vec<PolicyFault>,
}

impl ToolReader<'_> {
    /// The tool, unless something in it is so wrong that there is none; every fault is noted in either case.
    fn read(mut self, entry: &ToolEntry) -> Option<Tool> {
        let name = self.name(&entry.name);
        let upstream = self.upstream(entry);
        let effects = self.effects(&entry.effects);
        let purposes = self.purposes(&entry.purposes);
        let credential = entry.credential.as_ref().and_then(|text| self.parsed(text, CredentialId::new));
        let resource = entry.resource.as_ref().and_then(|resource| {
            let id = self.pointer(&resource.id)?;
            Some(ResourceRule { kind: resource.kind.clone(), id })
        });
        let dimensions = self.dimensions(&entry.dimensions);
        let amounts = self.dimensions(&entry.amounts);
        for (name, text) in entry.amounts.iter().filter(|(name, _)| entry.dimensions.contains_key(*name)) {
            self.fault(&text.span(), format!("`{name}` is a dimension of ids and of amounts"));
        }
        let records = entry.records.as_ref().and_then(|text| self.pointer(text));
        let classes = self.classes(&entry.classes);
        let free: Vec<Pointer> = entry.free.iter().filter_map(|text| self.pointer(text)).collect();
        let definition = entry.definition.as_ref().and_then(|text| self.definition(text));
        let effects = effects.into_iter().collect();
        let min_pop = entry.min_pop.as_ref().and_then(|text| self.parsed(text, str::parse));
        let min_pop = min_pop.unwrap_or_else(|| Tool::min_pop_of(effects));
        let http = entry.http.as_ref().and_then(|http| self.http(http.get_ref()));
        let tool = Tool {
            name: name?,
            upstream: upstream?,
            upstream_tool: entry.upstream_tool.as_ref().unwrap_or(&entry.name).get_ref().clone(),
            http,
            title: entry.title.clone(),
            description: entry.description.clone(),
            input_schema: Json::Null,
            effects,
            purposes,
            credential,
            resource,
            dimensions,
            amounts,
            records,
            classes,
            free,
            open: entry.open,
            definition,
            since: entry.since,
            min_pop,
        };
        self.check_overlap(entry, &tool);
        self.check_min_pop(entry, &tool);
        let input_schema = match &entry.input_schema {
            Some(schema) => self.schema(schema)?,
            None => schema_of(&tool),
        };
        let tool = Tool { input_schema, ..tool };
        self.check_http(entry, &tool);
        Some(tool)
    }

    fn fault(&mut self, at: &Range<usize>, message: impl Into<String>) {
        self.faults.push(self.source.fault(at.start, message));
    }

    fn unknown<'n>(&mut self, text: &Text, kind: &str, names: impl Iterator<Item = &'n str>) {
        let mut fault = self.source.fault(text.span().start, format!("there is no {kind} `{}`", text.get_ref()));
        fault.help = nearest(text.get_ref(), names).map(|name| format!("did you mean `{name}`?"));
        self.faults.push(fault);
    }

    fn parsed<T, E: std::fmt::Display>(&mut self, text: &Text, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        parse(text.get_ref()).map_err(|error| self.fault(&text.span(), error.to_string())).ok()
    }

    fn name(&mut self, text: &Text) -> Option<ToolName> {
        let segment = |segment: &str| {
            !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let name = text.get_ref();
        if !name.split('.').all(segment) || name.split('.').count() > TOOL_SEGMENTS_MAX {
            let help = format!("1 to {TOOL_SEGMENTS_MAX} segments of letters, digits, `-` and `_`, joined by dots");
            self.faults.push(self.source.advise(&text.span(), format!("`{name}` is not a tool's name"), help));
            return None;
        }
        self.parsed(text, ToolName::new)
    }

    fn upstream(&mut self, entry: &ToolEntry) -> Option<UpstreamName> {
        let upstreams = self.upstreams;
        let Some(upstream) = upstreams.get(entry.upstream.get_ref().as_str()) else {
            self.unknown(&entry.upstream, "upstream", upstreams.keys().map(UpstreamName::as_str));
            return None;
        };
        if let Some(credential) = entry.credential.as_ref().filter(|_| upstream.inject.is_none()) {
            let message = format!("upstream `{}` does not say how a credential is injected", upstream.name);
            let help = "add `inject = { header = \"authorization\", format = \"Bearer {}\" }` to it";
            self.faults.push(self.source.advise(&credential.span(), message, help));
        }
        Some(upstream.name.clone())
    }

    fn effects(&mut self, texts: &Spanned<Vec<Text>>) -> Vec<Effect> {
        if texts.get_ref().is_empty() {
            self.fault(&texts.span(), "a tool has at least one effect");
        }
        texts.get_ref().iter().filter_map(|text| self.parsed(text, str::parse)).collect()
    }

    fn purposes(&mut self, texts: &Spanned<Vec<Text>>) -> Vec<PurposePath> {
        let taxonomy = self.taxonomy;
        if texts.get_ref().is_empty() {
            self.fault(&texts.span(), "a tool makes sense for at least one purpose");
        }
        let mut purposes = Vec::new();
        for text in texts.get_ref() {
            match taxonomy.purpose(text.get_ref()) {
                Some(purpose) => purposes.push(purpose),
                None => self.unknown(text, "purpose", taxonomy.purposes().map(|(name, _)| name)),
            }
        }
        purposes
    }

    fn pointer(&mut self, text: &Text) -> Option<Pointer> {
        self.parsed(text, str::parse)
    }

    fn dimensions(&mut self, texts: &BTreeMap<String, Text>) -> Vec<(DimensionName, Pointer)> {
        let mut dimensions = Vec::new();
        for (name, text) in texts {
            let dimension = DimensionName::new(name).map_err(|error| self.fault(&text.span(), error.to_string()));
            if let (Ok(dimension), Some(pointer)) = (dimension, self.pointer(text)) {
                dimensions.push((dimension, pointer));
            }
        }
        dimensions
    }

    fn classes(&mut self, texts: &BTreeMap<String, Text>) -> Vec<(Pointer, u8)> {
        let taxonomy = self.taxonomy;
        let mut classes = Vec::new();
        for (pointer, text) in texts {
            let pointer = pointer.parse::<Pointer>().map_err(|error| self.fault(&text.span(), error.to_string()));
            let class = taxonomy.class(text.get_ref());
            if class.is_none() {
                self.unknown(text, "class", taxonomy.classes().map(|(name, _)| name));
            }
            classes.extend(pointer.ok().zip(class));
        }
        classes
    }

    fn http(&mut self, entry: &HttpEntry) -> Option<HttpCall> {
        let method = entry.method.get_ref();
        if !HttpCall::is_method(method) {
            self.fault(&entry.method.span(), "a tool's method is GET, POST, PUT, PATCH or DELETE");
            return None;
        }
        let path: PathTemplate = self.parsed(&entry.path, str::parse)?;
        for name in &entry.query {
            let twice = entry.query.iter().filter(|other| other.get_ref() == name.get_ref()).count() > 1;
            if twice || !is_name(name.get_ref()) || path.arguments().any(|other| other == name.get_ref()) {
                let message = format!(
                    "`{}` is no name of an argument, or stands in the path or the query already",
                    name.get_ref()
                );
                self.fault(&name.span(), message);
            }
        }
        let query = entry.query.iter().map(|name| name.get_ref().clone()).collect();
        Some(HttpCall { method: method.clone(), path, query, body: entry.body })
    }

    /// A tool says how its calls are requests if its server speaks plain HTTP, and then every argument has a place.
    fn check_http(&mut self, entry: &ToolEntry, tool: &Tool) {
        let is_http = self.upstreams.get(&tool.upstream).is_some_and(|upstream| upstream.protocol == Protocol::Http);
        let (Some(http), Some(said)) = (&tool.http, &entry.http) else {
            if is_http && entry.http.is_none() {
                let message = format!("upstream `{}` speaks plain HTTP, and the tool does not say how", tool.upstream);
                let help = "`http = { method = \"GET\", path = \"/contracts/{contract_id}\" }`";
                self.faults.push(self.source.advise(&entry.name.span(), message, help));
            }
            return;
        };
        if !is_http {
            let help = "say `protocol = \"http\"` there, or leave `http` out";
            let message = format!("upstream `{}` speaks MCP", tool.upstream);
            self.faults.push(self.source.advise(&said.span(), message, help));
        }
        if let Some(text) = &entry.upstream_tool {
            self.fault(&text.span(), "plain HTTP knows no names of tools");
        }
        self.check_places(&said.span(), http, tool);
        let mut named: Vec<&str> = tool.mapped().chain(&tool.free).filter_map(Pointer::first_name).collect();
        named.sort_unstable();
        named.dedup();
        if let Some(unnamed) = http.placed().find(|placed| !named.contains(placed)) {
            let message = format!("no call may carry `{unnamed}`: nothing of the descriptor names it");
            self.faults.push(self.source.advise(&said.span(), message, "give it a meaning, or list it under `free`"));
        }
        if let Some(lost) = named.iter().find(|name| !http.body && !http.placed().any(|placed| placed == **name)) {
            let message = format!("argument `{lost}` is in neither path nor query");
            self.faults.push(self.source.advise(&said.span(), message, "put it there, or say `body = true`"));
        }
    }

    /// What stands in a path or a query is one text, number or boolean, and read as such.
    fn check_places(&mut self, at: &Range<usize>, http: &HttpCall, tool: &Tool) {
        for name in http.placed() {
            let inside = |pointer: &&Pointer| pointer.first_name() == Some(name) && pointer.len() > 1;
            if let Some(pointer) = tool.mapped().chain(&tool.free).find(inside) {
                self.fault(at, format!("`{name}` stands in the path or the query, which has nothing at `{pointer}`"));
            }
            let help = "`input_schema` says `type = \"string\"`, `\"integer\"` or, in a query, `\"boolean\"`";
            let is_in_path = http.path.arguments().any(|argument| argument == name);
            match placed_as(&tool.input_schema, name) {
                Some(Shape::Text) if tool.amounts.iter().any(|(_, pointer)| pointer.first_name() == Some(name)) => {
                    let message = format!("`{name}` is an amount, and would be read from the request as a text");
                    self.faults.push(self.source.advise(at, message, help));
                }
                Some(Shape::Bool) if is_in_path => {
                    let message = format!("`{name}` is a boolean, which has no place in a path");
                    self.faults.push(self.source.advise(at, message, help));
                }
                Some(_) => {}
                None => {
                    let message = format!("`{name}` is of a type that neither a path nor a query can carry");
                    self.faults.push(self.source.advise(at, message, help));
                }
            }
        }
        let whole = |pointer: &&Pointer| pointer.first_name().is_none();
        if let Some(pointer) = tool.mapped().chain(&tool.free).find(whole).filter(|_| !http.body) {
            let message = format!("`{pointer}` names arguments that are in neither path nor query");
            self.faults.push(self.source.advise(at, message, "name them, or say `body = true`"));
        }
    }

    fn definition(&mut self, text: &Text) -> Option<Digest> {
        let digest = text.get_ref().strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
        if digest.is_none() {
            self.fault(&text.span(), "a definition's digest is `sha256:` and 64 lower-case hex digits");
        }
        digest
    }

    /// What is free is judged by nobody, so nothing that has a meaning may stand inside it.
    fn check_overlap(&mut self, entry: &ToolEntry, tool: &Tool) {
        for text in &entry.free {
            let Ok(free) = text.get_ref().parse::<Pointer>() else { continue };
            if free.is_empty() {
                self.fault(&text.span(), "an empty pointer would free every argument");
            } else if let Some(mapped) = tool.mapped().find(|mapped| free.overlaps(mapped)) {
                let message = format!("`{free}` is free and overlaps `{mapped}`, which has a meaning");
                self.fault(&text.span(), message);
            }
        }
    }

    /// Whoever may call such a tool with a copy of an envelope could spend what it opens.
    fn check_min_pop(&mut self, entry: &ToolEntry, tool: &Tool) {
        let Some(text) = entry.min_pop.as_ref().filter(|_| tool.min_pop < Grade::P1 && !tool.can_go_unproven()) else {
            return;
        };
        let message = format!(
            "`{}` is too little proof for a tool that does more than read, or takes a credential",
            tool.min_pop
        );
        self.faults.push(self.source.advise(&text.span(), message, "`P1` or `P2`"));
    }

    fn schema(&mut self, schema: &Spanned<toml::Value>) -> Option<Json> {
        let json = to_json(schema.get_ref());
        let sound = json.as_ref().is_some_and(|json| {
            json.get("type").and_then(Json::as_text) == Some("object") && check(json, Mode::Protocol, &[]).is_ok()
        });
        if !sound {
            let message = "an input schema is a JSON Schema with `type = \"object\"`, without dates and odd numbers";
            self.fault(&schema.span(), message);
        }
        json.filter(|_| sound)
    }
}

fn to_json(value: &toml::Value) -> Option<Json> {
    Some(match value {
        toml::Value::String(text) => Json::text(text),
        toml::Value::Integer(number) if number.unsigned_abs() < 1 << 53 => Json::Int(*number),
        toml::Value::Float(number) if number.abs() < 9e15 => Json::Float(*number),
        toml::Value::Boolean(value) => Json::Bool(*value),
        toml::Value::Array(values) => Json::Array(values.iter().map(to_json).collect::<Option<_>>()?),
        toml::Value::Table(table) => {
            let member = |(key, value): (&String, &toml::Value)| Some((key.clone(), to_json(value)?));
            Json::Object(table.iter().map(member).collect::<Option<_>>()?)
        }
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Datetime(_) => return None,
    })
}

/// Where a descriptor says nothing about the schema: the arguments it names, and no others.
fn schema_of(tool: &Tool) -> Json {
    let mut names: Vec<&str> = tool.mapped().chain(&tool.free).filter_map(Pointer::first_name).collect();
    names.sort_unstable();
    names.dedup();
    let properties = names.into_iter().map(|name| (name.to_owned(), Json::Object(Vec::new()))).collect();
    Json::object([
        ("type", Json::text("object")),
        ("properties", Json::Object(properties)),
        ("additionalProperties", Json::Bool(false)),
    ])
}
