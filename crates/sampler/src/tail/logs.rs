//! Log records that follow the decision about their trace.
//!
//! They are held with the spans of their trace, and count for the bound of bytes. No policy sees
//! them. A trace of which only records have come is one too: it waits as any other, and policies are
//! asked about a trace without spans.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::time::Instant;

use bytes::Bytes;
use teleflow_otlp::{Ack, Payload, Signal, log, tree};

use super::chunk::Chunk;
use super::kept::MarkRef;
use super::reading::{CHECK_EVERY, Groups};
use super::table::{MOST_SCOPES, RunRef};
use super::{Output, TailSampler, nanos, span_count};
use crate::memory::Past;

/// What becomes of a record that comes in.
enum Fate {
    Waits(u32),
    Kept,
    Dropped,
}

// === impl TailSampler ===

impl TailSampler {
    /// Takes a payload's records.
    pub(super) fn offer_logs(&mut self, now: Instant, mut payload: Payload, out: &mut Output) {
        let mut ack = payload.take_ack();
        for segment in payload.into_segments() {
            let of_segment = match ack.is_none() {
                true => Ack::none(),
                false => ack.take(span_count(&segment)),
            };
            self.offer_records(now, &segment, of_segment, out);
            self.make_room_for_records(now, out);
        }
        self.write_kept(out);
        self.close_up();
    }

    fn offer_records(&mut self, now: Instant, segment: &Bytes, ack: Ack, out: &mut Output) {
        assert!(segment.len() < 1 << 31, "a request of 2 GiB has to be cut first");
        let chunk = self.table.add_chunk(Chunk::new(Signal::Logs, segment.clone(), ack));
        let mut until_check = CHECK_EVERY;
        let mut groups = Groups::default();
        for resource in tree::resources(segment) {
            groups.enter_resource();
            for scope in resource.scopes() {
                groups.enter_scope();
                for item in scope.items() {
                    if until_check == 0 {
                        until_check = CHECK_EVERY;
                        self.make_room_for_records(now, out);
                        groups.forget(&mut self.table, chunk);
                    }
                    until_check -= 1;
                    let both = (resource, scope);
                    let (scope, above) = groups.add_to(&mut self.table, chunk, both);
                    let is_large = above > self.config.payload_bytes || scope >= MOST_SCOPES;
                    // No field is empty: it has a key.
                    let Some(len) = NonZeroU32::new(item.field.len() as u32) else { continue };
                    let record = RunRef { chunk, scope, at: item.at as u32, len, spans: 1 };
                    match self.fate(now, log::trace_id(item.message), is_large) {
                        Fate::Waits(trace) => self.table.push(trace, record),
                        Fate::Kept => {
                            self.table.retain(record);
                            self.kept_logs.push(&mut self.table, record, MarkRef::NONE, false);
                        }
                        Fate::Dropped => match self.dry_drop_late() {
                            Some(mark) => {
                                self.table.retain(record);
                                self.kept_logs.push(&mut self.table, record, mark, false);
                            }
                            None => out.logs_sampled_out += 1,
                        },
                    }
                }
            }
        }
        self.table.seal(chunk);
    }

    fn fate(&mut self, now: Instant, id: &[u8], is_large: bool) -> Fate {
        let id = <[u8; 16]>::try_from(id).ok().filter(|id| *id != [0; 16]);
        let Some(id) = id else { return Fate::Kept };
        let hash = self.keyed.id(&id);
        let held = self.table.find(&id, hash);
        match (held, held.is_none().then(|| self.memory.find(hash)).flatten()) {
            (None, Some(Past::Kept { .. })) => Fate::Kept,
            (None, Some(Past::Dropped)) => Fate::Dropped,
            // What is long must not be repeated trace by trace: it does not wait.
            _ if is_large => Fate::Kept,
            (Some(trace), _) => Fate::Waits(trace),
            (None, None) => {
                self.stats.traces += 1;
                let (time, wait) = (self.time(now), nanos(self.config.decision_wait));
                Fate::Waits(self.table.add_trace(id, hash, time, wait))
            }
        }
    }
}
