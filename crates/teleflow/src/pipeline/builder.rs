//! What a pipeline is made of, and whether that fits together.

use teleflow_exporter::{AnyExporter, Exporter, QueueConfig};
use teleflow_otlp::Signal;

use super::start;
use super::{LaneConfig, StartError};
use crate::outlet::Storage;

/// What a [`Pipeline`](crate::Pipeline) is made of.
#[derive(Debug, Default)]
pub struct Builder {
    pub(super) receivers: Vec<(String, teleflow_receiver::Config)>,
    pub(super) inlets: Vec<String>,
    pub(super) waiting: Vec<String>,
    pub(super) exporters: Vec<(String, AnyExporter, Sending)>,
    pub(super) lanes: Vec<LaneConfig>,
}

/// What stands between a lane and an exporter.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// How much may wait for the exporter, and what happens to more.
    ///
    /// [`OnFull::Reject`]: where a lane leads to this exporter alone, nothing that was taken in is
    /// dropped for want of room: it waits, and meanwhile receivers refuse what comes. Where a lane
    /// leads to several exporters, a full one does not hold up the others: what has no room is
    /// dropped for it, with the reason `queue_full`. [`OnFull::Wait`] holds up the lane and the
    /// senders, and with them the other exporters.
    ///
    /// [`OnFull::Reject`]: teleflow_exporter::OnFull::Reject
    /// [`OnFull::Wait`]: teleflow_exporter::OnFull::Wait
    pub queue: QueueConfig,
    /// Makes larger requests of smaller ones, for this exporter alone. `None`: requests go as the
    /// lane hands them on.
    pub batch: Option<teleflow_batcher::Config>,
    /// Where what waits is kept, so that it survives the end of the process. `None`: in memory.
    ///
    /// Of `queue` then only `num_consumers` and `on_full` count: the bounds are the storage's. And
    /// how long retries go on is not asked: what can be sent again is, until the storage drops it.
    pub storage: Option<Storage>,
}

// === impl Sending ===

impl From<QueueConfig> for Sending {
    fn from(queue: QueueConfig) -> Self {
        Self { queue, ..Self::default() }
    }
}

// === impl Builder ===

impl Builder {
    /// Adds an OTLP receiver.
    #[must_use]
    pub fn receiver(mut self, name: impl Into<String>, config: teleflow_receiver::Config) -> Self {
        self.receivers.push((name.into(), config));
        self
    }

    /// Adds a way in for this program's own telemetry, in the place of a receiver.
    #[must_use]
    pub fn inlet(mut self, name: impl Into<String>) -> Self {
        self.inlets.push(name.into());
        self
    }

    /// Has a receiver or an inlet answer a request only when every item of it has come to its end: delivered to
    /// every exporter, sampled out, refused for good, or lost. If any was lost the sender is told
    /// to send the request again; what had arrived arrives twice then.
    ///
    /// Without this a receiver answers as soon as the request is in its lanes. With a tail sampler
    /// the answer takes as long as the sampler waits: senders need the patience for that.
    #[must_use]
    pub fn wait_for_result(mut self, receiver: impl Into<String>) -> Self {
        self.waiting.push(receiver.into());
        self
    }

    /// Adds an exporter and says how much may wait for it, and whether it is sent batches of its
    /// own. Each lane that leads to it has a queue and a batcher of its own.
    #[must_use]
    pub fn exporter(
        mut self,
        name: impl Into<String>,
        exporter: impl Exporter,
        sending: impl Into<Sending>,
    ) -> Self {
        self.exporters.push((name.into(), AnyExporter::new(exporter), sending.into()));
        self
    }

    /// Adds a lane.
    #[must_use]
    pub fn lane(mut self, lane: LaneConfig) -> Self {
        self.lanes.push(lane);
        self
    }

    /// Checks the parts against each other, without starting anything.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), StartError> {
        let inlets = || self.receivers.iter().map(|(name, _)| name).chain(&self.inlets);
        unique("receiver", inlets())?;
        unique("exporter", self.exporters.iter().map(|(name, ..)| name))?;
        unique("lane", self.lanes.iter().map(|lane| &lane.name))?;
        let unknown = |name: &&String| !inlets().any(|known| known == *name);
        if let Some(name) = self.waiting.iter().find(unknown) {
            return Err(StartError::NoReceiver(name.clone()));
        }
        for lane in &self.lanes {
            for (kind, names, known) in [
                ("receiver", &lane.receivers, names(inlets())),
                ("exporter", &lane.exporters, names(self.exporters.iter().map(|(name, ..)| name))),
            ] {
                if names.is_empty() {
                    return Err(StartError::Incomplete { lane: lane.name.clone(), kind });
                }
                if let Some(name) = repeated(names.iter()) {
                    let (lane, name) = (lane.name.clone(), name.clone());
                    return Err(StartError::Repeated { lane, kind, name });
                }
                if let Some(name) = names.iter().find(|name| !known.contains(name)) {
                    let (lane, name) = (lane.name.clone(), name.clone());
                    return Err(StartError::Unknown { lane, kind, name });
                }
            }
            if lane.sampler.is_some() && lane.signal != Signal::Traces {
                return Err(StartError::NotTraces(lane.name.clone()));
            }
            if let Some(followed) = &lane.follows {
                self.check_follower(lane, followed)?;
            }
            start::stages(lane, &self.exporters, false)?;
        }
        Ok(())
    }

    /// Whether a lane can follow the decisions of another.
    fn check_follower(&self, lane: &LaneConfig, followed: &str) -> Result<(), StartError> {
        let known = self.lanes.iter().find(|other| other.name == followed);
        let follows = |other: &&LaneConfig| other.follows.as_deref() == Some(followed);
        let first = self.lanes.iter().find(follows).filter(|first| first.name != lane.name);
        let problem = match (known, first) {
            _ if lane.signal != Signal::Logs => "it does not carry logs".to_owned(),
            _ if lane.head.is_some() => "it has a head sampler".to_owned(),
            (None, _) => "there is no such lane".to_owned(),
            (Some(other), _) if other.sampler.is_none() => "that has no sampler".to_owned(),
            (_, Some(first)) => format!("lane `{}` does already", first.name),
            _ => return Ok(()),
        };
        let (lane, followed) = (lane.name.clone(), followed.to_owned());
        Err(StartError::Follow { lane, followed, problem })
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    names.collect()
}

fn unique<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), StartError> {
    match repeated(names) {
        Some(name) => Err(StartError::Duplicate { kind, name: name.clone() }),
        None => Ok(()),
    }
}

/// The first name that was there before.
fn repeated<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Some(name);
        }
        seen.push(name);
    }
    None
}
