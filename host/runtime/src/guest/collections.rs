//! `sandbar:plugin/collections`.

use std::future::ready;

use super::check;
use super::state::State;
use crate::bindings::sandbar::plugin::collections::{End, Host, Scored};
use crate::bindings::sandbar::plugin::types::{Error, FieldResult};
use sandbar_store::{COLLECTION_MEMBERS_MAX, Effect};

/// The most members that one read by score answers.
const MEMBERS_MAX: u32 = 10_000;
/// What a read of a whole collection answers at most; no store answers more.
const WHOLE: u64 = COLLECTION_MEMBERS_MAX;
/// What a score takes, in bytes, for the limit on gathered writes.
const SCORE_BYTES: usize = 8;

/// Reads one thing of a readable key from the store.
macro_rules! ask {
    ($state:ident, $what:expr, $key:expr, |$store:ident, $full:ident| $question:expr) => {{
        let full = $state.readable(&$key)?;
        let ($store, $full) = ($state.store(), full.as_str());
        let answer = $state.recorder_slot.ask(|| format!("collections.{} {full}", $what), $question).await;
        $state.answered(answer)
    }};
}

/// The same for what may be large: `$asked` members of a key that has `$size`.
macro_rules! ask_large {
    ($state:ident, $what:expr, $key:expr, $asked:expr, |$store:ident, $full:ident| $size:expr, $question:expr) => {{
        let full = $state.readable(&$key)?;
        let (large, $full) = ($state.large(), full.as_str());
        let $store = &large.store;
        let question = large.read($full, $asked, $size, $question);
        let answer = $state.recorder_slot.ask(|| format!("collections.{} {full}", $what), question).await;
        $state.answered(answer)
    }};
}

impl Host for State {
    async fn hash_get(&mut self, key: String, name: String) -> Result<Option<Vec<u8>>, Error> {
        let values = self.hash_get_many(key, vec![name]).await?;
        Ok(values.into_iter().next().flatten())
    }

    async fn hash_get_many(&mut self, key: String, names: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        check::members(&key, &names)?;
        let mut values = Vec::with_capacity(names.len());
        // No more at once than the call may still read, if each is as large as a value may be.
        while let Some(rest) = names.get(values.len()..).filter(|rest| !rest.is_empty()) {
            let count = self.call.budget.values_at_once(self.context.limits.value_bytes.as_u64()).min(rest.len());
            let some = rest.get(..count).unwrap_or(rest);
            let answer =
                ask!(self, format_args!("hash-get-many {some:?}"), key, |store, full| store.hash_get_many(full, some))?;
            values.extend(answer.into_iter().map(|value| value.map(Vec::from)));
        }
        Ok(values)
    }

    async fn hash_get_all(&mut self, key: String) -> Result<Vec<FieldResult>, Error> {
        let fields =
            ask_large!(self, "hash-get-all", key, WHOLE, |store, full| ready(Ok(WHOLE)), store.hash_get_all(full))?;
        Ok(fields.into_iter().map(|field| FieldResult { name: field.name, value: field.value.into() }).collect())
    }

    async fn hash_length(&mut self, key: String) -> Result<u64, Error> {
        ask!(self, "hash-length", key, |store, full| store.hash_length(full))
    }

    fn hash_set(&mut self, key: String, fields: Vec<FieldResult>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        let (fields, bytes) = self.fields(&key, fields)?;
        self.write(Effect::HashSet { key: full, fields }, bytes)
    }

    fn hash_delete(&mut self, key: String, names: Vec<String>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        let bytes = check::members(&key, &names)?;
        self.write(Effect::HashDelete { key: full, names }, bytes)
    }

    fn hash_add(&mut self, key: String, name: String, by: i64) -> Result<(), Error> {
        let full = self.writable(&key)?;
        check::member(&key, &name)?;
        let bytes = name.len();
        self.write(Effect::HashAdd { key: full, name, by }, bytes)
    }

    async fn set_contains(&mut self, key: String, member: String) -> Result<bool, Error> {
        ask!(self, format_args!("set-contains {member:?}"), key, |store, full| store.set_contains(full, &member))
    }

    async fn set_members(&mut self, key: String) -> Result<Vec<String>, Error> {
        ask_large!(self, "set-members", key, WHOLE, |store, full| ready(Ok(WHOLE)), store.set_members(full))
    }

    async fn set_size(&mut self, key: String) -> Result<u64, Error> {
        ask!(self, "set-size", key, |store, full| store.set_size(full))
    }

    fn set_add(&mut self, key: String, members: Vec<String>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        let bytes = check::members(&key, &members)?;
        self.write(Effect::SetAdd { key: full, members }, bytes)
    }

