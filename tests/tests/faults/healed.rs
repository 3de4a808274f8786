//! Faults that are mended.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use kubernaut_testkit::fault::{AllowedBy, Expect, Fault, Meanwhile, Mended, Seeded};
use kubernaut_testkit::shop::{PATIENCE, SETTLED};
use kubernaut_testkit::snapshot::Allowed;
use kubernaut_testkit::{Alert, Namespace, Shop, SpareNode, objects, pods, until};
use serde_json::{Value, json};

/// Why a container whose image does not exist waits.
const NO_IMAGE: &[&str] = &["ErrImagePull", "ImagePullBackOff"];

/// The revision that a rollback of `web` or `db` leads to.
fn back() -> Value {
    json!({ "toRevision": 1 })
}

const fn template(object: &'static str) -> Allowed {
    Allowed { object, paths: &["spec.template"] }
}

const BATCH_TEMPLATE: &[Allowed] = &[template("Deployment/batch")];
const DB: &[Allowed] = &[template("Deployment/db")];
const WEB: &[Allowed] = &[template("Deployment/web")];

/// `web` goes back to what it was, by itself.
const fn web_rolled_back(cause: &'static str, allowed_by: AllowedBy) -> Expect {
    Expect::Healed(Mended {
        cause,
        steps: &[("rollback_deployment", "Deployment/web")],
        allowed_by,
        changed: WEB,
        restored: &["Deployment/web"],
        well: &["Deployment/web", "Deployment/db"],
    })
}

/// A Deployment that holds 20 MB, under a limit of memory.
const BATCH: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: batch }
spec:
  replicas: 1
  minReadySeconds: 2
  selector: { matchLabels: { app: batch } }
  template:
    metadata: { labels: { app: batch } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: batch
        image: IMAGE
        # The interpreter itself holds the text, so that it is the first process that is killed.
        command: [busybox, awk, 'BEGIN { text = sprintf("%20000000s", ""); while (1) system("sleep 60") }']
        resources: { requests: { cpu: 1m, memory: 4Mi }, limits: { memory: LIMIT } }
"#;

const QUEUE: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: queue }
spec:
  serviceName: queue
  replicas: 2
  selector: { matchLabels: { app: queue } }
  template:
    metadata: { labels: { app: queue } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: queue
        image: IMAGE
        command: [sleep, "86400"]
        resources: { requests: { cpu: 1m, memory: 4Mi } }
"#;

const SCALER: &str = r"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: web }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web }
  minReplicas: 1
  maxReplicas: 2
  metrics: [{ type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 50 } } }]
";

/// What others ask, in a namespace of its own.
const LEDGER: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: ledger }
spec:
  selector: { app: ledger }
  ports: [{ port: 8080 }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ledger }
spec:
  replicas: 1
  minReadySeconds: 1
  strategy: { type: Recreate }
  selector: { matchLabels: { app: ledger } }
  template:
    metadata: { labels: { app: ledger } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: ledger
        image: IMAGE
        command: [sh, -c, "echo ok >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: { httpGet: { port: 8080, path: / }, periodSeconds: 2, timeoutSeconds: 5 }
        resources: { requests: { cpu: 1m, memory: 4Mi } }
"#;

/// Asks it, and cannot live without it.
const ASKER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: asker }
spec:
  replicas: 1
  minReadySeconds: 2
  selector: { matchLabels: { app: asker } }
  template:
    metadata: { labels: { app: asker } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: asker
        image: IMAGE
        command: [sh, -c, 'while busybox timeout 5 wget -q -O /dev/null "$LEDGER_URL"; do sleep 1; done; echo "cannot connect to $LEDGER_URL" >&2; exit 1']
        env: [{ name: LEDGER_URL, value: "http://ledger.DATA.svc:8080/" }]
        resources: { requests: { cpu: 1m, memory: 4Mi } }
"#;

/// What `kubectl apply` is told, so that what was declared is known.
const MODES: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: { name: modes }
data: { mode: careful, colour: blue }
";

const READER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: reader }
spec:
  replicas: 1
  minReadySeconds: 2
  selector: { matchLabels: { app: reader } }
  template:
    metadata: { labels: { app: reader } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: reader
        image: IMAGE
        command: [sh, -c, 'if [ "$MODE" != careful ]; then echo "mode $MODE is not known" >&2; exit 1; fi; exec sleep 86400']
        env: [{ name: MODE, valueFrom: { configMapKeyRef: { name: modes, key: mode } } }]
        resources: { requests: { cpu: 1m, memory: 4Mi } }
"#;

/// Would rather run on one node than on any other.
const EDGE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: edge }
spec:
  replicas: 1
  selector: { matchLabels: { app: edge } }
  template:
    metadata: { labels: { app: edge } }
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{ key: kubernaut-tests/only, operator: Exists }]
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            preference: { matchExpressions: [{ key: kubernaut-tests/only, operator: In, values: [NODE] }] }
      containers:
      - name: edge
        image: IMAGE
        command: [sleep, "86400"]
        resources: { requests: { cpu: 1m, memory: 4Mi } }
