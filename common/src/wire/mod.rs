//! What travels between nodes: frames, the messages in them, and how two versions agree.

pub mod codec;
pub mod frame;
pub mod message;
pub mod version;
