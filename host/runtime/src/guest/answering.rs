//! What becomes of a request: whether the plugin has answered, or why its answer was withheld.

use std::time::Duration;

use parking_lot::Mutex;
use sandbar_store::CommitError;

/// What becomes of one request; shared by the call and by the waiter for its answer.
#[derive(Debug)]
pub struct Answering {
    /// The trigger's.
    route: String,
    /// The number of the request in the log.
    id: String,
    /// The most bytes that the body of the answer may announce.
    pub(super) response_bytes: u64,
    pub(super) noted: Mutex<Noted>,
}

/// What is known of a request.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// The body of the request did not come whole.
    pub(super) broken: Option<AnswerRefusal>,
    pub(super) is_answered: bool,
    pub(super) is_server_error: bool,
    pub(super) refusal: Option<AnswerRefusal>,
    pub(super) committed_in: Option<Duration>,
}

/// Why an answer was withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerRefusal {
    /// The body of the request is larger than it may be.
    TooLarge,
    /// The body of the request ended before its time.
    Incomplete,
    /// The answer is none that can be sent.
    Invalid(String),
    /// The writes were not committed, or that is not known.
    NotCommitted(CommitError),
    /// The store refused one write; the others stand.
    WriteRefused(String),
}

impl Answering {
    /// A request below a route that nothing is known of yet.
    pub fn new(route: &str, response_bytes: u64) -> Self {
        let id = format!("{:016x}", rand::random::<u64>());
        Self { route: route.to_owned(), id, response_bytes, noted: Mutex::default() }
    }

    /// The route of the trigger.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The number of the request in the log.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The body of the request did not come whole: what the plugin makes of the rest counts for nothing.
    pub fn broken(&self, how: AnswerRefusal) {
        self.noted.lock().broken.get_or_insert(how);
    }

    /// Why the answer was withheld, if it was.
    pub fn refusal(&self) -> Option<AnswerRefusal> {
        let noted = self.noted.lock();
        noted.refusal.clone().or_else(|| noted.broken.clone())
    }

    /// Whether the plugin has answered, and the answer was not withheld.
    pub fn is_answered(&self) -> bool {
        self.noted.lock().is_answered
    }

    /// Whether the plugin has answered that it failed, with a status of 500 or more.
    pub fn is_server_error(&self) -> bool {
        self.noted.lock().is_server_error
    }

    /// How long the commit before the answer took, if there was one.
    pub fn committed_in(&self) -> Option<Duration> {
        self.noted.lock().committed_in
    }
}
