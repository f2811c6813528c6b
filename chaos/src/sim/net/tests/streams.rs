use std::io::ErrorKind;

use remit_common::net::env::BoxStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;

/// A stream from `a` to `b`, both ends.
async fn stream(pair: &Pair) -> (BoxStream, BoxStream) {
    let mut listener = pair.at_b.listen(addr(2)).unwrap();
    let (opened, accepted) = tokio::join!(pair.at_a.connect(addr(2)), listener.accept());
    let (accepted, peer) = accepted.unwrap();
    assert_eq!(peer.ip(), ip(1));
    (opened.unwrap(), accepted)
}

fn numbers(len: u32) -> Vec<u8> {
    (0..len).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn opening_takes_a_round_trip() {
    runtime::block_on(1, async {
        let far = LinkQuality { latency: Duration::from_millis(40), jitter: Duration::ZERO, ..LinkQuality::GOOD };
        let pair = Pair::new(1, far);
        let begin = TrueTime::begin();
        let _ends = stream(&pair).await;
        assert_eq!(begin.elapsed().as_millis(), 80);
    });
}

#[test]
fn where_nobody_listens_there_is_a_refusal_and_behind_a_cut_silence() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        let refused = pair.at_a.connect(addr(2)).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
        for direction in [(pair.a, pair.b), (pair.b, pair.a)] {
            pair.net.cut(direction.0, direction.1);
            let silent = timeout(Duration::from_secs(20), pair.at_a.connect(addr(2))).await;
            assert!(silent.is_err(), "nobody answers");
            pair.net.heal();
        }
        pair.net.power_off(pair.b);
        assert!(timeout(Duration::from_secs(20), pair.at_a.connect(addr(2))).await.is_err());
        let gave_up = pair.at_a.connect(addr(2)).await.err().map(|error| error.kind());
        assert_eq!(gave_up, Some(ErrorKind::TimedOut), "in the end");
    });
}

#[test]
fn an_opening_that_was_cut_goes_on_when_the_cut_ends() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        pair.net.cut(pair.b, pair.a);
        let mend = async {
            wait(2_000).await;
            pair.net.heal();
        };
        let ((mut near, mut far), ()) = tokio::join!(stream(&pair), mend);
        near.write_all(b"hello").await.unwrap();
        let mut got = [0; 5];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
    });
}

#[test]
fn bytes_arrive_in_order_over_a_bad_link_and_ends_are_half_closed() {
    runtime::block_on(1, async {
        let bad = LinkQuality {
            loss: 0.05,
            duplicate: 0.1,
            reorder: 0.2,
            corrupt: 0.05,
            rate: Some(2_000_000),
            ..LinkQuality::GOOD
        };
        let pair = Pair::new(1, bad);
        let (mut near, mut far) = stream(&pair).await;
        let sent = numbers(300_000);
        let write = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(near.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let read = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            // The other direction is still open.
            far.write_all(b"thanks").await.unwrap();
            drop(far);
            got
        };
        let begin = TrueTime::begin();
        let (answer, got) = tokio::join!(write, read);
        assert!(got == sent && answer == b"thanks");
        let counters = pair.net.counters();
        assert!(counters.lost > 10 && counters.corrupted > 10 && counters.reordered > 10, "{counters:?}");
        assert!(begin.elapsed() > Duration::from_millis(600), "the rate");
    });
}

#[test]
fn a_writer_waits_for_its_reader() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        let (mut near, mut far) = stream(&pair).await;
        let sent = numbers(500_000);
        let mut taken = 0;
        while let Ok(wrote) = timeout(Duration::from_secs(5), near.write(&sent[taken..])).await {
            taken += wrote.unwrap();
        }
        assert_eq!(taken, 256 * 1024);
        let mut got = vec![0; taken];
        let (read, wrote) = tokio::join!(far.read_exact(&mut got), near.write_all(b"more"));
        read.unwrap();
        wrote.unwrap();
        assert!(got == sent[..taken]);
    });
}

