//! What processes hold: listeners and streams.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use remit_common::net::env::{BoxStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::end::{End, Phase, Read};
use crate::sim::net::wire::State;
use crate::sim::net::{Net, ProcessId};

/// Bytes between a writer and its reader: what two kernels hold between them.
const WINDOW_BYTES: usize = 256 * 1024;
/// Bytes that are sent in one piece; a larger write is taken in parts.
const PIECE_BYTES_MAX: usize = 32 * 1024;

/// Opens a stream.
pub(in crate::sim::net) fn connect(
    net: Net,
    process: ProcessId,
    addr: SocketAddr,
) -> BoxFuture<'static, io::Result<BoxStream>> {
    Box::pin(async move {
        let id = net.with(|state| state.tcp_connect(process, addr))?;
        let stream = SimStream { net, id, end: End::Client };
        std::future::poll_fn(|context| stream.poll_open(context)).await?;
        let stream: BoxStream = Box::new(stream);
        Ok(stream)
    })
}

impl State {
    fn tcp_poll_open(&mut self, id: u64, context: &Context<'_>) -> Poll<io::Result<()>> {
        // The process is dead and does not know it yet.
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return Poll::Pending };
        match (conn.client.error, conn.client.phase) {
            (Some(why), _) => Poll::Ready(Err(why.into())),
            (None, Phase::Open) => Poll::Ready(Ok(())),
            (None, Phase::Opening | Phase::Closed | Phase::Gone) => {
                let before = conn.client.wait_to_read(context.waker());
                self.wake(before);
                Poll::Pending
            }
        }
    }

    fn tcp_accept(&mut self, id: u64, context: &Context<'_>) -> Poll<(u64, SocketAddr)> {
        let Some(listening) = self.tcp.listeners.get_mut(&id) else { return Poll::Pending };
        while let Some(stream) = listening.arrived.pop_front() {
            if let Some(conn) = self.tcp.streams.get(&stream) {
                return Poll::Ready((stream, conn.client.addr));
            }
        }
        if listening.acceptor.as_ref().is_none_or(|acceptor| !acceptor.will_wake(context.waker())) {
            let before = listening.acceptor.replace(context.waker().clone());
            self.wake(before);
        }
        Poll::Pending
    }

    fn tcp_read(&mut self, id: u64, end: End, context: &Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return Poll::Pending };
        let side = conn.side_mut(end);
        if !side.is_owned() {
            return Poll::Pending;
        }
        match side.read(out.remaining()) {
            Read::Bytes(bytes) => {
                out.put_slice(&bytes);
                let writer = conn.side_mut(end.other()).take_writer();
                self.wake(writer);
                Poll::Ready(Ok(()))
            }
            Read::End => Poll::Ready(Ok(())),
            Read::Broken(why) => Poll::Ready(Err(why.into())),
            Read::Nothing => {
                let before = side.wait_to_read(context.waker());
                self.wake(before);
                Poll::Pending
            }
        }
    }

    fn tcp_write(&mut self, id: u64, end: End, context: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(conn) = self.tcp.streams.get_mut(&id) else { return Poll::Pending };
        let unread = conn.side(end.other()).unread_bytes();
        let side = conn.side_mut(end);
        if !side.is_owned() {
            return Poll::Pending;
        }
        if let Some(why) = side.error {
            return Poll::Ready(Err(why.into()));
        }
        if side.is_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = WINDOW_BYTES.saturating_sub(unread + side.unsent_bytes()).min(PIECE_BYTES_MAX);
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        if taken.is_empty() && !bytes.is_empty() {
            let before = side.wait_to_write(context.waker());
            self.wake(before);
            return Poll::Pending;
        }
        if !taken.is_empty() {
            self.tcp_send(id, end, Some(Bytes::copy_from_slice(taken)));
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn tcp_shut(&mut self, id: u64, end: End) -> Poll<io::Result<()>> {
        let Some(side) = self.tcp.streams.get(&id).map(|conn| conn.side(end)) else { return Poll::Pending };
        if !side.is_owned() {
            return Poll::Pending;
        }
        if side.error.is_none() && !side.is_ended {
            self.tcp_send(id, end, None);
        }
        Poll::Ready(Ok(()))
    }
}

/// One end of a stream. Dropping it closes that end.
pub(super) struct SimStream {
    net: Net,
    id: u64,
    end: End,
}

impl SimStream {
    fn poll_open(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.net.with(|state| state.tcp_poll_open(self.id, context))
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStream({})", self.id)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.net.with(|state| state.tcp_close(self.id, self.end));
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.net.with(|state| state.tcp_read(self.id, self.end, context, out))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.net.with(|state| state.tcp_write(self.id, self.end, context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.with(|state| state.tcp_shut(self.id, self.end))
    }
}

/// A listener of a process. Dropping it frees the port; streams that were not accepted are reset.
pub(in crate::sim::net) struct SimListener {
    net: Net,
    id: u64,
    addr: SocketAddr,
}

impl SimListener {
    pub(in crate::sim::net) fn open(net: &Net, process: ProcessId, addr: SocketAddr) -> io::Result<Self> {
        let (id, addr) = net.with(|state| state.tcp_listen(process, addr))?;
        Ok(Self { net: net.clone(), id, addr })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.with(|state| state.tcp_close_listener(self.id));
    }
}

impl Listener for SimListener {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (id, peer) =
                std::future::poll_fn(|context| self.net.with(|state| state.tcp_accept(self.id, context))).await;
            let stream: BoxStream = Box::new(SimStream { net: self.net.clone(), id, end: End::Server });
            Ok((stream, peer))
        })
    }
}
