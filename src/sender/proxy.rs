//! Through a proxy: a tunnel for https (RFC 9110, 9.3.6), the absolute form for http (RFC 9112, 3.2.2).
//!
//! What a proxy says of the receiver is told from what it says of itself: 502, 503 and 504 mean that it could not reach
//! whom it was asked for, everything else that is no success is about the proxy.

use std::net::IpAddr;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{fault, route::Hop, socket::Socket};
use crate::domain::{endpoint_url::EndpointUrl, outcome::Fault};

/// A proxy's answer to CONNECT has a few headers at most.
const HEAD_BYTES: usize = 16 * 1024;

/// What requests over a connection to a proxy carry for it.
pub(super) struct Via {
    pub(super) authorization: Option<HeaderValue>,
}

impl Via {
    pub(super) fn new(hop: &Hop<'_>) -> Result<Self, Fault> {
        let value = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| hop.refused())?;
            value.set_sensitive(true);
            Ok::<_, Fault>(value)
        };
        Ok(Self {
            authorization: hop.proxy.authorization().map(value).transpose()?,
        })
    }
}

/// Has the proxy at the other end of `socket` connect to the receiver; afterwards the socket leads there.
///
/// # Errors
/// `Unreachable` and `TimeoutConnect` are what the proxy says of the receiver; the others are about the proxy.
pub(super) async fn tunnel(socket: &mut Socket, url: &EndpointUrl, hop: &Hop<'_>) -> Result<(), Fault> {
    let broken = |error: std::io::Error| hop.fault(fault::of_io(&error));
    socket
        .write_all(connect_request(url, hop).as_bytes())
        .await
        .map_err(broken)?;
    let mut head = Vec::with_capacity(1024);
    let end = loop {
        let seen = head.len();
        if seen >= HEAD_BYTES {
            return Err(hop.refused());
        }
        if socket.read_buf(&mut head).await.map_err(broken)? == 0 {
            return Err(hop.unreachable());
        }
        // The end may have begun in what was there before.
        let from = seen.saturating_sub(3);
        if let Some(at) = head[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            break from + at + 4;
        }
    };
    // A receiver in TLS says nothing before it is spoken to, so what follows the head would be the proxy's own.
    if end != head.len() {
        return Err(hop.refused());
    }
    match status(&head) {
        Some(200..=299) => Ok(()),
        Some(502 | 503) => Err(Fault::Unreachable),
        Some(504) => Err(Fault::TimeoutConnect),
        _ => Err(hop.refused()),
    }
}

fn connect_request(url: &EndpointUrl, hop: &Hop<'_>) -> String {
    let host = match url.literal_ip() {
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        Some(IpAddr::V4(_)) | None => url.host_name(),
    };
    let to = format!("{host}:{}", url.port());
    let authorization = hop
        .proxy
        .authorization()
        .map(|value| format!("proxy-authorization: {value}\r\n"))
        .unwrap_or_default();
    format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n{authorization}\r\n")
}

/// The status code of an answer's first line.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    let code = rest.split(' ').nth(1)?;
    let is_code = code.len() == 3 && code.bytes().all(|digit| digit.is_ascii_digit());
    is_code.then(|| code.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_asked_for_with_the_port_and_the_credentials() {
        let with = |proxy: &str, url: &str| {
            let proxy = proxy.parse().unwrap();
            let hop = Hop {
                proxy: &proxy,
                is_ours: false,
            };
            connect_request(&url.parse().unwrap(), &hop)
        };
        assert_eq!(
            with("http://p.test:1", "https://h.test/x?y"),
            "CONNECT h.test:443 HTTP/1.1\r\nhost: h.test:443\r\n\r\n"
        );
        assert_eq!(
            with("http://u:p@p.test:1", "https://[2606:4700::1111]:8443/"),
            "CONNECT [2606:4700::1111]:8443 HTTP/1.1\r\nhost: [2606:4700::1111]:8443\r\n\
             proxy-authorization: Basic dTpw\r\n\r\n"
        );
    }

    #[test]
    fn a_status_is_read_from_the_first_line_alone() {
        for (head, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407 \r\nx: HTTP/1.1 200 \r\n\r\n", Some(407)),
            ("HTTP/1.1 200\r\n\r\n", Some(200)),
            ("HTTP/2 200 OK\r\n\r\n", None),
            ("HTTP/1.1 +20 OK\r\n\r\n", None),
            ("HTTP/1.1 2000 OK\r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
            ("\r\n\r\n", None),
        ] {
            assert_eq!(status(head.as_bytes()), expected, "{head:?}");
        }
    }
}
