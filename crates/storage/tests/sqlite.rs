//! The embedded store passes the suite, and behaves as a file should.

mod suite;

use kubernaut_events::Store;
use kubernaut_storage::Sqlite;

/// A store in a directory that goes with it.
async fn fresh() -> (Sqlite, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Sqlite::open(directory.path().join("deep/er/events.db")).await.expect("a store");
    (store, directory)
}

/// Runs each test of the suite on a store of its own.
macro_rules! passes {
    ($($test:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $test() {
            let (store, _directory) = fresh().await;
            suite::$test(&store).await;
        })+
    };
}

passes!(
    an_event_appended_twice_is_stored_once,
    an_event_is_read_as_it_was_written,
    only_interested_sinks_get_a_delivery,
    a_sink_made_later_gets_nothing_older_than_itself,
    a_sink_gets_what_was_stored_between_its_creation_and_its_registration,
    a_later_event_of_a_subject_waits_for_the_earlier,
    a_dead_letter_lets_the_next_event_of_its_subject_go,
    a_failed_delivery_is_due_again_at_its_time,
    settling_twice_changes_nothing,
    a_forgotten_sink_leaves_nothing,
    old_events_go_unless_they_are_awaited,
    requests_are_listed_newest_first,
);

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let (store, directory) = fresh().await;
    let event = suite::event("a", 1);
    store.append(std::slice::from_ref(&event), &[suite::subscription("audit", &["*"])]).await.expect("stored");
    store.close().await;
    let store = Sqlite::open(directory.path().join("deep/er/events.db")).await.expect("a store");
    assert_eq!(store.timeline("rr-1").await.expect("a timeline"), std::slice::from_ref(&event));
    let again = store.append(&[event], &[suite::subscription("audit", &["*"])]).await.expect("stored");
    assert!(again.stored.is_empty());
    assert_eq!(store.counts("audit").await.expect("counts").pending, 1);
}

#[tokio::test]
async fn a_reader_sees_what_a_live_writer_stored_and_cannot_write() {
    let (store, directory) = fresh().await;
    let reader = Sqlite::open_read_only(directory.path().join("deep/er/events.db")).await.expect("a reader");
    store.append(&[suite::event("a", 1)], &[]).await.expect("stored");
    assert_eq!(reader.timeline("rr-1").await.expect("a timeline").len(), 1);
    reader.append(&[suite::event("a", 2)], &[]).await.expect_err("a reader must not write");
}

#[tokio::test]
async fn errors_name_the_path_and_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("none.db");
    let error = Sqlite::open_read_only(&missing).await.expect_err("missing").to_string();
    assert!(error.contains("none.db") && error.contains("operator creates it"), "{error}");

    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").expect("written");
    let error = Sqlite::open(file.join("events.db")).await.expect_err("no directory").to_string();
    assert!(error.contains("cannot create the directory") && error.contains("choose another path"), "{error}");

    let text = directory.path().join("text.db");
    std::fs::write(&text, "this is a text and no database, however long it may be. ".repeat(40)).expect("written");
    let error = Sqlite::open(&text).await.expect_err("no database").to_string();
    assert!(error.contains("text.db") && error.contains("SQLite file"), "{error}");
}
