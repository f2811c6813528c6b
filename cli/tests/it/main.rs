//! The command line from outside: real processes of the real executable.

#[cfg(test)]
mod agent;
#[cfg(test)]
#[path = "../../../common/tests/bad_bundles/mod.rs"]
mod bad_bundles;
#[cfg(test)]
mod bootstrap;
#[cfg(test)]
mod bundle;
#[cfg(test)]
mod ceremony;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod drill;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod emergency;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod netns;
mod planted;
#[cfg(test)]
mod process;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod relations;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod tool_server;
