//! An API server in memory that speaks the wire format: enough of it for the gateway. Also
//! optimistic locking, uniqueness of names, and faults, which a mock of the client would not have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use serde_json::{Value, json};

/// Where requests are made.
pub const NAMESPACE: &str = "kubernaut-system";
const REQUESTS: &str = "/apis/kubernaut.io/v1alpha1/namespaces/kubernaut-system/remediationrequests";

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Refused with this code.
    Code(u16),
    /// Answered by something else on the way, in plain text.
    Page(u16),
    /// Carried out, and then refused with this code.
    CarriedOutThen(u16),
    /// Never answered.
    Hang,
}

#[derive(Default)]
struct World {
    objects: BTreeMap<String, Value>,
    kinds: BTreeMap<String, Value>,
    faults: Vec<(String, String, Fault, usize)>,
    calls: Vec<String>,
    revision: u64,
}

/// The server; a clone is the same one.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let fake = fake.clone();
            async move { Ok::<_, std::convert::Infallible>(fake.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Adds an object at its API path. Owner: the path of its controller, which must exist.
    pub fn add(&self, path: &str, kind: &str, labels: &[(&str, &str)], owner: Option<&str>) {
        let mut world = self.0.lock().unwrap();
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let mut metadata = json!({"name": path.rsplit('/').next(), "uid": uid(path), "labels": labels});
        if let Some(owner) = owner {
            let object = &world.objects[owner];
            metadata["ownerReferences"] = json!([{
                "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
                "uid": object["metadata"]["uid"], "controller": true,
            }]);
        }
        let api_version = match path.split('/').collect::<Vec<_>>()[..] {
            ["", "api", version, ..] => version.to_owned(),
            ["", "apis", group, version, ..] => format!("{group}/{version}"),
            _ => panic!("no API path: {path}"),
        };
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        world.objects.insert(path.to_owned(), object);
    }

    /// Makes a custom kind known to discovery.
    pub fn serve(&self, group_version: &str, kind: &str, plural: &str) {
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": [
            {"name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]},
        ]});
        self.0.lock().unwrap().kinds.insert(format!("/apis/{group_version}"), list);
    }

    pub fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path).unwrap();
    }

    /// The next `times` calls of this method with this in their path fail.
    pub fn fail(&self, method: &str, path: &str, fault: Fault, times: usize) {
        self.0.lock().unwrap().faults.push((method.into(), path.into(), fault, times));
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    /// The requests, oldest name first.
    pub fn requests(&self) -> Vec<Value> {
        let world = self.0.lock().unwrap();
        world.objects.iter().filter(|(path, _)| path.starts_with(REQUESTS)).map(|(_, object)| object.clone()).collect()
    }

    /// Changes a request as the controller would.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut world = self.0.lock().unwrap();
        world.revision += 1;
        let revision = world.revision;
        let object = world.objects.get_mut(&format!("{REQUESTS}/{name}")).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
    }

    pub fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let query = parts.uri.query().unwrap_or_default();
        tokio::task::yield_now().await; // calls that run at once shall meet
        let fault = {
            let mut world = self.0.lock().unwrap();
            world.calls.push(format!("{method} {path}"));
            let hit = |fault: &&mut (String, String, Fault, usize)| {
                fault.0 == method && path.contains(&fault.1) && fault.3 > 0
            };
            world.faults.iter_mut().find(hit).map(|fault| {
                fault.3 -= 1;
                fault.2
            })
        };
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Code(code)) => status(code, reason(code)),
            Some(Fault::Page(code)) => page(code),
            Some(Fault::CarriedOutThen(code)) => {
                self.carry_out(method, path, query, &body);
                status(code, reason(code))
            }
            None => self.carry_out(method, path, query, &body),
        }
    }

    fn carry_out(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Response<Body> {
        let mut world = self.0.lock().unwrap();
        match method {
            "GET" if path == REQUESTS => {
                let label = query.split("labelSelector=kubernaut.io%2Ffingerprint%3D").nth(1).map(|rest| &rest[..32]);
                let matches = |object: &&Value| {
                    label.is_none_or(|label| object["metadata"]["labels"]["kubernaut.io/fingerprint"] == label)
                };
                let requests =
                    world.objects.iter().filter(|(path, _)| path.starts_with(REQUESTS)).map(|(_, object)| object);
                let items: Vec<_> = requests.filter(matches).collect();
                let list = json!({"apiVersion": "kubernaut.io/v1alpha1", "kind": "RemediationRequestList",
                    "metadata": {"resourceVersion": "1"}, "items": items});
                json_answer(200, &list)
            }
            "GET" => match world.objects.get(path).or_else(|| world.kinds.get(path)) {
                Some(object) => json_answer(200, object),
                None if path.split('/').count() == 4 => page(404),
                None => status(404, "NotFound"),
            },
            "POST" if path == REQUESTS => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                let path = format!("{REQUESTS}/{}", object["metadata"]["name"].as_str().unwrap());
                if world.objects.contains_key(&path) {
                    return status(409, "AlreadyExists");
                }
                world.revision += 1;
                object["metadata"]["resourceVersion"] = json!(world.revision.to_string());
                object["metadata"]["uid"] = json!(uid(&path));
                object.as_object_mut().unwrap().remove("status");
                world.objects.insert(path, object.clone());
                json_answer(201, &object)
            }
            "PATCH" => {
                let sent: Value = serde_json::from_slice(body).unwrap();
                world.revision += 1;
                let revision = world.revision.to_string();
                let Some(object) = world.objects.get_mut(path.strip_suffix("/status").unwrap()) else {
                    return status(404, "NotFound");
                };
                if object["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"] {
                    return status(409, "Conflict");
                }
                merge(&mut object["status"], &sent["status"]);
                object["metadata"]["resourceVersion"] = json!(revision);
                json_answer(200, object)
            }
            _ => status(405, "MethodNotAllowed"),
        }
    }
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn page(code: u16) -> Response<Body> {
    Response::builder().status(code).body("404 page not found\n".into()).unwrap()
}

fn reason(code: u16) -> &'static str {
    match code {
        403 => "Forbidden",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        _ => panic!("no reason for {code}"),
    }
}

fn uid(path: &str) -> String {
    format!("uid-of-{}", path.replace('/', "-"))
}

fn status(code: u16, reason: &str) -> Response<Body> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "fake", "reason": reason, "code": code});
    json_answer(code, &body)
}

fn json_answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}
