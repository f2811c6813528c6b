//! What an administrator hands to whoever installs an edge: the right to join once, and whom to believe meanwhile.
//!
//! The voters know the secret's digest only, and the token says by which authority and which first root the edge
//! recognises its mesh: so the first connection is no leap of faith, and whoever reads the log joins nothing. Clauses
//! J-1 and J-2, docs/PROTOCOL.md.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::crypto::digest::Digest;
use crate::id::{EdgeId, MeshId, Region, VoterId};
use crate::limits::VOTERS_MAX;
use crate::text;

/// What every token begins with; the number is the version of what follows.
const PREFIX: &str = "remit-join-1.";
/// Characters of a token: nine voters with long addresses are less than half.
pub const JOIN_TOKEN_BYTES_MAX: usize = 4 * 1024;

/// The secret of a token. It does not print, and is wiped on drop.
pub struct TokenSecret(Zeroizing<[u8; 32]>);

impl TokenSecret {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// SHA-256 of the secret: all that voters know of it, and by which a token is called.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&[self.0.as_slice()])
    }

    /// The secret, for the one message that shows it.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
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
    /// What the voters know the digest of.
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
            secret: text::base64url(secret.expose()),
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
            secret: TokenSecret::new(secret),
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
            secret: TokenSecret::new(Zeroizing::new([7; 32])),
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
        assert_eq!(read.secret.id(), Digest::of(&[&[7; 32]]));
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
