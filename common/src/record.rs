//! Decision records and their chain.
