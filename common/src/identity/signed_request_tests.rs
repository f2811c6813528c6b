use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

const MESH: MeshId = MeshId([0x11; 16]);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn request() -> SignedRequest {
    SignedRequest::sign(&MESH, &key(1), "POST", "/v1/revocations", b"{}".to_vec(), 1_000, 1_300, [0xab; 16])
}

fn read(request: &SignedRequest, headers: &[(&str, String)]) -> Result<SignedRequest, RequestRefused> {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    SignedRequest::from_headers(&MESH, &request.method, &request.path, request.body.clone(), headers)
}

#[test]
fn builds_the_standards_base_and_verifies_its_signature() {
    // Clause T-21.
    // RFC 9421 appendix B.2.6 with the key of B.1.4.
    let components = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@method", "POST"),
        ("@path", "/foo"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ];
    let params = "(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
                  ;created=1618884473;keyid=\"test-key-ed25519\"";
    let built = base(&components, params);
    assert_eq!(
        built,
        "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
         \"@method\": POST\n\
         \"@path\": /foo\n\
         \"@authority\": example.com\n\
         \"content-type\": application/json\n\
         \"content-length\": 18\n\
         \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
         ;created=1618884473;keyid=\"test-key-ed25519\""
    );
    let public = text::from_base64url("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs").unwrap();
    let signature =
        text::from_base64("wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==")
            .unwrap();
    let public = PublicKey::from_bytes(&public).unwrap();
    public.verify(built.as_bytes(), &Signature::from_slice(&signature).unwrap()).unwrap();
}

