//! What an administrator hands to whoever installs an edge: the right to join once, and whom to believe meanwhile.
//!
//! The token's secret is the seed of a signing key that never leaves its holder: the voters know the digest of the public
//! half, and every one of them checks what the holder has signed. So no voter spends a token that it hears of. The token
//! says by which authority and which first root the edge recognises its mesh, so that the first connection is no leap of
//! faith. Clauses J-1, J-2 and J-18, docs/PROTOCOL.md.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use minicbor::Encoder;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::crypto::digest::Digest;
use crate::crypto::hpke::SealingPublicKey;
use crate::crypto::sign::{KeyInvalid, PublicKey, Signature, SignatureInvalid, SigningKey};
use crate::id::{EdgeId, MeshId, Region, VoterId};
use crate::limits::VOTERS_MAX;
use crate::text;

/// What every token begins with; the number is the version of what follows.
const PREFIX: &str = "remit-join-1.";
/// Characters of a token: nine voters with long addresses are less than half.
pub const JOIN_TOKEN_BYTES_MAX: usize = 4 * 1024;

const DOMAIN: &str = "remit/join/v1";

/// The secret of a token: the seed of its signing key. It does not print, and is wiped on drop.
pub struct TokenSecret(SigningKey);

impl TokenSecret {
    /// From 32 random bytes.
    ///
    /// # Errors
    /// [`KeyInvalid`] when the library refuses the seed; it has no reason to.
    pub fn new(seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyInvalid> {
        SigningKey::from_seed(seed).map(Self)
    }

    /// The key under which voters check what the token's holder signs.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.0.public()
    }

    /// SHA-256 of the public key: all that voters know before the token is used, and by which it is called.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.public().id().0
    }

    /// Lets an edge in with the keys that stand there, and with no others.
    #[must_use]
    pub fn admit(&self, admission: &Admission<'_>) -> Signature {
        self.0.sign(&admission.signed_bytes())
    }
}

/// What the holder of a token signs: whom it lets in, with which keys (clause J-18).
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// The mesh.
    pub mesh: MeshId,
    /// Where the edge stands.
    pub region: &'a Region,
    /// Which edge.
    pub edge: &'a EdgeId,
    /// The key of its certificates.
    pub identity: &'a PublicKey,
    /// What credentials are to be sealed to.
    pub sealing: &'a SealingPublicKey,
}

impl Admission<'_> {
    /// Checks that the holder of this token has signed this.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, token: &PublicKey, signature: &Signature) -> Result<(), SignatureInvalid> {
        token.verify(&self.signed_bytes(), signature)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let Self { mesh, region, edge, identity, sealing } = self;
        let mut bytes = Vec::new();
        // A vector takes everything, so the only failure that the type allows for cannot come up.
        let _ = Encoder::new(&mut bytes).array(6).and_then(|out| {
            out.str(DOMAIN)?.bytes(&mesh.0)?.str(region.as_str())?.str(edge.as_str())?;
            out.bytes(identity.as_bytes())?.bytes(&sealing.id().0.0)?.ok()
        });
        bytes
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret")
    }
}

/// A join token.
#[derive(Debug)]
pub struct JoinToken {
    /// The mesh.
    pub mesh: MeshId,
    /// The digest of its first root.
    pub root: Digest,
    /// SHA-256 of the public key of the voters' authority (`SubjectPublicKeyInfo`).
    pub voters_authority: Digest,
    /// Where the edge is to stand.
    pub region: Region,
    /// Which edge.
    pub edge: EdgeId,
    /// Where voters take edges in. Hints: who answers has to show that voter's certificate.
    pub voters: BTreeMap<VoterId, SocketAddr>,
    /// By which its holder lets the edge in.
    pub secret: TokenSecret,
}

/// A text is no join token. Says nothing of what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a join token of this version, or not all of one")]
pub struct MalformedToken;

