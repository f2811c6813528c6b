//! The real world behind Env: connections, HTTP, files, tasks. A workspace build turns the feature on.

mod disk;
mod framed;
mod http;
mod listener;
mod tasks;
mod tls;
