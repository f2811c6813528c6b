//! The wire between two real namespaces. Counts, never times: the machine that runs this may be busy.

use std::net::UdpSocket;
use std::sync::Arc;

use super::*;
use crate::live::fixture::{Skipped, TestNamespace};

const A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);

/// Two namespaces on one wire.
fn two() -> Result<(Wire, TestNamespace, TestNamespace), Skipped> {
    let (a, b) = (TestNamespace::create("a")?, TestNamespace::create("b")?);
    let mut wire = Wire::new(4711, None).unwrap();
    for (namespace, addr) in [(&a, A), (&b, B)] {
        wire.plug(addr, namespace).unwrap();
    }
    Ok((wire, a, b))
}

#[expect(clippy::disallowed_methods, reason = "a real datagram through a real device")]
fn bind(namespace: &TestNamespace, addr: Ipv4Addr) -> Arc<UdpSocket> {
    let socket = namespace.inside(move || UdpSocket::bind((addr, 9_000))).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // On a busy machine the receiver may get its turn late; what the wire delivers must not be lost behind it.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 4 * 1024 * 1024).unwrap();
    Arc::new(socket)
}

/// Sends numbered datagrams from A to B and gives the numbers that arrive, until none comes for a while.
fn exchange(a: &TestNamespace, b: &TestNamespace, count: u32) -> Vec<u32> {
    let (from, to) = (bind(a, A), bind(b, B));
    let receiver = {
        let to = Arc::clone(&to);
        Builder::new()
            .spawn(move || {
                let mut arrived = Vec::new();
                let mut bytes = [0; 1_000];
                while let Ok((_, peer)) = to.recv_from(&mut bytes) {
                    assert_eq!(peer, (A, 9_000).into(), "the sender's address stays as it is");
                    arrived.push(u32::from_be_bytes(*bytes.first_chunk().unwrap()));
                }
                arrived
            })
            .unwrap()
    };
    for number in 0..count {
        let mut datagram = [0; 500];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        from.send_to(&datagram, (B, 9_000)).unwrap();
    }
    receiver.join().unwrap()
}

#[test]
fn datagrams_meet_the_fate_that_the_link_has_in_store() {
    let Ok((wire, a, b)) = two().map_err(Skipped::print) else { return };
    let quality = LinkQuality {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(20),
        loss: 0.05,
        duplicate: 0.02,
        reorder: 0.1,
        ..LinkQuality::GOOD
    };
    wire.set_quality(A, B, quality, Duration::from_secs(600));
    let arrived = exchange(&a, &b, 500);
    let counts = wire.counts()[&(A, B)];
    assert_eq!(counts.sent, 500);
    assert_eq!(u64::try_from(arrived.len()).unwrap(), counts.sent - counts.lost + counts.duplicated, "{counts:?}");
    assert!((5..60).contains(&counts.lost), "{counts:?}");
    assert!(counts.duplicated > 0 && counts.reordered > 10, "{counts:?}");
    assert!(arrived.windows(2).any(|pair| pair[1] < pair[0]), "nothing was overtaken");
}

#[test]
fn a_cut_is_one_way_and_silent() {
    let Ok((wire, a, b)) = two().map_err(Skipped::print) else { return };
    let (at_a, at_b) = (bind(&a, A), bind(&b, B));
    wire.cut(A, B, Duration::from_secs(600));
    for _ in 0..10 {
        at_a.send_to(b"never heard", (B, 9_000)).unwrap();
    }
    at_b.send_to(b"heard", (A, 9_000)).unwrap();
    let mut bytes = [0; 100];
    let (length, _) = at_a.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"heard");
    // The two directions are carried one beside the other: what was sent first may be met later.
    let counted = || wire.counts().get(&(A, B)).copied().unwrap_or_default();
    let all_met = (0..10_000_000).any(|_| {
        std::thread::yield_now();
        counted().sent == 10
    });
    assert!(all_met, "{:?}", counted());
    assert_eq!(counted(), Counts { sent: 10, cut: 10, ..Counts::default() });
    wire.heal();
    at_a.send_to(b"heard again", (B, 9_000)).unwrap();
    let (length, _) = at_b.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"heard again", "nothing of what was cut comes later");
}

#[test]
fn a_flipped_bit_reaches_the_program() {
    let Ok((wire, a, b)) = two().map_err(Skipped::print) else { return };
    wire.set_quality(A, B, LinkQuality { corrupt: 1.0, ..LinkQuality::GOOD }, Duration::from_secs(600));
    let (at_a, at_b) = (bind(&a, A), bind(&b, B));
    at_a.send_to(&[0; 64], (B, 9_000)).unwrap();
    let mut bytes = [0; 64];
    assert_eq!(at_b.recv_from(&mut bytes).unwrap().0, 64);
    assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
}
