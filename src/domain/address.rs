//! Which addresses may be sent to.
//!
//! A server that posts wherever it is told is a way into the networks it stands in. So every address outside the
//! public internet is refused unless the operator lists it. The order is: an address the operator denies, then
//! one the operator allows, then the built-in table.
//!
//! An IPv6 address that carries an IPv4 one (mapped, compatible, NAT64, 6to4, Teredo) is checked twice: as it
//! stands, and as what it carries. A mapped address is nothing but its IPv4 form. On a network that reaches IPv4
//! through NAT64, `64:ff9b::/96` has to be allowed; what it carries is checked all the same.
//!
//! Metadata services hand out credentials to whoever asks. Allowing a network that contains one does not allow
//! it: only naming its very address does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What may be sent to, beyond and within the built-in table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Networks that are allowed although the table refuses them.
    pub allow: Vec<IpNet>,
    /// Networks that are refused in any case.
    pub deny: Vec<IpNet>,
    /// Our own API's listeners. An unspecified address (`0.0.0.0`, `::`) stands for loopback here; that other
    /// addresses of this machine lead to it too shows only once connected, see [`AddressRules::is_own_listener`].
    pub deny_endpoint: Vec<SocketAddr>,
}

/// An address that the rules refuse, and by which network of the rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} address, refused as part of {network}; list it in delivery.allow_networks to allow it")]
pub struct Forbidden {
    pub network: IpNet,
    pub why: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(head: [u16; 3], tail: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(head[0], head[1], head[2], 0, 0, 0, 0, tail),
        prefix,
    ))
}

const METADATA: &str = "cloud metadata";

/// The services that give credentials to any caller: AWS, GCP, Azure and most others; then their own forms.
const METADATA_ADDRESSES: [IpNet; 5] = [
    v4(169, 254, 169, 254, 32),
    v4(100, 100, 100, 200, 32),
    v4(168, 63, 129, 16, 32),
    v6([0xfd00, 0xec2, 0], 0x254, 128),
    v6([0xfd20, 0xce, 0], 0x254, 128),
];

/// Everything else that is not the public internet (the IANA special-purpose registries, RFC 6890).
const BUILT_IN: [(IpNet, &str); 32] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignment"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
    (v6([0, 0, 0], 0, 128), "unspecified"),
    (v6([0, 0, 0], 1, 128), "loopback"),
    (v6([0, 0, 0], 0, 96), "IPv4-compatible"),
    (v6([0x64, 0xff9b, 0], 0, 96), "NAT64"),
    (v6([0x64, 0xff9b, 1], 0, 48), "local NAT64"),
    (v6([0x100, 0, 0], 0, 64), "discard-only"),
    (v6([0x2001, 0, 0], 0, 32), "Teredo"),
    (v6([0x2001, 0, 0], 0, 23), "protocol assignment"),
    (v6([0x2001, 0xdb8, 0], 0, 32), "documentation"),
    (v6([0x2002, 0, 0], 0, 16), "6to4"),
    (v6([0x3fff, 0, 0], 0, 20), "documentation"),
    (v6([0x5f00, 0, 0], 0, 16), "segment routing"),
    (v6([0xfc00, 0, 0], 0, 7), "private"),
    (v6([0xfe80, 0, 0], 0, 10), "link-local"),
    (v6([0xfec0, 0, 0], 0, 10), "site-local"),
    (v6([0xff00, 0, 0], 0, 8), "multicast"),
    // Deprecated as an IPv4-translated form (RFC 2765); nothing public answers there.
    (
        IpNet::V6(Ipv6Net::new_assert(
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
            96,
        )),
        "IPv4-translated",
    ),
];

