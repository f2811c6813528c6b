//! How two versions agree on what they speak.
