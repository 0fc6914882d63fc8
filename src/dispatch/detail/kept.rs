//! What an attempt's record keeps of how it went.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::super::engine::Shared;
use crate::{
    domain::{
        attempt_detail::{AttemptDetail, HttpVersion, Method, ResponseDetail},
        endpoint_url::EndpointUrl,
        id::EndpointId,
    },
    runtime::{
        codec::{self, CodecError},
        seal::Sealer,
    },
    sender::{Exchange, Protocol},
    wire::request::OutboundRequest,
};

/// What is known of a request before the sender has it.
pub struct Asked {
    method: Method,
    url: EndpointUrl,
    body_bytes: u64,
}

impl Asked {
    pub fn of(request: &OutboundRequest) -> Self {
        Self {
            method: Method::of(request.method.as_str()),
            url: request.url.clone(),
            body_bytes: request.body.len() as u64,
        }
    }
}

/// The form in which details are kept.
const VERSION: u8 = 1;

/// How an attempt at an endpoint went, as it is kept; empty when nothing is to be. The noted lines go with it.
pub fn detail(shared: &Shared, endpoint: EndpointId, asked: Asked, exchange: &mut Exchange) -> Bytes {
    if shared.options.attempt_detail.is_off() {
        return Bytes::new();
    }
    let version = exchange.protocol.map(|protocol| match protocol {
        Protocol::Http1 => HttpVersion::Http11,
        Protocol::Http2 => HttpVersion::Http2,
    });
    let detail = AttemptDetail {
        url: shared.sealed_urls.get(&shared.sealer, endpoint, &asked.url),
        method: asked.method,
        body_bytes: asked.body_bytes,
        sent: exchange.sent,
        request: std::mem::take(&mut exchange.request_lines),
        response: exchange.answered.map(|version| ResponseDetail {
            version,
            headers: std::mem::take(&mut exchange.answer_lines),
            body_bytes: exchange.body_bytes_read as u64,
        }),
        version,
        timing: exchange.timing,
        tls: exchange.tls,
    };
    // What is bounded by a budget of some KiB is never larger than the codec's limit.
    codec::encode_compact(VERSION, &detail).map_or_else(|_| Bytes::new(), Bytes::from)
}

/// Reads what [`detail`] gave.
///
/// # Errors
/// When it is of a version that is not known here, or damaged.
pub fn read(kept: &[u8]) -> Result<AttemptDetail, CodecError> {
    codec::decode_compact(VERSION, kept)
}

/// URLs of endpoints as attempts keep them. An endpoint is asked by the same URL again and again, and sealing it costs as much as
/// everything else that an attempt keeps: so each is sealed once.
#[derive(Default)]
pub struct SealedUrls(Mutex<HashMap<EndpointId, (EndpointUrl, Bytes)>>);

/// Some 200 bytes each. Beyond, all are sealed anew.
const KEPT: usize = 4096;

impl SealedUrls {
    fn get(&self, sealer: &Sealer, endpoint: EndpointId, url: &EndpointUrl) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, sealed)) = kept.get(&endpoint)
            && known == url
        {
            return sealed.clone();
        }
        let shown = url.without_query_values();
        let sealed = Bytes::from(sealer.seal(&owner(endpoint), shown.as_bytes()));
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(endpoint, (url.clone(), sealed.clone()));
        sealed
    }
}

/// The URL that an attempt at an endpoint keeps; `None` when it was sealed with another key.
pub fn open_url(sealer: &Sealer, endpoint: EndpointId, sealed: &[u8]) -> Option<String> {
    let url = sealer.open(&owner(endpoint), sealed).ok()?;
    String::from_utf8(url).ok()
}

/// What a URL is sealed for, so that it opens in the place of nothing else of the endpoint's.
fn owner(endpoint: EndpointId) -> Vec<u8> {
    [endpoint.as_bytes(), &b"attempt url"[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            attempt_detail::{Timing, TlsDetail, TlsVersion},
            header_lines::HeaderLines,
            time::Timestamp,
        },
        runtime::hex,
    };

    /// What was ever written must be read for ever: these bytes may not change.
    const WRITTEN: &str = "01067365616c656401fcd12f010001196003036e6f770006782d73686f700231378d8005782d6b65790001003c0ac0397373\
        7373737373737373737373737373737373737373737373737373737373737373737373737373737373737373737373737373\
        73737373730109010201010001fb2c010104010501010101fdc829b6d977010000";

    #[test]
    fn details_are_written_and_read_as_the_same_bytes_for_ever() {
        let (mut request, mut headers) = (HeaderLines::default(), HeaderLines::default());
        request.push("content-type", b"application/json", 100);
        request.push("date", b"now", 100);
        request.push("x-shop", b"17", 100);
        request.push_hidden("authorization", 100);
        request.push_hidden("x-key", 100);
        headers.push("server", &[b's'; 100], 60);
        let detail = AttemptDetail {
            url: Bytes::from_static(b"sealed"),
            method: Method::Options,
            body_bytes: 77_777,
            sent: true,
            request,
            response: Some(ResponseDetail {
                version: HttpVersion::Http10,
                headers,
                body_bytes: 9,
            }),
            version: Some(HttpVersion::Http2),
            timing: Timing {
                dns: Some(1),
                connect: None,
                tls: Some(300),
                first_byte: Some(4),
                body: Some(5),
            },
            tls: Some(TlsDetail {
                version: Some(TlsVersion::Tls13),
                not_after: Some(Timestamp::from_millis(1_614_265_330_120)),
            }),
        };
        let written = codec::encode_compact(VERSION, &detail).unwrap();
        assert_eq!(hex::encode(&written), WRITTEN);
        assert_eq!(read(&written).unwrap(), detail);
        for length in 0..written.len() {
            assert!(read(&written[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_url_is_sealed_once_for_each_endpoint_until_it_changes() {
        let (sealer, urls) = (Sealer::new(&[1; 32]), SealedUrls::default());
        let url = |text: &str| -> EndpointUrl { text.parse().unwrap() };
        let [one, other] = [1, 2].map(|byte| EndpointId::from_bytes([byte; 16]));
        let first = urls.get(&sealer, one, &url("https://h.test/a?k=secret"));
        assert_eq!(urls.get(&sealer, one, &url("https://h.test/a?k=secret")), first);
        assert_ne!(urls.get(&sealer, other, &url("https://h.test/a?k=secret")), first);
        let opened = |endpoint, sealed: &Bytes| open_url(&sealer, endpoint, sealed);
        assert_eq!(opened(one, &first).as_deref(), Some("https://h.test/a?k=***"));
        assert_eq!(opened(other, &first), None);
        let changed = urls.get(&sealer, one, &url("https://h.test/b"));
        assert_eq!(opened(one, &changed).as_deref(), Some("https://h.test/b"));
    }

    #[test]
    fn no_more_urls_are_kept_than_there_is_room_for() {
        let (sealer, urls) = (Sealer::new(&[1; 32]), SealedUrls::default());
        let url: EndpointUrl = "https://h.test/".parse().unwrap();
        for number in 0..=KEPT as u128 {
            urls.get(&sealer, EndpointId::from_bytes(number.to_be_bytes()), &url);
        }
        assert_eq!(urls.0.lock().unwrap().len(), 1);
    }
}
