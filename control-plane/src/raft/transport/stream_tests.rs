//! Messages in pieces, whole or not.

use proptest::prelude::*;

use super::*;
use crate::raft::transport::message::CALL_BYTES_MAX;

async fn received(bytes: &[u8]) -> Result<(Kind, Vec<u8>), StreamFailed> {
    recv(&mut std::io::Cursor::new(bytes)).await
}

async fn sent(kind: Kind, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    send(&mut out, kind, parts).await.unwrap();
    out
}

#[tokio::test]
async fn a_message_of_any_length_arrives_whole() {
    for len in [0, 1, CHUNK_BYTES_MAX - 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX, CALL_BYTES_MAX] {
        let message: Vec<u8> = (0u8..=255).cycle().take(len).collect();
        let (front, back) = message.split_at(len / 3);
        let on_wire = sent(Kind::Call, &[front, &[], back]).await;
        let (kind, body) = received(&on_wire).await.unwrap();
        assert_eq!((kind, body.len()), (Kind::Call, len));
        assert!(body == message);
    }
}

/// C-20: a length beyond the bound of the kind is refused when it is announced, not when it has arrived.
#[tokio::test]
async fn an_announced_length_beyond_the_bound_is_refused_at_once() {
    for kind in [Kind::Hello, Kind::Vote, Kind::Call, Kind::Append, Kind::Snapshot] {
        let beyond = u64::try_from(kind.bytes_max()).unwrap() + 1;
        for announced in [beyond, u64::MAX] {
            let frame = frame::encode(kind.number(), &announced.to_be_bytes()).unwrap();
            let refused = received(&frame).await.unwrap_err();
            let StreamFailed::Misbehaved(PeerMisbehaved::TooLong { len, .. }) = refused else { panic!("{refused}") };
            assert_eq!(len, announced);
        }
    }
    let mut out = Vec::new();
    let refused = send(&mut out, Kind::Vote, &[&vec![0; Kind::Vote.bytes_max() + 1]]).await;
    assert!(matches!(refused, Err(StreamFailed::Misbehaved(PeerMisbehaved::TooLong { .. }))) && out.is_empty());
}

#[tokio::test]
async fn a_message_is_torn_wherever_it_ends_early() {
    let whole = sent(Kind::Call, &[&vec![7; CHUNK_BYTES_MAX + 100]]).await;
    let cuts = (0..60).chain([CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 20, CHUNK_BYTES_MAX + 40, whole.len() - 1]);
    for cut in cuts {
        assert!(matches!(received(&whole[..cut]).await, Err(StreamFailed::Torn)), "{cut}");
    }
}

#[tokio::test]
async fn pieces_out_of_place_are_refused() {
    let frame = |kind, body: &[u8]| frame::encode(kind, body).unwrap();
    let announced = |len: u64, first: &[u8]| [len.to_be_bytes().as_slice(), first].concat();
    let call = Kind::Call.number();
    let cases: [(&str, Vec<u8>); 6] = [
        ("a continuation first", frame(CONTINUED, &announced(1, b"x"))),
        ("an unknown kind", frame(0x0299, &announced(1, b"x"))),
        ("no room for the length", frame(call, b"1234567")),
        ("more than announced", frame(call, &announced(1, b"xy"))),
        ("a second beginning", [frame(call, &announced(2, b"x")), frame(call, &announced(1, b"y"))].concat()),
        ("an empty continuation", [frame(call, &announced(2, b"x")), frame(CONTINUED, b"")].concat()),
    ];
    for (case, bytes) in cases {
        let refused = received(&bytes).await;
        assert!(matches!(refused, Err(StreamFailed::Misbehaved(_))), "{case}: {refused:?}");
    }
}

/// However many streams a peer opens, it has us hold only so much at once.
#[tokio::test]
async fn a_message_waits_until_the_budget_has_room() {
    let budget = Budget::new(2 * 1024);
    let message = sent(Kind::Call, &[&[7; 2_000]]).await;
    let mut streams: Vec<_> = (0..3).map(|_| std::io::Cursor::new(message.as_slice())).collect();
    let [one, two, three] = streams.as_mut_slice() else { unreachable!() };
    let (_first, room) = recv_within(one, Some(&budget)).await.unwrap();
    let mut waiting = Box::pin(recv_within(two, Some(&budget)));
    assert!(futures::poll!(&mut waiting).is_pending(), "there is room for one");
    drop(room);
    let (_second, room) = waiting.await.unwrap();
    drop(room);
    recv_within(three, Some(&budget)).await.unwrap();
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, framed: bool) {
        let bytes = if framed { frame::encode(Kind::Append.number(), &bytes).unwrap() } else { bytes };
        let _either = futures::executor::block_on(async {
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(received(&bytes))
        });
    }
}
