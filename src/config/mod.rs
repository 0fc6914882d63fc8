//! What an operator may set.
//!
//! # The cast
//!
//! [`table`] is the one list of keys: section, name, type, default, bounds and the text that explains them.
//! The structs of [`Config`] come out of it, and so do `docs/configuration.toml` ([`documented`]), the
//! reading of the file and the environment, and `posthaste config show` ([`Loaded::show`]), so that they
//! cannot say different things.
//!
//! [`profiles`] adds the profiles that the file describes to those built in.
//!
//! # The flow
//!
//! [`load()`] starts from the defaults and lays over them the file, then the environment
//! (`POSTHASTE_SECTION__KEY`), then the flags. Each value remembers where it came from.
//!
//! # What it guarantees
//!
//! A key that nobody knows, a wrong type, a value out of its bounds and a combination that cannot work are
//! errors, never ignored. All of them are reported at once, each with its place and the fix ([`Problems`]). A
//! value that is overridden is checked as well: it would fail the day the override goes.
//!
//! # What it does not
//!
//! It opens nothing but the file: whether a directory can be written or a certificate read is for whoever
//! uses it.

mod environment;
mod file;
mod host_name;
mod load;
mod network;
mod problem;
mod profiles;
mod raw;
mod rules;
mod show;
mod size;
mod suggest;
mod table;
pub mod text;
mod values;

pub use load::{Flag, Loaded, Request, load};
pub use network::Listen;
pub use problem::{Origin, Problem, Problems};
pub use raw::{Raw, Setting, Wrong};
pub use show::documented;
pub use size::{ByteSize, InvalidSize};
pub use table::{Api, Config, Delivery, KEYS, Key, Limits, Log, SECTIONS, Storage};
pub use values::{Directives, Durability, Indexes, LogFormat, Mode};
