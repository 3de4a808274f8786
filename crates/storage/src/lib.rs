//! All SQL of the project: [`Sqlite`] implements [`kubernaut_events::Store`].
//!
//! Deliberately absent: SQL made at run time, an ORM, decisions about deliveries. Statements are
//! static, one function each, and take the connection of the caller's transaction.

mod migrations;
mod sqlite;

pub use sqlite::{OpenError, Sqlite};
