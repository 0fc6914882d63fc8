//! Reaching the server: its unix socket, or TCP with or without TLS.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::net::UnixStream;
use tower_service::Service;

use super::ClientError;
use crate::cli::{args::ConnectArgs, failure::Usage, limits::CONNECT_WAIT};

/// Where the server is.
#[derive(Clone, Debug)]
pub enum Transport {
    Socket(PathBuf),
    Server {
        base: Uri,
        connector: HttpsConnector<HttpConnector>,
    },
}

/// A connection's two halves in one.
pub trait Stream: hyper::rt::Read + hyper::rt::Write + Unpin + Send {}

impl<T: hyper::rt::Read + hyper::rt::Write + Unpin + Send> Stream for T {}

impl Transport {
    /// A flag first, then the environment, then the configuration.
    ///
    /// # Errors
    ///
    /// A URL that names no server, or a configuration that does not hold.
    pub fn choose(args: &ConnectArgs, environment: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        if let Some(url) = &args.server {
            return Self::server(url);
        }
        if let Some(path) = &args.socket {
            return Ok(Self::Socket(path.clone()));
        }
        // A flag that says where the server's files are is nearer than a variable.
        if args.data.is_none() && args.config.is_none() {
            if let Some(url) = environment("POSTHASTE_SERVER") {
                return Self::server(&url);
            }
            if let Some(path) = environment("POSTHASTE_SOCKET") {
                return Ok(Self::Socket(path.into()));
            }
        }
        Ok(Self::Socket(args.configured_socket()?))
    }

    fn server(url: &str) -> anyhow::Result<Self> {
        let wrong =
            || Usage("--server must be http://HOST:PORT or https://HOST:PORT, without a path".to_owned());
        let base: Uri = url.parse().map_err(|_| wrong())?;
        let authority = base.authority().ok_or_else(wrong)?;
        let scheme_holds = matches!(base.scheme_str(), Some("http" | "https"));
        if !scheme_holds
            || authority.as_str().contains('@')
            || !matches!(base.path(), "" | "/")
            || base.query().is_some()
        {
            return Err(wrong().into());
        }
        Ok(Self::Server {
            connector: connector()?,
            base,
        })
    }

    /// The `Host` of a request.
    pub fn host(&self) -> HeaderValue {
        let host = match self {
            Self::Socket(_) => None,
            Self::Server { base, .. } => base.authority(),
        };
        host.and_then(|host| HeaderValue::from_str(host.as_str()).ok())
            .unwrap_or(HeaderValue::from_static("localhost"))
    }

    /// # Errors
    ///
    /// Why there is no connection.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let connecting = async {
            match self {
                Self::Socket(path) => unix(path).await,
                Self::Server { base, connector } => {
                    let stream = connector.clone().call(base.clone()).await;
                    let stream = stream.map_err(|source| ClientError::Server {
                        url: base.to_string(),
                        source,
                    })?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
            }
        };
        tokio::time::timeout(CONNECT_WAIT, connecting)
            .await
            .map_err(|_| ClientError::NoConnection)?
    }
}

async fn unix(path: &Path) -> Result<Box<dyn Stream>, ClientError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Box::new(TokioIo::new(stream))),
        Err(error) => Err(unix_error(path.to_owned(), error)),
    }
}

fn unix_error(path: PathBuf, source: io::Error) -> ClientError {
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ClientError::NoSocket { path },
        ErrorKind::ConnectionRefused => ClientError::DeadSocket { path },
        ErrorKind::PermissionDenied => ClientError::ForbiddenSocket { path },
        _ => ClientError::Socket { path, source },
    }
}

/// Trusts what the system trusts. Verification cannot be turned off.
fn connector() -> anyhow::Result<HttpsConnector<HttpConnector>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> ConnectArgs {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            connect: ConnectArgs,
        }
        let words = ["posthaste"].into_iter().chain(line.iter().copied());
        <Line as clap::Parser>::try_parse_from(words).unwrap().connect
    }

    fn chosen(line: &[&str], variables: &[(&str, &str)]) -> String {
        let environment = |wanted: &str| {
            variables
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| (*value).to_owned())
        };
        match Transport::choose(&args(line), environment).unwrap() {
            Transport::Socket(path) => path.display().to_string(),
            Transport::Server { base, .. } => base.to_string(),
        }
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_that_over_the_configuration() {
        let both = [
            ("POSTHASTE_SOCKET", "/v.sock"),
            ("POSTHASTE_SERVER", "http://v:1"),
        ];
        assert_eq!(chosen(&["--socket", "/f.sock"], &both), "/f.sock");
        assert_eq!(chosen(&["--server", "https://f:2"], &both), "https://f:2/");
        assert_eq!(chosen(&["--data", "/d"], &both), "/d/posthaste.sock");
        assert_eq!(chosen(&[], &both), "http://v:1/");
        assert_eq!(chosen(&[], &both[..1]), "/v.sock");
        assert_eq!(chosen(&[], &[]), "./posthaste-data/posthaste.sock");
    }

    #[test]
    fn a_server_is_a_scheme_and_an_authority() {
        for url in [
            "h:1",
            "ftp://h",
            "http://u:p@h",
            "http://h/path",
            "http://h/?q",
            "",
            "http://",
        ] {
            let error = Transport::server(url).unwrap_err();
            assert!(error.is::<Usage>(), "{url}");
        }
    }
}
