//! Who may report. Deliberately absent: a default. Running without authentication has to be said.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::problem::Problem;

/// How often an unchanged file is read again at most, when tokens do not match.
const PAUSE: Duration = Duration::from_secs(1);
/// A larger file is no token.
const MAX_TOKEN: u64 = 16 * 1024;

/// How senders prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By the bearer token in this file, which may change while the gateway runs.
    BearerFile(PathBuf),
}

/// Checks each request.
pub struct Guard {
    authentication: Authentication,
    token: Mutex<Option<Token>>,
}

#[derive(Clone, Copy)]
struct Token {
    digest: [u8; 32],
    modified: Option<SystemTime>,
    read: Instant,
}

impl Guard {
    /// Nothing is read before the first request.
    pub fn new(authentication: Authentication) -> Self {
        Self { authentication, token: Mutex::new(None) }
    }

    /// # Errors
    /// 401 when the token is missing or wrong, 503 when the right one cannot be read.
    pub async fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Authentication::BearerFile(path) = &self.authentication else { return Ok(()) };
        let Some(given) = bearer(headers) else {
            return Err(Problem::unauthorized("send the gateway's token as Authorization: Bearer <token>"));
        };
        let given: [u8; 32] = Sha256::digest(given).into();
        let known = *self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let token = match known {
            Some(token) if token.modified == modified(path).await => token,
            _ => self.read(path).await?,
        };
        if token.is(&given) {
            return Ok(());
        }
        // Two writes can share a time stamp. Reading again is bounded, whatever is sent.
        if token.read.elapsed() >= PAUSE && self.read(path).await?.is(&given) {
            return Ok(());
        }
        Err(Problem::unauthorized("the token is not the gateway's"))
    }

    async fn read(&self, path: &Path) -> Result<Token, Problem> {
        let token = read(path).await.map_err(|error| {
            tracing::error!(path = %path.display(), %error, "cannot read the gateway's token");
            Problem::unavailable("the gateway cannot read its token")
        })?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(token)
    }
}

impl Token {
    fn is(&self, given: &[u8; 32]) -> bool {
        self.digest.ct_eq(given).into()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

async fn modified(path: &Path) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.ok()?.modified().ok()
}

async fn read(path: &Path) -> std::io::Result<Token> {
    let metadata = tokio::fs::metadata(path).await?;
    if metadata.len() > MAX_TOKEN {
        return Err(std::io::Error::other("too large for a token"));
    }
    let content = tokio::fs::read(path).await?;
    let token = content.trim_ascii();
    if token.is_empty() {
        return Err(std::io::Error::other("the file is empty"));
    }
    Ok(Token { digest: Sha256::digest(token).into(), modified: metadata.modified().ok(), read: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(guard: &Guard, authorization: Option<&str>) -> u16 {
        use axum::response::IntoResponse;
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        match guard.check(&headers).await {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[tokio::test]
    async fn only_the_token_passes_and_a_new_one_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n").unwrap();
        let guard = Guard::new(Authentication::BearerFile(file.path().to_owned()));
        assert_eq!(check(&guard, None).await, 401);
        assert_eq!(check(&guard, Some("one")).await, 401);
        assert_eq!(check(&guard, Some("Basic one")).await, 401);
        assert_eq!(check(&guard, Some("Bearer ")).await, 401);
        assert_eq!(check(&guard, Some("Bearer on")).await, 401);
        assert_eq!(check(&guard, Some("Bearer one")).await, 200);
        assert_eq!(check(&guard, Some("bearer  one")).await, 200);

        std::fs::write(file.path(), "two").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        file.as_file().set_modified(later).unwrap();
        assert_eq!(check(&guard, Some("Bearer one")).await, 401);
        assert_eq!(check(&guard, Some("Bearer two")).await, 200);
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_read_is_not_the_senders_fault() {
        let directory = tempfile::tempdir().unwrap();
        let guard = Guard::new(Authentication::BearerFile(directory.path().join("absent")));
        assert_eq!(check(&guard, Some("Bearer one")).await, 503);
        let empty = tempfile::NamedTempFile::new().unwrap();
        let guard = Guard::new(Authentication::BearerFile(empty.path().to_owned()));
        assert_eq!(check(&guard, Some("Bearer one")).await, 503);
    }
}
