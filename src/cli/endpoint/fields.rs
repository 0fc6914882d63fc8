//! An endpoint's fields as flags, for `add` and `set`.

use clap::Args;
use serde_json::{Map, Number, Value, json};

use super::way::WayFields;
use crate::{
    cli::{
        failure::Usage,
        input::{self, Secret, whole},
    },
    domain::{
        duration::Span,
        format::Scheme,
        handshake::Handshake,
        limits,
        ordering::{Mode, OnFailure},
        profile::Profiles,
    },
};

#[derive(Args, Debug)]
pub struct Fields {
    /// A name
    #[arg(long)]
    name: Option<String>,
    /// A description
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The tenant it belongs to
    #[arg(long)]
    tenant: Option<String>,
    /// Event types it wants: user.created, user.*, *.created, user.** or *; several with commas
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    events: Vec<String>,
    /// Channels it wants
    #[arg(long = "channel", value_name = "CHANNEL", value_delimiter = ',')]
    channels: Vec<String>,
    /// An expression in CEL that an event must fulfil, such as 'data.amount > 100' (@FILE reads it from a file)
    #[arg(long, value_name = "EXPRESSION")]
    condition: Option<String>,
    /// What kind of sender it is served by: fills in envelope, encoding, signatures, retries and what disables it
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The shape of the body
    #[arg(long, value_parser = ENVELOPES)]
    envelope: Option<String>,
    /// How the body is written
    #[arg(long, value_parser = ["json", "form", "xml"])]
    encoding: Option<String>,
    /// A template in MiniJinja whose output is the body, in place of the envelope (@FILE reads it from a file)
    #[arg(long, value_name = "TEMPLATE")]
    transform: Option<String>,
    /// A header of every request; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Secret>,
    /// Basic authentication (@FILE reads it from a file)
    #[arg(long, value_name = "USER:PASSWORD", conflicts_with = "bearer")]
    basic: Option<Secret>,
    /// A bearer token (@FILE reads it from a file)
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<Secret>,
    /// How requests are signed: a scheme, or a scheme and its secret (=@FILE reads it from a file); may be given several
    /// times; none sends unsigned
    #[arg(long = "scheme", visible_alias = "signature", value_name = "SCHEME[=SECRET]")]
    schemes: Vec<Secret>,
    /// The secret of the one scheme, or of standard (@FILE reads it from a file); made by the server if left out
    #[arg(long)]
    secret: Option<Secret>,
    /// What kind of secret the server makes for the one scheme, or for standard
    #[arg(long, value_parser = ALGORITHMS, conflicts_with = "secret")]
    algorithm: Option<String>,
    /// What it has to do before anything is delivered to it
    #[arg(long, value_name = "HANDSHAKE", value_parser = Handshake::ALL.map(Handshake::as_str))]
    handshake: Option<String>,
    /// Retry after these delays, one after the other
    #[arg(long, value_name = "DURATION", value_delimiter = ',')]
    #[arg(conflicts_with_all = ["retries", "retry_delay"])]
    retry_delays: Vec<Span>,
    /// Retry so many times
    #[arg(long, value_name = "N", requires = "retry_delay", value_parser = whole(0..=limits::RETRIES))]
    retries: Option<u32>,
    /// The delay between the retries
    #[arg(long, value_name = "DURATION", requires = "retries")]
    retry_delay: Option<Span>,
    /// Which outcomes disable it
    #[arg(long, value_name = "RULE")]
    #[arg(value_parser = ["endpoint_errors", "any_non_transient", "gone_only", "never"])]
    disable_on: Option<String>,
    /// How many of them in a row
    #[arg(long, value_name = "N", value_parser = whole(1..=1000_u32))]
    disable_after: Option<u32>,
    /// Disable it after so long with nothing but failures
    #[arg(long, value_name = "DURATION")]
    failing_for: Option<Span>,
    /// Time for a whole attempt
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Attempts a second at the most
    #[arg(long, value_name = "N")]
    rate: Option<Number>,
    /// Attempts that may come at once on top of the rate
    #[arg(long, value_name = "N", value_parser = whole(1..=100_000_u32))]
    burst: Option<u32>,
    /// Attempts at once
    #[arg(long, value_name = "N", value_parser = whole(1..=limits::ENDPOINT_CONCURRENCY))]
    concurrency: Option<u16>,
    /// Which order it keeps: none, by ordering key, or all in the order of acceptance
    #[arg(long, value_name = "MODE", value_parser = Mode::NAMES)]
    ordering: Option<String>,
    /// Whether one that waits for its retry holds up those behind it
    #[arg(long, value_name = "RULE", requires = "ordering", value_parser = OnFailure::NAMES)]
    on_failure: Option<String>,
    /// Take a status code for an outcome: 404=transient; may be given several times
    #[arg(long, value_name = "STATUS=OUTCOME", value_parser = treatment)]
    treat_as: Vec<(String, String)>,
    /// A note of your own; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = input::pair)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    way: WayFields,
}