/// What `dev` allows: loopback and private networks, and nothing else.
const DEV_NETWORKS: [IpNet; 6] = [
    v4(127, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    v6([0, 0, 0], 1, 128),
    v6([0xfc00, 0, 0], 0, 7),
];

/// Names that are refused as names, each with the address that has to be allowed for it.
const BLOCKED_NAMES: [(&str, Ipv4Addr); 3] = [
    ("localhost", Ipv4Addr::LOCALHOST),
    ("metadata.google.internal", Ipv4Addr::new(169, 254, 169, 254)),
    ("metadata.goog", Ipv4Addr::new(169, 254, 169, 254)),
];

impl AddressRules {
    /// The rules of `serve --dev`: loopback and private networks are allowed too.
    pub fn dev() -> Self {
        Self {
            allow: DEV_NETWORKS.to_vec(),
            ..Self::default()
        }
    }

    /// Checks an address, and the IPv4 address that it carries if it does.
    ///
    /// # Errors
    /// The network that refuses it.
    pub fn check(&self, ip: IpAddr) -> Result<(), Forbidden> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.check_plain(IpAddr::V4(ip)),
            IpAddr::V6(ip) => {
                self.check_plain(IpAddr::V6(ip))?;
                carried(ip)
                    .into_iter()
                    .flatten()
                    .try_for_each(|inner| self.check_plain(IpAddr::V4(inner)))
            }
        }
    }

    /// Checks an address with its port: as [`AddressRules::check`], and not our own API.
    ///
    /// # Errors
    /// The network that refuses it.
    pub fn check_socket(&self, remote: SocketAddr) -> Result<(), Forbidden> {
        let ip = remote.ip().to_canonical();
        let own = self.deny_endpoint.iter().any(|own| {
            let listens_here = own.ip().is_unspecified() && is_this_host(ip);
            own.port() == remote.port() && (listens_here || own.ip().to_canonical() == ip)
        });
        if own {
            return Err(Forbidden {
                network: IpNet::from(ip),
                why: "this server's own API",
            });
        }
        self.check(ip)
    }

    /// Whether a connection, once made, turns out to lead from this machine to our own API.
    pub fn is_own_listener(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        local.ip().to_canonical() == remote.ip().to_canonical()
            && self
                .deny_endpoint
                .iter()
                .any(|own| own.ip().is_unspecified() && own.port() == remote.port())
    }

    /// Checks a host name, lowercase, with or without the dot that ends it.
    ///
    /// # Errors
    /// The network that would have to be allowed for it.
    pub fn check_name(&self, name: &str) -> Result<(), Forbidden> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let is = |blocked: &str| {
            name == blocked || name.strip_suffix(blocked).is_some_and(|left| left.ends_with('.'))
        };
        match BLOCKED_NAMES.iter().find(|(blocked, _)| is(blocked)) {
            Some((_, stands_for)) => self.check(IpAddr::V4(*stands_for)),
            None => Ok(()),
        }
    }

    fn check_plain(&self, ip: IpAddr) -> Result<(), Forbidden> {
        if let Some(&network) = self.deny.iter().find(|network| network.contains(&ip)) {
            return Err(Forbidden {
                network,
                why: "denied",
            });
        }
        if let Some(&network) = METADATA_ADDRESSES.iter().find(|network| network.contains(&ip)) {
            let named = self.allow.contains(&network);
            return if named {
                Ok(())
            } else {
                Err(Forbidden {
                    network,
                    why: METADATA,
                })
            };
        }
        if self.allow.iter().any(|network| network.contains(&ip)) {
            return Ok(());
        }
        match BUILT_IN.iter().find(|(network, _)| network.contains(&ip)) {
            Some(&(network, why)) => Err(Forbidden { network, why }),
            None => Ok(()),
        }
    }
}

fn is_this_host(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// The IPv4 addresses that an IPv6 address carries: none, one, or with Teredo the server's and the client's.
fn carried(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bits = ip.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    match ip.segments() {
        // Not a form of anything: unspecified and loopback.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => [Some(low), None],
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => [Some(low), None],
        [0x2002, ..] => [Some(Ipv4Addr::from_bits((bits >> 80) as u32)), None],
        [0x2001, 0, ..] => [
            Some(Ipv4Addr::from_bits((bits >> 64) as u32)),
            Some(Ipv4Addr::from_bits(!(bits as u32))),
        ],
        _ => [None, None],
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