    fn set_remove(&mut self, key: String, members: Vec<String>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        let bytes = check::members(&key, &members)?;
        self.write(Effect::SetRemove { key: full, members }, bytes)
    }

    async fn sorted_score(&mut self, key: String, member: String) -> Result<Option<f64>, Error> {
        ask!(self, format_args!("sorted-score {member:?}"), key, |store, full| store.sorted_score(full, &member))
    }

    async fn sorted_size(&mut self, key: String) -> Result<u64, Error> {
        ask!(self, "sorted-size", key, |store, full| store.sorted_size(full))
    }

    async fn sorted_range(&mut self, key: String, start: i64, stop: i64, reverse: bool) -> Result<Vec<Scored>, Error> {
        let asked = between(start, stop);
        ask_large!(
            self,
            format_args!("sorted-range {start} {stop} {reverse}"),
            key,
            asked,
            |store, full| store.sorted_size(full),
            store.sorted_range(full, start, stop, reverse)
        )
        .map(answered)
    }

    async fn sorted_range_by_score(
        &mut self,
        key: String,
        min: f64,
        max: f64,
        count: u32,
    ) -> Result<Vec<Scored>, Error> {
        number(&key, min)?;
        number(&key, max)?;
        let count = check::count(&key, count, MEMBERS_MAX)?;
        let asked = u64::from(count);
        ask_large!(
            self,
            format_args!("sorted-range-by-score {min:?} {max:?} {count}"),
            key,
            asked,
            |store, full| store.sorted_size(full),
            store.sorted_range_by_score(full, min, max, count)
        )
        .map(answered)
    }

    fn sorted_add(&mut self, key: String, members: Vec<Scored>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        check::parts(&key, "members", members.len())?;
        let mut bytes = 0usize;
        let mut checked = Vec::with_capacity(members.len());
        for Scored { member, score } in members {
            check::member(&key, &member)?;
            number(&key, score)?;
            bytes = bytes.saturating_add(member.len()).saturating_add(SCORE_BYTES);
            checked.push(sandbar_store::Scored { member, score });
        }
        self.write(Effect::SortedAdd { key: full, members: checked }, bytes)
    }

    fn sorted_remove(&mut self, key: String, members: Vec<String>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        let bytes = check::members(&key, &members)?;
        self.write(Effect::SortedRemove { key: full, members }, bytes)
    }

    fn sorted_remove_by_score(&mut self, key: String, min: f64, max: f64) -> Result<(), Error> {
        let full = self.writable(&key)?;
        number(&key, min)?;
        number(&key, max)?;
        self.write(Effect::SortedRemoveByScore { key: full, min, max }, 2 * SCORE_BYTES)
    }

    async fn list_range(&mut self, key: String, start: i64, stop: i64) -> Result<Vec<Vec<u8>>, Error> {
        let asked = between(start, stop);
        let values = ask_large!(
            self,
            format_args!("list-range {start} {stop}"),
            key,
            asked,
            |store, full| store.list_length(full),
            store.list_range(full, start, stop)
        )?;
        Ok(values.into_iter().map(Vec::from).collect())
    }

    async fn list_length(&mut self, key: String) -> Result<u64, Error> {
        ask!(self, "list-length", key, |store, full| store.list_length(full))
    }

    fn list_push(&mut self, key: String, end: End, values: Vec<Vec<u8>>, keep: Option<u64>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        check::parts(&key, "values", values.len())?;
        if keep == Some(0) {
            return Err(Error::Invalid(format!("`{key}` cannot keep 0 values: delete it instead")));
        }
        let end = match end {
            End::Front => sandbar_store::End::Front,
            End::Back => sandbar_store::End::Back,
        };
        let bytes = values.iter().map(Vec::len).sum();
        let values = values.into_iter().map(|value| self.value(&key, value)).collect::<Result<Vec<_>, _>>()?;
        self.write(Effect::ListPush { key: full, end, values, keep }, bytes)
    }

    fn list_remove(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        let full = self.writable(&key)?;
        let value = self.value(&key, value)?;
        let bytes = value.len();
        self.write(Effect::ListRemove { key: full, value }, bytes)
    }
}

/// How many members a range has at most.
fn between(start: i64, stop: i64) -> u64 {
    if (start < 0) == (stop < 0) {
        u64::try_from(stop.saturating_sub(start).saturating_add(1)).unwrap_or(0)
    } else {
        WHOLE
    }
}

fn answered(members: Vec<sandbar_store::Scored>) -> Vec<Scored> {
    members.into_iter().map(|scored| Scored { member: scored.member, score: scored.score }).collect()
}

fn number(key: &str, score: f64) -> Result<(), Error> {
    if score.is_nan() {
        return Err(Error::Invalid(format!("NaN is no score for `{key}`")));
    }
    Ok(())
}
