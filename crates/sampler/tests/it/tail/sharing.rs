//! Samplers that decide together about traces whose spans come to several of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{
    Answer, Config, Output, Policy, Proposal, Remembered, Rule, Shared, Sharing, SharingStats,
    TailSampler, TraceState, Trigger,
};

use super::{SECOND, config, errors_and, failed, id, requests, span};

mod rule;
mod torn;

const MILLI: Duration = Duration::from_millis(1);

/// The places that samplers have in common, and how far away they are.
struct World {
    now: Instant,
    places: HashMap<[u8; 16], Shared>,
    samplers: Vec<Node>,
    /// How long a proposal is on its way, and its answer.
    delay: Duration,
    /// Whether nobody answers.
    is_down: bool,
    /// What is on its way there: when it arrives, from whom.
    proposals: Vec<(Instant, usize, Proposal)>,
    answers: Vec<(Instant, usize, Answer)>,
}

struct Node {
    sampler: TailSampler,
    out: Output,
    offered: u64,
    /// The spans that were kept: their trace, and what is written to them.
    kept: Vec<Span>,
    sampled_out: u64,
}

/// 1 s of wait and of grace.
fn shared(rules: Vec<Rule>) -> Config {
    let sharing = Sharing { grace: SECOND, patience: SECOND };
    Config { sharing: Some(sharing), ..config(rules) }
}

// === impl World ===

impl World {
    fn new(configs: impl IntoIterator<Item = Config>) -> Self {
        let node = |config| Node {
            sampler: TailSampler::new(config).unwrap(),
            out: Output::default(),
            offered: 0,
            kept: Vec::new(),
            sampled_out: 0,
        };
        Self {
            now: Instant::now(),
            places: HashMap::new(),
            samplers: configs.into_iter().map(node).collect(),
            delay: MILLI,
            is_down: false,
            proposals: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn offer(&mut self, to: usize, spans: Vec<Span>) {
        let node = &mut self.samplers[to];
        node.offered += spans.len() as u64;
        node.sampler.offer(self.now, crate::request(spans), &mut node.out);
        self.collect(to);
    }

    /// Lets time pass, in steps.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += MILLI;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let arrived: Vec<_> = self.proposals.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, from, proposal) in arrived {
            let Proposal { id, shared, replaces } = proposal;
            let shared = if self.is_down {
                None
            } else if replaces {
                self.places.insert(id, shared.clone());
                Some(shared)
            } else {
                Some(self.places.entry(id).or_insert(shared).clone())
            };
            self.answers.push((now + self.delay, from, Answer { id, shared }));
        }
        for (_, to, answer) in
            self.answers.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>()
        {
            let node = &mut self.samplers[to];
            node.sampler.learn(now, [answer], &mut node.out);
            self.collect(to);
        }
        for at in 0..self.samplers.len() {
            let node = &mut self.samplers[at];
            while node.sampler.next_deadline().is_some_and(|due| due <= now) {
                node.sampler.poll(now, &mut node.out);
            }
            self.collect(at);
        }
    }

    fn collect(&mut self, at: usize) {
        let node = &mut self.samplers[at];
        let spans = requests(&mut node.out)
            .into_iter()
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        node.kept.extend(spans);
        node.sampled_out += std::mem::take(&mut node.out.sampled_out);
        for proposal in node.out.proposals.drain(..) {
            self.proposals.push((self.now + self.delay, at, proposal));
        }
        let held = node.sampler.held().spans;
        assert_eq!(node.offered, node.kept.len() as u64 + node.sampled_out + held, "the books");
    }

    fn stats(&self, at: usize) -> SharingStats {
        self.samplers[at].sampler.stats().sharing
    }

    /// The names of the spans that a sampler kept, and their trace states.
    fn kept(&self, at: usize) -> BTreeMap<&str, &str> {
        self.samplers[at].kept.iter().map(|span| (&*span.name, &*span.trace_state)).collect()
    }
}
