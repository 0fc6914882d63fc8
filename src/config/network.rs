//! Where to listen, and which networks may be sent to.

use std::{fmt, net::IpAddr, net::SocketAddr};

use ipnet::IpNet;

use super::raw::{Raw, Setting, Wrong, quoted};
use crate::domain::proxy::{InvalidProxy, ProxyUrl};

/// Where the API listens on TCP.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd)]
pub enum Listen {
    Off,
    At(SocketAddr),
}

impl Listen {
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Setting for Listen {
    const FORM: &'static str =
        "an address and a port such as \"127.0.0.1:8787\" or \"[::1]:8787\", or \"off\"";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) | Raw::Untyped(text) if text == "off" => Ok(Self::Off),
            Raw::Text(text) | Raw::Untyped(text) => text.parse().map(Self::At).map_err(|_| Wrong::Form),
            _ => Err(Wrong::Form),
        }
    }

    fn write(&self) -> String {
        format!("\"{self}\"")
    }
}

/// A proxy that may be left out: the empty text is none.
impl Setting for Option<ProxyUrl> {
    const FORM: &'static str = "a proxy such as \"http://proxy.test:3128\" or \"http://user:password@proxy.test:3128\", or \"\" for none";

    /// What is refused is not shown, since it may hold a password.
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) | Raw::Untyped(text) if text.is_empty() => Ok(None),
            Raw::Text(text) | Raw::Untyped(text) => text
                .parse()
                .map(Some)
                .map_err(|error: InvalidProxy| Wrong::Detail(format!("is unusable: {error}"))),
            _ => Err(Wrong::Detail(format!("must be {}", Self::FORM))),
        }
    }

    /// Without the credentials.
    fn write(&self) -> String {
        quoted(&self.as_ref().map(ProxyUrl::redacted).unwrap_or_default())
    }
}

impl Setting for Vec<IpNet> {
    const FORM: &'static str = "a list of networks such as [\"10.0.0.0/8\", \"192.168.7.1\", \"fd00::/8\"]";

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        Vec::<String>::read(raw)?
            .iter()
            .map(|text| network(text))
            .collect()
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().write()
    }
}

/// A network in CIDR form, or one address. Bits behind the prefix are refused: one of the two is a slip, and
/// an allowance should not be wider than it reads.
fn network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| Wrong::Form)?;
    if network.trunc() == network {
        return Ok(network);
    }
    Err(Wrong::Detail(format!(
        "holds {network}, an address within a network: write {} for the network, or {}",
        network.trunc(),
        network.addr()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Raw {
        Raw::List(items.iter().map(|&item| item.to_owned()).collect())
    }

    #[test]
    fn an_address_alone_is_a_network_of_one() {
        let networks = Vec::<IpNet>::read(&list(&["192.168.7.1", "fd00::/8"])).unwrap();
        assert_eq!(networks.write(), "[\"192.168.7.1/32\", \"fd00::/8\"]");
    }

    #[test]
    fn a_network_wider_than_it_reads_is_refused() {
        let Err(Wrong::Detail(detail)) = Vec::<IpNet>::read(&list(&["10.1.2.3/8"])) else {
            panic!("taken");
        };
        assert!(detail.contains("10.0.0.0/8"), "{detail}");
        assert_eq!(Vec::<IpNet>::read(&list(&["10.0.0.0/33"])), Err(Wrong::Form));
    }

    #[test]
    fn a_proxy_s_password_is_shown_neither_when_it_holds_nor_when_it_does_not() {
        let read = |text: &str| Option::<ProxyUrl>::read(&Raw::Text(text.to_owned()));
        assert_eq!(read("").unwrap().write(), "\"\"");
        let proxy = read("http://u:hunter2@p.test:3128").unwrap();
        assert_eq!(proxy.write(), "\"http://***@p.test:3128\"");
        for bad in ["http://u:hunter2@p.test", "hunter2", "https://u:hunter2@p.test:1"] {
            let Err(Wrong::Detail(detail)) = read(bad) else {
                panic!("{bad}");
            };
            assert!(!detail.contains("hunter"), "{detail}");
        }
        let listed = Option::<ProxyUrl>::read(&list(&["http://u:hunter2@p.test:1"]));
        assert!(matches!(listed, Err(Wrong::Detail(detail)) if !detail.contains("hunter")));
    }

    #[test]
    fn a_listener_is_an_address_or_off() {
        assert_eq!(Listen::read(&Raw::Text("off".into())), Ok(Listen::Off));
        for bad in [
            "",
            "8787",
            "localhost:8787",
            ":8787",
            "127.0.0.1",
            "127.0.0.1:65536",
        ] {
            assert_eq!(Listen::read(&Raw::Text(bad.into())), Err(Wrong::Form), "{bad}");
        }
    }
}
