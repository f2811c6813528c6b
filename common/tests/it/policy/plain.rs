//! Tools that are plain HTTP: what their descriptors may say, and that a call and its request are one thing. Clauses P-58
//! to P-60 and P-12.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use remit_common::policy::catalogue::http::{NoRequest, segments, tool_called_by};
use remit_common::policy::catalogue::{Catalogue, Tool};
use remit_common::policy::json::{Json, Mode, parse};
use remit_common::policy::{CompiledPolicy, PolicyFault};

use super::{compiled, example};

const FILE: &str = "catalogue/plain.toml";

const UPSTREAMS: &str = r#"
[[upstream]]
name = "crm-api"
url = "http://127.0.0.1:7801/api"
protocol = "http"

[[upstream]]
name = "crm-admin"
url = "http://127.0.0.1:7801/api/admin"
protocol = "http"
"#;

const TOOLS: &str = r#"
[[tool]]
name = "pages.read"
upstream = "crm-api"
http = { method = "GET", path = "/{area}/pages/{page}", query = ["q", "draft", "limit"] }
effects = ["read"]
purposes = ["review"]
free = ["/area", "/page", "/q", "/draft", "/limit"]
[tool.input_schema]
type = "object"
[tool.input_schema.properties]
page = { type = "integer" }
draft = { type = "boolean" }
limit = { enum = [10, 20] }

[[tool]]
name = "pages.index"
upstream = "crm-api"
http = { method = "GET", path = "/docs/{any}/{page}" }
effects = ["read"]
purposes = ["review"]
free = ["/any", "/page"]

[[tool]]
name = "pages.write"
upstream = "crm-api"
http = { method = "POST", path = "/{area}/pages/{page}", body = true }
effects = ["write"]
purposes = ["review"]
free = ["/area", "/page", "/text", "/more"]

[[tool]]
name = "admin.purge"
upstream = "crm-admin"
http = { method = "GET", path = "/pages/all" }
effects = ["irreversible"]
purposes = ["review"]
"#;

fn files(upstreams: &str, tools: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = example();
    files.insert(FILE.into(), format!("{upstreams}{tools}").into_bytes());
    let schema = r#"action "pages.read", "pages.index", "pages.write", "admin.purge" appliesTo { principal: [Agent], resource: [Tool], context: Call };"#;
    files.get_mut("schema.cedarschema").expect("there").extend_from_slice(schema.as_bytes());
    files
}

fn catalogue() -> Catalogue {
    static READ: LazyLock<Catalogue> = LazyLock::new(|| compiled(&files(UPSTREAMS, TOOLS)).catalogue().clone());
    READ.clone()
}

fn faults(from: &str, to: &str) -> Vec<PolicyFault> {
    let whole = format!("{UPSTREAMS}{TOOLS}");
    assert!(whole.contains(from), "{from} is not there");
    let compiled = CompiledPolicy::compile(&files("", &whole.replacen(from, to, 1)));
    compiled.map(|_| ()).expect_err("this should have been a fault")
}

