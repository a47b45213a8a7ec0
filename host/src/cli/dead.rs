//! `sandbar dead`: looks after the dead letters of a stream or a queue.
//!
//! Works on the stream `<name>:dead` through the store, in commits of at most [`BATCH_MAX`] letters.

mod letter;

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::setup::Setup;
use crate::grants::check_name;
use crate::store::{
    Commit, CommitError, Effect, EntryId, Field, JobQueue, PushOptions, Refusal, Retention, Source, Store,
};
use crate::trigger::dead_letter::FIELD_PREFIX;
use letter::Letter;

/// The most letters that are read or moved at once.
const BATCH_MAX: u32 = 100;

/// What `sandbar dead` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters, the newest first
    List {
        #[command(flatten)]
        from: Place,
        /// How many at most
        #[arg(long, default_value_t = 100, value_name = "LETTERS")]
        limit: u32,
    },
    /// Show all that is known of dead letters
    Show {
        #[command(flatten)]
        from: Place,
        /// The letters, by their ids in the list
        #[arg(required = true, value_name = "ID")]
        ids: Vec<EntryId>,
    },
    /// Append the events again to the stream that they came from (or push the jobs to their queue), and remove the letters
    Retry {
        #[command(flatten)]
        from: Place,
        #[command(flatten)]
        which: Which,
    },
    /// Remove dead letters for good
    Drop {
        #[command(flatten)]
        from: Place,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The stream that the events came from, without the tenant's prefix
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// The queue that the jobs came from, without the tenant's prefix
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
}

impl Place {
    /// What is named, and how.
    fn named(&self) -> (&str, &'static str) {
        match (&self.stream, &self.queue) {
            (None, Some(queue)) => (queue, "--queue"),
            (stream, _) => (stream.as_deref().unwrap_or_default(), "--stream"),
        }
    }
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The letters, by their ids in the list
    #[arg(value_name = "ID")]
    ids: Vec<EntryId>,
    /// All letters that are there now
    #[arg(long)]
    all: bool,
}

/// What `retry` and `drop` did.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Letters that were sent back or removed.
    letters: u64,
    /// Letters that were left because they have no event in them.
    left: Vec<String>,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let (Action::List { from, .. }
    | Action::Show { from, .. }
    | Action::Retry { from, .. }
    | Action::Drop { from, .. }) = &arguments.action;
    let desk = Desk::open(from, global).await?;
    match &arguments.action {
        Action::List { limit, .. } => desk.list(*limit, screen).await,
        Action::Show { ids, .. } => {
            for letter in desk.find(ids).await? {
                screen.result(&letter, || letter.page())?;
            }
            Ok(Exit::Done)
        }
        Action::Retry { which, .. } => desk.settle(which, Fate::Retry, screen).await,
        Action::Drop { which, .. } => desk.settle(which, Fate::Drop, screen).await,
    }
}

/// What becomes of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Retry,
    Drop,
}

/// The dead letters of one stream or queue.
struct Desk {
    store: Arc<dyn Store>,
    /// The stream or queue as the operator calls it, with the option before it.
    called: String,
    /// The stream's key.
    stream: String,
    /// The queue of that name.
    queue: Arc<JobQueue>,
    /// The key of the dead-letter stream.
    dead: String,
}

impl Desk {
    async fn open(from: &Place, global: &Global) -> Result<Self, Failure> {
        let (stream, option) = from.named();
        check_name("stream's name", stream).map_err(|error| Failure::new(Exit::Usage, error))?;
        let setup = Setup::find(global)?;
        let store = setup.connect_shared("dead").await?;
        // Only the keys matter here, not the group or the bounds.
        let Source { stream: key, dead_key: dead, .. } = Source::new(setup.prefix(), stream, "", 1, 1);
        let queue = Arc::new(JobQueue::new(setup.prefix(), stream));
        Ok(Self { store, called: format!("{option} {stream}"), stream: key, queue, dead })
    }

    async fn list(&self, limit: u32, screen: &Screen) -> Result<Exit, Failure> {
        let (mut left, mut end) = (limit, Some(EntryId::MAX));
        while let Some(before) = end.filter(|_| left > 0) {
            let letters = self.range(EntryId::ZERO, before, left.min(BATCH_MAX), true).await?;
            end = letters.last().and_then(|letter| letter.id.previous());
            left -= letters.len().try_into().unwrap_or(left).min(left);
            for letter in letters {
                screen.result(&letter, || letter.line())?;
            }
        }
        if left == limit && limit > 0 {
            screen.note(format!("no dead letters in `{}`", self.dead));
        }
        Ok(Exit::Done)
    }

    /// The letters with these ids. All of them must be there.
    async fn find(&self, ids: &[EntryId]) -> Result<Vec<Letter>, Failure> {
        let mut letters = Vec::new();
        for id in ids {
            let found = self.range(*id, *id, 1, false).await?;
            letters.push(found.into_iter().next().ok_or_else(|| {
                Failure::new(
                    Exit::Failed,
                    format_args!("there is no dead letter {id} in `{}`; nothing was done", self.dead),
                )
                .help(format_args!("sandbar dead list {}", self.called))
            })?);
        }
        Ok(letters)
    }

