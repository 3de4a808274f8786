//! Every statement, one function each. Transactions are the caller's.

use jiff::Timestamp;
use kubernaut_events::{Counts, Delivery, Event};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};
use uuid::Uuid;

use super::row::{self, microseconds};

/// Inserts an event; its position, or `None` when it is known.
pub(super) async fn insert_event(connection: &mut SqliteConnection, event: &Event) -> Result<Option<i64>, Error> {
    let inserted = sqlx::query(
        "insert into events (id, source, type, subject, time, sequence, request, namespace, kind, name, uid, data)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         on conflict (id) do nothing
         returning position",
    )
    .bind(event.id.to_string())
    .bind(&event.source)
    .bind(&event.type_)
    .bind(&event.subject)
    .bind(microseconds(event.time))
    .bind(event.sequence)
    .bind(&event.request)
    .bind(&event.namespace)
    .bind(&event.kind)
    .bind(&event.name)
    .bind(&event.uid)
    .bind(event.data.to_string())
    .fetch_optional(connection)
    .await?;
    inserted.map(|row| row.try_get("position")).transpose()
}

/// Inserts a delivery, ready unless one of its subject is pending; 0 when it exists.
pub(super) async fn insert_delivery(
    connection: &mut SqliteConnection,
    sink: &str,
    event: i64,
    subject: &str,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "insert into deliveries (sink, event, subject, state)
         values (?1, ?2, ?3, case when exists (
           select 1 from deliveries where sink = ?1 and subject = ?3 and state in ('waiting', 'ready')
         ) then 'waiting' else 'ready' end)
         on conflict do nothing",
    )
    .bind(sink)
    .bind(event)
    .bind(subject)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// All events of a request, in no order.
pub(super) async fn events_of_request(connection: &mut SqliteConnection, request: &str) -> Result<Vec<Event>, Error> {
    let rows = sqlx::query("select * from events where request = ?1").bind(request).fetch_all(connection).await?;
    rows.iter().map(row::event).collect()
}

/// Names of requests by their latest event, newest first.
pub(super) async fn requests(connection: &mut SqliteConnection, limit: u32) -> Result<Vec<String>, Error> {
    sqlx::query_scalar("select request from events group by request order by max(time) desc, request limit ?1")
        .bind(limit)
        .fetch_all(connection)
        .await
}

/// Inserts a sink; false when it is known.
pub(super) async fn insert_sink(connection: &mut SqliteConnection, sink: &str) -> Result<bool, Error> {
    let done = sqlx::query("insert into sinks (key) values (?1) on conflict do nothing")
        .bind(sink)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// What a delivery needs to know of an event.
pub(super) struct Recorded {
    pub position: i64,
    pub type_: String,
    pub subject: String,
}

/// Events recorded at `since` or later, in the order of storing.
pub(super) async fn events_since(connection: &mut SqliteConnection, since: Timestamp) -> Result<Vec<Recorded>, Error> {
    let rows = sqlx::query("select position, type, subject from events where time >= ?1 order by position")
        .bind(microseconds(since))
        .fetch_all(connection)
        .await?;
    let recorded = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Recorded {
            position: row.try_get("position")?,
            type_: row.try_get("type")?,
            subject: row.try_get("subject")?,
        })
    };
    rows.iter().map(recorded).collect()
}

/// Makes the earliest pending delivery of each subject ready and all others wait.
pub(super) async fn order_deliveries(connection: &mut SqliteConnection, sink: &str) -> Result<(), Error> {
    sqlx::query(
        "update deliveries set state = case when exists (
           select 1 from deliveries earlier
           where earlier.sink = deliveries.sink and earlier.subject = deliveries.subject
             and earlier.state in ('waiting', 'ready') and earlier.event < deliveries.event
         ) then 'waiting' else 'ready' end
         where sink = ?1 and state in ('waiting', 'ready')",
    )
    .bind(sink)
    .execute(connection)
    .await
    .map(drop)
}

/// Keys of all sinks, also of those that have deliveries only.
pub(super) async fn sinks(connection: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    sqlx::query_scalar("select key from sinks union select sink from deliveries order by 1").fetch_all(connection).await
}

/// Deletes all deliveries of a sink.
pub(super) async fn delete_deliveries(connection: &mut SqliteConnection, sink: &str) -> Result<(), Error> {
    sqlx::query("delete from deliveries where sink = ?1").bind(sink).execute(connection).await.map(drop)
}

/// Deletes a sink.
pub(super) async fn delete_sink(connection: &mut SqliteConnection, sink: &str) -> Result<(), Error> {
    sqlx::query("delete from sinks where key = ?1").bind(sink).execute(connection).await.map(drop)
}

