//! The trust domains whose agents a tenant's bundle knows, `trust-domains.toml`, and which agent may be of which class.
//!
//! A hop names an agent and a class, and both are its parent's claim. The agent proves its name with an SVID; nothing that
//! an agent shows says of which class it is, so the bundle does, by paths. Clauses E-37 and B-21.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fault::{PolicyFault, Source};
use crate::crypto::sign::PublicKey;
use crate::envelope::AgentIdentity;
use crate::id::AgentClass;
use crate::identity::svid::{AgentSvid, NotThisAgent, is_path, is_trust_domain};

/// The file.
pub const TRUST_DOMAINS_FILE: &str = "trust-domains.toml";
/// Trust domains of one bundle.
const DOMAINS_MAX: usize = 16;
/// Authorities of one trust domain: the present one, the next one, and some that are going.
const AUTHORITIES_MAX: usize = 8;
/// Classes of one trust domain, and paths of one class.
const CLASSES_MAX: usize = 256;

/// By name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustDomains(BTreeMap<String, TrustDomain>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct TrustDomain {
    authorities: Vec<PublicKey>,
    classes: BTreeMap<AgentClass, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    trust_domain: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    authorities: Vec<PublicKey>,
    #[serde(default)]
    classes: BTreeMap<AgentClass, Vec<String>>,
}

impl TrustDomains {
    /// Reads the file.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<PolicyFault>> {
        let source = Source::new(TRUST_DOMAINS_FILE, bytes).map_err(|fault| vec![fault])?;
        let file: File = source.read_toml().map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        let mut domains = BTreeMap::new();
        for Entry { name, authorities, classes } in file.trust_domain {
            let at = source.text.find(&name).unwrap_or(0);
            let mut refuse = |message: String| faults.push(source.fault(at, message));
            if !is_trust_domain(&name) {
                refuse(format!("`{name}` is no name of a trust domain"));
            }
            if authorities.is_empty() || authorities.len() > AUTHORITIES_MAX {
                refuse(format!("`{name}` has 1 to {AUTHORITIES_MAX} authorities"));
            }
            if classes.len() > CLASSES_MAX || classes.values().any(|paths| paths.len() > CLASSES_MAX) {
                refuse(format!("`{name}` has at most {CLASSES_MAX} classes, and each as many paths"));
            }
            let is_rule = |path: &String| is_path(path.strip_suffix("/*").unwrap_or(path));
            for path in classes.values().flatten().filter(|path| !is_rule(path)) {
                refuse(format!("`{path}` is no path of an agent, such as `/agent/clerk` or `/clerks/*`"));
            }
            if domains.insert(name.clone(), TrustDomain { authorities, classes }).is_some() {
                refuse(format!("`{name}` stands here twice"));
            }
        }
        if domains.len() > DOMAINS_MAX {
            faults.push(source.fault(0, format!("a bundle names at most {DOMAINS_MAX} trust domains")));
        }
        if faults.is_empty() { Ok(Self(domains)) } else { Err(faults) }
    }

    /// Whether this identity makes true what a link says of the agent that holds its key. Says nothing of time, see
    /// [`AgentSvid::check_time`].
    ///
    /// # Errors
    /// [`NotThisAgent`].
    pub fn check(&self, svid: &AgentSvid, holder: &PublicKey, claimed: &AgentIdentity) -> Result<(), NotThisAgent> {
        if *svid.id().as_agent() != claimed.id {
            return Err(NotThisAgent::OtherAgent);
        }
        if svid.key() != holder {
            return Err(NotThisAgent::OtherKey);
        }
        let domain = self.0.get(svid.id().trust_domain()).ok_or(NotThisAgent::UnknownDomain)?;
        let paths = domain.classes.get(&claimed.class).map(Vec::as_slice).unwrap_or_default();
        if !paths.iter().any(|rule| matches(rule, svid.id().path())) {
            return Err(NotThisAgent::Class);
        }
        if svid.is_signed_by(&domain.authorities) { Ok(()) } else { Err(NotThisAgent::Signature) }
    }
}

/// A path, or all paths below one.
fn matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(folder) => path.strip_prefix(folder).is_some_and(|rest| !rest.is_empty()),
        None => rule == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        TrustDomains::parse(text.as_bytes()).unwrap_err().into_iter().map(|fault| fault.message).collect()
    }

    fn entry(name: &str, rest: &str) -> String {
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        format!("[[trust_domain]]\nname = \"{name}\"\nauthorities = [\"{key}\"]\n{rest}\n")
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said() {
        assert!(TrustDomains::parse(b"").is_ok());
        assert!(
            TrustDomains::parse(entry("a.example", "[trust_domain.classes]\nx = [\"/a/*\", \"/b\"]").as_bytes())
                .is_ok()
        );
        for (text, expected) in [
            (entry("A b", ""), "no name of a trust domain"),
            (entry("a", "") + &entry("a", ""), "stands here twice"),
            (entry("a", "[trust_domain.classes]\nx = [\"a\"]"), "no path of an agent"),
            (entry("a", "[trust_domain.classes]\nx = [\"/a*\"]"), "no path of an agent"),
            (entry("a", "[trust_domain.classes]\nx = [\"/*/b\"]"), "no path of an agent"),
            ("[[trust_domain]]\nname = \"a\"\nauthorities = []\n".to_owned(), "1 to 8 authorities"),
            (entry("a", "surprise = 1"), "unknown field"),
            ("authorities = 1".to_owned(), "unknown field"),
            ((0..17).map(|n| entry(&format!("a{n}"), "")).collect(), "at most 16"),
        ] {
            let found = faults(&text);
            assert!(found.iter().any(|fault| fault.contains(expected)), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_rule_is_a_path_or_all_below_one() {
        for (rule, path, expected) in [
            ("/agent/a", "/agent/a", true),
            ("/agent/a", "/agent/ab", false),
            ("/agent/*", "/agent/a", true),
            ("/agent/*", "/agent/a/b", true),
            ("/agent/*", "/agent/", false),
            ("/agent/*", "/agents/a", false),
        ] {
            assert_eq!(matches(rule, path), expected, "{rule} {path}");
        }
    }
}
