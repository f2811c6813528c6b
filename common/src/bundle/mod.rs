//! Policy as a signed unit.
