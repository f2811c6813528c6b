//! Where something is cut. Clause T-57.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{InvalidId, TenantId};

/// Every tenant, as text: no tenant can be called so.
const EVERY_TENANT: &str = "*";

/// In one tenant, or in every one that there is or will be. The order is that of the texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reach {
    /// The whole mesh: needs two administrators.
    Mesh,
    /// One tenant.
    Tenant(TenantId),
}

impl Reach {
    /// The tenant, or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Mesh => EVERY_TENANT,
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }

    /// The tenant, if it is one.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Mesh => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }

    /// Whether this tenant is reached.
    #[must_use]
    pub fn covers(&self, tenant: &TenantId) -> bool {
        self.tenant().is_none_or(|only| only == tenant)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<TenantId> for Reach {
    fn from(tenant: TenantId) -> Self {
        Self::Tenant(tenant)
    }
}

impl From<Reach> for String {
    fn from(reach: Reach) -> Self {
        reach.as_str().to_owned()
    }
}

impl FromStr for Reach {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text == EVERY_TENANT { Ok(Self::Mesh) } else { TenantId::new(text).map(Self::Tenant) }
    }
}

impl TryFrom<String> for Reach {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
