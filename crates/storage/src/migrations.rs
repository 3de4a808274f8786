//! The schema, embedded: every change is one more file, none is ever edited.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// All migrations, oldest first.
pub(crate) fn sqlite() -> Migrator {
    Migrator::with_migrations(vec![Migration::new(
        1,
        "events".into(),
        MigrationType::Simple,
        include_str!("../migrations/0001_events.sql").into_sql_str(),
        false,
    )])
}
