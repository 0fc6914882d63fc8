//! The arguments of `listen`, and what they come to.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use http::StatusCode;

use super::{
    limits::{BODY_BYTES, BODY_BYTES_MOST, DELAY_SECS},
    store::{Location, Table},
};
use crate::{
    cli::{
        failure::Usage,
        input::{Secret, Source, whole},
        output::{Format, Output},
    },
    config::ByteSize,
    domain::{
        duration::Span,
        profile::{ProfileName, Profiles},
        secret::SigningSecret,
    },
    wire::signature::Scheme,
};

/// Receive webhooks: verify, print and store them
///
/// Takes POSTs on any path. With --secret only those whose signature fits, and whose time is within five minutes of
/// the present, are taken; others are answered 401. Answers the validation requests of Zoom, Slack, Ziggeo, CloudEvents and
/// Microsoft Graph. With --store an event is answered 2xx only when its row is committed, and 503 when it cannot be; an event
/// that comes again is stored once.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The port; 0 takes any that is free
    #[arg(default_value_t = 9000, value_parser = whole(0..=u16::MAX))]
    port: u16,
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// The secret that requests are signed with, or the public key, whpk_… (@FILE reads it from a file); several while one replaces another
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<Secret>,
    /// How requests are signed [default: standard]
    #[arg(long, value_parser = scheme(), conflicts_with = "profile")]
    scheme: Option<Signed>,
    /// The system that sends; settles how requests are signed
    #[arg(long, value_name = "NAME", value_parser = profile)]
    profile: Option<Signed>,
    /// What events are answered with, one status after the other; the last one repeats
    #[arg(long, value_name = "STATUS", value_delimiter = ',', default_value = "200", value_parser = status)]
    status: Vec<StatusCode>,
    /// How long to wait before answering an event
    #[arg(long, value_name = "DURATION", default_value_t = Span::ZERO, value_parser = delay)]
    delay: Span,
    /// The body of the answer (@FILE reads it from a file)
    #[arg(long, value_name = "TEXT", default_value = "")]
    body: String,
    /// The longest body taken
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::from_bytes(BODY_BYTES), value_parser = max_body)]
    max_body: ByteSize,
    /// Store events: FILE or sqlite:FILE for SQLite, postgres://USER:PASSWORD@HOST:PORT/DATABASE for PostgreSQL
    ///
    /// The file and the table are made if they are not there. PostgreSQL on a unix socket is
    /// postgres://USER@localhost/DATABASE?host=/var/run/postgresql. @FILE reads the URL from a file, so that its password shows
    /// in no list of processes. TLS to the database is not offered: use a unix socket, this machine or a private
    /// network.
    #[arg(long, value_name = "DATABASE")]
    store: Option<Secret>,
    /// The table for the events
    #[arg(long, value_name = "NAME", default_value = "events", requires = "store")]
    table: Table,
    /// Lines for people, JSON for programs (one object a line)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How requests are signed, if at all.
#[derive(Copy, Clone, Debug)]
struct Signed(Option<Scheme>);

/// What the arguments come to.
#[derive(Debug)]
pub struct Settings {
    pub address: SocketAddr,
    pub trust: Trust,
    pub script: Script,
    pub body_bytes: usize,
    pub store: Option<(Location, Table)>,
    pub output: Output,
}

/// Whom to believe.
#[derive(Debug)]
pub struct Trust {
    pub scheme: Option<Scheme>,
    /// Without any, everything is believed.
    pub secrets: Vec<SigningSecret>,
}

/// What to answer to events.
#[derive(Debug)]
pub struct Script {
    /// At least one.
    pub statuses: Vec<StatusCode>,
    pub delay: Duration,
    pub body: Bytes,
}

impl Args {
    /// # Errors
    /// What makes no sense, or cannot be read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let store = match &self.store {
            None => None,
            Some(text) => Some((Location::read(&text.read()?)?, self.table.clone())),
        };
        Ok(Settings {
            address: SocketAddr::new(self.bind, self.port),
            trust: self.trust()?,
            script: Script {
                statuses: self.status.clone(),
                delay: self.delay.as_duration(),
                body: match Source::of(&self.body) {
                    Source::Inline(text) => text.to_owned().into(),
                    elsewhere => elsewhere.read()?.into(),
                },
            },
            body_bytes: self.max_body.as_usize(),
            store,
            output: Output::new(self.output),
        })
    }

    fn trust(&self) -> anyhow::Result<Trust> {
        let Signed(scheme) = self
            .scheme
            .or(self.profile)
            .unwrap_or(Signed(Some(Scheme::Standard)));
        let Some(known) = scheme else {
            if self.secrets.is_empty() {
                return Ok(Trust {
                    scheme,
                    secrets: Vec::new(),
                });
            }
            let text = "--secret is of no use where nothing is signed: leave it out, or name what signs with --scheme";
            return Err(Usage(text.to_owned()).into());
        };
        let mut secrets = Vec::with_capacity(self.secrets.len());
        for secret in &self.secrets {
            let fits = known.verifier(secret.read()?);
            let wrong = |why| {
                Usage(format!(
                    "--secret does not fit the scheme {}: {why}",
                    known.as_str()
                ))
            };
            secrets.push(fits.map_err(wrong)?);
        }
        Ok(Trust { scheme, secrets })
    }
}

