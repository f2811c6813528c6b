//! Sockets, TLS, and the real world behind Env.
