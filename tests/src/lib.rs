//! Tests of the whole on a real Kubernetes; they lie in `tests/`, one file per subject.
//!
//! Every test makes a namespace of its own, so that they can run side by side. They share one operator,
//! which `kubernaut-testkit` installs with the chart.
