//! Proxies hold requests back and ask a real edge whether they may pass. Clauses G-97 to G-99.

use bytes::Bytes;
use http::{Method, Request};
use remit_common::crypto::digest::Digest;
use remit_common::id::{EnforcementPoint, TenantId, UpstreamName};
use remit_common::proof::Grade;
use remit_common::record::RecordKind;
use remit_common::revocation::CutKind;
use remit_edge_node::config::{EnforcementPointEntry, ForwardAuth, HeldRequestIn};

use crate::plain::{scene_with, task};
use crate::support::agent::{Agent, Answered};
use crate::support::bundle::Variant;
use crate::support::keys::acme;
use crate::support::scene::Scene;

const TOKEN: &str = "token-of-the-proxy-0123456789";

fn point(headers: HeldRequestIn, vouches: Grade) -> EnforcementPointEntry {
    EnforcementPointEntry {
        name: EnforcementPoint::new("front").unwrap(),
        tenant: acme(),
        token_sha256: Some(Digest::of(&[TOKEN.as_bytes()])),
        key: None,
        vouches,
        forward_auth: Some(ForwardAuth { headers, upstream: UpstreamName::new("crm").unwrap() }),
    }
}

/// What a proxy asks that holds this request back: all headers of its caller, and its own.
async fn held(agent: &Agent, method: &str, path: &str) -> Request<Bytes> {
    let request = agent.plain_request(Grade::P1, method, path, None).await;
    let (mut parts, _) = request.into_parts();
    parts.method = Method::GET;
    parts.uri = "/forward-auth".parse().unwrap();
    parts.headers.insert("x-original-method", method.parse().unwrap());
    parts.headers.insert("x-original-uri", path.parse().unwrap());
    parts.headers.insert("remit-enforcement-token", TOKEN.parse().unwrap());
    Request::from_parts(parts, Bytes::new())
}

fn outcome(answered: &Answered) -> (u16, String) {
    let reason = answered.headers.get("remit-reason").map_or("", |reason| reason.to_str().unwrap());
    (answered.status.as_u16(), reason.to_owned())
}