/// Ready deliveries that are due, never tried ones first.
pub(super) async fn ready(
    connection: &mut SqliteConnection,
    sink: &str,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Delivery>, Error> {
    let rows = sqlx::query(
        "select events.*, deliveries.attempts from deliveries join events on events.position = deliveries.event
         where deliveries.sink = ?1 and deliveries.state = 'ready' and deliveries.not_before <= ?2
         order by deliveries.not_before, deliveries.event limit ?3",
    )
    .bind(sink)
    .bind(microseconds(now))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(row::delivery).collect()
}

/// When the earliest delivery that is not due at `now` will be.
pub(super) async fn next_ready(
    connection: &mut SqliteConnection,
    sink: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let next: Option<i64> = sqlx::query_scalar(
        "select min(not_before) from deliveries where sink = ?1 and state = 'ready' and not_before > ?2",
    )
    .bind(sink)
    .bind(microseconds(now))
    .fetch_one(connection)
    .await?;
    next.map(row::time).transpose()
}

/// Ends a ready delivery; its subject, or `None` when it was not ready.
pub(super) async fn finish(
    connection: &mut SqliteConnection,
    sink: &str,
    event: Uuid,
    state: &'static str,
    last: Option<(u32, &str)>,
) -> Result<Option<String>, Error> {
    sqlx::query_scalar(
        "update deliveries set state = ?3, attempts = coalesce(?4, attempts), error = ?5
         where sink = ?1 and event = (select position from events where id = ?2) and state = 'ready'
         returning subject",
    )
    .bind(sink)
    .bind(event.to_string())
    .bind(state)
    .bind(last.map(|(attempts, _)| attempts))
    .bind(last.map(|(_, error)| error))
    .fetch_optional(connection)
    .await
}

/// Makes the next waiting delivery of a subject ready.
pub(super) async fn promote(connection: &mut SqliteConnection, sink: &str, subject: &str) -> Result<(), Error> {
    sqlx::query(
        "update deliveries set state = 'ready' where sink = ?1 and event = (
           select min(event) from deliveries where sink = ?1 and subject = ?2 and state in ('waiting', 'ready')
         )",
    )
    .bind(sink)
    .bind(subject)
    .execute(connection)
    .await
    .map(drop)
}

/// Counts one more delivered event.
pub(super) async fn count_delivered(connection: &mut SqliteConnection, sink: &str, at: Timestamp) -> Result<(), Error> {
    sqlx::query("update sinks set delivered = delivered + 1, last_success = ?2 where key = ?1")
        .bind(sink)
        .bind(microseconds(at))
        .execute(connection)
        .await
        .map(drop)
}

/// Notes a failed attempt and when the next one is due.
pub(super) async fn postpone(
    connection: &mut SqliteConnection,
    sink: &str,
    event: Uuid,
    attempts: u32,
    next: Timestamp,
    error: &str,
) -> Result<(), Error> {
    sqlx::query(
        "update deliveries set attempts = ?3, not_before = ?4, error = ?5
         where sink = ?1 and event = (select position from events where id = ?2) and state = 'ready'",
    )
    .bind(sink)
    .bind(event.to_string())
    .bind(attempts)
    .bind(microseconds(next))
    .bind(error)
    .execute(connection)
    .await
    .map(drop)
}

/// How far a sink is.
pub(super) async fn counts(connection: &mut SqliteConnection, sink: &str) -> Result<Counts, Error> {
    let row = sqlx::query(
        "select
           coalesce((select delivered from sinks where key = ?1), 0) as delivered,
           (select last_success from sinks where key = ?1) as last_success,
           (select count(*) from deliveries where sink = ?1 and state in ('waiting', 'ready')) as pending,
           (select count(*) from deliveries where sink = ?1 and state = 'dead') as dead",
    )
    .bind(sink)
    .fetch_one(connection)
    .await?;
    let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    Ok(Counts {
        delivered: count("delivered")?,
        pending: count("pending")?,
        dead: count("dead")?,
        last_success: row.try_get::<Option<i64>, _>("last_success")?.map(row::time).transpose()?,
    })
}

/// Deletes old events but for those that a sink still waits for; deliveries go with them.
pub(super) async fn delete_events_before(connection: &mut SqliteConnection, time: Timestamp) -> Result<u64, Error> {
    let done = sqlx::query(
        "delete from events where time < ?1 and not exists (
           select 1 from deliveries where deliveries.event = events.position and deliveries.state in ('waiting', 'ready')
         )",
    )
    .bind(microseconds(time))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
