//! Who may sign what, and how fresh an edge is.
