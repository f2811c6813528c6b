//! A datagram socket and the buffers that the kernel gave it.
//!
//! A voter answers a thousand edges in one burst, and a thousand edges answer it in another. What does not fit the
//! kernel's buffers is lost without a word and sent again later, which makes the slowest hundredth eight times as slow.
//! So a socket asks for [`BUFFER_BYTES`], looks at what it got, and whoever starts it says so when that is less.
//! Clause W-41.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::env::Env;

/// Bytes of each buffer that is asked for.
pub const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What the kernel tells of its sockets, at most: ten thousand lines.
const TABLE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An open socket.
#[derive(Debug)]
pub struct UdpSocket {
    /// As QUIC takes it.
    pub quic: Arc<dyn AsyncUdpSocket>,
    /// Its buffers; `None` in worlds without a kernel.
    pub buffers: Option<Buffers>,
}

/// Bytes of payload and overhead that wait in the kernel, as it granted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Towards us.
    pub receive: usize,
    /// From us.
    pub send: usize,
}

/// Buffers are smaller than they have to be. Its text says how to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSmall(Buffers);

impl Buffers {
    /// From what the kernel reports. Linux reports twice what it grants, the other half being its own.
    #[must_use]
    pub fn from_reported(receive: usize, send: usize) -> Self {
        let share = if cfg!(target_os = "linux") { 2 } else { 1 };
        Self { receive: receive / share, send: send / share }
    }

    /// Whether they are as large as they were asked to be.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn check(self) -> Result<(), TooSmall> {
        if self.receive.min(self.send) < BUFFER_BYTES { Err(TooSmall(self)) } else { Ok(()) }
    }
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Buffers { receive, send }) = self;
        write!(
            f,
            "the kernel gives {receive} bytes for receiving and {send} for sending where {BUFFER_BYTES} are asked for: bursts \
             lose datagrams, and news comes late; `sysctl -w net.core.rmem_max={BUFFER_BYTES} \
             net.core.wmem_max={BUFFER_BYTES}` mends it, and a file in /etc/sysctl.d makes it last"
        )
    }
}

/// The same socket, which takes at most so many datagrams in one call.
pub(super) fn in_batches(socket: Arc<dyn AsyncUdpSocket>, datagrams_max: usize) -> Arc<dyn AsyncUdpSocket> {
    Arc::new(InBatches { socket, datagrams_max })
}

#[derive(Debug)]
struct InBatches {
    socket: Arc<dyn AsyncUdpSocket>,
    datagrams_max: usize,
}

impl AsyncUdpSocket for InBatches {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments().min(self.datagrams_max)
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// Datagrams to this port that the kernel has thrown away, because a buffer was full or for another reason; `None` where
/// it does not say. Reads a file of the kernel's, so call it where that may take a moment.
#[must_use]
pub fn dropped(env: &Env, addr: SocketAddr) -> Option<u64> {
    let table = match addr.ip() {
        IpAddr::V4(_) => "/proc/net/udp",
        IpAddr::V6(_) => "/proc/net/udp6",
    };
    let table = env.disk.read(Path::new(table), TABLE_BYTES_MAX).ok()??;
    dropped_in(&String::from_utf8_lossy(&table), addr.port())
}

/// Of the kernel's table: `sl local_address rem_address … drops`, the addresses `HEX:PORT`, one socket a line.
fn dropped_in(table: &str, port: u16) -> Option<u64> {
    let of_port = |line: &&str| {
        let local = line.split_whitespace().nth(1).and_then(|local| local.rsplit_once(':'));
        local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
    };
    let counts = table.lines().skip(1).filter(of_port);
    let counts = counts.map(|line| line.split_whitespace().last().and_then(|drops| drops.parse::<u64>().ok()));
    counts.reduce(|sum, next| sum?.checked_add(next?)).flatten()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::net::real::real;

    #[tokio::test]
    async fn a_socket_in_batches_is_the_same_socket() {
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        let socket = real().socket.udp(addr).unwrap().quic;
        for most in [1, 2, 1_000] {
            let of = in_batches(Arc::clone(&socket), most);
            assert_eq!(of.max_transmit_segments(), socket.max_transmit_segments().min(most));
            assert_eq!(of.max_receive_segments(), socket.max_receive_segments());
            assert_eq!(of.local_addr().unwrap(), socket.local_addr().unwrap());
            assert_eq!(of.may_fragment(), socket.may_fragment());
            let transmit = Transmit {
                destination: socket.local_addr().unwrap(),
                ecn: None,
                contents: b"to itself",
                segment_size: None,
                src_ip: None,
            };
            // It can be written to once somebody has asked whether it can.
            let mut poller = Arc::clone(&of).create_io_poller();
            while let Err(error) = of.try_send(&transmit) {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
            }
            let (mut bytes, mut meta) = ([0; 64], [RecvMeta::default()]);
            let mut receive =
                |cx: &mut Context<'_>| of.poll_recv(cx, &mut [io::IoSliceMut::new(&mut bytes)], &mut meta);
            assert_eq!(std::future::poll_fn(&mut receive).await.unwrap(), 1);
            assert_eq!(bytes.get(..meta[0].len).unwrap(), b"to itself");
        }
    }

    #[test]
    fn small_buffers_are_told_with_what_mends_them() {
        // Clause W-41.
        let reported = |bytes: usize| Buffers::from_reported(bytes, bytes);
        let share = reported(BUFFER_BYTES).receive;
        assert!(Buffers { receive: BUFFER_BYTES, send: BUFFER_BYTES }.check().is_ok());
        assert!(Buffers { receive: BUFFER_BYTES, send: BUFFER_BYTES - 1 }.check().is_err());
        let error = Buffers { receive: share / 2, send: BUFFER_BYTES }.check().unwrap_err().to_string();
        for part in [(share / 2).to_string(), "net.core.rmem_max=4194304".to_owned(), "/etc/sysctl.d".to_owned()] {
            assert!(error.contains(&part), "`{part}` is missing in: {error}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_reports_twice_what_it_grants() {
        // A limit of 2 MiB is reported as 4 MiB, and is too small all the same.
        assert!(Buffers::from_reported(BUFFER_BYTES, BUFFER_BYTES).check().is_err());
        assert!(Buffers::from_reported(2 * BUFFER_BYTES, 2 * BUFFER_BYTES).check().is_ok());
    }

    #[test]
    fn the_kernels_table_tells_what_was_thrown_away() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
                     4201: 0100007F:1E55 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90210 2 0000000000000000 17\n  \
                     4202: 0100007F:1E56 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90211 2 0000000000000000 0\n  \
                     4203: 00000000:1E55 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 90212 2 0000000000000000 3\n";
        assert_eq!(dropped_in(table, 0x1e55), Some(20));
        assert_eq!(dropped_in(table, 0x1e56), Some(0));
        assert_eq!(dropped_in(table, 9), None);
        assert_eq!(dropped_in("strange\nbytes: \n", 9), None);
    }
}
