//! Names to addresses.
//!
//! The system's configuration is read when the first name is looked up, and again when it has changed: a device
//! may boot before its network is there. Where there is none, the name server is the one on this machine, as
//! resolv.conf(5) says.
//!
//! IPv4 and IPv6 are asked for side by side. Once one has answered with addresses the other gets a moment, no
//! more, so that a name server that never answers for one of them holds up nothing.
//!
//! Names are not read by the library's own parser: it refuses an underscore behind a label's first character, which names of
//! containers and services have. DNS itself allows any bytes in a label (RFC 2181, section 11).
//!
//! Only DNS and the hosts file are asked, whatever nsswitch.conf says: no mDNS, no LDAP, no NIS.
//!
//! The library makes do where a file cannot be read, and forgets why a socket could not be opened. Where that is
//! for want of descriptors, it is found out here: no receiver is to be blamed, nor a bad configuration kept.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::{Either, select};
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
    system_conf,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::fault;
use crate::domain::outcome::Fault;

const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// One question to one server. Two tries fit into the connect limit's default.
const QUESTION: Duration = Duration::from_secs(2);
/// How long the slower address family is waited for (RFC 8305, section 3).
const SECOND_FAMILY: Duration = Duration::from_millis(50);
/// Cached answers, some hundred bytes each.
const CACHED: u64 = 1024;
/// A name that was missing may have been created: not remembered longer than this.
const MISSING: Duration = Duration::from_secs(30);
/// A record that is wrong must not stay for a day.
const FOUND: Duration = Duration::from_secs(300);

type Stamp = [Option<SystemTime>; 2];

pub(super) struct Resolver {
    name_servers: Vec<SocketAddr>,
    current: Mutex<Option<(Stamp, TokioResolver)>>,
}

impl Resolver {
    /// A resolver by the system's configuration, or by these servers alone if there are any.
    pub(super) fn new(name_servers: Vec<SocketAddr>) -> Self {
        Self {
            name_servers,
            current: Mutex::new(None),
        }
    }

    /// The addresses of a name, IPv4 first: where one family leads nowhere it is mostly IPv6.
    ///
    /// # Errors
    /// `DnsNotFound` when the name does not exist or has no address, `Dns` when nobody would say by `deadline`,
    /// `UrlInvalid` when no question can be made of it.
    pub(super) async fn resolve(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, Fault> {
        let resolver = self.current().map_err(|error| fault::of_dns(&error))?;
        timeout_at(deadline, lookup_as_system_does(&resolver, host))
            .await
            .unwrap_or(Err(Fault::Dns))
    }

    fn current(&self) -> Result<TokioResolver, NetError> {
        let stamp = FILES.map(|file| std::fs::metadata(file).and_then(|found| found.modified()).ok());
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, resolver)) = &*current
            && *seen == stamp
        {
            return Ok(resolver.clone());
        }
        let resolver = self.build()?;
        *current = Some((stamp, resolver.clone()));
        Ok(resolver)
    }

    fn build(&self) -> Result<TokioResolver, NetError> {
        let (config, options) = if self.name_servers.is_empty() {
            system_conf::read_system_conf().or_else(without_configuration)?
        } else {
            let servers = self.name_servers.iter().map(name_server).collect();
            (
                ResolverConfig::from_name_servers(servers),
                ResolverOpts::default(),
            )
        };
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = options.timeout.min(QUESTION);
        options.cache_size = CACHED;
        options.negative_max_ttl = Some(MISSING);
        options.positive_max_ttl = Some(FOUND);
        let mut resolver = builder.build()?;
        resolver.set_hosts(Arc::new(Hosts::from_system().or_else(without_hosts)?));
        Ok(resolver)
    }
}

fn without_configuration(error: NetError) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    if fault::is_shortage(fault::of_dns(&error)) {
        return Err(error);
    }
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "no name servers are configured here"
    );
    let local = vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())];
    Ok((ResolverConfig::from_name_servers(local), ResolverOpts::default()))
}

