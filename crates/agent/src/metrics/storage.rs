//! What tail samplers hold on disk.

use std::fmt;

use teleflow::Stats;

use super::families::{Families, Rows, with};

const OURS: &str = "teleflow_tail_sampling";

pub(super) fn write(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let [mut stored, mut taken] = [const { Rows::new() }; 2];
    let [mut requests, mut bytes, mut refused] = [const { Rows::new() }; 3];
    for lane in &stats.lanes {
        let Some((stats, held)) = &lane.sampler else { continue };
        let pipeline = vec![("pipeline", lane.name.clone())];
        stored.push((pipeline.clone(), held.stored_bytes));
        taken.push((pipeline.clone(), held.storage_bytes));
        requests.push((pipeline.clone(), stats.storage.requests));
        bytes.push((pipeline.clone(), stats.storage.bytes));
        refused.push((with(&pipeline, "reason", "full"), stats.storage.full));
        refused.push((with(&pipeline, "reason", "failed"), stats.storage.failed));
    }
    let help = "Requests on disk of which spans are undecided";
    families.gauge(&format!("{OURS}_stored_bytes"), help, stored)?;
    let help = "Room on disk that they take, with what is not written yet or not needed any more";
    families.gauge(&format!("{OURS}_storage_bytes"), help, taken)?;
    let help = "Requests that were put on disk while spans of them were undecided";
    families.counter(&format!("{OURS}_stored_requests"), help, requests)?;
    families.counter(&format!("{OURS}_stored_requests_bytes"), "How large these were", bytes)?;
    let help = "Requests that were to be on disk, and stayed in memory";
    families.counter(&format!("{OURS}_not_stored_requests"), help, refused)
}
