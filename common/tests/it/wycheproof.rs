//! Other people's vectors (C2SP Wycheproof) against the functions of our crypto fence.

use remit_common::crypto::mac::MacKey;
use remit_common::crypto::sign::{PublicKey, Signature};
use wycheproof::{TestResult, eddsa, mac};
use zeroize::Zeroizing;

/// Signatures that are malleable, truncated, too long, or not of the message; keys and points of every kind.
#[test]
fn ed25519_verifies_what_wycheproof_says() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the set is in the crate");
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        let key = PublicKey::from_bytes(&group.key.pk);
        for test in &group.tests {
            // A key that the fence refuses verifies nothing, and neither does a signature that is not 64 bytes long.
            let verifies = key.is_ok_and(|key| {
                Signature::from_slice(&test.sig).is_some_and(|signature| key.verify(&test.msg, &signature).is_ok())
            });
            match test.result {
                TestResult::Valid => valid += u32::from(verifies),
                TestResult::Invalid => invalid += u32::from(!verifies),
                TestResult::Acceptable => panic!("case {}: Ed25519 leaves nothing to taste", test.tc_id),
            }
            let expected = test.result == TestResult::Valid;
            assert_eq!(verifies, expected, "case {}: {} {:?}", test.tc_id, test.comment, test.flags);
        }
    }
    assert!(valid >= 60 && invalid >= 50, "{valid} valid and {invalid} invalid signatures were seen");
}

/// Tags of the whole 32 bytes. The fence takes keys of 32 bytes: a shorter one is the same key with zeros behind it
/// (RFC 2104), a longer one has no place in it.
#[test]
fn hmac_sha256_checks_what_wycheproof_says() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).expect("the set is in the crate");
    let (mut valid, mut invalid, mut short) = (0, 0, 0);
    for group in set.test_groups.iter().filter(|group| group.key_size <= 256) {
        for test in &group.tests {
            let mut key = Zeroizing::new([0; 32]);
            key.iter_mut().zip(test.key.iter()).for_each(|(to, from)| *to = *from);
            let key = MacKey::from_random(&key);
            let checks = key.check(&test.msg, &test.tag).is_ok();
            if group.tag_size < 256 {
                assert!(!checks, "case {}: a truncated tag is none of ours", test.tc_id);
                short += 1;
                continue;
            }
            let expected = test.result == TestResult::Valid;
            assert_eq!(checks, expected, "case {}: {} {:?}", test.tc_id, test.comment, test.flags);
            if expected {
                assert_eq!(key.tag(&test.msg), test.tag.as_slice(), "case {}", test.tc_id);
                valid += 1;
            } else {
                invalid += 1;
            }
        }
    }
    assert!(valid >= 20 && invalid >= 20 && short >= 20, "{valid} valid, {invalid} invalid, {short} truncated tags");
}
