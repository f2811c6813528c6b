//! Promises of the mesh, each in a file of its own, judged on a history.
