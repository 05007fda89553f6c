//! Which addresses a request may go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that are nobody's on the public internet (IANA's registry of special purposes), and why not.
const SPECIAL_V4: [(Ipv4Net, &str); 16] = [
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared by a carrier"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    // The Azure platform answers here, from within a virtual machine only.
    (v4([168, 63, 129, 16], 32), "a cloud's metadata"),
    (v4([169, 254, 0, 0], 16), "link-local, where clouds keep metadata"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "for protocols"),
    (v4([192, 0, 2, 0], 24), "for documentation"),
    (v4([192, 88, 99, 0], 24), "a relay to IPv6"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "for benchmarks"),
    (v4([198, 51, 100, 0], 24), "for documentation"),
    (v4([203, 0, 113, 0], 24), "for documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// IPv6 networks outside of `2000::/3` that have a better name than *not public*.
const SPECIAL_V6: [(Ipv6Net, &str); 9] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "an IPv4 address in disguise"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "translated to IPv4"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "translated to IPv4"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// IPv6 networks within `2000::/3` that are nobody's on the public internet.
const SPECIAL_GLOBAL_V6: [(Ipv6Net, &str); 4] = [
    // Teredo (2001::/32), ORCHID and others; what of it is global nobody serves HTTP from.
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "for protocols"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "for documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "translated to IPv4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation"),
];

/// All that IANA has given out as global unicast addresses.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

/// Why a request may not go to `address`; `None` if it is an ordinary address of the public internet, or the operator has
/// opened a network of his own that it is in.
pub fn closed(address: IpAddr, opened: &[IpNet]) -> Option<&'static str> {
    if opened.iter().any(|network| network.contains(&address)) {
        // What is translated ends at another address, and that may be closed.
        return match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => closed(translated(address)?.into(), opened),
        };
    }
    match address {
        IpAddr::V4(address) => find(&SPECIAL_V4, |network| network.contains(&address)),
        IpAddr::V6(address) => find(&SPECIAL_V6, |network| network.contains(&address))
            .or_else(|| find(&SPECIAL_GLOBAL_V6, |network| network.contains(&address)))
            .or_else(|| (!GLOBAL_V6.contains(&address)).then_some("not public")),
    }
}

fn find<N>(networks: &[(N, &'static str)], contains: impl Fn(&N) -> bool) -> Option<&'static str> {
    networks.iter().find(|(network, _)| contains(network)).map(|(_, why)| *why)
}

/// Where a packet to an IPv6 address ends that stands for an IPv4 address: mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(address: &str) -> bool {
        closed(address.parse().unwrap(), &[]).is_some()
    }

    #[test]
    fn what_is_not_public_is_closed() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_closed(address), "{address}");
        }
    }

    #[test]
    fn what_is_public_is_open() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "169.253.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.254",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
        ] {
            assert!(!is_closed(address), "{address}");
        }
    }

    #[test]
    fn an_operator_opens_no_more_than_was_meant() {
        let opened: [IpNet; 2] = ["127.0.0.0/8".parse().unwrap(), "64:ff9b::/96".parse().unwrap()];
        let closed = |address: &str| closed(address.parse().unwrap(), &opened).is_some();
        assert!(!closed("127.0.0.1"));
        assert!(closed("10.0.0.1"));
        assert!(closed("::ffff:127.0.0.1"));
        assert!(!closed("64:ff9b::8.8.8.8"));
        assert!(!closed("64:ff9b::127.0.0.1"));
        assert!(closed("64:ff9b::169.254.169.254"));
    }
}
