//! What the relay has seen and not yet done. Pure: no I/O, no clock.
//!
//! Of each object only the newest state is kept. An object that failed is held back until the next
//! retry, also when it changes meanwhile: its own writes must not shorten the pause.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;

use super::Release;
use crate::Event;

/// Objects whose last stored transition is remembered; forgetting one costs an append that changes nothing.
const REMEMBERED: usize = 10_000;

/// What was seen of one object.
pub(super) struct Seen {
    pub uid: String,
    pub name: String,
    pub resource_version: String,
    /// Deletion time, and the finalizers that stay, when the object waits for the relay.
    pub leaving: Option<(Timestamp, Vec<String>)>,
    /// The object is gone from the API server.
    pub gone: bool,
    /// It is not as this version's schema says: what it records cannot be told.
    pub unreadable: bool,
    /// Recorded transitions that are not stored, by sequence.
    pub events: BTreeMap<u32, Event>,
    /// Removes the finalizer of an object of this kind.
    pub release: Release,
}

/// Objects that wait, in the order in which they were seen first.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: HashMap<String, Seen>,
    ready: VecDeque<String>,
    held: VecDeque<String>,
    stored: Stored,
    /// The store did not answer: nothing is stored before the next retry.
    pub store_is_away: bool,
}

impl Outbox {
    /// Keeps the newest state of an object, with transitions of an older state that still waits.
    pub fn take(&mut self, mut seen: Seen) {
        seen.events = seen.events.split_off(&self.stored.last(&seen.uid).saturating_add(1));
        if let Some(older) = self.waiting.remove(&seen.uid) {
            for (sequence, event) in older.events {
                seen.events.entry(sequence).or_insert(event);
            }
        } else if seen.events.is_empty() && seen.leaving.is_none() {
            self.done(&seen);
            return;
        } else {
            self.ready.push_back(seen.uid.clone());
        }
        self.waiting.insert(seen.uid.clone(), seen);
    }

    /// The next object to work on.
    pub fn next(&mut self) -> Option<Seen> {
        let uid = self.ready.pop_front()?;
        self.waiting.remove(&uid)
    }

    /// All transitions of an object are stored.
    pub fn stored(&mut self, seen: &mut Seen) {
        if let Some((last, _)) = std::mem::take(&mut seen.events).pop_last() {
            self.stored.set(&seen.uid, last);
        }
    }

    /// Nothing is left to do for this state of an object.
    pub fn done(&mut self, seen: &Seen) {
        if seen.gone {
            self.stored.forget(&seen.uid);
        }
    }

    /// Keeps an object until the next retry.
    pub fn hold(&mut self, seen: Seen) {
        self.held.push_back(seen.uid.clone());
        self.waiting.insert(seen.uid.clone(), seen);
    }

    /// Makes held objects ready, before those that were seen later.
    pub fn retry(&mut self) {
        self.store_is_away = false;
        self.held.append(&mut self.ready);
        std::mem::swap(&mut self.held, &mut self.ready);
    }

    /// True when something waits for a retry.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Objects that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// Highest stored sequence by uid, bounded; the oldest entry goes first.
#[derive(Default)]
struct Stored {
    last: HashMap<String, u32>,
    order: VecDeque<String>,
}

impl Stored {
    fn last(&self, uid: &str) -> u32 {
        self.last.get(uid).copied().unwrap_or(0)
    }

    fn set(&mut self, uid: &str, sequence: u32) {
        if self.last.insert(uid.to_owned(), sequence).is_none() {
            self.order.push_back(uid.to_owned());
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.last.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        if self.last.remove(uid).is_some() {
            self.order.retain(|known| known != uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn event(uid: &str, sequence: u32) -> Event {
        Event {
            id: crate::event::id(uid, sequence),
            source: String::new(),
            type_: "workflow.executing".into(),
            subject: uid.into(),
            time: Timestamp::UNIX_EPOCH,
            sequence,
            request: String::new(),
            namespace: String::new(),
            kind: String::new(),
            name: uid.into(),
            uid: uid.into(),
            data: serde_json::Value::Null,
        }
    }

    /// An object with transitions 1 to `last`.
    fn seen(uid: &str, last: u32) -> Seen {
        Seen {
            uid: uid.into(),
            name: uid.into(),
            resource_version: "1".into(),
            leaving: None,
            gone: false,
            unreadable: false,
            events: (1..=last).map(|sequence| (sequence, event(uid, sequence))).collect(),
            release: |_, _, _| std::future::ready(Ok(())).boxed(),
        }
    }

    fn sequences(seen: &Seen) -> Vec<u32> {
        seen.events.keys().copied().collect()
    }

    #[test]
    fn stored_transitions_are_not_stored_again() {
        let mut outbox = Outbox::default();
        outbox.take(seen("a", 2));
        let mut first = outbox.next().expect("an object");
        outbox.stored(&mut first);
        outbox.take(seen("a", 2));
        assert_eq!(outbox.len(), 0);
        outbox.take(seen("a", 3));
        assert_eq!(sequences(&outbox.next().expect("an object")), [3]);
    }

    #[test]
    fn a_held_object_stays_held_when_it_changes_and_comes_first_at_the_retry() {
        let mut outbox = Outbox::default();
        outbox.take(seen("a", 1));
        let first = outbox.next().expect("an object");
        outbox.hold(first);
        outbox.take(seen("a", 2));
        assert!(outbox.next().is_none());
        outbox.take(seen("b", 1));
        outbox.retry();
        assert_eq!(sequences(&outbox.next().expect("an object")), [1, 2]);
        assert_eq!(outbox.next().expect("an object").uid, "b");
        assert!(!outbox.is_holding());
    }

    #[test]
    fn transitions_that_vanish_from_an_object_before_they_are_stored_are_kept() {
        let mut outbox = Outbox::default();
        outbox.take(seen("a", 1));
        let mut cut = seen("a", 3);
        cut.events.remove(&1);
        outbox.take(cut);
        assert_eq!(sequences(&outbox.next().expect("an object")), [1, 2, 3]);
    }

    #[test]
    fn an_object_that_waits_for_deletion_is_taken_also_without_new_transitions() {
        let mut outbox = Outbox::default();
        outbox.take(seen("a", 1));
        let mut first = outbox.next().expect("an object");
        outbox.stored(&mut first);
        let mut leaving = seen("a", 1);
        leaving.leaving = Some((Timestamp::UNIX_EPOCH, Vec::new()));
        outbox.take(leaving);
        assert!(outbox.next().is_some_and(|seen| seen.events.is_empty()));
    }

    #[test]
    fn memory_of_stored_objects_is_bounded() {
        let mut stored = Stored::default();
        for number in 0..=REMEMBERED {
            stored.set(&number.to_string(), 1);
        }
        assert_eq!((stored.last.len(), stored.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(stored.last("0"), 0);
    }
}
