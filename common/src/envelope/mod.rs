//! What an agent carries, and how it is narrowed and checked.
