//! One real edge against voters, agents and tools that are driven by hand.

#[cfg(test)]
mod authzen;
#[cfg(test)]
#[path = "../../../common/tests/bad_bundles/mod.rs"]
mod bad_bundles;
#[cfg(test)]
mod beacons;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod copied;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod delegations;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod nginx;
#[cfg(test)]
mod official;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod older;
#[cfg(test)]
mod overtaken;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod records;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod relations;
#[cfg(test)]
mod revoked;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
mod terms;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod trust_attacks;
