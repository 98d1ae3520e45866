//! Decisions about traces that gateways make together.

use std::fmt;

use teleflow::sampler::SharingStats;
use teleflow::{ExchangeStats, Stats};

use super::families::{Families, Labels, Rows, with};

const PREFIX: &str = "teleflow_tail_sampling_shared";

pub(super) fn write(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let lanes = stats.lanes.iter().filter_map(|lane| {
        let (sampler, _) = lane.sampler.as_ref()?;
        Some((vec![("pipeline", lane.name.clone())], sampler.sharing, lane.exchange?))
    });
    let lanes: Vec<(Labels, SharingStats, ExchangeStats)> = lanes.collect();
    let rows = |figures: fn(&SharingStats, &ExchangeStats) -> Vec<(&'static str, u64)>| -> Rows {
        let rows = lanes.iter().flat_map(|(labels, sharing, exchange)| {
            let figures = figures(sharing, exchange).into_iter();
            figures.map(|(outcome, count)| (with(labels, "outcome", outcome), count))
        });
        rows.collect()
    };
    let each = |figure: fn(&SharingStats, &ExchangeStats) -> u64| -> Rows {
        let rows = lanes.iter();
        rows.map(|(labels, sharing, exchange)| (labels.clone(), figure(sharing, exchange)))
            .collect()
    };
    let traces = rows(|sharing, _| {
        vec![
            ("kept_by_others", sharing.kept_by_others),
            ("dropped_by_others", sharing.dropped_by_others),
            ("alone", sharing.alone),
            ("untold", sharing.untold),
        ]
    });
    let help = "Traces that others decided otherwise than we would have, that were decided alone for \
                want of an answer, or that others were not told of";
    families.counter(&format!("{PREFIX}_traces"), help, traces)?;
    let asked = each(|sharing, _| sharing.asked);
    let help = "Traces about which other gateways were asked";
    families.counter(&format!("{PREFIX}_asked_traces"), help, asked)?;
    let proposals = rows(|_, exchange| {
        vec![
            ("answered", exchange.answered),
            ("unanswered", exchange.unanswered),
            ("without_room", exchange.without_room),
            ("unreadable", exchange.unreadable),
        ]
    });
    let help = "What was written to Redis for other gateways, by what came back";
    families.counter(&format!("{PREFIX}_proposals"), help, proposals)?;
    let calls = each(|_, exchange| exchange.calls);
    families.counter(&format!("{PREFIX}_calls"), "Round trips to Redis", calls)?;
    let failures = each(|_, exchange| exchange.failures);
    families.counter(&format!("{PREFIX}_failures"), "Of those, what failed", failures)?;
    let waiting = each(|sharing, _| sharing.waiting);
    let help = "Traces that wait for what others know";
    families.gauge(&format!("{PREFIX}_waiting_traces"), help, waiting)?;
    let is_down = each(|_, exchange| exchange.is_down.into());
    let help = "Whether the last round trip failed: 1, and decisions are made alone";
    families.gauge(&format!("{PREFIX}_down"), help, is_down)
}
