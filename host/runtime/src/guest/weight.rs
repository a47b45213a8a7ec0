//! How many bytes an answer of the store is, for the limit on what a call reads.

use bytes::Bytes;

use sandbar_store::{Entry, Field, Job, Lengths, Page, Remaining, Scored, StreamInfo, Took};

/// What a number, an id or a flag counts as.
const SMALL: u64 = 8;

/// Something that a store answers.
pub(super) trait Weight {
    /// About how many bytes it is.
    fn weight(&self) -> u64;
}

/// Numbers and other answers that are as good as nothing.
macro_rules! small {
    ($($answer:ty),+) => {
        $(impl Weight for $answer {
            fn weight(&self) -> u64 {
                SMALL
            }
        })+
    };
}

small!((), bool, u64, i64, f64, Lengths, Remaining);

impl Weight for Bytes {
    fn weight(&self) -> u64 {
        SMALL + self.len() as u64
    }
}

impl Weight for String {
    fn weight(&self) -> u64 {
        SMALL + self.len() as u64
    }
}

impl Weight for Field {
    fn weight(&self) -> u64 {
        self.name.weight() + self.value.weight()
    }
}

impl Weight for Scored {
    fn weight(&self) -> u64 {
        self.member.weight() + SMALL
    }
}

impl Weight for Entry {
    fn weight(&self) -> u64 {
        SMALL + self.fields.weight()
    }
}

impl Weight for Job {
    fn weight(&self) -> u64 {
        SMALL + self.payload.weight()
    }
}

impl Weight for Took {
    fn weight(&self) -> u64 {
        self.jobs.weight()
    }
}

impl Weight for Page {
    fn weight(&self) -> u64 {
        self.keys.weight()
    }
}

impl Weight for StreamInfo {
    fn weight(&self) -> u64 {
        self.groups.iter().map(|group| group.name.weight() + 4 * SMALL).sum::<u64>() + 4 * SMALL
    }
}

impl Weight for sandbar_store::held_lock::HeldLock {
    fn weight(&self) -> u64 {
        SMALL
    }
}

impl<T: Weight> Weight for Option<T> {
    fn weight(&self) -> u64 {
        self.as_ref().map_or(SMALL, Weight::weight)
    }
}

impl<T: Weight> Weight for Vec<T> {
    fn weight(&self) -> u64 {
        self.iter().map(Weight::weight).sum()
    }
}
