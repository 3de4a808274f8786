//! Which ConfigMaps, Secrets and PersistentVolumeClaims a template names. Only names: what is in them is not read.
//!
//! What is marked as optional is left out: a pod starts without it.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use kubernaut_api::evidence::Reference;
use kubernaut_domain::redact::bounded;

/// References, each once, at most 32.
pub fn references(spec: &PodSpec) -> Vec<Reference> {
    let mut found: Vec<Reference> = Vec::new();
    let mut add = |kind: &str, name: &str, path: String| {
        let known = found.iter().any(|one| one.kind == kind && one.name == name && one.path == path);
        if !name.is_empty() && !known && found.len() < 32 {
            found.push(Reference { kind: kind.into(), name: bounded(name, 253), path: bounded(&path, 256) });
        }
    };
    for volume in spec.volumes.iter().flatten() {
        for (kind, name) in of_volume(volume) {
            add(kind, &name, format!("volumes[{}]", volume.name));
        }
    }
    let init = spec.init_containers.iter().flatten().map(|container| ("initContainers", container));
    for (list, container) in init.chain(spec.containers.iter().map(|container| ("containers", container))) {
        for (kind, name, field) in of_container(container) {
            add(kind, &name, format!("{list}[{}].{field}", container.name));
        }
    }
    found
}

fn of_volume(volume: &Volume) -> Vec<(&'static str, String)> {
    let needed = |optional: Option<bool>| optional != Some(true);
    let mut found = Vec::new();
    if let Some(source) = volume.config_map.as_ref().filter(|source| needed(source.optional)) {
        found.push(("ConfigMap", source.name.clone()));
    }
    if let Some(source) = volume.secret.as_ref().filter(|source| needed(source.optional)) {
        found.push(("Secret", source.secret_name.clone().unwrap_or_default()));
    }
    if let Some(source) = &volume.persistent_volume_claim {
        found.push(("PersistentVolumeClaim", source.claim_name.clone()));
    }
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        if let Some(source) = source.config_map.as_ref().filter(|source| needed(source.optional)) {
            found.push(("ConfigMap", source.name.clone()));
        }
        if let Some(source) = source.secret.as_ref().filter(|source| needed(source.optional)) {
            found.push(("Secret", source.name.clone()));
        }
    }
    found
}

fn of_container(container: &Container) -> Vec<(&'static str, String, String)> {
    let needed = |optional: Option<bool>| optional != Some(true);
    let mut found = Vec::new();
    for from in container.env_from.iter().flatten() {
        if let Some(map) = from.config_map_ref.as_ref().filter(|map| needed(map.optional)) {
            found.push(("ConfigMap", map.name.clone(), "envFrom".to_owned()));
        }
        if let Some(secret) = from.secret_ref.as_ref().filter(|secret| needed(secret.optional)) {
            found.push(("Secret", secret.name.clone(), "envFrom".to_owned()));
        }
    }
    for variable in container.env.iter().flatten() {
        let Some(from) = &variable.value_from else { continue };
        if let Some(key) = from.config_map_key_ref.as_ref().filter(|key| needed(key.optional)) {
            found.push(("ConfigMap", key.name.clone(), "env".to_owned()));
        }
        if let Some(key) = from.secret_key_ref.as_ref().filter(|key| needed(key.optional)) {
            found.push(("Secret", key.name.clone(), "env".to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_needed_reference_is_named_once_with_its_place() {
        let spec: PodSpec = serde_yaml_ng::from_str(
            "{volumes: [{name: config, configMap: {name: web}}, {name: data, persistentVolumeClaim: {claimName: data}}, \
               {name: maybe, secret: {secretName: none, optional: true}}, \
               {name: all, projected: {sources: [{configMap: {name: ca}}, {secret: {name: tls}}, {serviceAccountToken: {path: t}}]}}], \
             initContainers: [{name: init, envFrom: [{secretRef: {name: boot}}]}], \
             containers: [{name: app, envFrom: [{configMapRef: {name: web}}, {configMapRef: {name: extra, optional: true}}], \
               env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: user}}}, {name: B, valueFrom: {secretKeyRef: {name: db, key: pw}}}, \
                 {name: C, value: plain}, {name: D, valueFrom: {configMapKeyRef: {name: web, key: d}}}]}]}",
        )
        .unwrap();
        let found: Vec<String> =
            references(&spec).iter().map(|one| format!("{} {} {}", one.kind, one.name, one.path)).collect();
        assert_eq!(
            found,
            [
                "ConfigMap web volumes[config]",
                "PersistentVolumeClaim data volumes[data]",
                "ConfigMap ca volumes[all]",
                "Secret tls volumes[all]",
                "Secret boot initContainers[init].envFrom",
                "ConfigMap web containers[app].envFrom",
                "Secret db containers[app].env",
                "ConfigMap web containers[app].env",
            ]
        );
    }
}