#[test]
fn what_no_request_could_be_is_a_fault_of_the_descriptor() {
    let read = r#"http = { method = "GET", path = "/{area}/pages/{page}", query = ["q", "draft", "limit"] }"#;
    let index = r#"http = { method = "GET", path = "/docs/{any}/{page}" }"#;
    for (from, to, says) in [
        ("\"GET\", path = \"/{area}", "\"FETCH\", path = \"/{area}", "a tool's method is GET"),
        ("\"/{area}/pages/{page}\", query", "\"{area}/pages\", query", "is not a path template"),
        ("\"/{area}/pages/{page}\", query", "\"/{area}/p{page}\", query", "is not a path template"),
        ("\"/{area}/pages/{page}\", query", "\"/{area}/../{page}\", query", "is not a path template"),
        ("\"/{area}/pages/{page}\", query", "\"/{page}/pages/{page}\", query", "is not a path template"),
        ("[\"q\", \"draft\"", "[\"q\", \"q\"", "stands in the path or the query already"),
        ("[\"q\", \"draft\"", "[\"page\", \"draft\"", "stands in the path or the query already"),
        ("[\"q\", \"draft\"", "[\"q\", \"who\", \"draft\"", "nothing of the descriptor names it"),
        ("\"/q\", ", "\"/q\", \"/lost\", ", "argument `lost` is in neither path nor query"),
        ("\"/q\", ", "\"/q/deep\", ", "which has nothing at `/q/deep`"),
        ("free = [\"/any\", \"/page\"]", "free = [\"\"]", "no call may carry"),
        ("page = { type = \"integer\" }", "page = { type = \"boolean\" }", "which has no place in a path"),
        ("page = { type = \"integer\" }", "page = { type = \"number\" }", "neither a path nor a query can carry"),
        ("draft = { type = \"boolean\" }", "draft = { type = \"array\" }", "neither a path nor a query can carry"),
        (index, "", "speaks plain HTTP, and the tool does not say how"),
        (index, &format!("{index}\nupstream_tool = \"x\""), "plain HTTP knows no names of tools"),
        (read, &read.replace("GET", "POST"), "is one of `pages.read`, too"),
        ("protocol = \"http\"", "protocol = \"grpc\"", "an upstream speaks `mcp`, `mcp-2025`, `stdio` or `http`"),
        ("protocol = \"http\"", "", "speaks MCP"),
    ] {
        let found = faults(from, to);
        let told = found.iter().any(|fault| fault.to_string().contains(says) && fault.file == FILE);
        assert!(told, "{from} -> {to}: {says}\n{found:#?}");
    }
    // The same server under another name, and in another spelling.
    let twin = "\n[[tool]]\nname = \"pages.index2\"\nupstream = \"crm-admin\"\nhttp = { method = \"GET\", path = \"/x\" }\neffects = [\"read\"]\npurposes = [\"review\"]\n[[tool]]\nname = \"pages.index3\"\nupstream = \"crm-api\"\nhttp = { method = \"GET\", path = \"/Admin/X\" }\neffects = [\"read\"]\npurposes = [\"review\"]\n";
    let found = CompiledPolicy::compile(&files(UPSTREAMS, &format!("{TOOLS}{twin}"))).map(|_| ()).unwrap_err();
    assert!(found.iter().any(|fault| fault.to_string().contains("is one of `pages.index2`, too")), "{found:#?}");
}

fn json(text: &str) -> Json {
    parse(text.as_bytes(), Mode::Arguments).expect("json")
}

fn request_of(catalogue: &Catalogue, tool: &str, arguments: &str) -> Result<String, NoRequest> {
    let tool = &catalogue.tools[tool];
    let http = tool.http.as_ref().expect("plain");
    let parts = http.request(tool, catalogue, &json(arguments))?;
    let body = parts.body.map(|body| format!(" {}", String::from_utf8(body).expect("text"))).unwrap_or_default();
    let query = parts.query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{} {}{query}{body}", http.method, parts.path))
}

