//! Who a node is, and who an administrator is.
