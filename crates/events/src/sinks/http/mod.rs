//! Delivery by HTTP POST of one CloudEvent.
//!
//! Redirects are never followed and the environment's proxy settings are not read: both would let
//! somebody else choose the address. Deliberately absent: signatures and the validation handshake.

pub mod address;
mod classify;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use self::address::{Guard, Refused, Resolver};
use super::{Outcome, Sink};
use crate::Event;
use crate::event::{ContentMode, STRUCTURED};

/// Connections idle for longer are closed.
const IDLE: Duration = Duration::from_mins(1);
/// So much of an answer is read to keep the connection; an answer's text is not used.
const MAX_ANSWER: usize = 64 * 1024;
/// So long it is waited for: the status has been told already, and must not count as no answer.
const ANSWER: Duration = Duration::from_millis(100);

/// Where and how events are posted.
#[derive(Clone, Debug)]
pub struct Target {
    /// Absolute URL.
    pub url: Url,
    /// How the event is put into the request.
    pub mode: ContentMode,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// Sent as `Authorization: Bearer`.
    pub bearer_token: Option<String>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one to post to.
    #[error("spec.http.url: {0}")]
    Url(String),
    /// The URL points to a refused address.
    #[error("spec.http.url: {0}")]
    Refused(#[from] Refused),
    /// The token cannot stand in a header.
    #[error(
        "spec.http.bearerToken: the token has characters that no HTTP header may have; write it without line breaks"
    )]
    Token,
    /// The timeout leaves no time for an answer.
    #[error("spec.http.timeout: it leaves no time for an answer; write at least {0:?}")]
    Timeout(Duration),
    /// The client could not be made.
    #[error("spec.http.url: cannot make a client: {0}; for https the operator's image needs CA certificates")]
    Client(String),
}

/// An HTTP sink.
pub struct HttpSink {
    client: reqwest::Client,
    url: Url,
    mode: ContentMode,
}

/// Parses a URL to post to: absolute, http or https, without user and password.
pub fn parse_url(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|error| Error::Url(format!("`{text}` is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::Url(format!("scheme `{}` is not supported; use http or https", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Url("user and password do not belong into a URL; use bearerToken".into()));
    }
    if url.host().is_none() {
        return Err(Error::Url("it names no host".into()));
    }
    Ok(url)
}

impl HttpSink {
    /// Checks the target, also where its name resolves to, and makes a client for it.
    pub async fn connect(target: Target, guard: Arc<Guard>) -> Result<Self, Error> {
        guard.check(&target.url).await?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &target.bearer_token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder();
        if target.url.scheme() == "http" {
            // No redirect can lead to https: spare the memory of the system's CA certificates, which
            // an image may even lack.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .user_agent(concat!("kubernaut/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Resolver(guard))
            .connect_timeout(target.timeout)
            .timeout(target.timeout)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| Error::Client(chain(&error)))?;
        Ok(Self { client, url: target.url, mode: target.mode })
    }

    fn request(&self, event: &Event) -> reqwest::RequestBuilder {
        let request = self.client.post(self.url.clone());
        match self.mode {
            ContentMode::Structured => request.header(CONTENT_TYPE, STRUCTURED).body(event.structured()),
            ContentMode::Binary => {
                let headers = event.binary_headers().into_iter().filter_map(|(name, value)| {
                    Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
                });
                request.headers(headers.collect()).body(event.binary_body())
            }
        }
    }
}

#[async_trait]
impl Sink for HttpSink {
    fn transport(&self) -> &'static str {
        "http"
    }

    async fn send(&self, event: &Event) -> Outcome {
        match self.request(event).send().await {
            Ok(response) => {
                let outcome = classify::reply(response.status(), response.headers(), jiff::Timestamp::now());
                // A connection whose answer does not end is closed.
                let _ = tokio::time::timeout(ANSWER, discard(response)).await;
                outcome
            }
            Err(error) => Outcome::Retry { after: None, why: chain(&error) },
        }
    }
}

/// Reads a short answer to its end, so that the connection can be used again.
async fn discard(mut response: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}

/// An error with its causes: reqwest's own text names only the outermost. The URL is left out, it
/// may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "cannot connect".to_owned()
    } else {
        "the request failed".to_owned()
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
