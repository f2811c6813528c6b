//! What travels between nodes: frames, the messages in them, and how two versions agree.
//!
//! [`frame`] bounds and names; [`codec`] turns values into bytes; [`message`] is the conversation between an edge and
//! a voter; [`enrol`] that with an edge that joins; [`batch`] carries records; [`proof`] is what an edge signs about itself, [`seal`]
//! what follows when voters have signed, too; [`version`] is the agreement.

pub mod batch;
pub mod codec;
pub mod enrol;
pub mod frame;
pub mod message;
pub mod proof;
pub mod seal;
pub mod version;

#[cfg(test)]
mod tests;
