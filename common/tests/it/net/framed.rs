//! Messages over a byte stream that tears, stalls and lies.

use std::time::Duration;

use anyhow::{Result, ensure};
use proptest::prelude::*;
use remit_common::crypto::digest::Digest;
use remit_common::net::framed::{FramedRecv, FramedSend, StreamFailed};
use remit_common::wire::frame::PeerMisbehaved;
use remit_common::wire::message::{EdgeMessage, Fetch, WireMessage as _};
use tokio::io::{AsyncWriteExt as _, duplex};

/// No test measures time; this only ends one that hangs.
const LONG: Duration = Duration::from_secs(20);
/// What a test waits for in vain.
const SHORT: Duration = Duration::from_millis(20);

fn message(digests: usize) -> EdgeMessage {
    EdgeMessage::Fetch(Fetch { digests: vec![Digest([7; 32]); digests] })
}

#[tokio::test]
async fn messages_arrive_as_they_were_sent() -> Result<()> {
    let (ours, theirs) = duplex(64);
    let (mut send, mut recv) = (FramedSend::new(ours), FramedRecv::new(theirs));
    let sending = async {
        for n in [0, 1, 100] {
            send.send(&message(n), LONG).await?;
        }
        drop(send);
        Ok::<_, StreamFailed>(())
    };
    let receiving = async {
        for n in [0, 1, 100] {
            assert_eq!(recv.recv(LONG).await?, Some(message(n)));
        }
        assert_eq!(recv.recv::<EdgeMessage>(LONG).await?, None);
        Ok::<_, StreamFailed>(())
    };
    let (sent, received) = tokio::join!(sending, receiving);
    sent?;
    received?;
    Ok(())
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() -> Result<()> {
    let (mut ours, theirs) = duplex(1024);
    let mut recv = FramedRecv::new(theirs);
    let bytes = message(3).to_frame()?;
    for byte in bytes.iter().take(bytes.len() - 1) {
        ours.write_all(&[*byte]).await?;
        tokio::select! {
            biased;
            early = recv.recv::<EdgeMessage>(LONG) => anyhow::bail!("{early:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    ours.write_all(bytes.last_chunk::<1>().map_or(&[], |last| last)).await?;
    assert_eq!(recv.recv(LONG).await?, Some(message(3)));
    Ok(())
}

#[tokio::test]
async fn a_peer_may_be_silent_between_messages_but_not_inside_one() -> Result<()> {
    let (mut ours, theirs) = duplex(1024);
    let mut recv = FramedRecv::new(theirs);
    let silence = tokio::time::timeout(SHORT * 3, recv.recv::<EdgeMessage>(SHORT)).await;
    ensure!(silence.is_err(), "no deadline before the first byte");
    ours.write_all(&message(3).to_frame()?[..20]).await?;
    ensure!(matches!(recv.recv::<EdgeMessage>(SHORT).await, Err(StreamFailed::Deadline)));
    Ok(())
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_too_slow() -> Result<()> {
    let (ours, _theirs) = duplex(64);
    let mut send = FramedSend::new(ours);
    ensure!(matches!(send.send(&message(100), SHORT).await, Err(StreamFailed::Deadline)));
    Ok(())
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_torn() -> Result<()> {
    let bytes = message(3).to_frame()?;
    for len in [1, 11, 12, 13, bytes.len() - 1] {
        let (mut ours, theirs) = duplex(1024);
        ours.write_all(&bytes[..len]).await?;
        drop(ours);
        let torn = FramedRecv::new(theirs).recv::<EdgeMessage>(LONG).await;
        ensure!(matches!(torn, Err(StreamFailed::Torn)), "{len}: {torn:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_length_beyond_the_bound_is_refused_by_its_header() -> Result<()> {
    let (mut ours, theirs) = duplex(1024);
    let mut header = message(0).to_frame()?;
    header.splice(8..12, u32::MAX.to_be_bytes());
    ours.write_all(&header[..12]).await?;
    let refused = FramedRecv::new(theirs).recv::<EdgeMessage>(LONG).await;
    ensure!(matches!(refused, Err(StreamFailed::Misbehaved(PeerMisbehaved::TooLong { .. }))), "{refused:?}");
    Ok(())
}

proptest! {
    #[test]
    fn no_stream_of_bytes_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let (mut ours, theirs) = duplex(1024);
            let _ = ours.write_all(&bytes).await;
            drop(ours);
            let mut recv = FramedRecv::new(theirs);
            while let Ok(Some(_)) = recv.recv::<EdgeMessage>(LONG).await {}
        });
    }
}
