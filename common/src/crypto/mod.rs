//! The crypto fence: the only folder that names a crypto crate.
//!
//! Few operations, each with one algorithm and its source: [`digest`] is SHA-256 (FIPS 180-4), [`sign`] is pure
//! Ed25519 (RFC 8032), [`aead`] is AES-256-GCM (NIST SP 800-38D), [`hpke`] is RFC 9180 base mode over X-Wing,
//! [`mac`] is HMAC-SHA256 (RFC 2104), [`agreement`] is X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869).
//! Randomness comes in as bytes. Secrets neither print, clone nor compare, and are wiped on drop.

pub mod aead;
pub mod agreement;
pub mod digest;
pub mod hpke;
pub mod key_file;
pub mod mac;
pub mod secret;
pub mod sign;
