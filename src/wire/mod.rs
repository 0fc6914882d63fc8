//! How an event becomes bytes for a receiver. Pure: no IO, no clock.
//!
//! # The flow
//!
//! [`envelope`] shapes the document around the event's data, which it never parses again ([`cloudevents`] where it is a
//! CloudEvent), or an endpoint's [`transform`] makes it; [`encoding`] writes it as something else than JSON where the endpoint wants that; [`signature`] signs
//! exactly those bytes, as the endpoint's schemes say; [`request`] puts body, signatures, the endpoint's own
//! headers and its credentials together into an [`request::OutboundRequest`], which the sender sends as it is. [`token`]
//! asks for a token where that is what the credentials are for.
//!
//! [`handshake`] makes the requests by which an endpoint is asked to prove itself, and reads what proves it.
//!
//! # What it guarantees
//!
//! The signed bytes are the bytes sent. The same event, endpoint and attempt time give the same request, byte
//! for byte, which is what lets `preview` show a request without sending it.

pub mod cloudevents;
mod ed25519;
pub mod encoding;
pub mod envelope;
pub mod handshake;
mod key;
pub mod request;
mod scheme_table;
pub mod signature;
pub mod token;
pub mod transform;
