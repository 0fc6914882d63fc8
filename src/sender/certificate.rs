//! What a certificate says of itself, as far as the verifier does not tell: its dates, common names and marks.
//!
//! Read from certificates that somebody has put into `tls.ca_pem` or `delivery.ca_file`, never to decide whether a
//! signature is good. X.509 in DER (RFC 5280, section 4.1); what is not understood is skipped, and what does not add up is
//! no certificate.

use std::net::IpAddr;

use jiff::civil::DateTime;
use rustls::pki_types::ServerName;

/// A certificate's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// 1 to 3; only the last has extensions.
    pub(super) version: u8,
    /// Unix seconds, both included.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// It is marked as an authority's (CA:TRUE).
    pub(super) is_ca: bool,
    /// It has a subjectAltName, which then alone says whom it is for.
    pub(super) has_names: bool,
    pub(super) common_names: Vec<String>,
    /// What cannot be verified about its key here, if anything.
    pub(super) unsupported_key: Option<&'static str>,
}

// Tags and object identifiers, as they stand in the encoding.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

impl Certificate {
    /// Reads a certificate; `None` where it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut whole = Der(Der(der).expect(SEQUENCE)?);
        let mut body = Der(whole.expect(SEQUENCE)?);
        let version = match body.peek() {
            Some(VERSION) => 1 + *Der(body.expect(VERSION)?).expect(INTEGER)?.last()?,
            _ => 1,
        };
        body.expect(INTEGER)?; // serial number
        body.expect(SEQUENCE)?; // signature algorithm
        body.expect(SEQUENCE)?; // issuer
        let mut validity = Der(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let common_names = common_names(body.expect(SEQUENCE)?)?;
        let unsupported_key = unsupported(body.expect(SEQUENCE)?)?;
        let mut read = Self {
            version,
            not_before,
            not_after,
            is_ca: false,
            has_names: false,
            common_names,
            unsupported_key,
        };
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                read.extensions(Der(content).expect(SEQUENCE)?)?;
            }
        }
        Some(read)
    }

    fn extensions(&mut self, list: &[u8]) -> Option<()> {
        let mut list = Der(list);
        while let Some((_, extension)) = list.next() {
            let mut extension = Der(extension);
            let id = extension.expect(OID)?;
            if extension.peek() == Some(BOOLEAN) {
                extension.expect(BOOLEAN)?; // critical
            }
            let value = extension.expect(OCTET_STRING)?;
            match id {
                SUBJECT_ALT_NAME => self.has_names = true,
                BASIC_CONSTRAINTS => {
                    let mut constraints = Der(Der(value).expect(SEQUENCE)?);
                    self.is_ca = matches!(constraints.next(), Some((BOOLEAN, [byte])) if *byte != 0);
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Whether one of its common names is this host: a name, with a star for its first label at the most, or an address.
    pub(super) fn has_common_name(&self, host: &ServerName<'_>) -> bool {
        let host = host.to_str();
        let address = host.parse::<IpAddr>().ok();
        self.common_names.iter().any(|name| match address {
            Some(address) => name.parse() == Ok(address),
            None => is_name(name, &host),
        })
    }
}

/// Whether a name in a certificate is this host (RFC 6125, section 6.4).
fn is_name(name: &str, host: &str) -> bool {
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((label, rest))) => {
            !label.is_empty() && parent.contains('.') && parent.eq_ignore_ascii_case(rest)
        }
        (Some(_), None) => false,
        (None, _) => name.eq_ignore_ascii_case(host),
    }
}

fn common_names(subject: &[u8]) -> Option<Vec<String>> {
    let (mut subject, mut names) = (Der(subject), Vec::new());
    while let Some((tag, set)) = subject.next() {
        let mut set = Der((tag == SET).then_some(set)?);
        while let Some((_, attribute)) = set.next() {
            let mut attribute = Der(attribute);
            if attribute.expect(OID)? == COMMON_NAME
                && let Some((_, text)) = attribute.next()
                && let Ok(text) = std::str::from_utf8(text)
            {
                names.push(text.to_owned());
            }
        }
    }
    Some(names)
}

/// Why a public key cannot be verified with here; `Some(None)` when it can.
fn unsupported(key: &[u8]) -> Option<Option<&'static str>> {
    let mut key = Der(key);
    let mut algorithm = Der(key.expect(SEQUENCE)?);
    let id = algorithm.expect(OID)?;
    Some(match id {
        RSA => {
            let bits = key.expect(BIT_STRING)?.get(1..)?;
            let modulus = Der(Der(bits).expect(SEQUENCE)?).expect(INTEGER)?;
            let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
            let spare = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
            match modulus.len() * 8 - spare {
                0..2048 => Some("RSA below 2048 bits"),
                2048..=8192 => None,
                _ => Some("RSA above 8192 bits"),
            }
        }
        EC => match algorithm.expect(OID) {
            Some(P256 | P384) => None,
            Some(P521) => Some("ECDSA P-521"),
            _ => Some("ECDSA on a curve other than P-256 and P-384"),
        },
        ED25519 => None,
        _ => Some("neither RSA nor ECDSA nor Ed25519"),
    })
}

