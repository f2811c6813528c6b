//! Real voters and edges in one process, on simulated time, network and disks.
