//! Faults on real processes: network namespaces, signals, disks.
