//! The CustomResourceDefinitions as the API server enforces them and as kubectl shows them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::CustomResourceExt;
use kubernaut_api::{
    AIAnalysis, EventSink, KubernetesExecution, RemediationApproval, RemediationProcessing, RemediationRequest,
    RemediationWorkflow, WorkflowExecution,
};
use kubernaut_testkit::{Cluster, Namespace, Operator};
use serde_json::Value;

/// Calls of kubectl at once.
const WIDTH: usize = 4;

/// A cluster that has the CRDs: the chart brings them.
async fn cluster() -> Result<Cluster> {
    Ok(Operator::installed().await?.cluster)
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "no YAML in {}", folder.display());
    Ok(files)
}

/// The comments `# key: value` at the top of a file.
fn header(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path)?;
    let comments = text.lines().map_while(|line| line.strip_prefix("# "));
    Ok(comments.filter_map(|line| line.split_once(": ")).map(|(key, value)| (key.into(), value.into())).collect())
}

/// Fails unless kubectl was refused with this text.
fn refused(path: &Path, expect: &str, result: Result<String>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().display();
    match result {
        Ok(_) => bail!("{name} is accepted"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains(expect), "{name} is refused without {expect:?}: {said}");
            Ok(())
        }
    }
}

#[tokio::test]
async fn every_sample_is_accepted_and_each_change_that_may_not_be_is_refused() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = Namespace::unmanaged(&cluster, "samples").await?;
    let samples = cluster.root.join("config/samples");
    let folder = samples.to_str().context("the path is UTF-8")?;
    cluster.kubectl(["apply", "--validate=strict", "-n", &namespace.name, "-f", folder]).await?;

    let refuse = |path: PathBuf| {
        let (cluster, namespace, samples) = (&cluster, &namespace.name, &samples);
        async move {
            let header = header(&path)?;
            let entry = |key: &str| header.get(key).with_context(|| format!("{} lacks # {key}:", path.display()));
            let object = samples.join(entry("object")?);
            let (object, patch) = (object.to_str().unwrap_or_default(), path.to_str().unwrap_or_default());
            let mut call = vec!["patch", "--type=merge", "-n", namespace, "-f", object, "--patch-file", patch];
            let subresource = header.get("subresource").map(|name| format!("--subresource={name}"));
            call.extend(subresource.as_deref());
            refused(&path, entry("expect")?, cluster.kubectl(call).await)
        }
    };
    stream::iter(yaml_files(&samples.join("refused"))?).map(refuse).buffered(WIDTH).try_collect().await
}

#[tokio::test]
async fn what_is_invalid_is_refused_and_the_field_is_named() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = Namespace::unmanaged(&cluster, "invalid").await?;
    let refuse = |path: PathBuf| {
        let (cluster, namespace) = (&cluster, &namespace.name);
        async move {
            let header = header(&path)?;
            let expect = header.get("expect").with_context(|| format!("{} lacks # expect:", path.display()))?;
            let file = path.to_str().unwrap_or_default();
            let call = ["create", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", file];
            refused(&path, expect, cluster.kubectl(call).await)
        }
    };
    let files = yaml_files(&cluster.root.join("config/samples/invalid"))?;
    stream::iter(files).map(refuse).buffered(WIDTH).try_collect().await
}

#[tokio::test]
async fn a_decision_once_made_stands() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = Namespace::unmanaged(&cluster, "decision").await?;
    let file = cluster.root.join("config/samples/remediationapproval.yaml");
    let file = file.to_str().context("the path is UTF-8")?;
    cluster.kubectl(["create", "-n", &namespace.name, "-f", file]).await?;
    let decide = |decision: &str| {
        let patch = format!(r#"{{"status":{{"decision":"{decision}","decidedBy":"ann"}}}}"#);
        let call = ["patch", "--subresource=status", "--type=merge", "-n", &namespace.name, "-f", file, "-p", &patch];
        let call = call.map(str::to_owned);
        let cluster = cluster.clone();
        async move { cluster.kubectl(call).await }
    };
    decide("Rejected").await?;
    refused(Path::new(file), "status.decision cannot be changed once it is made", decide("Approved").await)
}

#[tokio::test]
async fn kubectl_shows_what_matters_under_the_short_names() -> Result<()> {
    let cluster = cluster().await?;
    let namespace = Namespace::unmanaged(&cluster, "columns").await?;
    let samples = cluster.root.join("config/samples");
    let folder = samples.to_str().context("the path is UTF-8")?;
    cluster.kubectl(["apply", "-n", &namespace.name, "-f", folder]).await?;
    for (short, columns) in [
        ("rr", "NAME PHASE TARGET ALERT OUTCOME REASON AGE"),
        ("rp", "NAME PHASE TARGET PRIORITY REASON AGE"),
        ("aia", "NAME PHASE TARGET CAUSE CONFIDENCE REASON AGE"),
        ("rap", "NAME TARGET RISK CONFIDENCE DECISION BY EXPIRES AGE"),
        ("we", "NAME PHASE TARGET ACTION REASON AGE"),
        ("ke", "NAME PHASE ACTION TARGET REASON AGE"),
        ("rwf", "NAME READY ACTIONS REASON AGE"),
        ("es", "NAME URL READY DELIVERED PENDING DEAD LAST AGE"),
    ] {
        let table = cluster.kubectl(["get", short, "-n", &namespace.name]).await?;
        let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(header.join(" "), columns, "{short}");
    }
    let all = cluster.kubectl(["get", "kubernaut", "-n", &namespace.name, "-o", "name"]).await?;
    assert_eq!(all.lines().count(), 8, "the category names every kind: {all}");
    let explained = cluster.kubectl(["explain", "rr.spec.signal"]).await?;
    ensure!(explained.contains("What was reported."), "kubectl explain says: {explained}");
    Ok(())
}

#[tokio::test]
async fn the_crds_of_the_repository_are_those_of_the_program() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let parse = |path: &Path| -> Result<Value> {
        serde_yaml_ng::from_str(&std::fs::read_to_string(path)?).with_context(|| path.display().to_string())
    };
    for crd in kubernaut_api::crds() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let file = format!("kubernaut.io_{}.yaml", crd.spec.names.plural);
        let generated = serde_json::to_value(&crd)?;
        for folder in ["crds", "charts/kubernaut/files/crds"] {
            let committed = parse(&cluster.root.join(folder).join(&file))?;
            ensure!(committed["spec"] == generated["spec"], "{folder}/{file} is old: `make generate`");
            ensure!(committed["metadata"]["name"] == name.as_str(), "{folder}/{file} is not {name}");
        }
    }
    Ok(())
}

#[test]
fn every_kind_has_a_sample() -> Result<()> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples");
    let mut kinds: Vec<String> = vec![];
    for path in yaml_files(&samples)? {
        let object: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path)?)?;
        kinds.extend(object["kind"].as_str().map(str::to_owned));
    }
    kinds.sort();
    let mut expect = [
        RemediationRequest::crd(),
        RemediationProcessing::crd(),
        AIAnalysis::crd(),
        RemediationApproval::crd(),
        WorkflowExecution::crd(),
        KubernetesExecution::crd(),
        RemediationWorkflow::crd(),
        EventSink::crd(),
    ]
    .map(|crd| crd.spec.names.kind);
    expect.sort();
    assert_eq!(kinds, expect);
    Ok(())
}
