//! Problem documents (RFC 9457): the form of every error answer of every HTTP interface.
//!
//! Deliberately absent: what goes wrong in a given interface; its own error type becomes a [`Problem`].

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error answer. Everything in it is for the caller: nothing internal belongs here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// URI of the kind of problem; `about:blank` means that the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words; the same for each occurrence.
    pub title: String,
    /// The HTTP status of the answer.
    #[serde(serialize_with = "status_code")]
    pub status: StatusCode,
    /// What went wrong this time, and what the caller can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// URI of this occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Further members for programs.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
    /// Headers that go with the answer, such as `Retry-After`.
    #[serde(skip)]
    pub headers: HeaderMap,
}

impl Problem {
    /// A problem that its status describes.
    pub fn new(status: StatusCode) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status,
            detail: None,
            instance: None,
            extra: Map::new(),
            headers: HeaderMap::new(),
        }
    }

    /// 500 for a failure that is no business of the caller's: it is logged, not returned.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR)
            .detail("the server failed to handle this request; its log says why")
    }

    /// Gives the kind of problem a type of its own.
    #[must_use]
    pub fn kind(mut self, uri: impl Into<String>, title: impl Into<String>) -> Self {
        self.kind = uri.into();
        self.title = title.into();
        self
    }

    /// Says what went wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names this occurrence.
    #[must_use]
    pub fn instance(mut self, uri: impl Into<String>) -> Self {
        self.instance = Some(uri.into());
        self
    }

    /// Adds a member for programs. The standard members cannot be replaced.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if !["type", "title", "status", "detail", "instance"].contains(&name) {
            self.extra.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let mut headers = std::mem::take(&mut self.headers);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        (self.status, headers, axum::Json(self)).into_response()
    }
}

/// Answers unknown paths and wrong methods with problem documents too. Apply it to the whole router,
/// after its routes.
pub fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(|uri: Uri| async move {
            Problem::new(StatusCode::NOT_FOUND).detail(format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED).detail("the header Allow names the methods of this path")
        })
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn status_code<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use axum::routing::get;
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;

    async fn body(response: Response) -> Value {
        serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_is_a_problem_json_document_with_its_status_and_headers() {
        let response = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .kind("https://kubernaut.io/problems/overloaded", "Overloaded")
            .detail("64 requests are in flight; try again")
            .instance("/requests/7")
            .with("limit", 64)
            .with("status", 200)
            .header(header::RETRY_AFTER, 1)
            .into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let expect = json!({
            "type": "https://kubernaut.io/problems/overloaded",
            "title": "Overloaded",
            "status": 503,
            "detail": "64 requests are in flight; try again",
            "instance": "/requests/7",
            "limit": 64,
        });
        assert_eq!(body(response).await, expect);
    }

    #[tokio::test]
    async fn an_internal_error_is_not_told_to_the_caller() {
        let secret = std::io::Error::other("password=hunter2");
        let text = body(Problem::internal(&secret).into_response()).await.to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn unknown_paths_and_wrong_methods_are_problems_too() {
        let router = with_fallbacks(Router::new().route("/here", get(|| async { "yes" })));
        for (request, status) in [(Request::get("/there"), 404), (Request::post("/here"), 405)] {
            let request = request.body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
            assert_eq!(response.headers().contains_key(header::ALLOW), status == 405);
            assert_eq!(body(response).await["status"], status);
        }
    }
}
