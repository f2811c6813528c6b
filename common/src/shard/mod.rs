//! Credentials sealed to one edge.