    async fn settle(&self, which: &Which, fate: Fate, screen: &Screen) -> Result<Exit, Failure> {
        let mut report = Report::default();
        if which.all {
            // Those that die again meanwhile come behind this one, so this ends.
            let newest = self.range(EntryId::ZERO, EntryId::MAX, 1, true).await?;
            let last = newest.first().map_or(EntryId::ZERO, |letter| letter.id);
            let mut start = Some(EntryId::ZERO);
            while let Some(from) = start.filter(|from| *from <= last) {
                let letters = self.range(from, last, BATCH_MAX, false).await?;
                start = letters.last().and_then(|letter| letter.id.next());
                self.settle_batch(letters, fate, &mut report).await?;
            }
        } else {
            let mut ids = which.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            let mut letters = self.find(&ids).await?;
            while !letters.is_empty() {
                let rest = letters.split_off(letters.len().min(BATCH_MAX as usize));
                self.settle_batch(letters, fate, &mut report).await?;
                letters = rest;
            }
        }
        let done = match fate {
            Fate::Retry => format!("sent back to `{}`", self.stream),
            Fate::Drop => "dropped".to_owned(),
        };
        screen.result(&report, || match report.letters {
            1 => format!("1 letter {done}"),
            letters => format!("{letters} letters {done}"),
        })?;
        if report.left.is_empty() {
            return Ok(Exit::Done);
        }
        let what = format!(
            "no event is in {}: no field begins with `{FIELD_PREFIX}`; left as they are",
            report.left.join(", ")
        );
        Err(Failure::new(Exit::Failed, what).help(format_args!("sandbar dead show {} ID", self.called)))
    }

    /// Settles letters in one commit.
    async fn settle_batch(&self, letters: Vec<Letter>, fate: Fate, report: &mut Report) -> Result<(), Failure> {
        let (letters, empty): (Vec<_>, Vec<_>) =
            letters.into_iter().partition(|letter| fate == Fate::Drop || letter.has_event());
        report.left.extend(empty.iter().map(|letter| letter.id.to_string()));
        if letters.is_empty() {
            return Ok(());
        }
        let ids: Vec<EntryId> = letters.iter().map(|letter| letter.id).collect();
        let count = ids.len() as u64;
        let mut effects = Vec::new();
        if fate == Fate::Retry {
            // Where the key holds something else the events would be refused, but their letters removed.
            let (jobs, entries) = letters.iter().fold((false, false), |(jobs, entries), letter| {
                (jobs || letter.payload.is_some(), entries || letter.payload.is_none())
            });
            let refused = |error| Failure::store("send letters back", &error);
            if entries {
                self.store.length(&self.stream).await.map_err(refused)?;
            }
            if jobs {
                self.store.lengths(&self.queue).await.map_err(refused)?;
            }
            effects.extend(letters.iter().map(|letter| self.send_back(letter)));
        }
        effects.push(Effect::Remove { stream: self.dead.clone(), ids });
        let refused = self.commit(&effects).await.map_err(|error| self.not_settled(&error, report))?;
        let Some(refusal) = refused.first() else {
            report.letters += count;
            return Ok(());
        };
        // The key has become something else since it was looked at: the events were refused, but the removal stands.
        let lost = refused.iter().filter_map(|refusal| letters.get(refusal.effect));
        let back: Vec<Effect> = lost.map(|letter| append(&self.dead, letter.fields())).collect();
        self.commit(&back).await.map_err(|error| self.not_settled(&error, report))?;
        Err(Failure::new(
            Exit::Failed,
            format_args!("`{}` refused {} events: {}", self.stream, back.len(), refusal.error),
        )
        .help("their letters were put back, with new ids"))
    }

    fn send_back(&self, letter: &Letter) -> Effect {
        match &letter.payload {
            None => append(&self.stream, letter.original.clone()),
            Some(payload) => Effect::Push {
                queue: self.queue.clone(),
                payloads: vec![payload.clone()],
                options: PushOptions::default(),
            },
        }
    }

    async fn commit(&self, effects: &[Effect]) -> Result<Vec<Refusal>, CommitError> {
        let commit = Commit::plain(effects, &[]);
        Ok(self.store.commit(commit).await?.refused)
    }

    fn not_settled(&self, error: &CommitError, report: &Report) -> Failure {
        let exit = if matches!(error, CommitError::Unknown(_)) { Exit::Store } else { Exit::Failed };
        Failure::new(exit, format_args!("stopped after {} letters: {error}", report.letters))
            .help(format_args!("look at what is left: sandbar dead list {}", self.called))
    }

    async fn range(&self, start: EntryId, end: EntryId, count: u32, reverse: bool) -> Result<Vec<Letter>, Failure> {
        let entries = self.store.range(&self.dead, start, end, count, reverse).await;
        let entries =
            entries.map_err(|error| Failure::store(&format!("read the dead letters in `{}`", self.dead), &error))?;
        Ok(entries.into_iter().map(Letter::from).collect())
    }
}

fn append(stream: &str, fields: Vec<Field>) -> Effect {
    Effect::Append { stream: stream.to_owned(), fields, retention: Retention::Unlimited }
}
