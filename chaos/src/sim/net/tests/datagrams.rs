use super::*;

/// Sends ten thousand numbered datagrams and gives what arrived.
fn ten_thousand(seed: u64, quality: LinkQuality) -> (Vec<u32>, crate::sim::net::Counters, String) {
    runtime::block_on(seed, async {
        let pair = Pair::new(seed, quality);
        let (from, to) = pair.both(pair.at_a.udp(ANY).unwrap().quic);
        for n in 0..10_000u32 {
            send(&from, addr(2), &[&n.to_be_bytes()[..], &[0; 96]].concat());
            if n % 10 == 0 {
                wait(1).await;
            }
        }
        let got = drain(&to).await;
        (got, pair.net.counters(), pair.net.digest().to_string())
    })
}

#[test]
fn a_good_network_delivers_everything_once() {
    let quality = LinkQuality { jitter: Duration::ZERO, ..LinkQuality::GOOD };
    let (got, counters, _) = ten_thousand(1, quality);
    assert!(got.iter().copied().eq(0..10_000), "in order, when every packet takes as long");
    assert_eq!((counters.packets, counters.delivered, counters.bytes), (10_000, 10_000, 1_000_000));
}

#[test]
fn a_bad_network_loses_doubles_and_reorders_as_much_as_it_says() {
    let quality = LinkQuality { loss: 0.2, duplicate: 0.1, reorder: 0.05, ..LinkQuality::GOOD };
    let (got, counters, _) = ten_thousand(2, quality);
    assert!((1_840..=2_160).contains(&counters.lost), "{counters:?}");
    assert!((690..=910).contains(&counters.duplicated), "{counters:?}");
    assert_eq!(counters.delivered, counters.packets - counters.lost + counters.duplicated);
    assert_eq!(u64::try_from(got.len()).unwrap(), counters.delivered);
    let overtaken = got.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > 300, "{overtaken}");
}

#[test]
fn corruption_flips_one_bit() {
    runtime::block_on(3, async {
        let pair = Pair::new(3, LinkQuality { corrupt: 1.0, ..LinkQuality::GOOD });
        let (from, to) = pair.both(pair.at_a.udp(ANY).unwrap().quic);
        send(&from, addr(2), &[0; 100]);
        let (bytes, _) = receive(&to).await.unwrap();
        assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    });
}

#[test]
fn a_seed_decides_everything() {
    let quality = LinkQuality { loss: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.01, ..LinkQuality::GOOD };
    let first = ten_thousand(4, quality);
    assert_eq!(first, ten_thousand(4, quality));
    assert_ne!(first.2, ten_thousand(5, quality).2);
}

#[test]
fn what_is_noted_is_in_the_digest() {
    let digest = |note: &'static str| {
        runtime::block_on(1, async move {
            let pair = Pair::new(1, LinkQuality::GOOD);
            pair.net.keep_events();
            pair.net.note(note);
            assert_eq!(pair.net.events()[0].note, note);
            pair.net.digest()
        })
    };
    assert_eq!(digest("term 1"), digest("term 1"));
    assert_ne!(digest("term 1"), digest("term 2"));
}

#[test]
fn a_cut_is_one_way_and_eats_what_is_on_its_way() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality { latency: Duration::from_millis(50), ..LinkQuality::GOOD });
        let (from, to) = pair.both(pair.at_a.udp(addr(1)).unwrap().quic);
        send(&from, addr(2), &1u32.to_be_bytes());
        wait(10).await;
        pair.net.cut(pair.a, pair.b);
        send(&from, addr(2), &2u32.to_be_bytes());
        send(&to, addr(1), &3u32.to_be_bytes());
        // The end of a cut does not bring back what it ate.
        pair.net.mend(pair.a, pair.b);
        send(&from, addr(2), &4u32.to_be_bytes());
        assert_eq!(drain(&to).await, [4]);
        assert_eq!(drain(&from).await, [3]);
        assert_eq!(pair.net.counters().cut, 2);
    });
}

#[test]
fn healing_ends_cuts_and_mends_links() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        let (from, to) = pair.both(pair.at_a.udp(addr(1)).unwrap().quic);
        pair.net.cut(pair.a, pair.b);
        pair.net.set_quality(pair.b, pair.a, LinkQuality { loss: 1.0, ..LinkQuality::GOOD });
        send(&from, addr(2), &1u32.to_be_bytes());
        send(&to, addr(1), &2u32.to_be_bytes());
        pair.net.heal();
        send(&from, addr(2), &3u32.to_be_bytes());
        send(&to, addr(1), &4u32.to_be_bytes());
        assert_eq!((drain(&to).await, drain(&from).await), (vec![3], vec![4]));
    });
}

