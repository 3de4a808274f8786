//! Routes, and what every request passes before it is read: authentication, then a free place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;

use crate::problem::Problem;
use crate::verdict::{self, Verdict};
use crate::{Gateway, alertmanager, bounds, ingest};

/// How long a body may take to arrive: it holds a place.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Answer {
    results: Vec<Verdict>,
}

/// The gateway's routes.
///
/// `POST /api/v1/signals/alertmanager` answers 201 when all alerts made requests, 202 when none did
/// and none was refused, 207 with a result per alert otherwise; 503 when one could not be judged, after
/// the others were (sending the batch again is safe). Errors are problem documents. There is no
/// fallback for other paths, so that the router can be merged with others.
pub fn router(state: Arc<Gateway>) -> Router {
    let passage = Passage { gateway: state.clone(), source: alertmanager::SOURCE };
    let alertmanager = post(from_alertmanager)
        .fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(state.settings.max_body_bytes))
        .layer(from_fn_with_state(passage, pass));
    Router::new().route("/api/v1/signals/alertmanager", alertmanager).with_state(state)
}

#[derive(Clone)]
struct Passage {
    gateway: Arc<Gateway>,
    source: &'static str,
}

async fn pass(State(passage): State<Passage>, request: Request, next: Next) -> Response {
    let Passage { gateway, source } = passage;
    let began = Instant::now();
    let _in_flight = gateway.metrics.enter();
    let response = match admit(&gateway, request.headers()).await {
        Ok(_permit) => next.run(request).await,
        Err((reason, problem)) => {
            gateway.metrics.refused(reason);
            problem.into_response()
        }
    };
    gateway.metrics.answered(source, response.status().as_u16(), began.elapsed());
    response
}

/// The permit is held until the answer is made.
async fn admit<'a>(
    gateway: &'a Gateway,
    headers: &HeaderMap,
) -> Result<tokio::sync::SemaphorePermit<'a>, (&'static str, Problem)> {
    gateway.guard.check(headers).await.map_err(|problem| ("Unauthenticated", problem))?;
    let overloaded = |_| ("Overloaded", Problem::unavailable("too many requests are being worked on"));
    gateway.permits.try_acquire().map_err(overloaded)
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "signals are sent by POST")
}

async fn from_alertmanager(State(gateway): State<Arc<Gateway>>, request: Request) -> Result<Response, Problem> {
    let body = body(request).await?;
    let reports = alertmanager::parse(&body).map_err(|error| {
        gateway.metrics.refused(verdict::Reason::Malformed.as_str());
        let error = bounds::text(&error.to_string(), 256);
        Problem::new(StatusCode::BAD_REQUEST, format!("not a payload of Alertmanager: {error}"))
    })?;
    drop(body);
    let results = ingest::ingest(&gateway, alertmanager::SOURCE, reports, Timestamp::now()).await;
    Ok(answer(results))
}

async fn body(request: Request) -> Result<Bytes, Problem> {
    match timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) => Err(Problem::new(rejection.status(), rejection.body_text())),
        Err(_) => Err(Problem::unavailable("the body took too long to arrive")),
    }
}

fn answer(results: Vec<Verdict>) -> Response {
    match verdict::code(&results) {
        StatusCode::SERVICE_UNAVAILABLE => {
            Problem::unavailable("some alerts could not be judged: send the batch again")
                .with_results(results)
                .into_response()
        }
        StatusCode::BAD_REQUEST => {
            Problem::new(StatusCode::BAD_REQUEST, "no alert of the batch is one").with_results(results).into_response()
        }
        code => (code, Json(Answer { results })).into_response(),
    }
}
