//! Circuit breaker of one sink: five failures in a row open it, after a pause one attempt probes (R7.5).
//!
//! Deliberately absent: the clock, which callers hand in, and any knowledge of what failed.

use jiff::{SignedDuration, Timestamp};

/// State of a breaker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Breaker {
    limit: u32,
    pause: SignedDuration,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Closed { failures: u32 },
    Open { until: Timestamp },
    HalfOpen,
}

/// What may be started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Admission {
    Free,
    /// One attempt, when none is under way.
    Probe,
    /// Nothing before this time.
    Closed(Timestamp),
}

impl Breaker {
    pub fn new(limit: u32, pause: SignedDuration) -> Self {
        Self { limit: limit.max(1), pause, state: State::Closed { failures: 0 } }
    }

    /// Whether attempts may start at `now`.
    pub fn admits(&mut self, now: Timestamp) -> Admission {
        if let State::Open { until } = self.state {
            if now < until {
                return Admission::Closed(until);
            }
            self.state = State::HalfOpen;
        }
        match self.state {
            State::HalfOpen => Admission::Probe,
            _ => Admission::Free,
        }
    }

    /// The sink answered, whatever it thinks of the event.
    pub fn answered(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// An attempt failed in a way that says something about the sink.
    pub fn failed(&mut self, now: Timestamp) {
        let open = State::Open { until: now.saturating_add(self.pause).unwrap_or(Timestamp::MAX) };
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.limit => State::Closed { failures: failures + 1 },
            State::Closed { .. } | State::HalfOpen => open,
            // An attempt from before the opening: the pause does not start anew.
            State::Open { until } => State::Open { until },
        };
    }

    /// 0 closed, 1 half-open, 2 open: the value of the metric.
    pub fn gauge(&self) -> i64 {
        match self.state {
            State::Closed { .. } => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(5, SignedDuration::from_secs(30));
        for _ in 0..5 {
            assert_eq!(breaker.admits(at(0)), Admission::Free);
            breaker.failed(at(0));
        }
        breaker
    }

    #[test]
    fn opens_after_five_failures_in_a_row() {
        assert_eq!(opened().admits(at(29)), Admission::Closed(at(30)));
        let mut breaker = Breaker::new(5, SignedDuration::from_secs(30));
        for _ in 0..4 {
            breaker.failed(at(0));
        }
        breaker.answered();
        breaker.failed(at(0));
        assert_eq!(breaker.admits(at(0)), Admission::Free);
    }

    #[test]
    fn probes_after_the_pause_and_closes_on_an_answer() {
        let mut breaker = opened();
        assert_eq!(breaker.admits(at(30)), Admission::Probe);
        breaker.answered();
        assert_eq!(breaker.admits(at(30)), Admission::Free);
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let mut breaker = opened();
        assert_eq!(breaker.admits(at(30)), Admission::Probe);
        breaker.failed(at(31));
        assert_eq!(breaker.admits(at(60)), Admission::Closed(at(61)));
    }

    #[test]
    fn a_late_failure_does_not_lengthen_the_pause() {
        let mut breaker = opened();
        breaker.failed(at(20));
        assert_eq!(breaker.admits(at(30)), Admission::Probe);
    }
}