fn without_hosts(error: io::Error) -> io::Result<Hosts> {
    if fault::is_shortage(fault::of_io(&error)) {
        Err(error)
    } else {
        Ok(Hosts::default())
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

/// A name with a dot is tried as it stands, and only if it does not exist below the search domains. Left to
/// itself the library would report the last try's error, and a server's failure would look like a missing name.
async fn lookup_as_system_does(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>, Fault> {
    let as_it_stands = name(host)?;
    if host.ends_with('.') || !host.contains('.') {
        return lookup(resolver, &as_it_stands).await;
    }
    match lookup(resolver, &as_it_stands).await {
        Err(Fault::DnsNotFound) => {
            let mut below = as_it_stands;
            below.set_fqdn(false);
            lookup(resolver, &below).await
        }
        found => found,
    }
}

/// A host as the name that is asked for first: its labels as they are, and complete if there is a dot in it.
fn name(host: &str) -> Result<Name, Fault> {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let labels = labels.split('.').map(str::as_bytes);
    let mut name = Name::from_labels(labels).map_err(|_| Fault::UrlInvalid)?;
    name.set_fqdn(host.contains('.'));
    Ok(name)
}

async fn lookup(resolver: &TokioResolver, name: &Name) -> Result<Vec<IpAddr>, Fault> {
    let v4 = pin!(family(resolver, name, RecordType::A));
    let v6 = pin!(family(resolver, name, RecordType::AAAA));
    let (v4, v6) = match select(v4, v6).await {
        Either::Left((Ok(v4), v6)) => (
            Ok(v4),
            timeout(SECOND_FAMILY, v6).await.unwrap_or(Err(Fault::Dns)),
        ),
        Either::Left((Err(fault), v6)) => (Err(fault), v6.await),
        Either::Right((Ok(v6), v4)) => (
            timeout(SECOND_FAMILY, v4).await.unwrap_or(Err(Fault::Dns)),
            Ok(v6),
        ),
        Either::Right((Err(fault), v4)) => (v4.await, Err(fault)),
    };
    match (v4, v6) {
        (Ok(v4), v6) => Ok([v4, v6.unwrap_or_default()].concat()),
        (Err(_), Ok(v6)) => Ok(v6),
        // One of them not answering leaves open whether the name exists.
        (Err(Fault::DnsNotFound), Err(other)) | (Err(other), Err(_)) => Err(other),
    }
}

/// The addresses of one family: at least one.
async fn family(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, Fault> {
    let found = resolver
        .lookup(name.clone(), kind)
        .await
        .map_err(|error| match error {
            NetError::NoConnections => unasked(),
            error => fault::of_dns(&error),
        })?;
    let address = |data: &RData| match data {
        RData::A(ip) => Some(IpAddr::from(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::from(ip.0)),
        _ => None,
    };
    let ips: Vec<IpAddr> = found
        .answers()
        .iter()
        .filter_map(|record| address(&record.data))
        .collect();
    if ips.is_empty() {
        Err(Fault::DnsNotFound)
    } else {
        Ok(ips)
    }
}

/// Why no name server could be asked. A socket of our own is told it again.
fn unasked() -> Fault {
    match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| fault::of_io(&error)) {
        Err(fault) if fault::is_shortage(fault) => fault,
        Ok(_) | Err(_) => Fault::Dns,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_name_is_made_of_any_labels_that_dns_can_ask_for() {
        for host in [
            "my_service",
            "_dmarc.example.com",
            "a_.b-.c",
            "in_hosts.test",
            "3com.test",
            "*.test",
            "xn--bcher-kva.example",
            &format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(61)),
        ] {
            let asked = name(host).unwrap();
            let labels: Vec<&[u8]> = asked.iter().collect();
            assert_eq!(labels.join(&b'.'), host.as_bytes());
            // A name with a dot is asked for as it stands before the search domains are tried.
            assert_eq!(asked.is_fqdn(), host.contains('.'), "{host}");
        }
        assert!(name("my_service.").unwrap().is_fqdn());
        for host in ["", ".", "a..b", &"x".repeat(64), &"x.".repeat(130)] {
            assert_eq!(name(host).err(), Some(Fault::UrlInvalid), "{host}");
        }
    }

    #[test]
    fn a_missing_configuration_is_made_up_for_and_one_that_cannot_be_opened_now_is_not() {
        let missing = || io::Error::from(Errno::NOENT);
        assert!(without_configuration(missing().into()).is_ok());
        assert!(without_hosts(missing()).is_ok());
        let no_descriptor = || io::Error::from(Errno::MFILE);
        assert!(without_configuration(no_descriptor().into()).is_err());
        assert!(without_hosts(no_descriptor()).is_err());
    }
}
