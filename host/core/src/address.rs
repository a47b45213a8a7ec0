//! Addresses on the network: which of them are public, and blocks of them such as `10.0.0.0/8`.
//!
//! Pure. What is not known to be public is private: a block that somebody sets aside tomorrow is refused and not let through.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// The blocks of IPv4 that are not public (IANA's registry of special purposes): this network, private networks, those of
/// carriers, loopback, link-local (also where clouds keep their metadata), protocol assignments, documentation, relays from 6to4,
/// benchmarks, multicast, reserved and broadcast.
const PRIVATE_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// The blocks within `2000::/3` that are not public: protocol assignments (Teredo is one) and documentation.
const PRIVATE_V6: [([u16; 2], u32); 3] = [([0x2001, 0], 23), ([0x2001, 0xdb8], 32), ([0x3fff, 0], 20)];

/// Whether an address can belong to nobody but a host on the public internet. An address of IPv6 that carries one of IPv4 (mapped,
/// NAT64, 6to4) is as public as that one.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !PRIVATE_V4.iter().any(|(start, bits)| same(address.to_bits(), u32::from_be_bytes(*start), *bits))
        }
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let carried = |from: usize| {
        let octets = address.octets();
        let carried = octets.get(from..from + 4).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
        carried.is_some_and(|octets| is_public(IpAddr::V4(Ipv4Addr::from(octets))))
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => carried(12),
        [0x2002, ..] => carried(2),
        [first, second, ..] => {
            let start = u32::from(first) << 16 | u32::from(second);
            let set_aside = |([first, second], bits): &([u16; 2], u32)| {
                same(start, u32::from(*first) << 16 | u32::from(*second), *bits)
            };
            first >> 13 == 1 && !PRIVATE_V6.iter().any(set_aside)
        }
    }
}

/// Whether the first bits of two numbers are the same.
fn same(a: u32, b: u32, bits: u32) -> bool {
    (a ^ b).checked_shr(32 - bits).unwrap_or(0) == 0
}

/// A block of addresses, such as `10.0.0.0/8`, `fd00::/8` or a single `10.0.0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Block {
    start: IpAddr,
    bits: u32,
}

/// A text is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no block of addresses, such as `10.0.0.0/8`, `fd00::/8` or `10.0.0.5`")]
pub struct NoBlock(String);

impl Block {
    /// Whether an address lies within the block. An address of IPv4 that comes as one of IPv6 is what it stands for.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, address.to_canonical()) {
            (IpAddr::V4(start), IpAddr::V4(address)) => same(address.to_bits(), start.to_bits(), self.bits),
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                (address.to_bits() ^ start.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Block {
    type Err = NoBlock;

    fn from_str(text: &str) -> Result<Self, NoBlock> {
        let no_block = || NoBlock(text.to_owned());
        let (start, bits) = text.split_once('/').map_or((text, None), |(start, bits)| (start, Some(bits)));
        let start: IpAddr = start.parse().map_err(|_| no_block())?;
        let whole = if start.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(whole), |bits| bits.parse().map_err(|_| no_block()))?;
        if bits > whole {
            return Err(no_block());
        }
        Ok(Self { start, bits })
    }
}

impl TryFrom<String> for Block {
    type Error = NoBlock;

    fn try_from(text: String) -> Result<Self, NoBlock> {
        text.parse()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_public_is_refused() {
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:a00:1::",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(!is_public(address(private)), "{private}");
        }
    }

    #[test]
    fn what_is_public_is_let_through() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2002:808:808::1",
            "2a00:1450::1",
            "3ffe::1",
        ] {
            assert!(is_public(address(public)), "{public}");
        }
    }

    #[test]
    fn blocks() {
        let block = |text: &str| text.parse::<Block>().unwrap();
        assert!(block("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(block("10.0.0.0/8").contains(address("::ffff:10.0.0.1")));
        assert!(!block("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(block("10.0.0.5").contains(address("10.0.0.5")) && !block("10.0.0.5").contains(address("10.0.0.4")));
        assert!(block("0.0.0.0/0").contains(address("1.2.3.4")) && !block("0.0.0.0/0").contains(address("::1")));
        assert!(block("::/0").contains(address("fe80::1")));
        assert!(block("fd00::/8").contains(address("fdff::1")) && !block("fd00::/8").contains(address("fc00::1")));
        for wrong in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "internal.example"] {
            assert!(wrong.parse::<Block>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_block_has_those_with_its_first_bits(start: u32, other: u32, bits in 0u32..=32) {
            let block: Block = format!("{}/{bits}", Ipv4Addr::from_bits(start)).parse().unwrap();
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            prop_assert_eq!(block.contains(IpAddr::V4(Ipv4Addr::from_bits(other))), start & mask == other & mask);
        }

        #[test]
        fn an_address_is_as_public_as_the_one_that_it_carries(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let [a, b] = [bits >> 16, bits & 0xffff].map(|half| u16::try_from(half).unwrap());
            prop_assert_eq!(is_public(IpAddr::V6(v4.to_ipv6_mapped())), is_public(IpAddr::V4(v4)));
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b);
            prop_assert_eq!(is_public(IpAddr::V6(nat64)), is_public(IpAddr::V4(v4)));
        }
    }
}