#[test]
fn a_call_is_one_request() {
    let catalogue = catalogue();
    let is = |tool: &str, arguments: &str, expected: &str| {
        assert_eq!(request_of(&catalogue, tool, arguments).as_deref(), Ok(expected), "{tool} {arguments}");
    };
    is("pages.read", r#"{"area":"x y","page":3}"#, "GET /x%20y/pages/3");
    is(
        "pages.read",
        r#"{"limit":10,"area":"a","draft":true,"q":"a&b=+","page":-1}"#,
        "GET /a/pages/-1?q=a%26b%3D%2B&draft=true&limit=10",
    );
    is(
        "pages.write",
        r#"{"area":"ä","page":"p","text":[1],"more":{"a":null}}"#,
        r#"POST /%C3%A4/pages/p {"text":[1],"more":{"a":null}}"#,
    );
}

#[test]
fn a_value_that_would_make_it_another_call_is_refused() {
    use NoRequest::{AnotherTool, NoPlace, PathArgument, PathValue, QueryArgument, Type};
    let catalogue = catalogue();
    for (tool, arguments, why) in [
        ("pages.index", r#"{"any":"..","page":"3"}"#, PathValue),
        ("pages.index", r#"{"any":".","page":"3"}"#, PathValue),
        ("pages.index", r#"{"any":"","page":"3"}"#, PathValue),
        ("pages.index", r#"{"any":"a/b","page":"3"}"#, PathValue),
        ("pages.index", r#"{"any":"a%2fb","page":"3"}"#, PathValue),
        ("pages.index", r#"{"any":"a\\b","page":"3"}"#, PathValue),
        ("pages.index", r#"{"any":"a\u0001","page":"3"}"#, PathValue),
        ("pages.index", r#"{"any":true,"page":"3"}"#, PathArgument),
        ("pages.index", r#"{"page":"3"}"#, PathArgument),
        ("pages.index", r#"{"any":3,"page":"3"}"#, Type),
        ("pages.read", r#"{"area":"a","page":"3"}"#, Type),
        ("pages.read", r#"{"area":"a","page":"03"}"#, Type),
        ("pages.read", r#"{"area":"a","page":3,"draft":"true"}"#, Type),
        ("pages.read", r#"{"area":"a","page":3,"limit":"10"}"#, Type),
        ("pages.read", r#"{"area":"a","page":3,"q":7}"#, Type),
        ("pages.read", r#"{"area":"a","page":3,"q":["a"]}"#, QueryArgument),
        ("pages.read", r#"{"area":"a","page":3,"more":1}"#, NoPlace),
    ] {
        assert_eq!(request_of(&catalogue, tool, arguments), Err(why), "{tool} {arguments}");
    }
    // Tools of the same server, under this name and under another; case counts for some servers, and not for others.
    // `/docs/{any}/{page}` is more precise than `/{area}/pages/{page}` from the left.
    assert_eq!(request_of(&catalogue, "pages.read", r#"{"area":"docs","page":3}"#), Err(AnotherTool));
    assert_eq!(request_of(&catalogue, "pages.read", r#"{"area":"DOCS","page":3}"#), Err(AnotherTool));
    assert_eq!(
        request_of(&catalogue, "pages.index", r#"{"any":"pages","page":"3"}"#).as_deref(),
        Ok("GET /docs/pages/3")
    );
    // `http://127.0.0.1:7801/api/admin` and `/pages/all`, seen from `http://127.0.0.1:7801/api`.
    let mut textual = catalogue.clone();
    let tool = Tool { input_schema: Json::Object(Vec::new()), ..(*textual.tools["pages.read"]).clone() };
    textual.tools.insert(tool.name.clone(), tool.into());
    assert_eq!(request_of(&textual, "pages.read", r#"{"area":"admin","page":"all"}"#), Err(AnotherTool));
    assert_eq!(request_of(&textual, "pages.read", r#"{"area":"Admin","page":"ALL"}"#), Err(AnotherTool));
    assert!(request_of(&textual, "pages.read", r#"{"area":"admin","page":"some"}"#).is_ok());
}

fn read(
    catalogue: &Catalogue,
    method: &str,
    path: &str,
    query: Option<&str>,
    body: &[u8],
) -> Result<(String, Json), NoRequest> {
    let tools = catalogue.tools.values().filter(|tool| tool.upstream.as_str() == "crm-api");
    let segments = segments(path)?;
    let (tool, http) = tool_called_by(tools, method, &segments).ok_or(NoRequest::PathArgument)?;
    Ok((tool.name.to_string(), http.arguments(&tool.input_schema, &segments, query, body)?))
}

fn sorted(json: &Json) -> Vec<(String, Json)> {
    let mut members = json.as_object().expect("object").to_vec();
    members.sort_by(|one, two| one.0.cmp(&two.0));
    members
}

/// Clause P-12: what was sealed for tools behind one path does not open every path of the server.
#[test]
fn a_credential_for_mcp_is_none_for_plain_requests() {
    let catalogue = catalogue();
    let plain = &catalogue.upstreams.values().find(|upstream| upstream.name.as_str() == "crm-api").expect("there");
    let profile = r#"{"format":null,"header":null,"origin":"http://127.0.0.1:7801","protocol":"http"}"#;
    assert_eq!(String::from_utf8(plain.profile()).as_deref(), Ok(profile));
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z ä%/\\\\.;=&+?#]{0,8}",
        2 => "[A-Za-z0-9]{1,6}",
        1 => prop::sample::select(vec!["docs", "DOCS", "pages", "Pages", "admin", "all", "..", ".", "%2e"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// What a call makes is read as that very call, or there is no request.
    #[test]
    fn what_goes_out_is_read_again_as_what_was_judged(area in value(), page in value(), number in any::<i64>(), draft in any::<bool>(), q in value(), which in 0..3u8) {
        let catalogue = catalogue();
        let text = |text: &str| Json::text(text);
        let (name, arguments) = match which {
            0 => ("pages.read", vec![("area", text(&area)), ("page", Json::Int(number % (1 << 53))), ("draft", Json::Bool(draft)), ("q", text(&q))]),
            1 => ("pages.index", vec![("any", text(&area)), ("page", text(&page))]),
            _ => ("pages.write", vec![("area", text(&area)), ("page", text(&page)), ("text", text(&q))]),
        };
        let arguments = Json::Object(arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let tool = &catalogue.tools[name];
        let http = tool.http.as_ref().expect("plain");
        if let Ok(parts) = http.request(tool, &catalogue, &arguments) {
            let body = parts.body.as_deref().unwrap_or_default();
            let again = read(&catalogue, &http.method, &parts.path, parts.query.as_deref(), body);
            let (called, again) = again.expect("what was made can be read");
            prop_assert_eq!(called, name);
            prop_assert_eq!(sorted(&again), sorted(&arguments));
            prop_assert!(parts.path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%/".contains(&b)));
        }
    }

    /// Whatever a request says, it is one call or none, and that call is a request that is read as the same.
    #[test]
    fn what_is_read_goes_out_as_what_was_read(path in "(/[a-z0-9%2eEfF.~+;]{0,6}){0,5}", query in prop::option::of("[a-z=&+%0-9]{0,20}"), body in prop::collection::vec(any::<u8>(), 0..40), post in any::<bool>()) {
        let catalogue = catalogue();
        let method = if post { "POST" } else { "GET" };
        if let Ok((name, arguments)) = read(&catalogue, method, &path, query.as_deref(), &body) {
            let tool = &catalogue.tools[name.as_str()];
            let http = tool.http.as_ref().expect("plain");
            match http.request(tool, &catalogue, &arguments) {
                Ok(parts) => {
                    let again = read(&catalogue, method, &parts.path, parts.query.as_deref(), parts.body.as_deref().unwrap_or_default());
                    let (called, again) = again.expect("what was made can be read");
                    prop_assert_eq!(&called, &name);
                    prop_assert_eq!(sorted(&again), sorted(&arguments));
                }
                Err(why) => prop_assert_eq!(why, NoRequest::AnotherTool),
            }
        }
    }
}

/// The properties above mean something: requests are made, and are read.
#[test]
fn requests_are_made_and_read() {
    let catalogue = catalogue();
    let expected = json(r#"{"area":"a","page":3,"draft":false,"q":"x y"}"#);
    let (name, arguments) = read(&catalogue, "GET", "/a/pages/3", Some("draft=false&q=x+y"), b"").expect("a call");
    assert_eq!((name.as_str(), sorted(&arguments)), ("pages.read", sorted(&expected)));
    for (path, query, body, why) in [
        ("/a/pages/3", Some("draft=false&draft=true"), &b""[..], NoRequest::Query),
        ("/a/pages/3", Some("page=4"), b"", NoRequest::Query),
        ("/a/pages/3", Some("q"), b"", NoRequest::Query),
        ("/a/pages/3", Some("q=%f"), b"", NoRequest::Query),
        ("/a/pages/3", Some("limit=010"), b"", NoRequest::Type),
        ("/a/pages/3", Some("draft=1"), b"", NoRequest::Type),
        ("/a/pages/3.0", None, b"", NoRequest::Type),
        ("/a/pages/3", None, b"{}", NoRequest::Body),
        ("/a//3", None, b"", NoRequest::PathValue),
        ("/a/%2e%2e/3", None, b"", NoRequest::PathValue),
        ("/a/%2f/3", None, b"", NoRequest::PathValue),
        ("/a/%c0%ae/3", None, b"", NoRequest::PathValue),
        ("/a/%00/3", None, b"", NoRequest::PathValue),
    ] {
        assert_eq!(read(&catalogue, "GET", path, query, body).map(|_| ()), Err(why), "{path} {query:?}");
    }
    let long = "/a".repeat(200);
    assert!(read(&catalogue, "GET", &long, None, b"").is_err(), "more segments than a template has");
    for body in [&b"[1]"[..], b"{\"page\":1}", b"{\"text\":1,\"text\":2}", b"{"] {
        assert_eq!(read(&catalogue, "POST", "/a/pages/p", None, body).map(|_| ()), Err(NoRequest::Body));
    }
}
