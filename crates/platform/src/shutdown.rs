//! How a process ends: a signal cancels a token, and HTTP servers let go in four steps.
//!
//! 1. Not ready, so that no new work is sent here.
//! 2. Go on serving while endpoints notice.
//! 3. Stop accepting and finish what is in flight, within a deadline.
//! 4. Close.
//!
//! Deliberately absent: the order in which parts end; `main` composes that from several tokens.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// How long an HTTP server takes to let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Step 2: how long to go on accepting.
    pub delay: Duration,
    /// Step 3: how long what is in flight may take; then it is cut off.
    pub deadline: Duration,
}

impl Drain {
    /// No waiting for endpoints: for servers that no Service sends work to.
    pub const fn at_once(deadline: Duration) -> Self {
        Self { delay: Duration::ZERO, deadline }
    }
}

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once, for a person who
/// does not want to wait.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "shutting down");
        cancel.cancel();
        let code = tokio::select! {
            _ = terminate.recv() => 128 + SignalKind::terminate().as_raw_value(),
            _ = interrupt.recv() => 128 + SignalKind::interrupt().as_raw_value(),
        };
        tracing::warn!("second signal: ending at once");
        std::process::exit(code);
    });
    Ok(token)
}

/// Serves `router` until `token` is cancelled, then lets go in the four steps. Returns when the last
/// answer is sent or the deadline has passed; then what is left is cut off when the runtime ends.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    health: Health,
    token: CancellationToken,
    drain: Drain,
) -> std::io::Result<()> {
    let stop = CancellationToken::new();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended,
        () = token.cancelled() => {}
    }
    health.shutting_down();
    tokio::select! {
        ended = &mut server => return ended,
        () = tokio::time::sleep(drain.delay) => {}
    }
    stop.cancel();
    tokio::time::timeout(drain.deadline, server).await.unwrap_or_else(|_| {
        tracing::warn!(deadline = ?drain.deadline, "requests still in flight are cut off");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Server {
        address: SocketAddr,
        health: Health,
        token: CancellationToken,
        /// Told when a handler of `/slow` has begun.
        began: Arc<Notify>,
        /// Lets `/slow` answer.
        finish: Arc<Notify>,
        task: JoinHandle<std::io::Result<()>>,
    }

    async fn start(drain: Drain) -> Server {
        let (began, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (began.clone(), finish.clone());
        let router = Router::new().route("/quick", get(|| async { "done" })).route(
            "/slow",
            get(move || async move {
                tell.notify_one();
                wait.notified().await;
                "done"
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, token) = (Health::default(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, router, health.clone(), token.clone(), drain));
        Server { address, health, token, began, finish, task }
    }

    async fn fetch(address: SocketAddr, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn finishes_what_is_in_flight_and_then_closes() {
        let server = start(Drain { delay: Duration::ZERO, deadline: PATIENCE }).await;
        let slow = tokio::spawn(fetch(server.address, "/slow"));
        server.began.notified().await;
        server.token.cancel();
        // Refused means that the listener is closed, which comes after the drain has begun.
        tokio::time::timeout(PATIENCE, async {
            while TcpStream::connect(server.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert!(!server.task.is_finished(), "closed before the answer was sent");
        server.finish.notify_one();
        assert!(slow.await.unwrap().unwrap().ends_with("done"));
        tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn goes_on_serving_while_endpoints_notice_that_it_is_not_ready() {
        let server = start(Drain { delay: PATIENCE, deadline: PATIENCE }).await;
        server.token.cancel();
        tokio::time::timeout(PATIENCE, async {
            while server.health.ready().0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert!(fetch(server.address, "/quick").await.unwrap().ends_with("done"));
        server.task.abort();
    }

    #[tokio::test]
    async fn cuts_off_what_outlasts_the_deadline() {
        let server = start(Drain::at_once(Duration::from_millis(50))).await;
        let slow = tokio::spawn(fetch(server.address, "/slow"));
        server.began.notified().await;
        server.token.cancel();
        tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap().unwrap();
        slow.abort();
    }
}
