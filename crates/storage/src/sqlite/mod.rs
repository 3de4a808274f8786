//! The embedded store: one file, one writer, a few readers.
//!
//! WAL with `synchronous = normal`: a power cut may take the last commits, never the file's
//! consistency. That is enough, since the API server holds the truth: what was lost is read again
//! and stored under the same ids (ARCHITECTURE.md, invariants 1 and 2). Deliberately absent:
//! a second writing process; the volume belongs to one operator.

mod query;
mod row;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kubernaut_events::{Appended, Counts, Due, Event, Store, StoreError, Subscription, event::sort_timeline};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite as Database, Transaction};
use uuid::Uuid;

use crate::migrations;

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// How long a call waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);
/// Readers at once.
const READERS: u32 = 2;

/// An open store. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory of the file cannot be made.
    #[error("cannot create the directory {}: {source}; make its parent writable or choose another path", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no store to read.
    #[error("there is no event store at {}; the operator creates it when it starts, check the path", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is no store, or cannot be read and written.
    #[error("cannot open the event store {}: {source}; check that it is an SQLite file which this user may read and write, with free space on its volume", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot bring the event store {} up to date: {source}; if a newer version wrote it, run that version, else restore a backup", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: sqlx::migrate::MigrateError,
    },
}

impl Sqlite {
    /// Opens the store at `path` for the one process that writes it. Directory, file and schema are
    /// created when missing.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let open = |source| OpenError::Open { path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
            tokio::fs::create_dir_all(directory).await.map_err(failed)?;
        }
        let options = options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let writer = pool(1).connect_with(options).await.map_err(open)?;
        let migrate = |source| OpenError::Migrate { path: path.to_owned(), source };
        migrations::sqlite().run(&writer).await.map_err(migrate)?;
        let readers = pool(READERS).connect_lazy_with(self::options(path).read_only(true));
        Ok(Self { writer, readers })
    }

    /// Opens an existing store for reading, next to an operator that writes it. Calls that would
    /// write fail.
    pub async fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        if !tokio::fs::try_exists(path).await.unwrap_or(false) {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let open = |source| OpenError::Open { path: path.to_owned(), source };
        let readers = pool(READERS).connect_with(options(path).read_only(true)).await.map_err(open)?;
        query::requests(&mut *readers.acquire().await.map_err(open)?, 1).await.map_err(open)?;
        Ok(Self { writer: readers.clone(), readers })
    }

    /// Closes all connections; the write-ahead log is merged into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Takes the write lock at once: a transaction that reads first could not get it later.
    async fn begin(&self) -> Result<Transaction<'static, Database>, StoreError> {
        self.writer.begin_with("begin immediate").await.map_err(failed)
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).foreign_keys(true).pragma("cache_size", "-1024")
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE)
}

/// What may pass is `Unavailable`, what stays wrong is `Invalid`.
fn failed(error: sqlx::Error) -> StoreError {
    let stays = match &error {
        sqlx::Error::Database(database) => !matches!(database.kind(), sqlx::error::ErrorKind::Other),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => true,
        _ => false,
    };
    if stays { StoreError::Invalid(error.to_string()) } else { StoreError::Unavailable(error.into()) }
}

#[async_trait]
impl Store for Sqlite {
    async fn append(&self, events: &[Event], subscriptions: &[Subscription]) -> Result<Appended, StoreError> {
        let mut transaction = self.begin().await?;
        let mut appended = Appended::default();
        for event in events {
            let Some(position) = query::insert_event(&mut transaction, event).await.map_err(failed)? else { continue };
            appended.stored.push(event.id);
            for subscription in subscriptions.iter().filter(|subscription| subscription.wants(&event.type_)) {
                let added = query::insert_delivery(&mut transaction, &subscription.sink, position, &event.subject);
                appended.deliveries += added.await.map_err(failed)?;
            }
        }
        transaction.commit().await.map_err(failed)?;
        Ok(appended)
    }

    async fn timeline(&self, request: &str) -> Result<Vec<Event>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        let mut events = query::events_of_request(&mut connection, request).await.map_err(failed)?;
        sort_timeline(&mut events);
        Ok(events)
    }

    async fn requests(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        query::requests(&mut connection, limit).await.map_err(failed)
    }

    async fn register(&self, subscription: &Subscription, since: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let sink = &subscription.sink;
        if query::insert_sink(&mut transaction, sink).await.map_err(failed)? {
            let events = query::events_since(&mut transaction, since).await.map_err(failed)?;
            for event in events.iter().filter(|event| subscription.wants(&event.type_)) {
                let added = query::insert_delivery(&mut transaction, sink, event.position, &event.subject);
                added.await.map_err(failed)?;
            }
            query::order_deliveries(&mut transaction, sink).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn sinks(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        query::sinks(&mut connection).await.map_err(failed)
    }

    async fn forget_sink(&self, sink: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        query::delete_deliveries(&mut transaction, sink).await.map_err(failed)?;
        query::delete_sink(&mut transaction, sink).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn due(&self, sink: &str, limit: u32, now: Timestamp) -> Result<Due, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        Ok(Due {
            deliveries: query::ready(&mut connection, sink, limit, now).await.map_err(failed)?,
            next: query::next_ready(&mut connection, sink, now).await.map_err(failed)?,
        })
    }

    async fn delivered(&self, sink: &str, event: Uuid, at: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        if let Some(subject) = query::finish(&mut transaction, sink, event, "delivered", None).await.map_err(failed)? {
            query::promote(&mut transaction, sink, &subject).await.map_err(failed)?;
            query::count_delivered(&mut transaction, sink, at).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn retry_at(
        &self,
        sink: &str,
        event: Uuid,
        attempts: u32,
        next: Timestamp,
        error: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        query::postpone(&mut transaction, sink, event, attempts, next, error).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn dead_letter(&self, sink: &str, event: Uuid, attempts: u32, error: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let last = Some((attempts, error));
        if let Some(subject) = query::finish(&mut transaction, sink, event, "dead", last).await.map_err(failed)? {
            query::promote(&mut transaction, sink, &subject).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn counts(&self, sink: &str) -> Result<Counts, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        query::counts(&mut connection, sink).await.map_err(failed)
    }

    async fn delete_older_than(&self, time: Timestamp) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let deleted = query::delete_events_before(&mut transaction, time).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(deleted)
    }
}
