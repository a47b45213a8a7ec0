//! Incoming `wasi:http`: the commit that comes before the answer.
//!
//! `response-outparam.set` is where a plugin answers. It is put over the function of wasmtime's own implementation:
//! what the call has written so far is committed first, and only then is the head passed on. Where that fails the
//! answer is withheld, the reason is left in [`Answering`](super::answering::Answering), and the call traps: what it
//! would still write belongs to an answer that never went out.

use std::time::Duration;

use http::header::CONTENT_LENGTH;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, HostResponseOutparam as _};
use wasmtime_wasi_http::p2::types::{HostOutgoingResponse, HostResponseOutparam};

use super::answering::AnswerRefusal;
use super::state::State;
use crate::call::FinishedCall;
use crate::commit::{CallCommit, Delivery, effects};
use crate::context::PluginContext;
use sandbar_store::held_lock::release_all;

/// The interface as wasmtime's implementation names it.
const TYPES: &str = "wasi:http/types@0.2.12";
/// Where a plugin answers.
const SET: &str = "[static]response-outparam.set";

/// Puts the commit before the answer. Comes after wasmtime's own implementation was added.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap_async(SET, |store, (place, answer)| Box::new(set(store, place, answer)))?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn set(
    mut store: StoreContextMut<'_, State>,
    place: Resource<HostResponseOutparam>,
    answer: Result<Resource<HostOutgoingResponse>, ErrorCode>,
) -> wasmtime::Result<()> {
    let state = store.data_mut();
    match &answer {
        Ok(response) => {
            let response = state.table.get(response)?;
            let announced = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            let status = response.status.as_u16();
            state.before_answer(status, announced).await?;
        }
        // A plugin that answers an error has failed: nothing of it counts.
        Err(_) => drop(state.call.take()),
    }
    state.http().set(place, answer)
}

impl State {
    /// Commits what was written so far, so that the answer may go out.
    async fn before_answer(&mut self, status: u16, announced: Option<u64>) -> wasmtime::Result<()> {
        let Some(answering) = self.answering.clone() else { return Ok(()) };
        let ended = self.call.take();
        let broken = answering.noted.lock().broken.clone();
        let refusal = if broken.is_some() {
            broken
        } else if status < 200 {
            Some(AnswerRefusal::Invalid(format!("the plugin answered with the status {status}, which is no answer")))
        } else if let Some(bytes) = announced.filter(|bytes| *bytes > answering.response_bytes) {
            let max = answering.response_bytes;
            Some(AnswerRefusal::Invalid(format!("the answer would have {bytes} bytes; `response-bytes` allows {max}")))
        } else {
            let committed = commit(&self.context, ended).await;
            release_all(&self.call.locks.settled()).await;
            match committed {
                Ok(took) => {
                    let mut noted = answering.noted.lock();
                    (noted.is_answered, noted.committed_in) = (true, took);
                    noted.is_server_error = status >= 500;
                    None
                }
                Err(refusal) => Some(refusal),
            }
        };
        match refusal {
            None => Ok(()),
            Some(refusal) => {
                answering.noted.lock().refusal = Some(refusal);
                Err(wasmtime::Error::msg("the answer was withheld"))
            }
        }
    }
}

/// Commits what a call has written outside of a delivery, and answers how long that took. Without writes there is
/// nothing to commit, and the store is not needed.
pub async fn commit(context: &PluginContext, mut ended: FinishedCall) -> Result<Option<Duration>, AnswerRefusal> {
    if ended.writes.is_empty() && ended.taken.is_empty() {
        release_all(&ended.locks).await;
        return Ok(None);
    }
    let effects = effects(ended.writes);
    let commit = CallCommit {
        effects: &effects,
        own_effects: 0,
        watched: &ended.watched,
        taken: &mut ended.taken,
        locks: &ended.locks,
        delivery: Delivery::Fallback,
    };
    let committed = commit.make(context).await.map_err(AnswerRefusal::NotCommitted)?;
    match committed.refused.into_iter().next() {
        None => Ok(Some(committed.took)),
        Some(refused) => Err(AnswerRefusal::WriteRefused(refused.to_string())),
    }
}
