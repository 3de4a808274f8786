//! What the tests on a real Kubernetes share: the cluster, the operator, applications to break, a receiver of events.
//!
//! Nothing is skipped: without a cluster or an image a test fails and says what to run. Deliberately
//! absent: stand-ins; whoever wants one writes a unit test.

pub mod alert;
pub mod app;
pub mod cluster;
pub mod fault;
pub mod namespace;
pub mod objects;
pub mod operator;
pub mod pods;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod remediation;
pub mod request;
pub mod shop;
pub mod snapshot;
pub mod spare_node;
pub mod wait;

pub use axum::http;

pub use alert::Alert;
pub use app::App;
pub use cluster::Cluster;
pub use namespace::Namespace;
pub use operator::Operator;
pub use process::Process;
pub use proxy::{Fault, Proxy};
pub use receiver::Receiver;
pub use remediation::{Remediation, Step};
pub use shop::Shop;
pub use snapshot::Snapshot;
pub use spare_node::SpareNode;
pub use wait::until;
