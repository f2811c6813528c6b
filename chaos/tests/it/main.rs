//! Drills from outside: whole runs of the simulation.

#[cfg(test)]
mod drills;
#[cfg(test)]
mod processors;
#[cfg(test)]
mod seeds;
