//! Silent partitions by the receiver's own packet filter.
//!
//! Dropped on the way in, never on the way out: a filter on the way out makes the sender's `send` fail, which no
//! network does. One table per receiver and fault, so that taking one back leaves the others.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::namespace::Namespace;
use super::undo::{Journal, Undo};

/// Lets what comes from these addresses vanish, for so long at most. Gives the number by which the journal takes it
/// back.
///
/// # Errors
/// What the machine says; nothing is dropped then.
pub(super) fn drop_from(
    namespace: &Arc<Namespace>,
    from: &BTreeSet<Ipv4Addr>,
    table: &str,
    journal: &Journal,
    ttl: Duration,
) -> Result<u64> {
    let undo = Undo::Table { namespace: namespace.path().to_owned(), table: table.to_owned() };
    let id = journal.note(undo, Some(ttl))?;
    let from = from.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ");
    // One transaction: all of it, or nothing.
    let rules = format!(
        "add table ip {table}; \
         add chain ip {table} in {{ type filter hook input priority 0; }}; \
         add rule ip {table} in ip saddr {{ {from} }} drop"
    );
    match namespace.tool("nft", &[&rules]) {
        Ok(_) => Ok(id),
        Err(error) => {
            journal.undo(id)?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::live::fixture::{Skipped, TestNamespace, need};
    use crate::live::namespace::path_of;

    /// Loopback has many addresses: one namespace is enough for a sender and a receiver.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "real datagrams")]
    fn only_those_addresses_are_cut_off_and_only_until_it_is_undone() {
        if let Err(skipped) = need(|probe| probe.missing_mesh().or(probe.nft.as_ref().err().cloned())) {
            return skipped.print();
        }
        let namespace = match TestNamespace::create("nft") {
            Ok(namespace) => namespace,
            Err(skipped) => return Skipped::print(skipped),
        };
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::create(root.path(), "remit-run").unwrap();
        let bind = |last: u8| {
            let addr = (Ipv4Addr::new(127, 0, 0, last), 9_000);
            namespace.inside(move || UdpSocket::bind(addr)).unwrap().unwrap()
        };
        let (one, two, receiver) = (bind(2), bind(3), bind(4));
        receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let heard = || {
            let mut bytes = [0; 16];
            let length = receiver.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let entered =
            Arc::new(Namespace::enter(&path_of(namespace.path().file_name().unwrap().to_str().unwrap())).unwrap());
        let from = BTreeSet::from([Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 9)]);
        let id = drop_from(&entered, &from, "remit_1", &journal, Duration::from_secs(600)).unwrap();
        one.send_to(b"cut", "127.0.0.4:9000").unwrap();
        two.send_to(b"not cut", "127.0.0.4:9000").unwrap();
        assert_eq!(heard(), "not cut");
        journal.undo(id).unwrap();
        one.send_to(b"again", "127.0.0.4:9000").unwrap();
        assert_eq!(heard(), "again");
        drop(entered);
        assert_eq!(journal.undo_all(), [""; 0]);
    }
}
