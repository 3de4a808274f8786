//! Reads the configuration: defaults, then the file, then the environment, then the cross-checks.

use std::path::{Path, PathBuf};

use super::{Config, LogFormat, LogLevel, Violation};

/// Why there is no configuration. Every text names the setting and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}; check that it exists and is readable", path.display())]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no YAML, or a setting has a wrong name, type or value.
    #[error("configuration file {}: {source}", path.display())]
    Parse {
        /// The file that was read.
        path: PathBuf,
        /// Names the field's path, what is expected there, and the line.
        source: serde_yaml_ng::Error,
    },
    /// An environment variable has a value that its setting cannot take.
    #[error("environment variable {variable}: {source}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// Names what is expected.
        source: serde_yaml_ng::Error,
    },
    /// Each setting is well-formed, but together they cannot work.
    #[error("the configuration cannot work: {}", join(.0))]
    Invalid(Vec<Violation>),
    /// A setting without a useful default is missing.
    #[error("{setting} is not set: {remedy}")]
    Missing {
        /// Path of the setting.
        setting: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

impl Config {
    /// Reads the file (none: the defaults), lays the environment over it and checks the whole.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config = match path {
            Some(path) => read(path)?,
            None => Self::default(),
        };
        config.overlay(|variable| std::env::var(variable).ok().filter(|value| !value.is_empty()))?;
        if config.identity.is_empty() {
            config.identity = format!("{}-{}", host_name(), std::process::id());
        }
        config.validate()?;
        Ok(config)
    }

    /// The image of the Jobs, which the role `controllers` cannot do without.
    pub fn job_image(&self) -> Result<&str, ConfigError> {
        match self.execution.image.as_str() {
            "" => Err(ConfigError::Missing {
                setting: "execution.image",
                remedy: "set it, or KUBERNAUT_IMAGE, to the image that this program runs from",
            }),
            image => Ok(image),
        }
    }

    fn overlay(&mut self, env: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        if let Some(namespace) = env("POD_NAMESPACE") {
            self.namespace = namespace;
        }
        if let Some(name) = env("POD_NAME") {
            self.identity = name;
        }
        if let Some(image) = env("KUBERNAUT_IMAGE") {
            self.execution.image = image;
        }
        if let Some(format) = parsed::<LogFormat>("KUBERNAUT_LOG_FORMAT", &env)? {
            self.log.format = format;
        }
        if let Some(level) = parsed::<LogLevel>("KUBERNAUT_LOG_LEVEL", &env)? {
            self.log.level = level;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    // A file of comments alone is YAML's null, which no struct accepts.
    serde_yaml_ng::from_str::<Option<Config>>(&text)
        .map(Option::unwrap_or_default)
        .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

fn parsed<T: serde::de::DeserializeOwned>(
    variable: &'static str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<T>, ConfigError> {
    env(variable)
        .map(|value| serde_yaml_ng::from_value(value.into()))
        .transpose()
        .map_err(|source| ConfigError::Environment { variable, source })
}

fn host_name() -> String {
    std::env::var("HOSTNAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .map_or_else(|_| "kubernaut".to_owned(), |name| name.trim().to_owned())
}

fn join(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AuthenticationMode, Duration, Role, Scope};

    fn from_yaml(yaml: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, yaml.as_bytes()).unwrap();
        read(file.path())
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        for yaml in ["", "# nothing yet\n", "{}", "gateway: {}\n"] {
            assert_eq!(from_yaml(yaml).unwrap(), Config::default(), "{yaml:?}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("/nowhere/kubernaut.yaml"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/kubernaut.yaml") && error.contains("exists"), "{error}");
    }

    #[test]
    fn reads_every_part_of_a_file_and_keeps_defaults_beside_it() {
        let config = from_yaml(
            "cluster: local
scope: all
dryRun: true
roles: [gateway]
gateway:
  listen: '127.0.0.1:0'
  authentication: {mode: none}
  drainDelay: 90s
timeouts: {request: 1h30m}
leaderElection: {enabled: false}
",
        )
        .unwrap();
        let mut expect = Config {
            cluster: "local".to_owned(),
            scope: Scope::All,
            dry_run: true,
            roles: vec![Role::Gateway],
            ..Config::default()
        };
        expect.gateway.listen = ([127, 0, 0, 1], 0).into();
        expect.gateway.authentication.mode = AuthenticationMode::None;
        expect.gateway.drain_delay = Duration::from_secs(90);
        expect.timeouts.request = Duration::from_mins(90);
        expect.leader_election.enabled = false;
        assert_eq!(config, expect);
    }

    #[test]
    fn a_mistake_is_answered_with_its_path_and_what_is_expected() {
        for (yaml, parts) in [
            ("gateway: {drainDelay: soon}", &["gateway.drainDelay", "`soon`", "5m, 1h30m or 250ms"][..]),
            ("gateway: {drainDelay: 5}", &["gateway.drainDelay", "5m, 1h30m or 250ms"]),
            ("gateway:\n  draindelay: 5m", &["gateway", "`draindelay`", "`drainDelay`", "line 2"]),
            ("scope: some", &["scope", "`some`", "`labelled`", "`all`"]),
            ("roles: [gateway, ui]", &["roles[1]", "`ui`", "`relay`"]),
            ("colour: red", &["unknown field `colour`", "`cluster`"]),
            ("gateway: {listen: here}", &["gateway.listen", "socket address"]),
            ("gateway: {maxInFlight: -1}", &["gateway.maxInFlight", "-1"]),
            ("controllers: {concurrency: many}", &["controllers.concurrency", "u16"]),
            ("roles: [gateway", &["did not find expected", "line"]),
        ] {
            let error = from_yaml(yaml).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{yaml}: {part} is not in: {error}");
            }
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let mut config = from_yaml("namespace: from-file\nlog: {level: warn}").unwrap();
        config
            .overlay(|variable| {
                Some(match variable {
                    "POD_NAMESPACE" => "from-env".to_owned(),
                    "POD_NAME" => "kubernaut-0".to_owned(),
                    "KUBERNAUT_IMAGE" => "example.org/kubernaut:1".to_owned(),
                    "KUBERNAUT_LOG_FORMAT" => "pretty".to_owned(),
                    "KUBERNAUT_LOG_LEVEL" => "debug".to_owned(),
                    _ => return None,
                })
            })
            .unwrap();
        assert_eq!(config.namespace, "from-env");
        assert_eq!(config.identity, "kubernaut-0");
        assert_eq!(config.job_image().unwrap(), "example.org/kubernaut:1");
        assert_eq!((config.log.format, config.log.level), (LogFormat::Pretty, LogLevel::Debug));
    }

    #[test]
    fn a_wrong_variable_is_named_with_what_it_may_be() {
        let error = Config::default()
            .overlay(|variable| (variable == "KUBERNAUT_LOG_LEVEL").then(|| "loud".to_owned()))
            .unwrap_err()
            .to_string();
        for part in ["KUBERNAUT_LOG_LEVEL", "`loud`", "`debug`"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_missing_job_image_says_where_to_set_it() {
        let error = Config::default().job_image().unwrap_err().to_string();
        assert!(error.contains("execution.image") && error.contains("KUBERNAUT_IMAGE"), "{error}");
    }

    #[test]
    fn a_loaded_configuration_always_has_an_identity() {
        assert!(!Config::load(None).unwrap().identity.is_empty());
    }
}