async fn asked(agent: &Agent, method: &str, path: &str) -> (u16, String) {
    outcome(&agent.exchange(held(agent, method, path).await).await)
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_passes_only_as_the_call_that_policy_permits() {
    let (scene, seen, stop) =
        scene_with(|scene| scene.config.enforcement_points = vec![point(HeldRequestIn::Original, Grade::None)]).await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let passed = agent.exchange(held(&agent, "GET", "/api/pages/30?draft=true").await).await;
    assert_eq!(outcome(&passed), is(200, "permit"));
    assert!(passed.headers.contains_key("remit-decision") && passed.body.is_empty());
    assert_eq!(asked(&agent, "DELETE", "/api/pages/30").await, is(200, "permit"));
    // What the path says is judged like arguments.
    assert_eq!(asked(&agent, "GET", "/api/pages/030").await, is(403, "malformed"));
    assert_eq!(asked(&agent, "GET", "/api/pages/30?admin=true").await, is(403, "malformed"));
    assert_eq!(asked(&agent, "GET", "/api/pages/../pages/30").await, is(403, "out_of_scope"));
    // It goes on as it is spelled, so that it is judged in one spelling only.
    for path in ["/api/p%61ges/30", "/api/pages/%330", "/api/pages/30?dr%61ft=true", "/api/pages/30?draft=tru%65"] {
        assert_eq!(asked(&agent, "GET", path).await, is(403, "malformed"), "{path}");
    }
    // Hidden, absent, and outside the prefix look alike.
    for path in ["/api/secrets", "/api/secrets?x=1", "/api/nothing", "/pages/30", "/apiary/pages/30", "/api"] {
        assert_eq!(asked(&agent, "GET", path).await, is(403, "out_of_scope"), "{path}");
    }
    // What would need the body, or the answer, is refused.
    assert_eq!(asked(&agent, "GET", "/api/search").await, is(403, "unmapped_dimension"));
    for method in ["POST", "PUT", "PATCH"] {
        assert_eq!(asked(&agent, method, "/api/pages/30").await, is(403, "unmapped_dimension"), "{method}");
    }
    for method in ["HEAD", "OPTIONS", "PURGE"] {
        assert_eq!(asked(&agent, method, "/api/pages/30").await, is(403, "out_of_scope"), "{method}");
    }
    for (name, value) in [("sec-websocket-key", "AAAA"), ("upgrade", "websocket")] {
        let mut goes_on = held(&agent, "GET", "/api/pages/30").await;
        goes_on.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(outcome(&agent.exchange(goes_on).await), is(403, "unmapped_dimension"), "{name}");
    }
    let filtered = agent.exchange(held(&agent, "GET", "/api/customers/cust_1042/notes").await).await;
    assert_eq!(outcome(&filtered), is(403, "obligation_unmet"));
    assert_eq!(asked(&agent, "GET", "/api/customers/cust_1/notes").await, is(403, "out_of_scope"));
    assert!(seen.lock().unwrap().is_empty(), "nothing is called");
    scene.revoke(CutKind::Session, "session-1");
    scene.until("the cut is enforced", |status| status["revocation_epoch"] == 1).await;
    let cut = agent.exchange(held(&agent, "GET", "/api/pages/30").await).await;
    assert_eq!(outcome(&cut), is(401, "revoked"));
    assert!(cut.headers.contains_key("www-authenticate"), "the caller is told what to do");
    stop.trigger();
    scene.stop_edge().await;
}

/// The proof is the caller's, over the request that is held back; nobody else may show the envelope.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_envelope_does_not_pass() {
    let (scene, _, stop) =
        scene_with(|scene| scene.config.enforcement_points = vec![point(HeldRequestIn::Original, Grade::None)]).await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let bent = async |bend: &dyn Fn(&mut http::HeaderMap)| {
        let mut request = held(&agent, "GET", "/api/pages/30").await;
        bend(request.headers_mut());
        outcome(&agent.exchange(request).await)
    };
    assert_eq!(bent(&|_| ()).await, is(200, "permit"));
    let unproven = |headers: &mut http::HeaderMap| drop(headers.remove("remit-proof"));
    assert_eq!(bent(&unproven).await, is(401, "bad_proof"));
    let elsewhere = |headers: &mut http::HeaderMap| {
        headers.insert("x-original-uri", "/api/pages/31".parse().unwrap());
    };
    assert_eq!(bent(&elsewhere).await, is(401, "bad_proof"));
    let otherwise = |headers: &mut http::HeaderMap| {
        headers.insert("x-original-method", "DELETE".parse().unwrap());
    };
    assert_eq!(bent(&otherwise).await, is(401, "bad_proof"));
    let nobody =
        |headers: &mut http::HeaderMap| drop((headers.remove("remit-envelope"), headers.remove("remit-proof")));
    assert_eq!(bent(&nobody).await, is(401, "no_envelope"));
    let torn = |headers: &mut http::HeaderMap| drop(headers.insert("remit-proof", "AAAA".parse().unwrap()));
    assert_eq!(bent(&torn).await, is(401, "bad_proof"));
    let again = held(&agent, "GET", "/api/pages/30").await;
    assert_eq!(outcome(&agent.exchange(again.clone()).await), is(200, "permit"));
    assert_eq!(outcome(&agent.exchange(again).await), is(401, "replayed"), "a proof counts once");
    stop.trigger();
    scene.stop_edge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_does_not_say_which_request_it_is_and_who_asks() {
    let (scene, _, stop) = scene_with(|scene| {
        // One that only asks about decisions is no proxy.
        let other = EnforcementPointEntry {
            name: EnforcementPoint::new("records-gateway").unwrap(),
            token_sha256: Some(Digest::of(&[b"another-token-0123456789"])),
            forward_auth: None,
            ..point(HeldRequestIn::Original, Grade::None)
        };
        scene.config.enforcement_points = vec![point(HeldRequestIn::Original, Grade::None), other];
    })
    .await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    let with = async |name: &'static str, value: &str| {
        let mut request = held(&agent, "GET", "/api/pages/30").await;
        request.headers_mut().append(name, value.parse().unwrap());
        outcome(&agent.exchange(request).await)
    };
    for (name, value) in [
        ("x-original-uri", "/api/pages/31"),
        ("x-original-method", "GET"),
        ("x_original_uri", "/api/pages/31"),
        ("x-forwarded-uri", "/api/pages/31"),
        ("x-forwarded-method", "GET"),
        ("x-original-url", "/api/pages/31"),
        ("x-http-method-override", "DELETE"),
    ] {
        assert_eq!(with(name, value).await, is(403, "malformed"), "{name}");
    }
    assert_eq!(with("x-forwarded-for", "10.0.0.1").await, is(200, "permit"), "a hop, and no request");
    assert_eq!(with("remit-enforcement-token", TOKEN).await, is(403, "not_an_enforcement_point"), "twice");
    let by = async |token: Option<&'static str>, bearer: Option<&str>| {
        let mut request = held(&agent, "GET", "/api/pages/30").await;
        request.headers_mut().remove("remit-enforcement-token");
        let token = token.map(|token| ("remit-enforcement-token", token.to_owned()));
        let bearer = bearer.map(|token| ("authorization", format!("Bearer {token}")));
        for (name, value) in token.into_iter().chain(bearer) {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        outcome(&agent.exchange(request).await)
    };
    assert_eq!(by(None, None).await, is(403, "not_an_enforcement_point"));
    assert_eq!(by(Some("guessed"), None).await, is(403, "not_an_enforcement_point"));
    // What a caller authorizes itself with is never the proxy's word.
    assert_eq!(by(None, Some(TOKEN)).await, is(403, "not_an_enforcement_point"));
    assert_eq!(by(Some("another-token-0123456789"), None).await, is(403, "not_an_enforcement_point"));
    stop.trigger();
    scene.stop_edge().await;
}

