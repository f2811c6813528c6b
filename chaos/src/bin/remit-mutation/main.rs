//! Plants bugs, one after the other, and sees whether the simulation's checks find them.

fn main() {}
