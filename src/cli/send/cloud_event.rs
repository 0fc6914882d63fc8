//! CloudEvents from a file, sent as they are: one, or a list of them.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use http_body_util::{BodyExt as _, Full};

use super::{Args, batch};
use crate::cli::{
    client::{Client, Path},
    failure::Usage,
    input::Source,
    output::Output,
};

/// How CloudEvents stand in a document.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Form {
    One,
    List,
}

impl Form {
    /// What `--content-type` says.
    pub fn of(args: &Args) -> Option<Self> {
        let content_type = args.content_type.as_deref()?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/cloudevents+json" => Some(Self::One),
            "application/cloudevents-batch+json" => Some(Self::List),
            _ => None,
        }
    }

    const fn media_type(self) -> HeaderValue {
        match self {
            Self::One => HeaderValue::from_static("application/cloudevents+json"),
            Self::List => HeaderValue::from_static("application/cloudevents-batch+json"),
        }
    }
}

/// Where to post, and the document with its media type. What CloudEvents have no attribute for is in the query.
///
/// # Errors
///
/// What a CloudEvent says itself and is said by a flag, or a document that cannot be read.
pub fn request(args: &Args, form: Form) -> anyhow::Result<(Path, (HeaderValue, Vec<u8>))> {
    let usage = |text: &str| Err(Usage(text.to_owned()).into());
    if args.data.is_some() {
        return usage("a CloudEvent says its type itself; give the document alone");
    }
    if args.id.is_some() || !args.attribute.is_empty() {
        return usage("a CloudEvent has its own id and attributes; leave --id and --attribute out");
    }
    if form == Form::List && (args.wait || args.idempotency_key.is_some()) {
        return usage("--wait and --idempotency-key are for one event");
    }
    let path = Path::new(&["events"])
        .maybe("tenant", args.tenant.as_ref())
        .maybe("channel", args.channel.as_ref())
        .maybe("ordering_key", args.ordering_key.as_ref())
        .maybe("deliver_at", args.deliver_at.as_ref())
        .maybe("expires_at", args.expires_at.as_ref());
    let document = Source::of(args.kind.as_deref().unwrap_or_default()).document()?;
    Ok((path, (form.media_type(), document)))
}

/// Sends a list and prints what became of each.
///
/// # Errors
///
/// No answer, a refusal of the whole, or of one of them.
pub async fn send_list(
    client: &Client,
    output: Output,
    path: &Path,
    (media_type, document): (HeaderValue, Vec<u8>),
) -> anyhow::Result<()> {
    let headers = [
        (header::CONTENT_TYPE.as_str(), media_type),
        (
            header::ACCEPT.as_str(),
            HeaderValue::from_static("application/json"),
        ),
    ];
    let body = Full::new(Bytes::from(document))
        .map_err(|never| match never {})
        .boxed_unsync();
    let answer = client.exchange(Method::POST, path, &headers, body).await?;
    batch::tell_list(output, &answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let words = ["send"].into_iter().chain(words.iter().copied());
        <Line as clap::Parser>::try_parse_from(words).unwrap().args
    }

    #[test]
    fn a_cloud_event_is_sent_as_it_is_with_the_rest_in_the_query() {
        let words = [
            "{\"id\": 1}",
            "--content-type",
            "application/cloudevents+json; charset=utf-8",
            "--tenant",
            "a b",
            "--ordering-key",
            "k",
        ];
        let args = args(&words);
        assert_eq!(Form::of(&args), Some(Form::One));
        let (path, (media_type, body)) = request(&args, Form::One).unwrap();
        assert_eq!(path.as_str(), "/v1/events?tenant=a%20b&ordering_key=k");
        assert_eq!(media_type, "application/cloudevents+json");
        assert_eq!(body, b"{\"id\": 1}");
    }

    #[test]
    fn what_a_cloud_event_says_itself_is_no_flag() {
        let lists = ["--content-type", "application/cloudevents-batch+json"];
        for more in [
            &["user.created", "{}"][..],
            &["{}", "--id", "1"],
            &["{}", "--attribute", "a=b"],
            &["{}", "--wait"],
        ] {
            let args = args(&[&lists[..], more].concat());
            assert!(
                request(&args, Form::of(&args).unwrap())
                    .unwrap_err()
                    .is::<Usage>(),
                "{more:?}"
            );
        }
    }
}
