//! Members of an endpoint of which a part is secret: shown without it, and put back whole when they come back so.

use serde_json::{Map, Value};

use crate::domain::proxy::{self, ProxyUrl};

/// Where such a member is, and how it is shown; `None` leaves it as it is.
type Veiled = (&'static str, fn(&str) -> Option<String>);

const VEILED: [Veiled; 2] = [
    ("/auth/token_url", without_query),
    ("/proxy", without_credentials),
];

const QUERY: &str = "?***";

/// Some token endpoints take a key in the query.
fn without_query(url: &str) -> Option<String> {
    let (before, _) = url.split_once('?')?;
    Some(format!("{before}{QUERY}"))
}

fn without_credentials(proxy: &str) -> Option<String> {
    Some(proxy.parse::<ProxyUrl>().ok()?.redacted())
}

/// Takes the secret parts out of what is shown.
pub(super) fn draw(settings: &mut Map<String, Value>) {
    for (pointer, veil) in VEILED {
        let mut names = pointer.split('/').skip(1);
        let member = names.next().and_then(|name| settings.get_mut(name));
        let place = names.try_fold(member, |member, name| Some(member?.get_mut(name)));
        if let Some(Some(place)) = place
            && let Some(shown) = place.as_str().and_then(veil)
        {
            *place = shown.into();
        }
    }
}

/// Puts back what comes back as it was shown.
pub(super) fn lift(document: &mut Value, before: &Value) {
    for (pointer, veil) in VEILED {
        let Some(old) = before.pointer(pointer) else {
            continue;
        };
        let shown = old.as_str().and_then(veil);
        if let Some(place) = document.pointer_mut(pointer)
            && shown.is_some_and(|shown| *place == shown)
        {
            *place = old.clone();
        }
    }
}

/// The member, if any, that is still veiled.
pub(super) fn left(document: &Value) -> Option<String> {
    let is_veiled = |text: &str| text.ends_with(QUERY) || text.contains(proxy::HIDDEN);
    VEILED
        .into_iter()
        .map(|(pointer, _)| pointer)
        .find(|pointer| {
            document
                .pointer(pointer)
                .and_then(Value::as_str)
                .is_some_and(is_veiled)
        })
        .map(|pointer| pointer[1..].replace('/', "."))
}
