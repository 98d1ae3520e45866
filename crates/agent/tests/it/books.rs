//! The books as the program prints them at its end.

use std::collections::BTreeMap;

/// The table of the final books, read back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Books {
    rows: Vec<Row>,
}

/// What became of a lane's items on their way to one destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) lane: String,
    pub(crate) destination: String,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) sampled_out: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
    pub(crate) held: u64,
    /// Of the dropped ones.
    pub(crate) reasons: BTreeMap<String, u64>,
}

// === impl Books ===

impl Books {
    /// Finds the table in what the program wrote, and checks that every row adds up.
    #[track_caller]
    pub(crate) fn parse(output: &str) -> Self {
        let rows: Vec<_> = output.lines().filter_map(Row::parse).collect();
        assert!(!rows.is_empty(), "there is no table in {output:?}");
        for row in &rows {
            let sum = row.delivered + row.sampled_out + row.rejected + row.dropped + row.held;
            assert_eq!(row.accepted, sum, "{row:?}");
            assert_eq!(row.dropped, row.reasons.values().sum::<u64>(), "{row:?}");
        }
        assert!(!output.contains("DOES NOT BALANCE"), "{output}");
        Self { rows }
    }

    /// The one row of a lane.
    #[track_caller]
    pub(crate) fn of(&self, lane: &str) -> &Row {
        let mut rows = self.rows.iter().filter(|row| row.lane == lane);
        let row = rows.next().expect("every lane has a row");
        assert_eq!(rows.next(), None, "a lane of several destinations");
        row
    }
}

// === impl Row ===

impl Row {
    /// `lane → destination  accepted delivered sampled_out rejected dropped held  reason: n`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (lane, arrow, destination) = (words.next()?, words.next()?, words.next()?);
        if arrow != "→" {
            return None;
        }
        let mut number = || words.next().unwrap().parse().unwrap();
        let [accepted, delivered, sampled_out, rejected, dropped, held] =
            std::array::from_fn(|_| number());
        let rest: Vec<_> = words.collect();
        let reasons = rest.chunks(2).map(|pair| {
            let [reason, count] = pair else { panic!("a reason without a number in {line:?}") };
            (reason.strip_suffix(':').unwrap().to_owned(), count.parse().unwrap())
        });
        Some(Self {
            lane: lane.to_owned(),
            destination: destination.to_owned(),
            accepted,
            delivered,
            sampled_out,
            rejected,
            dropped,
            held,
            reasons: reasons.collect(),
        })
    }
}
