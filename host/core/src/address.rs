//! Addresses on the network: which of them are public, and blocks of them such as `10.0.0.0/8`.
//!
//! Pure. An address is private unless it is known to be public, so a block that is set aside in the future is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

/// The blocks of IPv4 that are not public, from IANA's registry of special-purpose addresses: this network, private
/// networks, carriers, loopback, link-local (also the metadata services of clouds), protocol assignments,
/// documentation, 6to4 relays, benchmarks, multicast, reserved and broadcast.
const PRIVATE_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// The only block of IPv6 with public addresses (global unicast).
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);
/// The blocks within it that are not public: protocol assignments (Teredo is one) and documentation.
const PRIVATE_V6: [Ipv6Net; 3] = [v6([0x2001, 0, 0], 23), v6([0x2001, 0xdb8, 0], 32), v6([0x3fff, 0, 0], 20)];

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6([a, b, c]: [u16; 3], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits)
}

/// Whether an address can only belong to a host on the public internet. An address of IPv6 that carries one of IPv4
/// (mapped, NAT64, 6to4) is as public as that one.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !PRIVATE_V4.iter().any(|block| block.contains(&address)),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let carried = |high: u16, low: u16| is_public(IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => carried(high, low),
        _ => GLOBAL_V6.contains(&address) && !PRIVATE_V6.iter().any(|block| block.contains(&address)),
    }
}

/// A block of addresses, such as `10.0.0.0/8`, `fd00::/8` or a single `10.0.0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Block(IpNet);

/// A text is not a block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IP address or CIDR range, such as `10.0.0.0/8`, `fd00::/8` or `10.0.0.5`")]
pub struct InvalidBlock(String);

impl Block {
    /// Whether an address lies within the block. An IPv4 address that is mapped into IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Block {
    type Err = InvalidBlock;

    fn from_str(text: &str) -> Result<Self, InvalidBlock> {
        let block = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
        block.map(Self).map_err(|_| InvalidBlock(text.to_owned()))
    }
}

impl TryFrom<String> for Block {
    type Error = InvalidBlock;

    fn try_from(text: String) -> Result<Self, InvalidBlock> {
        text.parse()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
