//! clear_cache, against a server of one answer.

use kubernaut_domain::catalogue::{CLEAR_CACHE, CLEAR_CACHE_PORT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SERVICE: &str = "/api/v1/namespaces/shop/services/web";

fn clear() -> ActInput {
    input("clear_cache", "Service", "web", &json!({}))
}

fn service(annotations: &Value, spec: &Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "uid": "uid-1", "resourceVersion": "7", "annotations": annotations},
        "spec": {"selector": {"app": "web"}, "clusterIP": "127.0.0.1", "ports": [{"port": 1, "protocol": "TCP"}]},
    });
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
    service
}

fn declared(port: u16) -> Value {
    service(&json!({CLEAR_CACHE: "POST /admin/cache/clear?all=1"}), &json!({"ports": [{"port": port}]}))
}

/// Runs clear_cache against a server that gives this answer once; what it was asked comes back.
async fn answered(answer: &'static str) -> (ActionResult, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked[..length].to_vec()).unwrap()
    });
    let (result, _) = play(&clear(), vec![get(SERVICE, declared(port))]).await;
    (result, server.await.unwrap())
}

#[tokio::test]
async fn the_declared_request_is_sent_once_to_the_cluster_address() {
    let (result, asked) = answered("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(outcome(&result), (Effect::Changed, None), "{}", result.message);
    assert!(asked.starts_with("POST /admin/cache/clear?all=1 HTTP/1.1\r\nhost: web.shop.svc\r\n"), "{asked}");
    assert!(asked.contains("idempotency-key: ke-rr-1-act\r\n"), "{asked}");
    assert!(!asked.to_lowercase().contains("authorization"), "{asked}");
    assert_eq!(catalogue::find("clear_cache").unwrap().undo(&result.before), None);
}

#[tokio::test]
async fn only_2xx_is_success_and_a_broken_answer_is_unknown() {
    for (answer, wanted) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut", (Effect::Changed, None)),
        ("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", (Effect::None, Some("Redirected"))),
        ("HTTP/1.1 404 Not Found\r\n\r\n", (Effect::None, Some("EndpointRefused"))),
        ("HTTP/1.1 500 Oops\r\n\r\n", (Effect::Unknown, Some("EndpointFailed"))),
        ("no HTTP at all\r\n\r\n", (Effect::Unknown, Some("EndpointUnreachable"))),
        ("", (Effect::Unknown, Some("EndpointUnreachable"))),
    ] {
        let (result, _) = answered(answer).await;
        assert_eq!(outcome(&result), wanted, "{answer}: {}", result.message);
    }
}

#[tokio::test]
async fn nothing_was_changed_when_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (result, _) = play(&clear(), vec![get(SERVICE, declared(port))]).await;
    assert_eq!(outcome(&result), (Effect::None, Some("EndpointUnreachable")), "{}", result.message);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::pause();
        // Held open; the clock runs on its own to the limit.
        std::future::pending::<()>().await;
        drop(stream);
    });
    let (result, _) = play(&clear(), vec![get(SERVICE, declared(port))]).await;
    silent.abort();
    assert_eq!(outcome(&result), (Effect::Unknown, Some("Timeout")), "{}", result.message);
}

#[tokio::test]
async fn a_rehearsal_calls_nobody() {
    // Nothing listens on port 1: a call would fail.
    let rehearsal = ActInput { dry_run: true, ..clear() };
    let (result, _) = play(&rehearsal, vec![get(SERVICE, declared(1))]).await;
    assert_eq!(outcome(&result), (Effect::Changed, None));
    assert_eq!(
        result.message,
        "dry run: cleared the cache of Service/shop/web by POST /admin/cache/clear?all=1 on port 1"
    );
}

#[tokio::test]
async fn what_is_no_endpoint_of_the_service_is_refused() {
    let clear_cache = || json!({CLEAR_CACHE: "POST /clear"});
    let two_ports = json!({"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}, {"port": 82, "protocol": "UDP"}]});
    for (annotations, spec, error) in [
        (json!({}), json!({}), "NotDeclared"),
        (json!({CLEAR_CACHE: "GET /clear"}), json!({}), "Invalid"),
        (json!({CLEAR_CACHE: "POST http://evil.example/clear"}), json!({}), "Invalid"),
        (json!({CLEAR_CACHE: "POST //evil.example/clear"}), json!({}), "Invalid"),
        (json!({CLEAR_CACHE: "POST /clear HTTP/1.1\r\nX: y"}), json!({}), "Invalid"),
        (json!({CLEAR_CACHE: "/clear"}), json!({}), "Invalid"),
        (clear_cache(), json!({"selector": null}), "NoSelector"),
        (clear_cache(), json!({"selector": {}}), "NoSelector"),
        (clear_cache(), json!({"clusterIP": "None"}), "NoClusterAddress"),
        (clear_cache(), json!({"clusterIP": "evil.example"}), "NoClusterAddress"),
        (clear_cache(), two_ports.clone(), "NoPort"),
        (json!({CLEAR_CACHE: "POST /clear", CLEAR_CACHE_PORT: "82"}), two_ports.clone(), "NoPort"),
    ] {
        let script = vec![get(SERVICE, service(&annotations, &spec))];
        let (result, _) = play(&clear(), script).await;
        assert_eq!(outcome(&result), (Effect::None, Some(error)), "{annotations} {spec}");
    }
    for port in ["admin", "81"] {
        let live = service(&json!({CLEAR_CACHE: "PUT /c", CLEAR_CACHE_PORT: port}), &two_ports);
        let (result, _) = play(&ActInput { dry_run: true, ..clear() }, vec![get(SERVICE, live)]).await;
        assert!(result.message.ends_with("by PUT /c on port 81"), "{}", result.message);
    }
}
