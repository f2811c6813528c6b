//! As much of IPv4 as a wire must know: where a packet goes, and where a flipped bit can be seen by a program.

use std::net::Ipv4Addr;

/// IPv4's number for UDP.
const UDP: u8 = 17;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// Where an IPv4 packet goes; `None` for whatever else a kernel sends through a new device.
pub(super) fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let header = packet.first_chunk::<20>()?;
    let [version, .., a, b, c, d] = *header;
    (version >> 4 == 4).then_some(Ipv4Addr::new(a, b, c, d))
}

/// Flips one bit behind the headers, chosen by `draw`. The checksum of a datagram is taken away with it: IPv4 allows
/// that, and otherwise the kernel would drop the packet and no program would ever see the wrong bit. Of other
/// protocols the kernel does drop it.
pub(super) fn corrupt(packet: &mut [u8], draw: u32) {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let udp = packet.get(9) == Some(&UDP);
    let payload = if udp { header + UDP_HEADER } else { header };
    if udp && let Some(checksum) = packet.get_mut(header + 6..header + UDP_HEADER) {
        checksum.fill(0);
    }
    let Some(payload) = packet.get_mut(payload..).filter(|payload| !payload.is_empty()) else { return };
    let draw = usize::try_from(draw).unwrap_or(usize::MAX);
    if let Some(byte) = payload.get_mut((draw / 8) % payload.len()) {
        *byte ^= 1 << (draw % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of two bytes from 10.77.1.1 to 10.77.1.2, with a checksum.
    const DATAGRAM: [u8; 30] = [
        0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 1, 1, 10, 77, 1, 2, 0, 7, 0, 9, 0, 10, 0xab, 0xcd, 0x0f, 0xf0,
    ];

    #[test]
    fn only_a_whole_ipv4_header_goes_anywhere() {
        assert_eq!(destination(&DATAGRAM), Some(Ipv4Addr::new(10, 77, 1, 2)));
        assert_eq!(destination(&DATAGRAM[..19]), None);
        let mut six = DATAGRAM;
        six[0] = 0x60;
        assert_eq!(destination(&six), None);
        assert_eq!(destination(&[]), None);
    }

    #[test]
    fn one_bit_of_the_payload_is_flipped_and_the_checksum_gone() {
        for draw in 0..64 {
            let mut packet = DATAGRAM;
            corrupt(&mut packet, draw);
            assert_eq!(packet[..26], DATAGRAM[..26]);
            assert_eq!(packet[26..28], [0, 0]);
            let flipped: u32 = (28..30).map(|at| (packet[at] ^ DATAGRAM[at]).count_ones()).sum();
            assert_eq!(flipped, 1, "{draw}");
        }
        for short in 0..DATAGRAM.len() {
            corrupt(&mut DATAGRAM[..short].to_vec(), 7);
        }
    }
}