/// Traefik and Caddy, and Envoy; and one that has made sure of its callers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_family_of_proxies_is_understood_where_it_is_configured() {
    for family in [HeldRequestIn::Forwarded, HeldRequestIn::Path] {
        let (scene, _, stop) =
            scene_with(|scene| scene.config.enforcement_points = vec![point(family, Grade::P1)]).await;
        let agent = scene.agent(Some(&scene.envelope(&task())));
        let ask = async |method: &str, path: &str| {
            let mut request = held(&agent, method, path).await;
            let headers = request.headers_mut();
            let own = [headers.remove("x-original-method"), headers.remove("x-original-uri")].map(Option::unwrap);
            // It vouches, so that a caller need not prove anything to this edge.
            headers.remove("remit-proof");
            match family {
                HeldRequestIn::Path => {
                    *request.method_mut() = method.parse().unwrap();
                    *request.uri_mut() = format!("/forward-auth{path}").parse().unwrap();
                }
                _ => {
                    let [method, uri] = own;
                    headers.insert("x-forwarded-method", method);
                    headers.insert("x-forwarded-uri", uri);
                }
            }
            outcome(&agent.exchange(request).await)
        };
        assert_eq!(ask("GET", "/api/pages/30?draft=true").await, is(200, "permit"), "{family:?}");
        assert_eq!(ask("DELETE", "/api/pages/30").await, is(200, "permit"), "{family:?}");
        assert_eq!(ask("GET", "/api/secrets").await, is(403, "out_of_scope"), "{family:?}");
        assert_eq!(ask("POST", "/api/pages/30").await, is(403, "unmapped_dimension"), "{family:?}");
        assert_eq!(asked(&agent, "GET", "/api/pages/30").await, is(403, "malformed"), "{family:?}: nginx's headers");
        stop.trigger();
        scene.stop_edge().await;
    }
}

/// What it was told stands on record, as advice to this proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_recorded_as_advised() {
    let (scene, _, stop) =
        scene_with(|scene| scene.config.enforcement_points = vec![point(HeldRequestIn::Original, Grade::None)]).await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    assert_eq!(asked(&agent, "DELETE", "/api/pages/30").await, is(200, "permit"));
    assert_eq!(asked(&agent, "GET", "/api/customers/cust_1/more").await, is(403, "out_of_scope"));
    crate::support::eventually("both are on record", || async {
        let advised = |scene: &Scene| {
            let heard = scene.voters.iter().map(|voter| voter.heard(|heard| heard.records.clone()));
            let records: std::collections::BTreeMap<_, _> = heard.flatten().collect();
            let of = |record: &remit_common::record::Record| {
                let detail = record.detail()?;
                let by = detail.asked_by.as_ref()?.to_string();
                Some((record.public().reason.to_string(), by, detail.tool.as_ref()?.to_string()))
            };
            let advice = records.values().filter(|record| record.public().kind == RecordKind::Advice);
            advice.filter_map(of).collect::<Vec<_>>()
        };
        let expected = |reason: &str, tool: &str| (reason.to_owned(), "front".to_owned(), tool.to_owned());
        let advised = advised(&scene);
        (advised.contains(&expected("permit", "pages.drop"))
            && advised.contains(&expected("out_of_scope", "notes.more")))
        .then_some(())
    })
    .await;
    stop.trigger();
    scene.stop_edge().await;
}

/// Whose envelope it is that a stranger shows at another tenant's proxy, nobody there learns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_of_another_tenant_leaves_nothing_at_a_proxy() {
    let mut scene = Scene::before_the_edge();
    let globex = TenantId::new("globex").unwrap();
    scene.config.tenants.insert(globex.clone());
    let point = point(HeldRequestIn::Original, Grade::None);
    scene.config.enforcement_points = vec![EnforcementPointEntry { tenant: globex, ..point }];
    scene.publish(&Variant::new(1, &scene.upstream.url()));
    scene.start_edge().await;
    let agent = scene.agent(Some(&scene.envelope(&task())));
    crate::support::eventually("the edge opens channels", || async {
        (agent.call("plain.read", serde_json::json!({"customer_id": "cust_1042"})).await.reason() == "permit")
            .then_some(())
    })
    .await;
    assert_eq!(asked(&agent, "GET", "/api/pages/30").await, is(403, "wrong_audience"));
    let mut unproven = held(&agent, "GET", "/api/pages/30").await;
    unproven.headers_mut().insert("x-original-uri", "/api/pages/31".parse().unwrap());
    assert_eq!(outcome(&agent.exchange(unproven).await), is(401, "bad_proof"));
    crate::support::eventually("both are on record", || async {
        let heard = scene.voters.iter().map(|voter| voter.heard(|heard| heard.records.clone()));
        let records: std::collections::BTreeMap<_, _> = heard.flatten().collect();
        let advice: Vec<_> = records.values().filter(|record| record.public().kind == RecordKind::Advice).collect();
        let said = advice.iter().filter_map(|record| record.detail());
        assert!(said.clone().all(|detail| detail.links.is_empty() && detail.delegator.is_none()), "{advice:?}");
        (advice.len() >= 2).then_some(())
    })
    .await;
    scene.stop_edge().await;
}
