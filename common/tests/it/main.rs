//! Everything that can be tested of the core through its public interface, in one binary.

#[cfg(test)]
mod envelope;
#[cfg(test)]
mod fuzz;
#[cfg(all(test, feature = "net"))]
mod net;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod wycheproof;
