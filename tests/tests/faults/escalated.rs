//! Faults that a person has to look at: nothing is done, and the request says why.

use anyhow::{Context, Result, ensure};
use kubernaut_api::{Outcome, RequestPhase};
use kubernaut_testkit::fault::{Expect, Fault, LIMIT, Seeded};
use kubernaut_testkit::shop::PATIENCE;
use kubernaut_testkit::{Namespace, Shop, until};
use serde_json::json;

use crate::healed::broken_ledger;

/// A Deployment of one revision, whose container runs this.
pub fn failing(name: &str, script: &str) -> String {
    const MANIFEST: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: NAME }
spec:
  replicas: 1
  selector: { matchLabels: { app: NAME } }
  template:
    metadata: { labels: { app: NAME } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: NAME
        image: IMAGE
        command: [sh, -c, SCRIPT]
        resources: { requests: { cpu: 1m, memory: 4Mi } }
";
    MANIFEST.replace("NAME", name).replace("SCRIPT", &json!(script).to_string())
}

/// Holds 20 MB, and 40 MB more as soon as there is a file that says so.
const LEAK: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: leak }
spec:
  replicas: 1
  minReadySeconds: 2
  selector: { matchLabels: { app: leak } }
  template:
    metadata: { labels: { app: leak } }
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{ name: told, emptyDir: {} }]
      containers:
      - name: leak
        image: IMAGE
        command:
        - busybox
        - awk
        - |
          BEGIN {
            text = sprintf("%20000000s", "")
            while (1) {
              if (system("cat /told/more >/dev/null 2>&1") == 0) more = sprintf("%40000000s", "")
              system("sleep 1")
            }
          }
        volumeMounts: [{ name: told, mountPath: /told }]
        resources: { requests: { cpu: 1m, memory: 4Mi }, limits: { memory: 16Mi } }
"#;

/// Asks the API server for what its account may not have: the operator's own program, as any pod can run it.
const ASKER: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: asker }
spec:
  replicas: 1
  selector: { matchLabels: { app: asker } }
  template:
    metadata: { labels: { app: asker } }
    spec:
      containers:
      - name: asker
        image: OPERATOR
        args: [act, --report, /dev/null]
        env:
        - name: KUBERNAUT_ACT_INPUT
          value: GIVEN
        resources: { requests: { cpu: 1m, memory: 4Mi } }
";

const CLAIMANT: &str = r"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec:
  accessModes: [ReadWriteOnce]
  resources: { requests: { storage: 1Gi } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: store }
spec:
  replicas: 1
  selector: { matchLabels: { app: store } }
  template:
    metadata: { labels: { app: store } }
    spec:
      volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]
      containers:
      - name: store
        image: IMAGE
        command: [sleep, '86400']
        volumeMounts: [{ name: data, mountPath: /data }]
        resources: { requests: { cpu: 1m, memory: 4Mi } }
";

pub const FAULTS: [Fault; 6] = [
    Fault {
        id: "leak",
        what: "A container that is out of memory again after its limit was raised",
        seed: |shop| Box::pin(out_of_memory_again(shop)),
        expect: Expect::Escalated { reason: "NoActionFits", cause: Some("OutOfMemory") },
    },
    Fault {
        id: "permission",
        what: "A program that its ServiceAccount does not allow what it tries",
        seed: |shop| Box::pin(without_permission(shop)),
        expect: Expect::Escalated { reason: "NoActionFits", cause: Some("PermissionMissing") },
    },
    Fault {
        id: "not-ours",
        what: "A program that fails because what it depends on crashes, in a namespace that is not opted in",
        seed: |shop| {
            Box::pin(async move {
                let data = Namespace::unmanaged(shop.cluster(), "data").await?;
                broken_ledger(shop, data).await
            })
        },
        expect: Expect::Escalated { reason: "NoActionFits", cause: Some("DependencyBroken") },
    },
    Fault {
        id: "claim",
        what: "A PersistentVolumeClaim that no volume is bound to",
        seed: |shop| {
            Box::pin(async move {
                shop.apply(CLAIMANT).await?;
                Ok(Seeded::alert(shop.unplaced("store").await?))
            })
        },
        expect: Expect::Escalated { reason: "NoActionFits", cause: Some("ClaimNotBound") },
    },
    Fault {
        id: "unknown",
        what: "A program that ends with an error, and no rollout brought it",
        seed: |shop| {
            Box::pin(async move {
                shop.apply(&failing("batch", "echo assertion failed in line 4711 >&2; exit 3")).await?;
                Ok(Seeded::alert(shop.crashing("batch").await?))
            })
        },
        expect: Expect::Escalated { reason: "NoCauseFound", cause: None },
    },
    Fault {
        id: "no-service",
        what: "A program that asks a Service which does not exist, and no rollout brought it",
        seed: |shop| {
            Box::pin(async move {
                let script = "echo 'cannot connect to http://ledger.NAMESPACE.svc:8080: no such host' >&2; exit 1";
                shop.apply(&failing("batch", &script.replace("NAMESPACE", &shop.namespace.name))).await?;
                Ok(Seeded::alert(shop.crashing("batch").await?))
            })
        },
        expect: Expect::Escalated { reason: "NoActionFits", cause: Some("DependencyBroken") },
    },
];

/// The first time twice the memory helps; then the program takes more still.
async fn out_of_memory_again(shop: &mut Shop) -> Result<Seeded> {
    shop.apply(LEAK).await?;
    let alert = shop.crashing("leak").await?;
    let operator = shop.operator.clone();
    let first = operator.alert(std::slice::from_ref(&alert)).await?.created()?;
    let remediation = operator.ended(&first, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated)).context("the first time")?;
    shop.is_healthy("Deployment", "leak").await?;
    let tell = ["exec", "-n", &shop.namespace.name, "deployment/leak", "--", "sh", "-c", "echo yes >/told/more"];
    shop.cluster().kubectl(tell).await?;
    let alert = shop.crashing("leak").await?;
    // What ended a moment ago holds its alert back: Alertmanager repeats it.
    until("the cooldown is over", PATIENCE, || async {
        let requests = operator.api::<kubernaut_api::RemediationRequest>();
        let ended = requests.get(&first).await?.status.and_then(|status| status.completed_at).context("it ended")?;
        let since = jiff::Timestamp::now().duration_since(ended.0).unsigned_abs();
        ensure!(since > kubernaut_testkit::operator::COOLDOWN, "{since:?}");
        Ok(())
    })
    .await?;
    Ok(Seeded::alert(alert))
}

async fn without_permission(shop: &mut Shop) -> Result<Seeded> {
    let operator = shop.operator.api::<k8s_openapi::api::apps::v1::Deployment>().get(&shop.operator.name).await?;
    let spec = operator.spec.and_then(|spec| spec.template.spec).context("the operator has pods")?;
    let image = spec.containers.first().and_then(|one| one.image.clone()).context("they have an image")?;
    let target =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "namespace": shop.namespace.name, "name": "cart" });
    let input = json!({
        "execution": "ke-of-nobody",
        "action": "scale_deployment",
        "target": target,
        "parameters": { "replicas": 1 },
        "planHash": "0".repeat(64),
    });
    let input = json!(input.to_string()).to_string();
    shop.apply(&ASKER.replace("OPERATOR", &image).replace("GIVEN", &input)).await?;
    Ok(Seeded::alert(shop.crashing("asker").await?))
}
