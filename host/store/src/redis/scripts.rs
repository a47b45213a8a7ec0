//! The Lua scripts, each in a file of its own that says what it takes and returns.

use ::redis::Script as Compiled;

use super::connector::Version;

/// Since Redis 7 a script that begins with this line is refused as a whole where its writes could be refused one by one
/// (out of memory), instead of being torn in the middle.
const SHEBANG: &str = "#!lua\n";
/// The same for a script that only reads.
const SHEBANG_NO_WRITES: &str = "#!lua flags=no-writes\n";
/// The same for a script that adds next to nothing, and without which jobs would be stuck.
const SHEBANG_ALLOW_OOM: &str = "#!lua flags=allow-oom\n";

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident => [$($file:literal),+]),+ $(,)?) => {
        /// A script.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Script {
            $($(#[$doc])* $name,)+
        }

        impl Script {
            const ALL: &[Self] = &[$(Self::$name),+];

            fn source(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($(include_str!(concat!("lua/", $file, ".lua"))),+),)+
                }
            }
        }
    };
}

scripts! {
    /// Takes entries from consumers that were not heard of.
    TakeOver => ["claim", "take_over"],
    /// Answers a consumer's own pending entries.
    Pending => ["claim", "pending"],
    /// Hands out events whose time for a retry has come.
    Due => ["claim", "due"],
    /// Marks entries as still being handled.
    KeepAlive => ["keep_alive"],
    /// Advances an epoch.
    Fence => ["fence"],
    /// Removes a consumer.
    Leave => ["leave"],
    /// Trims a stream, but keeps what some group has not read or not acknowledged.
    Trim => ["trim"],
    /// Takes a lock, or joins the line.
    LockAcquire => ["lock_hand", "lock_acquire"],
    /// Gives a lock a new time to live.
    LockRenew => ["lock_renew"],
    /// Gives a lock back.
    LockRelease => ["lock_hand", "lock_release"],
    /// Takes a claim to a lock back.
    LockWithdraw => ["lock_hand", "lock_withdraw"],
    /// Takes a lock from its holder.
    LockBreak => ["lock_hand", "lock_break"],
    /// Answers what there is of a key, or grants its load.
    LoadClaim => ["load", "load_claim"],
    /// Keeps the grant of a load.
    LoadRenew => ["load", "load_renew"],
    /// Ends a load that found something, or nothing.
    LoadFill => ["load", "load_fill"],
    /// Ends a load that failed.
    LoadFail => ["load", "load_fail"],
    /// Keeps a copy of a value that another client has set.
    LoadCopy => ["load", "load_copy"],
    /// Takes jobs of a queue.
    QueueTake => ["queue_record", "queue_take"],
    /// Moves a lease to a new name.
    QueueRecover => ["queue_record", "queue_recover"],
    /// Gives the jobs of a lease back.
    QueueGiveBack => ["queue_record", "queue_give_back"],
    /// Extends leases.
    QueueExtend => ["queue_record", "queue_extend"],
    /// Counts jobs.
    QueueLengths => ["queue_record", "queue_lengths"],
}

/// Pushes a job within a commit. It has no [`SHEBANG`]: there the commit itself sees to it that all of it is refused.
pub(super) const QUEUE_PUSH: &str = concat!(include_str!("lua/queue_record.lua"), include_str!("lua/queue_push.lua"));

/// All scripts, as the server's version wants them.
#[derive(Debug)]
pub(super) struct Scripts(Vec<Compiled>);

impl Scripts {
    pub(super) fn new(version: Version) -> Self {
        let head = |script| match script {
            _ if version < Version(7, 0) => "",
            Script::QueueLengths => SHEBANG_NO_WRITES,
            Script::QueueRecover | Script::QueueGiveBack | Script::QueueExtend => SHEBANG_ALLOW_OOM,
            _ => SHEBANG,
        };
        let compiled = |script: &Script| Compiled::new(&format!("{}{}", head(*script), script.source()));
        Self(Script::ALL.iter().map(compiled).collect())
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each variant, in the order of the variants")]
    pub(super) fn get(&self, script: Script) -> &Compiled {
        &self.0[script as usize]
    }
}
