//! The way to an endpoint as flags: tokens, certificates, a proxy.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::input::{Secret, Source};

#[derive(Args, Debug)]
pub struct WayFields {
    /// Where a token is fetched for each request (OAuth 2.0, client credentials)
    #[arg(long, value_name = "URL", conflicts_with_all = ["basic", "bearer"])]
    #[arg(requires_all = ["oauth2_client_id", "oauth2_client_secret"])]
    oauth2_token_url: Option<String>,
    /// The client's id there
    #[arg(long, value_name = "ID", requires = "oauth2_token_url")]
    oauth2_client_id: Option<String>,
    /// Its secret (@FILE reads it from a file)
    #[arg(long, value_name = "SECRET", requires = "oauth2_token_url")]
    oauth2_client_secret: Option<Secret>,
    /// A scope to ask for; several with commas
    #[arg(
        long,
        value_name = "SCOPE",
        value_delimiter = ',',
        requires = "oauth2_token_url"
    )]
    oauth2_scope: Vec<String>,
    /// For whom the token is to be
    #[arg(long, value_name = "AUDIENCE", requires = "oauth2_token_url")]
    oauth2_audience: Option<String>,
    /// Where id and secret go: the Authorization header or the form
    #[arg(long, value_name = "HOW", requires = "oauth2_token_url", value_parser = ["basic", "body"])]
    oauth2_client_auth: Option<String>,
    /// Certificate authorities to believe beside the system's, a PEM file
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// The client certificate to show, a PEM file
    #[arg(long, value_name = "FILE")]
    client_cert: Option<String>,
    /// Its private key, a PEM file
    #[arg(long, value_name = "FILE")]
    client_key: Option<String>,
    /// An HTTP proxy, http://host:port or http://user:password@host:port (@FILE reads it from a file), or none
    #[arg(long, value_name = "PROXY")]
    proxy: Option<Secret>,
}

impl WayFields {
    /// The member `auth`, if a token is wanted.
    ///
    /// # Errors
    ///
    /// A secret that cannot be read.
    pub fn auth(&self) -> anyhow::Result<Option<Value>> {
        let (Some(url), Some(id), Some(secret)) = (
            &self.oauth2_token_url,
            &self.oauth2_client_id,
            &self.oauth2_client_secret,
        ) else {
            return Ok(None);
        };
        let mut auth =
            json!({"type": "oauth2", "token_url": url, "client_id": id, "client_secret": secret.read()?});
        let more = [
            (
                "scopes",
                (!self.oauth2_scope.is_empty()).then(|| json!(self.oauth2_scope)),
            ),
            ("audience", self.oauth2_audience.as_ref().map(|text| json!(text))),
            (
                "client_auth",
                self.oauth2_client_auth.as_ref().map(|text| json!(text)),
            ),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                auth[name] = value;
            }
        }
        Ok(Some(auth))
    }

    /// The member `tls`, if a file is named.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no text.
    pub fn tls(&self) -> anyhow::Result<Option<Value>> {
        let files = [
            ("ca_pem", &self.ca_file),
            ("client_cert_pem", &self.client_cert),
            ("client_key_pem", &self.client_key),
        ];
        let mut members = Map::new();
        for (name, file) in files {
            if let Some(file) = file {
                members.insert(name.to_owned(), Value::from(Source::File(file).text()?));
            }
        }
        Ok((!members.is_empty()).then_some(Value::Object(members)))
    }

    /// The member `proxy`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn proxy(&self) -> anyhow::Result<Option<Value>> {
        let proxy = self.proxy.as_ref().map(Secret::read).transpose()?;
        Ok(proxy.map(Value::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::fields::Fields;

    #[derive(clap::Parser, Debug)]
    struct Line {
        #[command(flatten)]
        fields: Fields,
    }

    fn document(words: &[&str]) -> anyhow::Result<Value> {
        let line = <Line as clap::Parser>::try_parse_from(["add"].iter().chain(words))?;
        Ok(Value::Object(line.fields.document()?))
    }

    #[test]
    fn flags_become_auth_tls_and_proxy() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("{name}\n")).unwrap();
            path.display().to_string()
        };
        let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
        let proxy = format!("@{}", file("http://u:p@p.test:1".replace('/', "_").as_str()));
        let given = document(&[
            "--oauth2-token-url",
            "https://id.test/",
            "--oauth2-client-id",
            "us",
            "--oauth2-client-secret",
            "s",
            "--oauth2-scope",
            "a,b",
            "--oauth2-audience",
            "them",
            "--oauth2-client-auth",
            "body",
            "--ca-file",
            &ca,
            "--client-cert",
            &cert,
            "--client-key",
            &key,
            "--proxy",
            &proxy,
        ]);
        let expected = json!({
            "auth": {"type": "oauth2", "token_url": "https://id.test/", "client_id": "us", "client_secret": "s",
                     "scopes": ["a", "b"], "audience": "them", "client_auth": "body"},
            "tls": {"ca_pem": "ca\n", "client_cert_pem": "cert\n", "client_key_pem": "key\n"},
            "proxy": "http:__u:p@p.test:1",
        });
        assert_eq!(given.unwrap(), expected);
        assert_eq!(document(&["--proxy", "none"]).unwrap(), json!({"proxy": "none"}));
    }

    #[test]
    fn what_is_half_said_or_said_twice_is_a_matter_of_usage() {
        let whole = [
            "--oauth2-token-url",
            "https://id.test/",
            "--oauth2-client-id",
            "us",
            "--oauth2-client-secret",
            "s",
        ];
        assert!(document(&whole).is_ok());
        assert!(document(&whole[..4]).is_err());
        assert!(document(&whole[2..]).is_err());
        assert!(document(&["--oauth2-scope", "a"]).is_err());
        for other in [
            ["--bearer", "t"],
            ["--basic", "u:p"],
            ["--oauth2-client-auth", "jwt"],
        ] {
            assert!(document(&[&whole[..], &other].concat()).is_err(), "{other:?}");
        }
        assert!(document(&["--ca-file", "/nowhere/ca.pem"]).is_err());
    }
}
