//! Records of what was decided, on disk before what must be, at the voters after that.
mod segment;