"#;

/// Those that take longest to seed come first.
pub const FAULTS: [Fault; 21] = [
    Fault {
        id: "stateful",
        what: "A StatefulSet that waits for a failing pod of an older revision",
        seed: |shop| Box::pin(stuck_stateful_set(shop)),
        expect: Expect::Healed(Mended {
            cause: "StatefulSetStuck",
            steps: &[("restart_pod", "StatefulSet/queue")],
            allowed_by: AllowedBy::Itself,
            // The update, which waited for it, goes on then.
            changed: &[
                Allowed { object: "Pod/queue-1", paths: &[""] },
                Allowed { object: "Pod/queue-0", paths: &[""] },
            ],
            restored: &["StatefulSet/queue"],
            well: &["StatefulSet/queue"],
        }),
    },
    Fault {
        id: "probe",
        what: "A rollout whose readiness probe asks for a page that does not exist",
        seed: |shop| {
            Box::pin(async move {
                let probe = json!({ "httpGet": { "path": "/absent", "port": 8080 } });
                shop.roll_out_container("web", &json!({ "readinessProbe": probe })).await?;
                let unready = |pod: &_| !pods::is_ready(pod) && pods::is_older_than(pod, SETTLED);
                let pod = shop.pod("web", "is not ready for long", unready).await?;
                pods::warned(&shop.namespace, &pod.name_any(), "Unhealthy", 3, PATIENCE).await?;
                let alert = Alert::about_pod(&shop.namespace.name, &pod.name_any());
                Ok(Seeded::mended_with(alert, back()))
            })
        },
        expect: web_rolled_back("BadRollout", AllowedBy::Itself),
    },
    Fault {
        id: "memory",
        what: "A container that needs more memory than its limit",
        seed: |shop| {
            Box::pin(async move {
                shop.apply(&BATCH.replace("LIMIT", "16Mi")).await?;
                let parameters = json!({ "container": "batch", "memoryLimit": "32Mi" });
                Ok(Seeded::mended_with(shop.crashing("batch").await?, parameters))
            })
        },
        expect: Expect::Healed(Mended {
            cause: "OutOfMemory",
            steps: &[("update_resources", "Deployment/batch")],
            allowed_by: AllowedBy::Itself,
            changed: &[Allowed {
                object: "Deployment/batch",
                paths: &["spec.template.spec.containers.0.resources.limits.memory"],
            }],
            restored: &[],
            well: &["Deployment/batch"],
        }),
    },
    Fault {
        id: "limit",
        what: "A rollout that lowers the memory limit below what the container needs",
        seed: |shop| {
            Box::pin(async move {
                // On a busy machine it takes seconds until the container is killed: until then it must not count.
                let batch = BATCH.replace("LIMIT", "64Mi").replace("minReadySeconds: 2", "minReadySeconds: 20");
                shop.apply(&batch).await?;
                shop.is_healthy("Deployment", "batch").await?;
                shop.is_good().await?;
                shop.roll_out_container("batch", &json!({ "resources": { "limits": { "memory": "16Mi" } } })).await?;
                Ok(Seeded::mended_with(shop.crashing("batch").await?, back()))
            })
        },
        expect: Expect::Healed(Mended {
            cause: "BadRollout",
            steps: &[("rollback_deployment", "Deployment/batch")],
            allowed_by: AllowedBy::Itself,
            changed: BATCH_TEMPLATE,
            restored: &["Deployment/batch"],
            well: &["Deployment/batch"],
        }),
    },
    Fault {
        id: "recreate",
        what: "A rollout of an image that does not exist, after which nothing serves",
        seed: |shop| {
            Box::pin(async move {
                shop.roll_out_container("db", &json!({ "image": "localhost/absent:2" })).await?;
                let alert = shop.waiting("db", NO_IMAGE).await?;
                Ok(Seeded::mended_with(alert, back()))
            })
        },
        expect: Expect::Healed(Mended {
            cause: "ImagePull",
            steps: &[("rollback_deployment", "Deployment/db")],
            allowed_by: AllowedBy::Person,
            changed: DB,
            restored: &["Deployment/db"],
            // Its victim recovers by itself.
            well: &["Deployment/db", "Deployment/web"],
        }),
    },
    Fault {
        id: "address",
        what: "A rollout with a wrong address, which fails only after it was ready",
        seed: |shop| {
            Box::pin(async move {
                let env = json!([{ "name": "DB_URL", "value": "http://db:9999/" }]);
                shop.roll_out_container("web", &json!({ "env": env })).await?;
                Ok(Seeded::mended_with(shop.crashing("web").await?, back()))
            })
        },
        expect: web_rolled_back("BadRollout", AllowedBy::Person),
    },
    Fault {
        id: "autoscaler",
        what: "An autoscaler at its maximum that measures more than it aims at",
        seed: |shop| Box::pin(pinned_autoscaler(shop)),
        expect: Expect::Healed(Mended {
            cause: "AutoscalerAtMaximum",
            steps: &[("update_hpa", "HorizontalPodAutoscaler/web")],
            allowed_by: AllowedBy::Person,
            changed: &[Allowed { object: "HorizontalPodAutoscaler/web", paths: &["spec.maxReplicas"] }],
            restored: &["Deployment/web"],
            well: &["Deployment/web"],
        }),
    },
    Fault {
        id: "node",
        what: "A node that is not ready, with a pod that waits there",
        seed: |shop| Box::pin(node_not_ready(shop)),
        expect: Expect::Healed(Mended {
            cause: "NodeNotReady",
            steps: &[("cordon_node", "Node/spare"), ("drain_node", "Node/spare")],
            allowed_by: AllowedBy::Person,
            changed: &[
                Allowed { object: "Node/spare", paths: &["spec.unschedulable"] },
                Allowed { object: "Deployment/edge", paths: &[] },
            ],
            restored: &["Deployment/edge"],
            well: &["Deployment/edge"],
        }),
    },
    Fault {
        id: "upstream",
        what: "A program that fails because what it depends on has a rollout that crashes; the alert is about the victim",
        seed: |shop| {
            Box::pin(async move {
                let command = json!(["sh", "-c", "echo cannot read its settings >&2; exit 1"]);
                shop.roll_out_container("db", &json!({ "command": command })).await?;
                shop.crashing("db").await?;
                Ok(Seeded::mended_with(shop.crashing("web").await?, back()))
            })
        },
        expect: Expect::Healed(Mended {
            cause: "DependencyBroken",
            steps: &[("rollback_deployment", "Deployment/db")],
            allowed_by: AllowedBy::Person,
            changed: DB,
            restored: &["Deployment/db", "Deployment/web"],
            well: &["Deployment/db", "Deployment/web"],
        }),
    },
    Fault {
        id: "elsewhere",
        what: "The same with what it depends on in another namespace",
        seed: |shop| {
            Box::pin(async move {
                let data = Namespace::managed(shop.cluster(), "data").await?;
                broken_ledger(shop, data).await
            })
        },
        expect: Expect::Healed(Mended {
            cause: "DependencyBroken",
            steps: &[("rollback_deployment", "Deployment/data/ledger")],
            allowed_by: AllowedBy::Person,
            changed: &[template("Deployment/data/ledger")],
            restored: &["Deployment/data/ledger", "Deployment/asker"],
            well: &["Deployment/asker"],
        }),
    },
    Fault {
        id: "settings",
        what: "A ConfigMap that somebody edited, after which a program that reads it fails",
        seed: |shop| Box::pin(edited_config_map(shop)),
        expect: Expect::Healed(Mended {
            cause: "ConfigurationChanged",
            steps: &[("update_config", "ConfigMap/modes")],
            allowed_by: AllowedBy::Person,
            changed: &[
                Allowed { object: "ConfigMap/modes", paths: &["data"] },
                Allowed { object: "Deployment/reader", paths: &["spec.template.metadata.annotations"] },
            ],
            restored: &[],
            well: &["Deployment/reader"],
        }),
    },
    Fault {
        id: "liveness",
        what: "A rollout whose liveness probe kills a container that is well",
        seed: |shop| {
            Box::pin(async move {
                let liveness = json!({ "tcpSocket": { "port": 9999 }, "periodSeconds": 1, "failureThreshold": 1 });
                // The container must not be ready before it is killed the first time.
                let change = json!({ "livenessProbe": liveness, "readinessProbe": { "initialDelaySeconds": 10 } });
                shop.roll_out_container("web", &change).await?;
                Ok(Seeded::mended_with(shop.crashing("web").await?, back()))
            })
        },
        expect: web_rolled_back("BadRollout", AllowedBy::Itself),
    },
    Fault {
        id: "command",
        what: "A rollout of a command that ends with an error",
        seed: |shop| {
            Box::pin(async move {
                let command = json!(["sh", "-c", "echo cannot read its settings >&2; exit 1"]);
                shop.roll_out_container("web", &json!({ "command": command })).await?;
                Ok(Seeded::mended_with(shop.crashing("web").await?, back()))
            })
        },
        expect: web_rolled_back("BadRollout", AllowedBy::Itself),
    },
    Fault {
        id: "program",
        what: "A rollout of a program that is not in the image",
        seed: |shop| {
            Box::pin(async move {
                shop.roll_out_container("web", &json!({ "command": ["no-such-program"] })).await?;
                let alert = shop.waiting("web", &["RunContainerError", "CrashLoopBackOff"]).await?;
                Ok(Seeded::mended_with(alert, back()))
            })
        },
        expect: web_rolled_back("BadRollout", AllowedBy::Itself),
    },
    Fault {
        id: "init",
        what: "A rollout with an init container that fails",
        seed: |shop| {
            Box::pin(async move {
                let image = objects::image();
                let command = json!(["sh", "-c", "echo migration 7 failed >&2; exit 1"]);
                let init = json!([{ "name": "migrate", "image": image, "command": command }]);
                shop.roll_out("web", &json!({ "initContainers": init })).await?;
                Ok(Seeded::mended_with(shop.crashing("web").await?, back()))
            })
        },
        expect: web_rolled_back("BadRollout", AllowedBy::Itself),
    },
    Fault {
        id: "image",
        what: "A rollout of an image that does not exist",
        seed: |shop| {
            Box::pin(async move {
                shop.roll_out_container("web", &json!({ "image": "localhost/absent:2" })).await?;
                let alert = shop.waiting("web", NO_IMAGE).await?;
                Ok(Seeded::mended_with(alert, back()))
            })
        },
        expect: web_rolled_back("ImagePull", AllowedBy::Itself),
    },
    Fault {
        id: "key",
        what: "A rollout that asks for a key which is not in its ConfigMap",
        seed: |shop| {
            Box::pin(async move {
                let from = json!({ "configMapKeyRef": { "name": "settings", "key": "colour" } });
                shop.roll_out_container("web", &json!({ "env": [{ "name": "COLOUR", "valueFrom": from }] })).await?;
                Ok(Seeded::mended_with(shop.waiting("web", &["CreateContainerConfigError"]).await?, back()))
            })
        },
        expect: web_rolled_back("MissingConfiguration", AllowedBy::Itself),
    },
    Fault {
        id: "secret",
        what: "A rollout that mounts a Secret which does not exist",
        seed: |shop| {
            Box::pin(async move {
                let volume = json!([{ "name": "certificate", "secret": { "secretName": "certificate" } }]);
                let mount = json!([{ "name": "certificate", "mountPath": "/certificate" }]);
                let container = json!([{ "name": "web", "volumeMounts": mount }]);
                shop.roll_out("web", &json!({ "volumes": volume, "containers": container })).await?;
                let starts = |pod: &_| pods::waits(pod, &["ContainerCreating"]);
                let pod = shop.pod("web", "is being made", starts).await?.name_any();
                pods::warned(&shop.namespace, &pod, "FailedMount", 1, PATIENCE).await?;
                Ok(Seeded::mended_with(Alert::about_pod(&shop.namespace.name, &pod), back()))
            })
        },
        expect: web_rolled_back("MissingConfiguration", AllowedBy::Itself),
    },
    Fault {
        id: "requests",
        what: "A rollout that asks for more memory than any node has",
        seed: |shop| {
            Box::pin(async move {
                shop.roll_out_container("web", &json!({ "resources": { "requests": { "memory": "4Ti" } } })).await?;
                Ok(Seeded::mended_with(shop.unplaced("web").await?, back()))
            })
        },
        expect: web_rolled_back("Unschedulable", AllowedBy::Itself),
    },
    Fault {
        id: "selector",
        what: "A rollout that selects nodes which do not exist",
        seed: |shop| {
            Box::pin(async move {
                shop.roll_out("web", &json!({ "nodeSelector": { "disk": "of-the-future" } })).await?;
                Ok(Seeded::mended_with(shop.unplaced("web").await?, back()))
            })
        },
        expect: web_rolled_back("Unschedulable", AllowedBy::Itself),
    },
    Fault {
        id: "volume",
        what: "A rollout that mounts a PersistentVolumeClaim which does not exist",
        seed: |shop| {
            Box::pin(async move {
                let volume = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }]);
                let container = json!([{ "name": "web", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }]);
                shop.roll_out("web", &json!({ "volumes": volume, "containers": container })).await?;
                Ok(Seeded::mended_with(shop.unplaced("web").await?, back()))
            })
        },
        expect: web_rolled_back("MissingConfiguration", AllowedBy::Itself),
    },
];

