//! `remit demo`: the story of `examples/contract-renewal`, played on a real mesh of processes.
//!
//! Every step says what is expected, what happened and how long it took. Nothing is mocked: voters, edges and the
//! tool server are processes of their own, the agent is a real MCP client with a real sidecar, the forger holds a voter's real
//! certificate. The demo ends well only if every check came out as expected.

mod agent;
mod figures;
mod hostile;
mod probe;
mod records;
mod report;
mod search;
mod sidecar;
mod stage;
mod steps;

pub(crate) use report::Story;
pub(crate) use stage::Stage;
pub(crate) use steps::play;
