//! Both ends of distribution, without I/O.
