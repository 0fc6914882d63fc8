//! A client of the API: HTTP/1.1 over the server's unix socket or over TCP.
//!
//! One connection per request: commands are short, and a connection that is not kept cannot be found dead.
//! Nothing is sent twice. An answer is read up to a bound; a refusal becomes [`ClientError::Refused`].

mod connect;
mod path;
mod problem;

use std::{error::Error, io, path::PathBuf, pin::pin};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http1};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use path::Path;
pub use problem::Refusal;

use super::{
    args::{ConnectArgs, ReasonArgs},
    failure::Usage,
    input::Secret,
    limits::{ANSWER_BYTES, ANSWER_WAIT},
};
use connect::Transport;

/// What a request may carry.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

const FIX: &str =
    "start the server with `posthaste serve`, or name its socket with --socket or its directory with --data";

/// Where a request says why it is made.
const REASON: &str = "posthaste-reason";

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no server listens at {}: there is no such socket; {FIX}", path.display())]
    NoSocket { path: PathBuf },
    #[error("no server listens at {}: the one that made the socket has ended; {FIX}", path.display())]
    DeadSocket { path: PathBuf },
    #[error(
        "not allowed to open {}: run as the server's user or in its group, or use --server with a key",
        path.display()
    )]
    ForbiddenSocket { path: PathBuf },
    #[error("cannot connect to {}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot connect to {url}")]
    Server {
        url: String,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("the server did not take the connection within 10s")]
    NoConnection,
    #[error("the server did not answer within 60s; what was asked for may yet happen")]
    NoAnswer,
    #[error("the exchange with the server broke off")]
    Exchange(#[source] Box<dyn Error + Send + Sync>),
    #[error("the server's answer is longer than 64 MiB")]
    TooLong,
    #[error("{0}")]
    Refused(Refusal),
}

/// A server's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Speaks to one server.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    authorization: Option<HeaderValue>,
    /// Why things are changed.
    reason: Option<HeaderValue>,
}

impl Client {
    /// A client for the server that the arguments, the environment or the configuration name.
    ///
    /// # Errors
    ///
    /// When they make no sense; nothing is connected yet.
    pub fn new(args: &ConnectArgs) -> anyhow::Result<Self> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let transport = Transport::choose(args, environment)?;
        // A socket needs no key, and the environment's is for the server on TCP.
        let key = args.key.as_ref().map(Secret::read).transpose()?;
        let key = match transport {
            Transport::Socket(_) if key.is_some() => {
                let text =
                    "--key goes with --server: over the socket no key is asked for, nor its role obeyed";
                return Err(Usage(text.to_owned()).into());
            }
            Transport::Socket(_) => None,
            Transport::Server { .. } => key.or_else(|| environment("POSTHASTE_KEY")),
        };
        let authorization = key.map(|key| bearer(&key)).transpose()?;
        Ok(Self {
            transport,
            authorization,
            reason: None,
        })
    }

    /// The same, which says with each change why it is made.
    ///
    /// # Errors
    ///
    /// When that is nothing that a header can hold.
    pub fn saying(self, why: &ReasonArgs) -> anyhow::Result<Self> {
        let text = why
            .reason
            .as_ref()
            .map(|text| HeaderValue::from_bytes(text.as_bytes()));
        let reason = text.transpose().map_err(|_| {
            Usage("--reason holds line breaks or control characters; give one line of text".to_owned())
        })?;
        Ok(Self { reason, ..self })
    }

    /// # Errors
    ///
    /// No answer, or a refusal.
    pub async fn get(&self, path: &Path) -> Result<Answer, ClientError> {
        self.ask(Method::GET, path, None, None).await
    }

    /// Sends JSON, or nothing, and takes a success for an answer.
    ///
    /// # Errors
    ///
    /// No answer, or a refusal.
    pub async fn ask(
        &self,
        method: Method,
        path: &Path,
        json: Option<Vec<u8>>,
        extra: Option<(&'static str, HeaderValue)>,
    ) -> Result<Answer, ClientError> {
        let content_type = if method == Method::PATCH {
            HeaderValue::from_static("application/merge-patch+json")
        } else {
            HeaderValue::from_static("application/json")
        };
        let body = json.map(|json| (content_type, json));
        self.ask_with(method, path, body, extra).await
    }

    /// The same with a body of any media type.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub async fn ask_with(
        &self,
        method: Method,
        path: &Path,
        body: Option<(HeaderValue, Vec<u8>)>,
        extra: Option<(&'static str, HeaderValue)>,
    ) -> Result<Answer, ClientError> {
        let mut headers = vec![(
            header::ACCEPT.as_str(),
            HeaderValue::from_static("application/json"),
        )];
        let (content_type, body) = body.unzip();
        headers.extend(content_type.map(|value| (header::CONTENT_TYPE.as_str(), value)));
        headers.extend(extra);
        let body = Full::new(Bytes::from(body.unwrap_or_default()))
            .map_err(|never| match never {})
            .boxed_unsync();
        let asking = self.exchange(method, path, &headers, body);
        tokio::time::timeout(ANSWER_WAIT, asking)
            .await
            .map_err(|_| ClientError::NoAnswer)??
            .success()
    }

    /// Sends anything, and takes any answer. It lasts as long as the body.
    ///
    /// # Errors
    ///
    /// No answer.
    pub async fn exchange(
        &self,
        method: Method,
        path: &Path,
        headers: &[(&'static str, HeaderValue)],
        body: Body,
    ) -> Result<Answer, ClientError> {
        let reason = self.reason.as_ref().filter(|_| method != Method::GET);
        let mut request = Request::builder()
            .method(method)
            .uri(path.as_str())
            .header(header::HOST, self.transport.host());
        for (name, value) in headers {
            request = request.header(*name, value.clone());
        }
        if let Some(value) = reason {
            request = request.header(REASON, value.clone());
        }
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value.clone());
        }
        let request = request
            .body(body)
            .map_err(|error| ClientError::Exchange(error.into()))?;
        let stream = self.transport.connect().await?;
        let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
        let mut answering =
            pin!(async move { collect(sender.send_request(request).await.map_err(broken)?).await });
        tokio::select! {
            answer = &mut answering => answer,
            // A connection that ends has handed over all it had; what it ended of comes out of the request.
            _ = connection => answering.await,
        }
    }
}

