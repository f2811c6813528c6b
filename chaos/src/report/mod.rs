//! What people and their tools get to read after a drill.