impl Fields {
    /// The fields that were given, as the API takes them.
    ///
    /// # Errors
    ///
    /// A secret, a condition or a transform that cannot be read.
    pub fn document(&self) -> anyhow::Result<Map<String, Value>> {
        let members = [
            ("name", self.name.as_deref().map(Value::from)),
            ("description", self.description.as_deref().map(Value::from)),
            ("tenant", self.tenant.as_deref().map(Value::from)),
            ("events", list(&self.events)),
            ("channels", list(&self.channels)),
            ("condition", text(self.condition.as_deref())?),
            ("profile", self.profile.as_deref().map(Value::from)),
            ("envelope", self.envelope.as_deref().map(Value::from)),
            ("encoding", self.encoding.as_deref().map(Value::from)),
            ("transform", text(self.transform.as_deref())?),
            ("headers", self.headers()?),
            ("auth", self.auth()?),
            ("signatures", self.signatures()?),
            ("handshake", self.handshake.as_deref().map(Value::from)),
            ("retry", self.retry()),
            ("disable_on", self.disable_on.as_deref().map(Value::from)),
            ("disable_after", self.disable_after.map(Value::from)),
            (
                "failing_for",
                self.failing_for.map(|span| Value::from(span.to_string())),
            ),
            ("timeout", self.timeout.map(|span| Value::from(span.to_string()))),
            ("rate", self.rate()),
            ("concurrency", self.concurrency.map(Value::from)),
            ("ordering", self.ordering()),
            ("treat_as", object(&self.treat_as)),
            ("metadata", object(&self.metadata)),
            ("tls", self.way.tls()?),
            ("proxy", self.way.proxy()?),
        ];
        Ok(members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect())
    }

    fn auth(&self) -> anyhow::Result<Option<Value>> {
        if let Some(token) = &self.bearer {
            return Ok(Some(json!({"type": "bearer", "token": token.read()?})));
        }
        let Some(basic) = &self.basic else {
            return self.way.auth();
        };
        let basic = basic.read()?;
        let (username, password) = basic
            .split_once(':')
            .ok_or_else(|| Usage("--basic must be USER:PASSWORD".to_owned()))?;
        Ok(Some(
            json!({"type": "basic", "username": username, "password": password}),
        ))
    }