/// Kubernetes does not go on with an update before every pod is ready: what is mended in the template does not
/// reach the pod that needs it.
async fn stuck_stateful_set(shop: &mut Shop) -> Result<Seeded> {
    shop.apply(QUEUE).await?;
    shop.is_healthy("StatefulSet", "queue").await?;
    let update = |image: &str| {
        let container = json!({ "name": "queue", "image": image, "env": [{ "name": "ASKED_FOR", "value": image }] });
        json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
    };
    shop.change("StatefulSet", "queue", &update("localhost/absent:2")).await?;
    shop.waiting("queue", NO_IMAGE).await?;
    shop.change("StatefulSet", "queue", &update(&objects::image())).await?;
    shop.is_good().await?;
    let revisions = Api::<ControllerRevision>::namespaced(shop.cluster().client.clone(), &shop.namespace.name);
    until("the newest revision has waited for long", PATIENCE, || async {
        let all = revisions.list(&ListParams::default()).await?.items;
        let newest = all.iter().max_by_key(|one| one.revision).context("a revision")?;
        let made = newest.creation_timestamp().context("it was made")?.0;
        let age = jiff::Timestamp::now().duration_since(made);
        ensure!(newest.revision == 3 && age.unsigned_abs() >= SETTLED, "{} since {age:?}", newest.revision);
        Ok(())
    })
    .await?;
    let pod = shop.pod("queue", "cannot pull its image", |pod| pods::waits(pod, NO_IMAGE)).await?;
    let alert = Alert::about_pod(&shop.namespace.name, &pod.name_any());
    Ok(Seeded::mended_with(alert, json!({ "pod": pod.name_any(), "uid": pod.uid() })))
}

