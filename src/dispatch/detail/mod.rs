//! The details of an attempt: what its record keeps of how it went ([`kept`]), and how that is shown ([`shown`]).
//!
//! A record lies in the journal as it is, while an endpoint's configuration is sealed. So nothing of that stands in a record in
//! clear: secret headers are hidden when they are noted (`sender::notes`), and the URL, whose path may be a secret, is sealed
//! without the values in its query.

mod kept;
mod shown;

pub(super) use kept::{Asked, SealedUrls, detail};
pub use shown::{AttemptDetails, RequestView, ResponseView, TimingView, TlsView};
