//! What the benches measure is also right.

#[cfg(test)]
mod bundle;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod swap;
#[cfg(test)]
mod tasks;
