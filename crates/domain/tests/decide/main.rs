//! The five decisions from outside: tables, fixpoints, properties, and all five over a fake world.

mod analysis;
mod crash;
mod execution;
mod fixpoint;
mod given;
mod job;
mod processing;
mod properties;
mod request;
mod suppression;
mod undo;
mod workflow;
mod world;