    fn signatures(&self) -> anyhow::Result<Option<Value>> {
        let secret = self.secret.as_ref().map(Secret::read).transpose()?;
        let said = [("secret", secret), ("algorithm", self.algorithm.clone())];
        let mut list = self
            .schemes
            .iter()
            .map(|text| {
                let (scheme, secret) = scheme(text.as_str())?;
                let mut signature = json!({ "scheme": scheme });
                if let Some(secret) = secret {
                    signature["secret"] = secret.read()?.into();
                }
                Ok(signature)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        for (name, value) in said {
            let Some(value) = value else { continue };
            if list.is_empty() {
                list.push(json!({"scheme": self.usual_scheme()}));
            }
            match &mut list[..] {
                [one] if one.get("secret").is_none() => one[name] = value.into(),
                _ => {
                    let text = format!(
                        "--{name} goes with one --scheme that has no secret of its own; write --scheme SCHEME=SECRET for each"
                    );
                    return Err(Usage(text).into());
                }
            }
        }
        Ok((!list.is_empty()).then(|| list.into()))
    }

    /// What a secret without a scheme is for: the one scheme of the profile that is built in, else `standard`.
    fn usual_scheme(&self) -> Scheme {
        let profiles = Profiles::default();
        let named = self.profile.as_deref().and_then(|name| name.parse().ok());
        match named.as_ref().and_then(|name| profiles.get(name)) {
            Some(preset) if preset.schemes.len() == 1 => preset.schemes[0],
            _ => Scheme::Standard,
        }
    }

    fn headers(&self) -> anyhow::Result<Option<Value>> {
        let read = |text: &Secret| {
            let (name, value) = input::header(text.as_str())?;
            Ok((name, value.as_str().to_owned()))
        };
        let headers: Result<Vec<_>, Usage> = self.headers.iter().map(read).collect();
        Ok(object(&headers?))
    }

    fn retry(&self) -> Option<Value> {
        if !self.retry_delays.is_empty() {
            let delays: Vec<_> = self.retry_delays.iter().map(ToString::to_string).collect();
            return Some(json!({"delays": delays}));
        }
        Some(json!({"retries": self.retries?, "delay": self.retry_delay?.to_string()}))
    }

    fn ordering(&self) -> Option<Value> {
        let mode = self.ordering.as_deref()?;
        Some(match &self.on_failure {
            None => Value::from(mode),
            Some(rule) => json!({"mode": mode, "on_failure": rule}),
        })
    }

    fn rate(&self) -> Option<Value> {
        let members = [
            ("per_second", self.rate.clone().map(Value::Number)),
            ("burst", self.burst.map(Value::from)),
        ];
        let members: Map<_, _> = members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        (!members.is_empty()).then_some(Value::Object(members))
    }
}

/// The names that [`Envelope`](crate::domain::format::Envelope) has.
const ENVELOPES: [&str; 7] = [
    "standard",
    "bare",
    "flowplayer",
    "ziggeo",
    "zoom",
    "cloudevents",
    "cloudevents-binary",
];

fn text(argument: Option<&str>) -> anyhow::Result<Option<Value>> {
    argument
        .map(|argument| input::text(argument).map(Value::from))
        .transpose()
}

fn list(items: &[String]) -> Option<Value> {
    (!items.is_empty()).then(|| Value::from(items.to_vec()))
}

fn object(pairs: &[(String, String)]) -> Option<Value> {
    let members: Map<_, _> = pairs
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

/// The kinds of secrets that the server makes.
pub const ALGORITHMS: [&str; 2] = ["hmac", "ed25519"];

/// Reads `SCHEME` or `SCHEME=SECRET`. Never in clap, whose message would show it.
fn scheme(text: &str) -> Result<(String, Option<Secret>), Usage> {
    let (name, secret) = match text.split_once('=') {
        None => (text, None),
        Some((name, secret)) => (name, Some(secret)),
    };
    if name.is_empty() || secret == Some("") {
        return Err(Usage("--scheme must be SCHEME or SCHEME=SECRET".to_owned()));
    }
    Ok((name.to_owned(), secret.map(Secret::from)))
}

const TREATMENTS: [&str; 4] = ["delivered", "transient", "endpoint_error", "event_error"];

fn treatment(text: &str) -> Result<(String, String), String> {
    let (status, outcome) = input::pair(text)?;
    let status_holds = status.len() == 3 && status.bytes().all(|digit| digit.is_ascii_digit());
    if status_holds && TREATMENTS.contains(&outcome.as_str()) {
        return Ok((status, outcome));
    }
    Err(format!(
        "write STATUS=OUTCOME with an outcome of {}",
        TREATMENTS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Line {
        #[command(flatten)]
        fields: Fields,
    }

    fn parsed(words: &[&str]) -> Result<Line, clap::Error> {
        <Line as clap::Parser>::try_parse_from(["add"].into_iter().chain(words.iter().copied()))
    }

    #[test]
    fn flags_become_the_fields_of_the_api() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("body.j2");
        std::fs::write(&template, "{\"a\": {{ data.a }}}\n").unwrap();
        let line = parsed(&[
            "--name",
            "n",
            "--events",
            "a.*,b",
            "--header",
            "X-A: 1",
            "--header",
            "X-B: 2",
            "--basic",
            "u:p:q",
            "--secret",
            "whsec_x",
            "--retries",
            "3",
            "--retry-delay",
            "5s",
            "--handshake",
            "microsoft-graph",
            "--disable-on",
            "never",
            "--failing-for",
            "48h",
            "--rate",
            "0.5",
            "--burst",
            "4",
            "--treat-as",
            "404=transient",
            "--metadata",
            "k=v",
            "--concurrency",
            "2",
            "--profile",
            "ziwo",
            "--envelope",
            "cloudevents-binary",
            "--encoding",
            "xml",
            "--condition",
            "data.a > 1",
            "--transform",
            &format!("@{}", template.display()),
        ])
        .unwrap();
        let expected = json!({
            "name": "n", "events": ["a.*", "b"], "headers": {"X-A": "1", "X-B": "2"},
            "auth": {"type": "basic", "username": "u", "password": "p:q"},
            "signatures": [{"scheme": "standard", "secret": "whsec_x"}],
            "handshake": "microsoft-graph", "retry": {"retries": 3, "delay": "5s"}, "disable_on": "never", "failing_for": "2d",
            "rate": {"per_second": 0.5, "burst": 4}, "treat_as": {"404": "transient"}, "metadata": {"k": "v"},
            "concurrency": 2, "profile": "ziwo", "envelope": "cloudevents-binary", "encoding": "xml",
            "condition": "data.a > 1", "transform": "{\"a\": {{ data.a }}}\n",
        });
        assert_eq!(Value::Object(line.fields.document().unwrap()), expected);
    }

    #[test]
    fn every_shape_and_encoding_of_a_flag_is_one_of_the_api() {
        use crate::domain::format::{Encoding, Envelope};
        for name in ENVELOPES {
            assert!(serde_json::from_value::<Envelope>(name.into()).is_ok(), "{name}");
        }
        for name in ["json", "form", "xml"] {
            assert!(serde_json::from_value::<Encoding>(name.into()).is_ok(), "{name}");
        }
    }

    #[test]
    fn delays_are_a_list() {
        let line = parsed(&["--retry-delays", "5s,5m"]).unwrap();
        assert_eq!(
            line.fields.document().unwrap()["retry"],
            json!({"delays": ["5s", "5m"]})
        );
    }

    #[test]
    fn schemes_are_a_list_with_the_secrets_that_were_said() {
        let signatures = |words: &[&str]| parsed(words).unwrap().fields.signatures();
        for (words, list) in [
            (
                &["--secret", "whsec_x"][..],
                json!([{"scheme": "standard", "secret": "whsec_x"}]),
            ),
            (
                &["--algorithm", "ed25519"],
                json!([{"scheme": "standard", "algorithm": "ed25519"}]),
            ),
            (&["--scheme", "none"], json!([{"scheme": "none"}])),
            (
                &["--scheme", "stripe", "--secret", "a=b"],
                json!([{"scheme": "stripe", "secret": "a=b"}]),
            ),
            (
                &["--signature", "github=a=b", "--scheme", "standard"],
                json!([{"scheme": "github", "secret": "a=b"}, {"scheme": "standard"}]),
            ),
        ] {
            assert_eq!(signatures(words).unwrap(), Some(list), "{words:?}");
        }
        assert_eq!(signatures(&[]).unwrap(), None);
        for words in [
            &["--scheme", "github", "--scheme", "stripe", "--secret", "s"][..],
            &["--scheme", "github=a", "--secret", "b"],
            &["--scheme", "standard=a", "--algorithm", "ed25519"],
        ] {
            let error = signatures(words).unwrap_err();
            assert!(error.is::<Usage>(), "{words:?}");
            assert!(!error.to_string().contains("=a"), "{error}");
        }
        let missing = signatures(&["--scheme", "github=@/nowhere"]);
        assert!(missing.unwrap_err().to_string().contains("/nowhere"));
        for bad in ["", "=hunter2", "github="] {
            let error = signatures(&["--scheme", bad]).unwrap_err();
            assert!(
                error.is::<Usage>() && !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
        let line = parsed(&["--header", "Authorization Bearer hunter2"]).unwrap();
        let error = line.fields.document().unwrap_err();
        assert!(
            error.is::<Usage>() && !error.to_string().contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn an_order_is_a_word_or_a_word_and_a_rule() {
        let ordering = |words: &[&str]| parsed(words).unwrap().fields.document().unwrap()["ordering"].clone();
        assert_eq!(ordering(&["--ordering", "key"]), "key");
        assert_eq!(
            ordering(&["--ordering", "strict", "--on-failure", "skip"]),
            json!({"mode": "strict", "on_failure": "skip"})
        );
    }

    #[test]
    fn what_does_not_go_together_is_a_matter_of_usage() {
        let lines: [&[&str]; 11] = [
            &["--handshake", "secret"],
            &["--retry-delays", "5s", "--retries", "1"],
            &["--retries", "1"],
            &["--retries", "1001", "--retry-delay", "1s"],
            &["--basic", "a:b", "--bearer", "c"],
            &["--treat-as", "404=sometimes"],
            &["--treat-as", "4=transient"],
            &["--timeout", "5"],
            &["--rate", "fast"],
            &["--ordering", "fifo"],
            &["--on-failure", "skip"],
        ];
        for line in lines {
            assert!(parsed(line).is_err(), "{line:?}");
        }
    }
}
