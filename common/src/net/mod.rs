//! The world as the daemons reach it: clock, randomness, disk, tasks, sockets, and the protocols on top of them.
//!
//! [`mod@env`] says what the world offers, as traits; [`real`] is the machine, and a simulation is another. Everything
//! else in this folder is written against the traits and runs unchanged in both: [`tls`] and [`quic`] make the
//! mesh's connections, [`enrol`] those of edges that join, [`framed`] carries frames over their streams, [`http`] serves and calls HTTP, [`mcp`] reads and
//! writes what agents say, [`sse`] and [`progress`] what comes while a tool works, [`prover`] shows an agent's envelope with proof that it is its own, [`tasks`] keeps tasks
//! joined and shutdown orderly, [`service`] tells a service manager, [`attempts`] lets one try what many need, [`source`] says whom a bound counts as one, [`udp`] what the kernel gave a socket,
//! [`bootstrap`] where in a folder is what an edge needs without any of it.

pub mod attempts;
pub mod bootstrap;
pub mod enrol;
pub mod env;
pub mod framed;
pub mod http;
pub mod https;
pub mod mcp;
pub mod programs;
pub mod progress;
pub mod prover;
pub mod quic;
pub mod real;
pub mod registrar;
pub mod service;
pub mod source;
pub mod sse;
pub mod tasks;
pub mod tls;
pub mod udp;
