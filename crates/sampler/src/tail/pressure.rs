//! What happens at the bounds: traces are decided early, and spans copied out of requests of which
//! little else is needed.

use std::time::Instant;

use super::{Output, TailSampler, Trigger};
use crate::Config;

impl TailSampler {
    /// Decides early until the table is within its bounds, with some room to spare: else a full table
    /// would decide, and write, for each request that comes.
    pub(super) fn make_room(&mut self, now: Instant, out: &mut Output) {
        self.look_at_pressure(now);
        let Config { max_bytes, max_traces, blocks_when_full, .. } = self.config;
        if self.table.bytes() > max_bytes {
            self.free_bytes(now, max_bytes - max_bytes / 16, out);
        }
        if self.table.traces() > max_traces && !blocks_when_full {
            self.free_traces(now, max_traces - max_traces / 16, out);
        }
        self.write_if_worth(out);
    }

    /// The same, when log records came. While there is relief they alone begin traces that wait, and
    /// nobody is held back for the number of those.
    pub(super) fn make_room_for_records(&mut self, now: Instant, out: &mut Output) {
        self.make_room(now, out);
        let most = self.config.max_traces;
        if self.table.traces() > most && self.is_relieving() {
            self.free_traces(now, most - most / 16, out);
        }
    }

    /// The oldest go first.
    fn free_traces(&mut self, now: Instant, most: usize, out: &mut Output) {
        while self.table.traces() > most
            && let Some((trace, _)) = self.table.next()
        {
            self.decide(now, trace, Trigger::Count, out);
            self.write_if_worth(out);
        }
    }

    /// The heaviest and oldest go first.
    ///
    /// What a trace frees is not its own bytes but those of requests that nobody needs any more. So
    /// spans are copied out before more is decided than has to be.
    fn free_bytes(&mut self, now: Instant, most: usize, out: &mut Output) {
        loop {
            self.copy_out(out);
            let over = self.table.used_bytes().saturating_sub(most);
            if over == 0 {
                return;
            }
            let time = self.time(now);
            let heaviest = self.table.heaviest(time);
            if heaviest.is_empty() {
                // What is over is being read, or waits to be written.
                return;
            }
            let (mut freed, share) = (0, self.table.share_in_memory());
            for trace in heaviest {
                let bytes = self.table.summary(trace).bytes as usize;
                freed += share.map_or(bytes, |share| (bytes as f64 * share) as usize);
                self.decide(now, trace, Trigger::Bytes, out);
                self.write_if_worth(out);
                if self.table.used_bytes() <= most || freed > over {
                    break;
                }
            }
            self.write_if_light(out);
        }
    }

    /// Writes what is kept, so that it frees memory, unless that would be mostly envelopes.
    fn write_if_light(&mut self, out: &mut Output) {
        if self.is_worth_writing(0) {
            self.write_kept(out);
        }
    }

    /// Gives room to spare back where that goes over the bound. Nothing may be being read, or on its
    /// way out: it moves.
    ///
    /// Lists grow by a sixteenth, and a sixteenth is free once traces were decided early: so it does
    /// not go on and on.
    pub(super) fn close_up(&mut self) {
        let Config { max_bytes, .. } = self.config;
        let bytes = self.table.bytes();
        if bytes > max_bytes && bytes - self.table.used_bytes() > max_bytes / 16 {
            self.table.close_up();
        }
    }

    /// Copies spans out, if that is worth it since the last time.
    fn copy_out(&mut self, out: &mut Output) {
        // What stayed the last time may be gone by now.
        self.idle_before = self.idle_before.min(self.table.idle_bytes());
        if self.table.idle_bytes() < self.idle_before + self.config.max_bytes / 16 {
            return;
        }
        // Nothing that moves may be on its way out.
        self.write_if_light(out);
        if !self.kept.is_empty() || !self.kept_logs.is_empty() {
            return;
        }
        // What is copied is there twice for a moment.
        let freed = self.table.copy_out(self.config.max_bytes / 64);
        self.stats.copied_out += u64::from(freed > 0);
        self.stats.copied_out_bytes += freed as u64;
        self.idle_before = self.table.idle_bytes();
    }
}