/// A `Time` as Unix seconds.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let digits = match tag {
        // Years of two digits are those from 1950 on (RFC 5280, section 4.1.2.5.1).
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits[from..to].parse::<i8>().ok();
    let time = DateTime::new(
        digits[..4].parse().ok()?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?,
        0,
    );
    // Not by way of a jiff::Timestamp, which ends before 99991231235959Z: "for ever" (RFC 5280, section 4.1.2.5).
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    Some(time.ok()?.duration_since(epoch).as_secs())
}

/// Elements that stand one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            // More than two bytes of length would be more than a PEM text here may hold.
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 3 {
                return None;
            }
            rest = after;
            bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }

    fn expect(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(tag, _)| *tag == expected)
            .map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(1999, 12, 31);
        params.not_after = date_time_ymd(2050, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_s_dates_names_and_marks_are_read() {
        let read = Certificate::read(&made(&["h.test"], |params| {
            params.distinguished_name.push(DnType::CommonName, "c.test");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }))
        .unwrap();
        let expected = Certificate {
            version: 3,
            not_before: 946_598_400,
            not_after: 2_524_608_000,
            is_ca: true,
            has_names: true,
            common_names: vec!["c.test".to_owned()],
            unsupported_key: None,
        };
        let mut names = read.common_names.clone();
        names.retain(|name| name == "c.test");
        assert_eq!(
            Certificate {
                common_names: names,
                ..read
            },
            expected
        );
        let plain = Certificate::read(&made(&[], |_| {})).unwrap();
        assert_eq!((plain.is_ca, plain.has_names), (false, false));
    }

    #[test]
    fn a_common_name_is_a_host_with_a_star_for_its_first_label_at_the_most() {
        let named = |name: &str| Certificate {
            version: 3,
            not_before: 0,
            not_after: 0,
            is_ca: false,
            has_names: false,
            common_names: vec!["other".to_owned(), name.to_owned()],
            unsupported_key: None,
        };
        for (name, host, expected) in [
            ("h.test", "h.test", true),
            ("H.Test", "h.test", true),
            ("my_service", "my_service", true),
            ("*.h.test", "a.h.test", true),
            ("*.h.test", "a.b.h.test", false),
            ("*.h.test", "h.test", false),
            ("*.test", "h.test", false),
            ("*", "test", false),
            ("h.test", "xh.test", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("::1", "::1", true),
            ("*.0.0.1", "127.0.0.1", false),
            ("", "h.test", false),
        ] {
            let host = ServerName::try_from(host).unwrap();
            assert_eq!(named(name).has_common_name(&host), expected, "{name} {host:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_changed_anywhere_is_read_without_a_panic() {
        let der = made(&["h.test", "127.0.0.1"], |_| {});
        for end in 0..der.len() {
            assert_eq!(Certificate::read(&der[..end]), None, "{end}");
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[end] ^= 1 << bit;
                let _ = Certificate::read(&changed);
            }
        }
    }

    #[test]
    fn times_of_both_forms_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "7001010000Z", None),
            (GENERALIZED_TIME, "20501301000000Z", None),
            (UTC_TIME, "700101000000", None),
            (SEQUENCE, "700101000000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), expected, "{text}");
        }
    }
}
