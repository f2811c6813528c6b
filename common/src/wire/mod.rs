//! Frames and messages of the mesh.
