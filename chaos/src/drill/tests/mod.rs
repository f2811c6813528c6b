//! Drill files that are wrong, and drills that are played where nothing real can break.

mod bad_files;
mod played;
mod world;