#[test]
fn a_slow_link_delays_and_drops() {
    runtime::block_on(1, async {
        let slow = LinkQuality { rate: Some(100_000), jitter: Duration::ZERO, ..LinkQuality::GOOD };
        let pair = Pair::new(1, slow);
        let (from, to) = pair.both(pair.at_a.udp(ANY).unwrap().quic);
        let begin = TrueTime::begin();
        for n in 0..100u32 {
            send(&from, addr(2), &[&n.to_be_bytes()[..], &[0; 996]].concat());
        }
        for _ in 0..40 {
            receive(&to).await.unwrap();
        }
        // A thousand bytes take ten milliseconds; what would wait for more than 400 is dropped.
        assert_eq!(begin.elapsed().as_millis(), 401);
        assert_eq!(drain(&to).await, [40]);
        assert_eq!(pair.net.counters().overflowed, 59);
    });
}

#[test]
fn a_killed_host_is_silent_and_its_port_is_free_at_once() {
    runtime::block_on(1, async {
        for is_power in [false, true] {
            let pair = Pair::new(1, LinkQuality::GOOD);
            let (from, old) = pair.both(pair.at_a.udp(addr(1)).unwrap().quic);
            send(&from, addr(2), &1u32.to_be_bytes());
            send(&old, addr(1), &2u32.to_be_bytes());
            if is_power {
                pair.net.power_off(pair.b);
            } else {
                pair.net.kill(pair.b);
            }
            // What a dead process still does reaches nobody; what had left before arrives.
            send(&old, addr(1), &3u32.to_be_bytes());
            assert_eq!(drain(&from).await, [2]);
            send(&from, addr(2), &4u32.to_be_bytes());
            wait(10).await;
            assert!(pair.at_b.udp(addr(2)).is_err(), "the old process opens nothing");
            let reborn = pair.net.process(pair.b, group());
            let new = reborn.udp(addr(2)).unwrap().quic;
            send(&from, addr(2), &5u32.to_be_bytes());
            assert_eq!(drain(&new).await, [5]);
            assert!(receive(&old).await.is_none());
            drop(old);
            send(&from, addr(2), &6u32.to_be_bytes());
            assert_eq!(drain(&new).await, [6], "dropping the old socket closes the old one only");
        }
    });
}

#[test]
fn loopbacks_of_two_hosts_are_two() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality { loss: 1.0, ..LinkQuality::GOOD });
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
        let (at_a, at_b) = (pair.at_a.udp(local).unwrap().quic, pair.at_b.udp(local).unwrap().quic);
        let sender = pair.at_a.udp(ANY).unwrap().quic;
        send(&sender, local, &1u32.to_be_bytes());
        let (_, source) = receive(&at_a).await.unwrap();
        assert!(source.ip().is_loopback());
        assert_eq!(source.port(), sender.local_addr().unwrap().port());
        assert!(receive(&at_b).await.is_none());
        // Neither the other's address nor a port that is taken can be had.
        assert_eq!(pair.at_a.udp(addr(2)).unwrap_err().kind(), std::io::ErrorKind::AddrNotAvailable);
        assert_eq!(pair.at_a.udp(local).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        drop(at_a);
        pair.at_a.udp(local).unwrap();
    });
}

#[test]
fn who_does_not_read_loses_what_does_not_fit() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        let (from, to) = pair.both(pair.at_a.udp(ANY).unwrap().quic);
        for n in 0..5_000u32 {
            send(&from, addr(2), &[&n.to_be_bytes()[..], &[0; 1_020]].concat());
            if n % 100 == 0 {
                wait(1).await;
            }
        }
        wait(10).await;
        assert_eq!(drain(&to).await.len(), 4_096);
        assert_eq!(pair.net.counters().undeliverable, 5_000 - 4_096);
    });
}

#[test]
fn names_and_addresses_resolve() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        assert_eq!(pair.at_a.resolve("b", PORT).await.unwrap(), [addr(2)]);
        assert_eq!(pair.at_a.resolve("10.0.0.2", PORT).await.unwrap(), [addr(2)]);
        assert!(pair.at_a.resolve("localhost", PORT).await.unwrap()[0].ip().is_loopback());
        assert_eq!(pair.at_a.resolve("c", PORT).await.unwrap_err().kind(), std::io::ErrorKind::NotFound);
        assert!(pair.net.add_host("b", ip(3)).is_err());
        assert!(pair.net.add_host("c", ip(2)).is_err());
    });
}

#[test]
fn a_secret_in_a_datagram_is_found() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        let from = pair.at_a.udp(ANY).unwrap().quic;
        let back = pair.at_b.udp(ANY).unwrap().quic;
        pair.net.forbid(b"canary-0001".to_vec(), [(pair.b, pair.a)].into()).unwrap();
        send(&back, addr(1), b"here canary-0001 belongs");
        assert_eq!(pair.net.leaks(), []);
        send(&from, addr(2), b"here canary-0001 does not");
        let leaks = pair.net.leaks();
        assert_eq!(leaks.len(), 1);
        assert_eq!((leaks[0].from.as_str(), leaks[0].to.as_str(), leaks[0].is_stream), ("a", "b", false));
    });
}
