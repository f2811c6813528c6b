//! What has been cut.