impl Client {
    /// POSTs JSON, and hands over the answer as it comes, however long it is and however long it takes. Refusals are
    /// errors.
    ///
    /// # Errors
    ///
    /// No answer, a refusal, an answer that stalls or breaks off; and what `take` says.
    pub async fn download(
        &self,
        path: &Path,
        json: Vec<u8>,
        take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut request = Request::post(path.as_str())
            .header(header::HOST, self.transport.host())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value.clone());
        }
        let request = request
            .body(Full::new(Bytes::from(json)))
            .map_err(|error| ClientError::Exchange(error.into()))?;
        let stream = self.transport.connect().await?;
        let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
        let mut answering = pin!(async move {
            let asked = tokio::time::timeout(ANSWER_WAIT, sender.send_request(request)).await;
            hand_over(asked.map_err(|_| ClientError::NoAnswer)?.map_err(broken)?, take).await
        });
        tokio::select! {
            done = &mut answering => done,
            _ = connection => answering.await,
        }
    }
}

async fn hand_over(
    response: Response<Incoming>,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if !response.status().is_success() {
        collect(response).await?.success()?;
        return Ok(());
    }
    let mut body = response.into_body();
    loop {
        let frame = tokio::time::timeout(ANSWER_WAIT, body.frame()).await;
        let Some(frame) = frame.map_err(|_| ClientError::NoAnswer)? else {
            return Ok(());
        };
        if let Some(bytes) = frame.map_err(broken)?.data_ref() {
            take(bytes)?;
        }
    }
}

impl Answer {
    fn success(self) -> Result<Self, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(ClientError::Refused(Refusal::read(self.status, &self.body)))
    }

    /// The answer's document; none when it has no body.
    ///
    /// # Errors
    ///
    /// When it is no JSON.
    pub fn document(&self) -> anyhow::Result<Option<Box<RawValue>>> {
        if self.body.is_empty() {
            return Ok(None);
        }
        self.read().map(Some)
    }

    /// The answer as a `T`.
    ///
    /// # Errors
    ///
    /// When it is not one.
    pub fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the server's answer is not what was expected of it")
    }
}

fn bearer(key: &str) -> Result<HeaderValue, Usage> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| Usage("the API key holds characters that no key has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[expect(clippy::disallowed_methods, reason = "`Limited` caps it while it is read")]
async fn collect(response: Response<Incoming>) -> Result<Answer, ClientError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                ClientError::TooLong
            } else {
                ClientError::Exchange(error)
            }
        })?;
    Ok(Answer {
        status,
        body: body.to_bytes(),
    })
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Exchange(error.into())
}