/// Without a metrics server nothing measures, so the test says in the autoscaler's status what would be there. Its
/// controller overwrites that, every 15 s: the test waits until it has done so just now.
async fn pinned_autoscaler(shop: &mut Shop) -> Result<Seeded> {
    shop.change("Deployment", "web", &json!({ "spec": { "replicas": 2 } })).await?;
    shop.is_healthy("Deployment", "web").await?;
    shop.apply(SCALER).await?;
    shop.is_good().await?;
    let scalers = Api::<HorizontalPodAutoscaler>::namespaced(shop.cluster().client.clone(), &shop.namespace.name);
    let condition = |type_: &str, reason: &str| {
        let now = jiff::Timestamp::now();
        json!({ "type": type_, "status": "True", "reason": reason, "message": "said by a test", "lastTransitionTime": now })
    };
    until("its controller has looked", PATIENCE, || async {
        let status = scalers.get("web").await?.status.unwrap_or_default();
        ensure!(!status.conditions.unwrap_or_default().is_empty(), "not yet");
        Ok(())
    })
    .await?;
    let status = json!({ "status": {
        "currentReplicas": 2,
        "desiredReplicas": 2,
        "currentMetrics": [{ "type": "Resource", "resource": {
            "name": "cpu", "current": { "averageUtilization": 180, "averageValue": "90m" },
        } }],
        "conditions": [
            condition("AbleToScale", "ReadyForNewScale"),
            condition("ScalingActive", "ValidMetricFound"),
            condition("ScalingLimited", "TooManyReplicas"),
        ],
    } });
    scalers.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await?;
    let alert = Alert::about("deployment", &shop.namespace.name, "web");
    Ok(Seeded::mended_with(alert, json!({ "maxReplicas": 3 })))
}

