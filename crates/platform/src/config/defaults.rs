//! The value of every setting that the file leaves out.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    AdminConfig, ApprovalConfig, AuthenticationConfig, AuthenticationMode, BlastRadiusConfig, BudgetsConfig, Config,
    ControllersConfig, CooldownConfig, Duration, EventsConfig, ExecutionConfig, GatewayConfig, ImagePullPolicy,
    KubernetesConfig, LeaderElectionConfig, LogConfig, LogFormat, LogLevel, Role, Scope, ScriptsConfig, StoreConfig,
    SuppressionConfig, Timeouts, VerificationConfig,
};

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: "default".to_owned(),
            namespace: "kubernaut-system".to_owned(),
            identity: String::new(),
            scope: Scope::Labelled,
            dry_run: false,
            roles: vec![Role::Gateway, Role::Controllers, Role::Relay],
            log: LogConfig::default(),
            gateway: GatewayConfig::default(),
            admin: AdminConfig::default(),
            timeouts: Timeouts::default(),
            verification: VerificationConfig::default(),
            retention: Duration::from_hours(24),
            approval: ApprovalConfig::default(),
            suppression: SuppressionConfig::default(),
            budgets: BudgetsConfig::default(),
            execution: ExecutionConfig::default(),
            store: StoreConfig::default(),
            events: EventsConfig::default(),
            controllers: ControllersConfig::default(),
            leader_election: LeaderElectionConfig::default(),
            kubernetes: KubernetesConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: LogLevel::Info }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            authentication: AuthenticationConfig::default(),
            max_body_bytes: 32 * 1024 * 1024,
            max_in_flight: 64,
            drain_delay: Duration::from_secs(2),
        }
    }
}

impl Default for AuthenticationConfig {
    fn default() -> Self {
        Self { mode: AuthenticationMode::Token, token_file: "/etc/kubernaut/gateway/token".into() }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9090)) }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request: Duration::from_hours(1),
            processing: Duration::from_mins(5),
            analysis: Duration::from_mins(10),
            approval: Duration::from_mins(15),
            execution: Duration::from_mins(30),
            verification: Duration::from_mins(30),
        }
    }
}

impl Default for VerificationConfig {
    fn default() -> Self {
        Self { stabilization_window: Duration::from_mins(2) }
    }
}

impl Default for ApprovalConfig {
    fn default() -> Self {
        Self { auto_above: 0.9, reject_below: 0.7, approvers: 1 }
    }
}

impl Default for SuppressionConfig {
    fn default() -> Self {
        Self {
            cooldown: CooldownConfig::default(),
            failures: 3,
            failure_hold: Duration::from_hours(1),
            ineffective: 3,
            ineffective_window: Duration::from_hours(1),
            ineffective_hold: Duration::from_mins(10),
            look_again: Duration::from_mins(1),
        }
    }
}

impl Default for CooldownConfig {
    fn default() -> Self {
        let five = Duration::from_mins(5);
        Self {
            remediated: five,
            no_action_required: five,
            manual_review_required: five,
            inconclusive: five,
            rolled_back: five,
            dry_run: five,
            failed: five,
            timed_out: five,
            cancelled: five,
        }
    }
}

impl Default for BudgetsConfig {
    fn default() -> Self {
        Self {
            per_target: 1,
            per_namespace: 3,
            per_cluster: 10,
            nodes: 1,
            actions_per_hour: 30,
            protected_namespaces: ["kube-system", "kube-public", "kube-node-lease"].map(str::to_owned).into(),
        }
    }
}

impl Default for ExecutionConfig {
    fn default() -> Self {
        Self {
            image: String::new(),
            image_pull_policy: ImagePullPolicy::IfNotPresent,
            service_account_prefix: "kubernaut-action-".to_owned(),
            job_timeout: Duration::from_mins(5),
            start_timeout: Duration::from_mins(2),
            blast_radius: BlastRadiusConfig::default(),
            scripts: ScriptsConfig::default(),
        }
    }
}

impl Default for BlastRadiusConfig {
    fn default() -> Self {
        Self {
            max_pods: 100,
            max_workloads: 10,
            max_services: 20,
            max_nodes: 1,
            max_pods_percent: 50,
            max_nodes_percent: 34,
            small_namespace: 20,
            small_cluster: 3,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { path: "/var/lib/kubernaut/kubernaut.db".into(), retention_days: 90 }
    }
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { allow_loopback_sinks: false, concurrency: 8 }
    }
}

impl Default for ControllersConfig {
    fn default() -> Self {
        Self { concurrency: 16 }
    }
}

impl Default for LeaderElectionConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            lease_name: "kubernaut-leader".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(30) }
    }
}
