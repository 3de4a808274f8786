//! The five decisions from outside: tables, fixpoints, properties, and all five over a fake world.

mod analysis;
mod approval;
mod budget;
mod by_hand;
mod crash;
mod drift;
mod execution;
mod fixpoint;
mod given;
mod job;
mod outcome;
mod processing;
mod properties;
mod proposal;
mod reach;
mod request;
mod rollback;
mod script;
mod steps;
mod suppression;
mod undo;
mod workflow;
mod world;
