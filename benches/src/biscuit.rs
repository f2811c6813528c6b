//! The same content as a Biscuit: an authority block with what our root grants, and three blocks that narrow it as our
//! hops do. Biscuit is the nearest relative: public keys, offline attenuation, and a verifier that runs Datalog.

use std::time::Duration;

use anyhow::{Result, ensure};
use biscuit_auth::builder::{AuthorizerBuilder, BiscuitBuilder, BlockBuilder};
use biscuit_auth::{AuthorizerLimits, Biscuit, KeyPair, PublicKey};

/// What the fixture of [`crate::chain`] says, in facts.
const AUTHORITY: &str = r#"
    tenant("acme");
    delegator("user:maya@acme.example");
    session("session-1");
    task("renewal-7781");
    agent("spiffe://acme.example/agent/analyst", "analyst");
    purpose(1, 2);
    grant(0, "contracts.read");
    effect(0, "read");
    id(0, "contract", "contract_7781");
    id(0, "contract", "contract_7790");
    id(0, "customer", "cust_acme_1042");
    maximum(0, "records", 25);
    class(0, 1);
    class(0, 2);
    class(0, 3);
    grant(1, "tickets.create");
    effect(1, "irreversible");
    id(1, "customer", "cust_acme_1042");
    class(1, 3);
    check if time($now), $now < 2027-01-15T09:00:00Z;
"#;

/// What each hop says: the same tools, and an end of its own.
const HOP: &str = r#"
    agent("spiffe://acme.example/agent/helper", "helper");
    check if tool($tool), ["contracts.read", "tickets.create"].contains($tool);
    check if records($records), $records <= 25;
    check if time($now), $now < 2027-01-15T08:10:00Z;
"#;

/// A token of four blocks and what verifies it.
#[derive(Debug)]
pub struct Token {
    root: PublicKey,
    /// The bytes that an agent presents.
    pub bytes: Vec<u8>,
}

/// A call, as the verifier is told of it; parsed beforehand.
#[derive(Debug, Clone)]
pub struct Asked(AuthorizerBuilder);

impl Asked {
    /// A read of this contract.
    ///
    /// # Errors
    /// When the fixture is faulty.
    pub fn read_of(contract: &str) -> Result<Self> {
        ensure!(contract.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "an id, not Datalog");
        let code = format!(
            r#"
            tool("contracts.read");
            does("read");
            names("contract", "{contract}");
            names("customer", "cust_acme_1042");
            records(25);
            time(2027-01-15T08:00:05Z);
            allow if tool($tool), grant($grant, $tool), does($effect), effect($grant, $effect),
                names("contract", $contract), id($grant, "contract", $contract),
                names("customer", $customer), id($grant, "customer", $customer),
                records($records), maximum($grant, "records", $most), $records <= $most;
            "#
        );
        // The library's own bound of a millisecond is for machines that do nothing else.
        let limits = AuthorizerLimits { max_time: Duration::from_secs(10), ..AuthorizerLimits::default() };
        Ok(Self(AuthorizerBuilder::new().code(code)?.set_limits(limits)))
    }
}

impl Token {
    /// Mints it and narrows it three times.
    ///
    /// # Errors
    /// When the fixture is faulty.
    pub fn new() -> Result<Self> {
        let root = KeyPair::new();
        let mut token = BiscuitBuilder::new().code(AUTHORITY)?.build(&root)?;
        for _ in 0..3 {
            token = token.append(BlockBuilder::new().code(HOP)?)?;
        }
        Ok(Self { root: root.public(), bytes: token.to_vec()? })
    }

    /// From bytes to whether the call is admitted, with nothing remembered: signatures, blocks, Datalog.
    ///
    /// # Errors
    /// When the bytes do not verify, or the call is not admitted.
    pub fn authorize_cold(&self, asked: &Asked) -> Result<()> {
        let token = Biscuit::from(&self.bytes, self.root)?;
        asked.0.clone().build(&token)?.authorize()?;
        Ok(())
    }
}
