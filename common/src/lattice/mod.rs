//! Scope dimensions and their meets.