#[test]
fn a_cut_stalls_a_stream_and_a_long_one_breaks_it() {
    runtime::block_on(1, async {
        for direction in 0..2 {
            let pair = Pair::new(1, LinkQuality::GOOD);
            let (mut near, mut far) = stream(&pair).await;
            let cut = [(pair.a, pair.b), (pair.b, pair.a)][direction];
            // A stream on which nothing is under way does not notice.
            pair.net.cut(cut.0, cut.1);
            wait(60_000).await;
            near.write_all(b"stalled").await.unwrap();
            wait(5_000).await;
            pair.net.mend(cut.0, cut.1);
            let mut got = [0; 7];
            far.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"stalled");
            wait(20_000).await;

            pair.net.cut(cut.0, cut.1);
            near.write_all(b"for ever").await.unwrap();
            let mut got = [0; 1];
            let begin = TrueTime::begin();
            let broken = near.read(&mut got).await.unwrap_err();
            assert_eq!(broken.kind(), ErrorKind::TimedOut);
            assert!((14..=16).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
            // The other end does not know, until it sends something.
            pair.net.heal();
            drop(near);
            let far_reads = timeout(Duration::from_secs(5), far.read(&mut got)).await;
            if direction == 0 {
                assert!(far_reads.is_err(), "nothing came");
            }
            far.write_all(b"are you there?").await.unwrap();
            wait(1_000).await;
            let mut rest = Vec::new();
            assert_eq!(far.read_to_end(&mut rest).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn the_kernel_of_a_killed_process_hangs_up() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        let (mut near, _far) = stream(&pair).await;
        pair.net.kill(pair.b);
        let mut got = [0; 1];
        assert_eq!(near.read(&mut got).await.unwrap(), 0);
        let refused = pair.at_a.connect(addr(2)).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
        let dead = timeout(Duration::from_secs(60), pair.at_b.connect(addr(1))).await;
        assert!(dead.unwrap().is_err());
        // With something unread, it is no orderly end.
        let reborn = Pair { at_b: pair.net.process(pair.b, group()), ..pair };
        let (mut near, _far) = stream(&reborn).await;
        near.write_all(b"unread").await.unwrap();
        wait(10).await;
        reborn.net.kill(reborn.b);
        assert_eq!(near.read(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_host_that_lost_power_resets_streams_when_it_is_back() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        let (mut near, mut far) = stream(&pair).await;
        pair.net.power_off(pair.b);
        let mut got = [0; 1];
        let unheard = timeout(Duration::from_secs(60), near.read(&mut got)).await;
        assert!(unheard.is_err(), "silence");
        assert!(timeout(Duration::from_secs(60), far.read(&mut got)).await.is_err(), "the dead hear nothing");
        near.write_all(b"are you there?").await.unwrap();
        wait(3_000).await;
        let reborn = Pair { at_b: pair.net.process(pair.b, group()), ..pair };
        assert_eq!(near.read(&mut got).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let (mut near, mut far) = stream(&reborn).await;
        drop(near.write_all(b"!").await);
        far.read_exact(&mut got).await.unwrap();
    });
}

#[test]
fn guests_survive_their_host_and_hear_of_its_end() {
    runtime::block_on(1, async {
        for is_power in [false, true] {
            let pair = Pair::new(1, LinkQuality::GOOD);
            let guest = pair.net.guest(pair.b, group());
            let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
            let mut listener = pair.at_b.listen(local).unwrap();
            let (opened, accepted) = tokio::join!(guest.connect(local), listener.accept());
            let (mut opened, _accepted) = (opened.unwrap(), accepted.unwrap());
            if is_power {
                pair.net.power_off(pair.b);
            } else {
                pair.net.kill(pair.b);
            }
            let mut rest = Vec::new();
            let ended = timeout(Duration::from_secs(1), opened.read_to_end(&mut rest)).await.expect("at once");
            assert_eq!(ended.is_err(), is_power);
            let refused = guest.connect(local).await.err().map(|error| error.kind());
            assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
            let reborn = pair.net.process(pair.b, group());
            let mut listener = reborn.listen(local).unwrap();
            let (opened, _) = tokio::join!(guest.connect(local), listener.accept());
            opened.unwrap();
        }
    });
}

#[test]
fn giving_up_an_opening_leaves_nothing_behind() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality { latency: Duration::from_millis(50), ..LinkQuality::GOOD });
        let mut listener = pair.at_b.listen(addr(2)).unwrap();
        assert!(timeout(Duration::from_millis(70), pair.at_a.connect(addr(2))).await.is_err());
        let (mut accepted, _) = listener.accept().await.unwrap();
        let mut rest = Vec::new();
        assert_eq!(accepted.read_to_end(&mut rest).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        drop(accepted);
        // A listener that goes away resets whoever it had not accepted.
        let opened = pair.at_a.connect(addr(2)).await;
        drop(listener);
        assert_eq!(opened.unwrap().read_to_end(&mut rest).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(pair.net.lock().tcp.len(), 0);
    });
}

#[test]
fn a_secret_that_is_split_across_writes_is_found() {
    runtime::block_on(1, async {
        let pair = Pair::new(1, LinkQuality::GOOD);
        pair.net.forbid(b"canary-0001".to_vec(), [(pair.b, pair.a)].into()).unwrap();
        let (mut near, mut far) = stream(&pair).await;
        far.write_all(b"canary-0001 belongs here").await.unwrap();
        near.write_all(b"this is a cana").await.unwrap();
        near.write_all(b"ry-000").await.unwrap();
        assert_eq!(pair.net.leaks(), []);
        near.write_all(b"1, too").await.unwrap();
        let leaks = pair.net.leaks();
        assert_eq!(leaks.len(), 1);
        assert_eq!((leaks[0].from.as_str(), leaks[0].to.as_str(), leaks[0].is_stream), ("a", "b", true));
    });
}

#[test]
fn streams_are_the_same_by_seed() {
    let run = |seed| {
        runtime::block_on(seed, async move {
            let pair = Pair::new(seed, LinkQuality { loss: 0.1, reorder: 0.1, ..LinkQuality::GOOD });
            let (mut near, mut far) = stream(&pair).await;
            let sent = numbers(20_000);
            let mut got = vec![0; sent.len()];
            let (wrote, read) = tokio::join!(near.write_all(&sent), far.read_exact(&mut got));
            wrote.unwrap();
            read.unwrap();
            pair.net.digest()
        })
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