impl Trust {
    /// Whether requests are verified.
    pub fn verifies(&self) -> bool {
        !self.secrets.is_empty()
    }
}

fn scheme() -> impl clap::builder::TypedValueParser<Value = Signed> {
    let names = Scheme::all().map(Scheme::as_str).chain(["none"]);
    PossibleValuesParser::new(names).map(|name| Signed(Scheme::all().find(|scheme| scheme.as_str() == name)))
}

fn profile(text: &str) -> Result<Signed, String> {
    let profiles = Profiles::default();
    let name = text.parse::<ProfileName>().ok();
    match name.and_then(|name| profiles.get(&name)) {
        Some(preset) => Ok(Signed(preset.schemes.first().copied())),
        None => {
            let names: Vec<_> = profiles.names().map(ProfileName::as_str).collect();
            Err(format!(
                "there is no such profile; use one of {}",
                names.join(", ")
            ))
        }
    }
}

/// A status that ends an exchange.
fn status(text: &str) -> Result<StatusCode, &'static str> {
    let number = text.parse::<u16>().ok().filter(|code| (200..600).contains(code));
    number
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or("write statuses from 200 to 599, with commas between them, such as 500,500,200")
}

fn delay(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    if span <= Span::from_secs(DELAY_SECS) {
        Ok(span)
    } else {
        Err("wait for 1h at the most".to_owned())
    }
}

fn max_body(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    if (1..=BODY_BYTES_MOST).contains(&size.as_bytes()) {
        Ok(size)
    } else {
        Err("take from 1B to 64MiB".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let words = ["listen"].into_iter().chain(line.split_whitespace());
        let parsed = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        parsed.args.settings().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn without_arguments_everything_is_taken_on_loopback() {
        let settings = settings("").unwrap();
        assert_eq!(settings.address.to_string(), "127.0.0.1:9000");
        assert!(!settings.trust.verifies() && settings.store.is_none());
        assert_eq!(settings.script.statuses, [StatusCode::OK]);
        assert_eq!(settings.body_bytes, 1024 * 1024);
    }

    #[test]
    fn every_scheme_of_the_table_can_be_named_and_so_can_none() {
        for scheme in Scheme::all() {
            let named = settings(&format!("--scheme {}", scheme.as_str())).unwrap();
            assert_eq!(named.trust.scheme, Some(scheme));
        }
        assert_eq!(settings("--scheme none").unwrap().trust.scheme, None);
        assert!(settings("--scheme md5").unwrap_err().contains("standard"));
    }

    #[test]
    fn a_profile_settles_the_scheme() {
        let github = settings("--profile github --secret s").unwrap();
        assert_eq!(github.trust.scheme, Some(Scheme::Github));
        assert_eq!(settings("--profile ziwo").unwrap().trust.scheme, None);
        let error = settings("--profile nobody").unwrap_err();
        assert!(error.contains("flowplayer"), "{error}");
        assert!(settings("--profile github --scheme github").is_err());
    }

    #[test]
    fn a_secret_that_does_not_fit_is_refused_and_not_shown() {
        for line in ["--secret hunter2", "--scheme none --secret hunter2"] {
            let error = settings(line).unwrap_err();
            assert!(
                error.contains("--secret") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(settings("--scheme zoom --secret a --secret b").is_ok());
        let public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
        assert!(settings(&format!("--secret {public}")).is_ok());
        assert!(settings("--secret whpk_hunter2").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, told) in [
            ("--status 100", "200 to 599"),
            ("--status 200,600", "200 to 599"),
            ("--status 200,", "200 to 599"),
            ("--delay 2h", "1h"),
            ("--delay soon", "duration"),
            ("--max-body 0", "64MiB"),
            ("--max-body 1GiB", "64MiB"),
            ("--table a", "--store"),
            ("--store a.db --table a;b", "letters"),
            ("--store mysql://h/d", "postgres://"),
            ("70000", "65535"),
        ] {
            let error = settings(line).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
    }
}
