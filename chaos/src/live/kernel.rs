//! What needs `unsafe`, and nothing else: two requests to the kernel, and one promise to the async runtime.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::ioctl::{Opcode, Setter, ioctl};
use tokio::io::unix::AsyncFd;

/// `_IOW('T', 202, int)`, which in truth takes a [`Request`].
const TUNSETIFF: Opcode = 0x4004_54ca;
/// `_IOR('X', 125, __u32)`.
const EXT4_IOC_SHUTDOWN: Opcode = 0x8004_587d;

/// A device of packets without a link layer, and without a header before each packet.
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;

/// Leaves out what the journal has not yet written: what nobody synced is lost.
const SHUTDOWN_NOLOGFLUSH: u32 = 2;

/// Longest name of a network device, its end included.
const NAME_BYTES: usize = 16;

/// The kernel's `struct ifreq` as far as `TUNSETIFF` looks at it, in the full size of the struct.
#[repr(C)]
struct Request {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}

/// Opens a TUN device in the network namespace of this thread; reads and writes do not wait. It is gone when the file
/// is closed.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::InvalidInput`] for a name that no device can have.
pub(super) fn open_tun(name: &str) -> io::Result<File> {
    let mut request = Request { name: [0; NAME_BYTES], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "a device's name has at most 15 bytes");
    // One byte stays zero: it is the end of the name.
    let room = request.name.get_mut(..name.len()).filter(|room| room.len() < NAME_BYTES).ok_or_else(too_long)?;
    room.copy_from_slice(name.as_bytes());
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun")?;
    // SAFETY: `TUNSETIFF` reads and writes one `struct ifreq`, which is 40 bytes, and `Request` is those 40 bytes; it
    // keeps no pointer to them.
    #[expect(unsafe_code, reason = "nobody offers this request without it")]
    unsafe { ioctl(file.as_fd(), Setter::<TUNSETIFF, Request>::new(request)) }?;
    Ok(file)
}

/// Stops the ext4 filesystem that holds `path` as a power cut would: nothing that was not synced reaches the disk any
/// more, and every later write is an error. It has to be unmounted, checked and mounted again.
///
/// # Errors
/// What the kernel says.
pub(super) fn shut_down_ext4(path: &Path) -> io::Result<()> {
    let folder = OpenOptions::new().read(true).open(path)?;
    // SAFETY: `EXT4_IOC_SHUTDOWN` reads one `u32` and keeps no pointer to it.
    #[expect(unsafe_code, reason = "nobody offers this request without it")]
    unsafe { ioctl(folder.as_fd(), Setter::<EXT4_IOC_SHUTDOWN, u32>::new(SHUTDOWN_NOLOGFLUSH)) }?;
    Ok(())
}

/// A device whose packets a task can wait for.
///
/// # Errors
/// What the kernel says.
pub(super) fn watch(tun: Arc<File>) -> io::Result<AsyncFd<Arc<File>>> {
    // SAFETY: the descriptor has to stay open, and the same, as long as the runtime watches it. A `File` never changes
    // its descriptor and closes it only when it is dropped, and the `Arc` that the result holds keeps it from that.
    #[expect(unsafe_code, reason = "the runtime cannot know what any other type would do")]
    let watched = unsafe { AsyncFd::register(tun) };
    Ok(watched?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_size_that_the_kernel_copies() {
        assert_eq!(size_of::<Request>(), 40);
    }

    #[test]
    fn a_name_without_room_for_its_end_is_refused() {
        assert_eq!(open_tun("sixteen-letters-").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    /// Cargo cannot take the workspace's lints and change one of them.
    #[test]
    fn this_crates_lints_are_the_workspaces_but_for_one() {
        let lints = |text: &str, path: &[&str]| {
            let table: toml::Table = text.parse().unwrap();
            path.iter().fold(toml::Value::Table(table), |value, key| value[*key].clone())
        };
        let ours = lints(include_str!("../../Cargo.toml"), &["lints"]);
        let mut theirs = lints(include_str!("../../../Cargo.toml"), &["workspace", "lints"]);
        assert_eq!(theirs["rust"]["unsafe_code"].as_str(), Some("forbid"));
        theirs["rust"]["unsafe_code"] = toml::Value::String("deny".to_owned());
        assert_eq!(ours, theirs);
    }
}