#[test]
fn digests_the_standards_body() {
    // RFC 9530 appendix D: the digest of this content.
    assert_eq!(content_digest(b"{\"hello\": \"world\"}"), "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
}

#[test]
fn the_base_is_golden() {
    // Clause T-21.
    let request = request();
    assert_eq!(
        String::from_utf8(request.signature_base(&MESH)).unwrap(),
        "\"@method\": POST\n\
         \"@path\": /v1/revocations\n\
         \"content-digest\": sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:\n\
         \"@signature-params\": (\"@method\" \"@path\" \"content-digest\");created=1000;expires=1300;\
         nonce=\"abababababababababababababababab\";\
         keyid=\"34750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e\";\
         tag=\"remit/11111111111111111111111111111111\""
    );
}

#[test]
fn reads_back_what_it_wrote_and_verifies() {
    // Clause T-23.
    let request = request();
    let headers = request.headers(&MESH);
    assert_eq!(read(&request, &headers), Ok(request.clone()));
    let verified = request.verify(&MESH, key(1).public()).unwrap();
    let check = |secs, expected| assert_eq!(verified.check_time(Timestamp::from_secs(secs)), expected, "{secs}");
    check(969, Err(RequestRefused::NotYetValid));
    check(970, Ok(()));
    check(1_299, Ok(()));
    check(1_300, Err(RequestRefused::Expired));
}

#[test]
fn a_signature_is_for_one_request_of_one_mesh_by_one_key() {
    // Clause T-20.
    let good = request();
    let refused = |changed: SignedRequest, mesh, expected| {
        assert_eq!(changed.verify(&mesh, key(1).public()).map(|_| ()), Err(expected), "{changed:?}");
    };
    let changed = |change: fn(&mut SignedRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    refused(good.clone(), MeshId([0x12; 16]), RequestRefused::Signature);
    refused(changed(|r| r.method = "PUT".into()), MESH, RequestRefused::Signature);
    refused(changed(|r| r.path = "/v1/bundles".into()), MESH, RequestRefused::Signature);
    refused(changed(|r| r.body = b"{ }".to_vec()), MESH, RequestRefused::Signature);
    refused(changed(|r| r.created = 1_001), MESH, RequestRefused::Signature);
    refused(changed(|r| r.expires = 1_299), MESH, RequestRefused::Signature);
    refused(changed(|r| r.nonce = "ac".repeat(16)), MESH, RequestRefused::Signature);
    refused(changed(|r| r.key = key(2).public().id()), MESH, RequestRefused::WrongKey);
    assert_eq!(good.verify(&MESH, key(2).public()).map(|_| ()), Err(RequestRefused::WrongKey));
}

#[test]
fn what_could_be_read_in_two_ways_is_malformed_even_if_signed() {
    // Clause T-22.
    let signed = |method, path, created, expires| {
        SignedRequest::sign(&MESH, &key(1), method, path, Vec::new(), created, expires, [0; 16])
    };
    for request in [
        signed("POST", "/v1/x?tenant=acme", 0, 1),
        signed("POST", "/v1/../x", 0, 1),
        signed("POST", "/v1//x", 0, 1),
        signed("POST", "/v1/x/", 0, 1),
        signed("POST", "v1", 0, 1),
        signed("POST", "/", 0, 1),
        signed("POST", "/v1/x\n\"@path\": /v1/y", 0, 1),
        signed("POST", "/v1/%2e", 0, 1),
        signed("post", "/v1/x", 0, 1),
        signed("", "/v1/x", 0, 1),
        signed("POST", "/v1/x", 0, 301),
        signed("POST", "/v1/x", 1, 1),
        signed("POST", "/v1/x", 2, 1),
        signed("POST", "/v1/x", u64::MAX - 1, u64::MAX),
    ] {
        let refused = request.verify(&MESH, key(1).public()).map(|_| ());
        assert!(matches!(refused, Err(RequestRefused::Malformed { .. })), "{request:?}: {refused:?}");
    }
}

#[test]
fn headers_have_one_form() {
    // Clause T-22.
    let good = request();
    let [digest, input, signature] = good.headers(&MESH);
    let refused = |headers: &[(&str, String)], expected| assert_eq!(read(&good, headers), Err(expected));
    refused(&[digest.clone(), input.clone()], RequestRefused::HeaderMissing { name: "signature" });
    refused(&[digest.clone(), signature.clone()], RequestRefused::HeaderMissing { name: "signature-input" });
    refused(&[input.clone(), signature.clone()], RequestRefused::HeaderMissing { name: "content-digest" });
    refused(
        &[digest.clone(), input.clone(), signature.clone(), ("SIGNATURE", signature.1.clone())],
        RequestRefused::HeaderRepeated { name: "signature" },
    );
    refused(
        &[("Content-Digest", content_digest(b"other")), input.clone(), signature.clone()],
        RequestRefused::ContentDigest,
    );
    for (from, to) in [
        ("created=1000", "created=01000"),
        ("created=1000", "created=+1000"),
        ("created=1000;", ""),
        (" \"content-digest\"", ""),
        ("\"@path\" \"content-digest\"", "\"content-digest\" \"@path\""),
        ("remit=", "other="),
        ("keyid=\"3", "keyid=\"X"),
        (";expires=1300", ";expires=1300;alg=\"ed25519\""),
    ] {
        let input = ("signature-input", input.1.replace(from, to));
        refused(
            &[digest.clone(), input, signature.clone()],
            RequestRefused::HeaderMalformed { name: "signature-input" },
        );
    }
    let elsewhere = ("signature-input", input.1.replace("remit/11", "remit/12"));
    refused(&[digest, elsewhere, signature], RequestRefused::WrongMesh);
}

proptest! {
    #[test]
    fn arbitrary_headers_never_panic(digest in ".{0,80}", input in ".{0,200}", signature in ".{0,100}") {
        let headers = [("content-digest", digest), ("signature-input", input), ("signature", signature)];
        prop_assert!(read(&request(), &headers).is_err());
    }

    #[test]
    fn mutated_headers_never_verify_as_something_else(which in 0usize..3, at in 0usize..300, byte in 0x20u8..0x7f) {
        let good = request();
        let mut headers = good.headers(&MESH);
        let mut value = std::mem::take(&mut headers[which].1).into_bytes();
        let at = at % value.len();
        value[at] = byte;
        headers[which].1 = String::from_utf8(value).unwrap();
        if let Ok(request) = read(&good, &headers)
            && request.verify(&MESH, key(1).public()).is_ok()
        {
            prop_assert_eq!(request, good);
        }
    }
}
