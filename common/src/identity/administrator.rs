//! What an administrator's key may ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::crypto::sign::PublicKey;
use crate::id::{KeyId, TenantId};
use crate::time::Timestamp;

/// What can be asked of the control plane by a signed command. The text form stands in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Store a bundle and activate it. Needs the policy role's signatures besides.
    PublishBundle,
    /// Store sealed shards. Needs a sealer's signature besides.
    SealCredential,
    /// Cut authority.
    Revoke,
    /// Ask the issuers for a root envelope on a delegator's behalf.
    IssueEnvelope,
    /// Install a root or a directory. Needs their roles' signatures besides.
    InstallTrust,
    /// Change who votes, and who leads.
    ChangeVoters,
    /// Make and take back the tokens by which edges join.
    EnrolEdge,
    /// With another administrator who may, cut authority in every tenant at once.
    RevokeEverywhere,
}

impl Verb {
    /// Every verb, in the order of its declaration.
    pub const ALL: [Self; 8] = [
        Self::PublishBundle,
        Self::SealCredential,
        Self::Revoke,
        Self::IssueEnvelope,
        Self::InstallTrust,
        Self::ChangeVoters,
        Self::EnrolEdge,
        Self::RevokeEverywhere,
    ];

    /// The text form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PublishBundle => "publish-bundle",
            Self::SealCredential => "seal-credential",
            Self::Revoke => "revoke",
            Self::IssueEnvelope => "issue-envelope",
            Self::InstallTrust => "install-trust",
            Self::ChangeVoters => "change-voters",
            Self::EnrolEdge => "enrol-edge",
            Self::RevokeEverywhere => "revoke-everywhere",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such verb; there are publish-bundle, seal-credential, revoke, issue-envelope, install-trust, change-voters, \
     enrol-edge and revoke-everywhere"
)]
pub struct UnknownVerb;

impl FromStr for Verb {
    type Err = UnknownVerb;
    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text).ok_or(UnknownVerb)
    }
}

/// An entry of the directory: this key may ask for these verbs in these tenants until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Administrator {
    /// For people and records.
    pub name: String,
    /// What its commands are signed with.
    pub key: PublicKey,
    /// Where it may act.
    pub tenants: BTreeSet<TenantId>,
    /// What it may ask for.
    pub verbs: BTreeSet<Verb>,
    /// First moment at which it may no longer.
    pub expires: Timestamp,
}

/// Administrators by the id of their key.
pub type Administrators = BTreeMap<KeyId, Administrator>;

/// Why an administrator's key does not do for what it signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// The directory lists no such administrator.
    #[error("key {key} is not an administrator's")]
    Unknown {
        /// The key of the request.
        key: KeyId,
    },
    /// The entry had expired when the command was made.
    #[error("administrator `{name}` expired at {expires}")]
    Expired {
        /// Who.
        name: String,
        /// When.
        expires: Timestamp,
    },
    /// The entry does not list the tenant.
    #[error("administrator `{name}` has no say in tenant `{tenant}`")]
    Tenant {
        /// Who.
        name: String,
        /// Where.
        tenant: TenantId,
    },
    /// The entry does not list the verb.
    #[error("administrator `{name}` may not {verb}")]
    Verb {
        /// Who.
        name: String,
        /// What.
        verb: Verb,
    },
}

impl NotPermitted {
    /// A fixed word for metrics and records.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_administrator",
            Self::Expired { .. } => "administrator_expired",
            Self::Tenant { .. } => "tenant_not_permitted",
            Self::Verb { .. } => "verb_not_permitted",
        }
    }
}

impl Administrator {
    /// Whether this administrator may do `verb` in `tenant` at `at`.
    ///
    /// # Errors
    /// [`NotPermitted`] names the first rule that stands against it.
    pub fn check(&self, verb: Verb, tenant: &TenantId, at: Timestamp) -> Result<(), NotPermitted> {
        self.check_anywhere(verb, at)?;
        if !self.tenants.contains(tenant) {
            return Err(NotPermitted::Tenant { name: self.name.clone(), tenant: tenant.clone() });
        }
        Ok(())
    }

    /// The same for what belongs to no tenant: the mesh's own documents.
    ///
    /// # Errors
    /// [`NotPermitted`] names the first rule that stands against it.
    pub fn check_anywhere(&self, verb: Verb, at: Timestamp) -> Result<(), NotPermitted> {
        if at >= self.expires {
            return Err(NotPermitted::Expired { name: self.name.clone(), expires: self.expires });
        }
        if !self.verbs.contains(&verb) {
            return Err(NotPermitted::Verb { name: self.name.clone(), verb });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::sign::SigningKey;

    #[test]
    fn verbs_have_one_spelling() {
        for verb in Verb::ALL {
            assert_eq!(verb.as_str().parse(), Ok(verb));
            assert_eq!(serde_json::to_string(&verb).unwrap(), format!("\"{verb}\""));
        }
        assert_eq!("Revoke".parse::<Verb>(), Err(UnknownVerb));
    }

    #[test]
    fn tenant_verb_and_time_must_all_fit() {
        let key = SigningKey::from_seed(Zeroizing::new([1; 32])).unwrap();
        let tenant = |name: &str| TenantId::new(name).unwrap();
        let administrator = Administrator {
            name: "ops".to_owned(),
            key: *key.public(),
            tenants: BTreeSet::from([tenant("acme")]),
            verbs: BTreeSet::from([Verb::Revoke]),
            expires: Timestamp::from_secs(10),
        };
        let check = |verb, name, secs| {
            let checked = administrator.check(verb, &tenant(name), Timestamp::from_secs(secs));
            checked.map_err(|refused| refused.reason_code())
        };
        assert_eq!(check(Verb::Revoke, "acme", 9), Ok(()));
        assert_eq!(check(Verb::Revoke, "acme", 10), Err("administrator_expired"));
        assert_eq!(check(Verb::Revoke, "other", 9), Err("tenant_not_permitted"));
        assert_eq!(check(Verb::PublishBundle, "acme", 9), Err("verb_not_permitted"));
    }
}
