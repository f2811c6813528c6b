//! The machine as a node sees it: its disk, clocks and tasks, but sockets that are opened in a namespace.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use remit_common::net::env::{BoxStream, Env, Listener, Socket};
use remit_common::net::real::real;
use remit_common::net::udp::UdpSocket;
use tokio::net::TcpSocket;
use tokio::runtime::Handle;

use super::namespace::Namespace;

/// This machine, with its sockets opened in `namespace`.
pub(super) fn inside(namespace: Arc<Namespace>) -> Env {
    let real = real();
    Env { socket: Arc::new(Inside { namespace, real: Arc::clone(&real.socket) }), ..real }
}

/// Sockets of one namespace.
struct Inside {
    namespace: Arc<Namespace>,
    real: Arc<dyn Socket>,
}

impl Inside {
    /// Opens something with the machine's own code, but in the namespace; the socket wakes this runtime's tasks.
    fn open<T: Send + 'static>(
        &self,
        open: impl FnOnce(&dyn Socket) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (runtime, real) = (Handle::try_current().map_err(io::Error::other)?, Arc::clone(&self.real));
        self.namespace.inside(move || {
            let _entered = runtime.enter();
            open(real.as_ref())
        })?
    }
}

impl Socket for Inside {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>> {
        self.open(move |real| real.listen(addr))
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let socket =
            self.namespace.inside(move || if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() });
        Box::pin(async move {
            let stream = socket??.connect(addr).await?;
            stream.set_nodelay(true)?;
            let stream: BoxStream = Box::new(stream);
            Ok(stream)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        // A namespace of ours has no name server: names are those of `/etc/hosts`, as anywhere on this machine.
        self.real.resolve(host, port)
    }

    fn udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        self.open(move |real| real.udp(addr))
    }

    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime> {
        self.real.quic_runtime()
    }
}

/// Where administrators work: as if logged in to every node, whose listeners for them are on loopback. Each node has
/// loopback addresses of its own, so an address says whose it is.
#[derive(Clone, Default)]
pub(super) struct Routes(Arc<RwLock<BTreeMap<IpAddr, Route>>>);

#[derive(Clone)]
struct Route {
    socket: Arc<dyn Socket>,
    to: IpAddr,
}

impl Routes {
    /// From now on, `from` is answered by `to` in this world.
    pub(super) fn add(&self, from: IpAddr, world: &Env, to: IpAddr) {
        let route = Route { socket: Arc::clone(&world.socket), to };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(from, route);
    }

    /// This machine, with its streams opened by these routes.
    pub(super) fn env(&self) -> Env {
        let real = real();
        Env { socket: Arc::new(Routed { routes: self.clone(), real: Arc::clone(&real.socket) }), ..real }
    }
}

struct Routed {
    routes: Routes,
    real: Arc<dyn Socket>,
}

impl Socket for Routed {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Listener>> {
        self.real.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        let route = self.routes.0.read().unwrap_or_else(PoisonError::into_inner).get(&addr.ip()).cloned();
        match route {
            Some(Route { socket, to }) => socket.connect(SocketAddr::new(to, addr.port())),
            None => self.real.connect(addr),
        }
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.real.resolve(host, port)
    }

    fn udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        self.real.udp(addr)
    }

    fn quic_runtime(&self) -> Arc<dyn quinn::Runtime> {
        self.real.quic_runtime()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::live::fixture::{Skipped, TestNamespace};

    /// Loopback of a namespace is nobody else's, so whoever gets through was inside.
    #[tokio::test]
    async fn sockets_are_opened_in_the_namespace_and_administrators_find_the_way() {
        let namespace = match TestNamespace::create("world") {
            Ok(namespace) => namespace,
            Err(skipped) => return Skipped::print(skipped),
        };
        let world = inside(Arc::new(Namespace::enter(namespace.path()).unwrap()));
        let mut listener = world.socket.listen((Ipv4Addr::new(127, 0, 77, 1), 0).into()).unwrap();
        let addr = listener.local_addr();
        assert!(real().socket.connect(addr).await.is_err(), "the listener is outside");
        let routes = Routes::default();
        let known = Ipv4Addr::new(127, 0, 99, 1);
        routes.add(known.into(), &world, addr.ip());
        for (env, to) in [(world.clone(), addr), (routes.env(), SocketAddr::new(known.into(), addr.port()))] {
            let (mut client, accepted) = tokio::try_join!(env.socket.connect(to), listener.accept()).unwrap();
            let (mut server, _) = accepted;
            client.write_all(b"hello").await.unwrap();
            let mut heard = [0; 5];
            server.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
        }
        let udp = world.socket.udp((Ipv4Addr::new(127, 0, 77, 1), addr.port()).into()).unwrap();
        assert_eq!(udp.quic.local_addr().unwrap(), addr);
    }
}
