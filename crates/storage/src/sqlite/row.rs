//! Rows to values and back: the one place that knows the columns of an event.

use jiff::Timestamp;
use kubernaut_events::{Delivery, Event};
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row};
use uuid::Uuid;

/// Microseconds since 1970, as times are stored.
pub(super) fn microseconds(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The time of a column.
pub(super) fn time(microseconds: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(microseconds).map_err(decode)
}

/// The event of a row that has all columns of `events`.
pub(super) fn event(row: &SqliteRow) -> Result<Event, Error> {
    let id: &str = row.try_get("id")?;
    let data: &str = row.try_get("data")?;
    Ok(Event {
        id: Uuid::parse_str(id).map_err(decode)?,
        source: row.try_get("source")?,
        type_: row.try_get("type")?,
        subject: row.try_get("subject")?,
        time: time(row.try_get("time")?)?,
        sequence: row.try_get("sequence")?,
        request: row.try_get("request")?,
        namespace: row.try_get("namespace")?,
        kind: row.try_get("kind")?,
        name: row.try_get("name")?,
        uid: row.try_get("uid")?,
        data: serde_json::from_str(data).map_err(decode)?,
    })
}

/// The delivery of a row that has all columns of `events`, and `attempts`.
pub(super) fn delivery(row: &SqliteRow) -> Result<Delivery, Error> {
    Ok(Delivery { event: event(row)?, attempts: row.try_get("attempts")? })
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode(Box::new(error))
}
