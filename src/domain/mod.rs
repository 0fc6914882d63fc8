//! Nouns and rules of webhook delivery. Pure: no IO, no clock, no randomness of its own.
//!
//! # The cast
//!
//! An [`Event`](event::NewEvent) is an accepted fact. An [`Endpoint`](endpoint::Endpoint) is a receiver with a
//! subscription, secrets, a policy and a state. **Fan-out** turns one event into its deliveries, once, when it
//! is accepted. A [`Delivery`](delivery::Delivery) is the obligation to bring one event to one endpoint; an
//! **attempt** is one HTTP request made for it, and its classified result is an [`Outcome`](outcome::Outcome).
//!
//! # The heart
//!
//! [`settle::settle`] is a total function from a delivery's progress, an outcome, the endpoint's policy, the
//! present time and a random number to what happens next. Everything around it moves bytes and keeps time.
//!
//! # What it guarantees
//!
//! Values are valid once they exist: constructors check, and text that comes from outside becomes a typed value
//! or an error that names the rule. What is persisted is listed in [`record`].

pub mod address;
pub mod attempt_detail;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod budget;
pub mod cloud_event;
pub mod condition;
pub mod configuration;
pub mod delivery;
pub mod duration;
pub mod endpoint;
pub mod endpoint_url;
pub mod event;
pub mod explanation;
pub mod facts;
pub mod format;
pub mod handshake;
pub mod header_lines;
pub mod headers;
pub mod health;
pub mod id;
pub mod json;
pub mod limits;
pub mod number;
pub mod operational;
pub mod ordering;
pub mod outcome;
pub mod plain;
pub mod profile;
pub mod proxy;
pub mod reclaim;
pub mod record;
pub mod refusal;
pub mod retry;
pub mod rollup;
pub mod secret;
pub mod settle;
pub mod signing;
pub mod subscription;
pub mod text;
pub mod time;
pub mod tls;
pub mod transition;
pub mod unique;
pub mod verification;
