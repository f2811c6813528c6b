use super::*;

fn upstream(url: &str, header: &str, format: &str) -> Upstream {
    let inject = Injection { header: header.to_owned(), format: format.to_owned() };
    Upstream::new(UpstreamName::new("acme").expect("name"), url, Some(inject)).expect("an upstream")
}

/// Clause P-12, with the bytes that are hashed.
#[test]
fn the_injection_profile_has_one_encoding() {
    let acme = upstream("http://127.0.0.1:7701/mcp", "Authorization", "Bearer {}");
    let profile = r#"{"format":"Bearer {}","header":"authorization","origin":"http://127.0.0.1:7701"}"#;
    assert_eq!(String::from_utf8(acme.profile()).as_deref(), Ok(profile));
    let digest = "be5ae0f698d85408b035b40fa535254b6d05342b018489c40b70074ac15a1b5d";
    assert_eq!(acme.profile_digest().to_string(), digest);
    let open = Upstream::new(UpstreamName::new("acme").expect("name"), "http://localhost/", None).expect("an upstream");
    let profile = r#"{"format":null,"header":null,"origin":"http://localhost"}"#;
    assert_eq!(String::from_utf8(open.profile()).as_deref(), Ok(profile));
}

#[test]
fn a_credential_is_bound_to_where_and_how_it_is_sent_and_not_to_the_path() {
    let acme = upstream("http://127.0.0.1:7701/mcp", "authorization", "Bearer {}");
    for other in [
        upstream("http://127.0.0.1:7702/mcp", "authorization", "Bearer {}"),
        upstream("http://localhost:7701/mcp", "authorization", "Bearer {}"),
        upstream("http://127.0.0.1:7701/mcp", "x-api-key", "Bearer {}"),
        upstream("http://127.0.0.1:7701/mcp", "authorization", "{}"),
    ] {
        assert_ne!(other.profile_digest(), acme.profile_digest(), "{other:?}");
    }
    let moved = upstream("http://127.0.0.1:7701/v2/mcp", "Authorization", "Bearer {}");
    assert_eq!(moved.profile_digest(), acme.profile_digest());
}

#[test]
fn an_address_comes_apart() {
    let check = |url: &str, authority: &str, path: &str| {
        let upstream = upstream(url, "x-key", "{}");
        assert_eq!((upstream.authority(), upstream.path()), (authority, path), "{url}");
        assert_eq!(format!("{}{}", upstream.origin(), upstream.path()), url);
    };
    check("http://127.0.0.1:7701/mcp", "127.0.0.1:7701", "/mcp");
    check("http://[::1]:80/", "[::1]:80", "/");
    check("http://localhost/a/b.c", "localhost", "/a/b.c");
    assert_eq!(upstream("http://localhost/", "x-key", "a {} b").inject.map(|inject| inject.format.len()), Some(6));
}