/// The order of the members is the spelling.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    mesh_id: MeshId,
    root_sha256: Digest,
    voters_authority: Digest,
    region: Region,
    edge: EdgeId,
    voters: BTreeMap<VoterId, SocketAddr>,
    secret: String,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl JoinToken {
    /// The token as people carry it: one word.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let Self { mesh, root, voters_authority, region, edge, voters, secret } = self;
        let written = Written {
            mesh_id: *mesh,
            root_sha256: *root,
            voters_authority: *voters_authority,
            region: region.clone(),
            edge: edge.clone(),
            voters: voters.clone(),
            secret: text::base64url(secret.0.expose_seed()),
        };
        // INVARIANT: texts, numbers and addresses always serialise.
        let json = Zeroizing::new(serde_json::to_vec(&written).unwrap_or_default());
        let encoded = Zeroizing::new(text::base64url(&json));
        Zeroizing::new(format!("{PREFIX}{}", encoded.as_str()))
    }

    /// Reads a token; white space around it does not count. There is one spelling.
    ///
    /// # Errors
    /// [`MalformedToken`].
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        let text = text.trim();
        if text.len() > JOIN_TOKEN_BYTES_MAX {
            return Err(MalformedToken);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(MalformedToken)?;
        let json = Zeroizing::new(text::from_base64url(encoded).ok_or(MalformedToken)?);
        let written: Written = serde_json::from_slice(&json).map_err(|_| MalformedToken)?;
        let secret = Zeroizing::new(text::from_base64url(&written.secret).ok_or(MalformedToken)?);
        let secret = Zeroizing::new(secret.as_slice().try_into().map_err(|_| MalformedToken)?);
        let token = Self {
            mesh: written.mesh_id,
            root: written.root_sha256,
            voters_authority: written.voters_authority,
            region: written.region.clone(),
            edge: written.edge.clone(),
            voters: written.voters.clone(),
            secret: TokenSecret::new(secret).map_err(|_| MalformedToken)?,
        };
        let is_canonical = token.to_text().as_str() == text;
        if is_canonical && (1..=VOTERS_MAX).contains(&token.voters.len()) { Ok(token) } else { Err(MalformedToken) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            mesh: MeshId([0x11; 16]),
            root: Digest([0x22; 32]),
            voters_authority: Digest([0x33; 32]),
            region: "eu-west".parse().unwrap(),
            edge: "e17".parse().unwrap(),
            voters: BTreeMap::from([(VoterId(1), "10.0.0.1:7431".parse().unwrap())]),
            secret: TokenSecret::new(Zeroizing::new([7; 32])).unwrap(),
        }
    }

    /// J-1.
    #[test]
    fn a_token_is_this_word() {
        let json = format!(
            r#"{{"mesh_id":"{}","root_sha256":"{}","voters_authority":"{}","region":"eu-west","edge":"e17","voters":{{"1":"10.0.0.1:7431"}},"secret":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}}"#,
            "11".repeat(16),
            "22".repeat(32),
            "33".repeat(32),
        );
        let text = format!("remit-join-1.{}", text::base64url(json.as_bytes()));
        assert_eq!(token().to_text().as_str(), text);
        let read = JoinToken::parse(&format!("{text}\n")).unwrap();
        assert_eq!(read.to_text().as_str(), text);
        let public = SigningKey::from_seed(Zeroizing::new([7; 32])).unwrap().public().id();
        assert_eq!(read.secret.id(), public.0);
        assert!(!format!("{read:?}").contains("BwcH") && !format!("{read:?}").contains("7, 7"));
    }

    /// J-1.
    #[test]
    fn there_is_one_spelling() {
        let text = token().to_text();
        let json = text::from_base64url(text.strip_prefix(PREFIX).unwrap()).unwrap();
        let json = String::from_utf8(json).unwrap();
        let good = json.clone();
        let refused = |json: &str| {
            assert_ne!(json, good);
            let word = format!("{PREFIX}{}", text::base64url(json.as_bytes()));
            assert_eq!(JoinToken::parse(&word).unwrap_err(), MalformedToken, "{json}");
        };
        refused(&json.replace("{\"mesh", "{ \"mesh"));
        refused(&json.replace("\"secret\":\"Bw", "\"secret\":\"BwBw"));
        refused(&json.replace("{\"1\":\"10.0.0.1:7431\"}", "{}"));
        refused(&json.replace("wc\"}", "wc\",\"more\":1}"));
        refused(&format!("{json} "));
        for bad in ["", "remit-join-1.", "remit-join-2.e30", &text.replace("remit", "Remit"), &"x".repeat(5_000)] {
            assert!(JoinToken::parse(bad).is_err(), "{bad}");
        }
    }

    /// J-18: the bytes that a token's holder signs, and that they count for these keys of this edge alone.
    #[test]
    fn a_token_lets_in_the_keys_that_its_holder_signed() {
        let [own, other] = [1, 2].map(|seed| SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap());
        let [sealing, other_sealing] = [3, 4].map(|seed| {
            let key = crate::crypto::hpke::SealingKey::from_seed(Zeroizing::new([seed; 32]));
            key.public().clone()
        });
        let token = token();
        let (region, edge) = (token.region.clone(), token.edge.clone());
        let good =
            Admission { mesh: token.mesh, region: &region, edge: &edge, identity: own.public(), sealing: &sealing };
        let expected = format!(
            "866d{}50{}67{}63{}5820{}5820{}",
            text::hex(b"remit/join/v1"),
            "11".repeat(16),
            text::hex(b"eu-west"),
            text::hex(b"e17"),
            text::hex(own.public().as_bytes()),
            sealing.id()
        );
        assert_eq!(text::hex(&good.signed_bytes()), expected);
        let signature = token.secret.admit(&good);
        assert!(good.verify(token.secret.public(), &signature).is_ok());
        assert!(good.verify(own.public(), &signature).is_err());
        let (region, edge) = ("us-east".parse().unwrap(), "e18".parse().unwrap());
        for changed in [
            Admission { mesh: MeshId([0; 16]), ..good },
            Admission { region: &region, ..good },
            Admission { edge: &edge, ..good },
            Admission { identity: other.public(), ..good },
            Admission { sealing: &other_sealing, ..good },
        ] {
            assert!(changed.verify(token.secret.public(), &signature).is_err(), "{changed:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(noise in ".{0,200}", at in 0usize..600, with: char) {
            let _ = JoinToken::parse(&noise);
            let text = token().to_text().to_string();
            let changed: String = text.chars().enumerate().map(|(i, c)| if i == at { with } else { c }).collect();
            if let Ok(read) = JoinToken::parse(&changed) {
                let written = read.to_text();
                prop_assert_eq!(written.as_str(), changed.trim());
            }
        }
    }
}