/// Its kubelet says that it is not ready, as when the container runtime has died, and still does as it is told.
pub async fn node_not_ready(shop: &mut Shop) -> Result<Seeded> {
    let node = SpareNode::make(shop.cluster(), "node", None, &[]).await?;
    node.report("True", "KubeletReady").await?;
    let name = node.name.clone();
    shop.nodes.push(node);
    shop.apply(&EDGE.replace("NODE", &name)).await?;
    let is_there = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&name);
    shop.pod("edge", "is bound to the spare node", is_there).await?;
    shop.is_good().await?;
    shop.nodes[0].report("False", "KubeletNotReady").await?;
    // No action mends a node: whoever does so finds it empty.
    let meanwhile: Meanwhile = |shop| Box::pin(async move { shop.nodes[0].report("True", "KubeletReady").await });
    let parameters = vec![json!({}), json!({})];
    Ok(Seeded { alert: Alert::about_node(&name), parameters, meanwhile: Some(meanwhile) })
}

/// A rollout of `ledger`, in a namespace beside the shop's, that crashes; the alert is about `asker`, its victim.
pub async fn broken_ledger(shop: &mut Shop, data: Namespace) -> Result<Seeded> {
    let (cluster, name) = (shop.cluster().clone(), data.name.clone());
    for manifest in objects::documents(LEDGER)? {
        objects::create(&cluster, &name, &manifest).await?;
    }
    pods::pod_where(&data, "ledger", "is ready", PATIENCE, pods::is_ready).await?;
    shop.beside.push(("data", data));
    shop.apply(&ASKER.replace("DATA", &name)).await?;
    shop.is_healthy("Deployment", "asker").await?;
    shop.is_good().await?;
    let container = json!({ "name": "ledger", "command": ["sh", "-c", "echo cannot read its settings >&2; exit 1"] });
    let change = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
    objects::patch(&cluster, &name, "Deployment", "ledger", &change).await?;
    pods::pod_where(&shop.beside[0].1, "ledger", "crashes again and again", PATIENCE, pods::crashes).await?;
    Ok(Seeded::mended_with(shop.crashing("asker").await?, back()))
}

/// Whoever edits it sees nothing go wrong: only the next pod reads it.
async fn edited_config_map(shop: &mut Shop) -> Result<Seeded> {
    let call = ["apply", "-n", &shop.namespace.name, "-f", "-"];
    shop.cluster().kubectl_with(MODES, call).await?;
    shop.apply(READER).await?;
    shop.is_healthy("Deployment", "reader").await?;
    shop.is_good().await?;
    let pod = shop.pod("reader", "is ready", pods::is_ready).await?.name_any();
    shop.change("ConfigMap", "modes", &json!({ "data": { "mode": "bold" } })).await?;
    shop.delete("Pod", &pod).await?;
    Ok(Seeded::mended_with(shop.crashing("reader").await?, json!({ "data": { "mode": "careful" } })))
}
