//! Our figures beside a rival's, for people and for programs.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Throughput: more is better.
    Higher,
    /// Time, memory, allocations: less is better.
    Lower,
}

/// What someone else's program reached at the same work in the same run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rival<'a> {
    /// Its name and version.
    pub name: &'a str,
    /// Its figure, in the unit of the row.
    pub value: f64,
}

/// What a metric should reach. A machine that does other things as well may miss it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    /// Our figure, in the unit of the row.
    AtMost(f64),
    /// Our figure, in the unit of the row.
    AtLeast(f64),
    /// The ratio, at least.
    Ratio(f64),
    /// So many times the rival's figure, at most.
    WithinTimes(f64),
}

/// The rows of one benchmark.
#[derive(Debug)]
pub struct Report {
    name: String,
    rows: Vec<Row>,
    asked: Vec<(String, Asked)>,
    notes: Vec<String>,
}

/// One line of the report; the field order is the order in the file.
#[derive(Debug, Serialize)]
struct Row {
    metric: String,
    unit: &'static str,
    ours: Option<f64>,
    rival: Option<String>,
    rival_value: Option<f64>,
    /// Above 1 where we are ahead, whichever way is better.
    ratio: Option<f64>,
}

// === impl Report ===

impl Report {
    /// Starts the report that is kept as `target/bench/NAME.json`.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rows: Vec::new(), asked: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row.
    ///
    /// `ours` is `None` where only the rival ran, `rival` where there is none. The ratio is above 1
    /// where we are ahead; there is none without a rival, and none where our figure or the
    /// rival's is a clean 0, for which a ratio says nothing.
    pub fn row(
        &mut self,
        metric: impl Into<String>,
        unit: &'static str,
        better: Better,
        ours: impl Into<Option<f64>>,
        rival: Option<Rival<'_>>,
    ) {
        let ours = ours.into();
        let rival_value = rival.map(|rival| rival.value);
        let ratio = match (ours, rival_value) {
            (Some(ours), Some(theirs)) if ours != 0.0 && theirs != 0.0 => Some(match better {
                Better::Higher => ours / theirs,
                Better::Lower => theirs / ours,
            }),
            _ => None,
        };
        self.rows.push(Row {
            metric: metric.into(),
            unit,
            ours,
            rival: rival.map(|rival| rival.name.to_owned()),
            rival_value,
            ratio,
        });
    }

    /// Adds a line to the table of goals at the end; the first row of that metric answers it.
    pub fn ask(&mut self, metric: impl Into<String>, asked: Asked) {
        self.asked.push((metric.into(), asked));
    }

    /// Adds a line below the table, such as why there is no rival.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints the table and writes `target/bench/NAME.json`, an array of rows.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    #[allow(clippy::print_stdout, reason = "the table is what a benchmark is run for")]
    pub fn publish(&self) -> io::Result<PathBuf> {
        print!("\n{self}");
        let directory = target_directory().join("bench");
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{}.json", self.name));
        let mut text = serde_json::to_string_pretty(&self.rows)?;
        text.push('\n');
        fs::write(&path, text)?;
        println!("\nwritten to {}", path.display());
        Ok(path)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["metric", "unit", "ours", "rival", "ratio", "rival's name"];
        let mut lines = vec![header.map(str::to_owned)];
        for row in &self.rows {
            lines.push([
                row.metric.clone(),
                row.unit.to_owned(),
                row.ours.map_or_else(dash, figure),
                row.rival_value.map_or_else(dash, figure),
                row.ratio.map_or_else(dash, |ratio| format!("{ratio:.2}")),
                row.rival.clone().unwrap_or_else(dash),
            ]);
        }
        let [m, u, o, t, r, _] = widths(&lines);
        for [metric, unit, ours, theirs, ratio, name] in &lines {
            writeln!(f, "{metric:m$}  {unit:u$}  {ours:>o$}  {theirs:>t$}  {ratio:>r$}  {name}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if self.asked.is_empty() {
            return Ok(());
        }
        let mut lines = vec![["goal", "asked", "measured", "rival's name", ""].map(str::to_owned)];
        for (metric, asked) in &self.asked {
            let row = self.rows.iter().find(|row| row.metric == *metric);
            let measured = row.and_then(|row| asked.measured(row));
            let word = match measured {
                Some(value) if asked.is_met(value) => "met",
                Some(_) => "missed",
                None => "not measured",
            };
            lines.push([
                metric.clone(),
                asked.describe(row.map_or("", |row| row.unit)),
                measured.map_or_else(dash, figure),
                row.and_then(|row| row.rival.clone()).unwrap_or_else(dash),
                word.to_owned(),
            ]);
        }
        let [g, a, m, n, _] = widths(&lines);
        writeln!(f)?;
        for [goal, asked, measured, name, word] in &lines {
            let line = format!("{goal:g$}  {asked:a$}  {measured:>m$}  {name:n$}  {word}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn widths<const N: usize>(lines: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    })
}

// === impl Asked ===

impl Asked {
    fn measured(self, row: &Row) -> Option<f64> {
        match self {
            Self::AtMost(_) | Self::AtLeast(_) => row.ours,
            Self::Ratio(_) => row.ratio,
            Self::WithinTimes(_) => row.ratio.map(|ratio| 1.0 / ratio),
        }
    }

    fn is_met(self, measured: f64) -> bool {
        match self {
            Self::AtMost(most) | Self::WithinTimes(most) => measured <= most,
            Self::AtLeast(least) | Self::Ratio(least) => measured >= least,
        }
    }

    fn describe(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("at most {most} {unit}"),
            Self::AtLeast(least) => format!("at least {least} {unit}"),
            Self::Ratio(least) => format!("ratio of {least} at least"),
            Self::WithinTimes(most) => format!("at most {most} x the rival's"),
        }
    }
}

/// The folder that cargo builds into: `CARGO_TARGET_DIR`, or `target` beside the workspace.
pub fn target_directory() -> PathBuf {
    let workspace = workspace();
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => workspace.join(directory),
        None => workspace.join("target"),
    }
}

/// The root of the workspace, which this package is a folder of.
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

fn dash() -> String {
    "-".to_owned()
}

/// Writes a figure with about four digits that matter, and thousands apart.
fn figure(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.3}");
    }
    if value.abs() < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIVAL: Rival<'static> = Rival { name: "other", value: 200.0 };

    fn ratio(better: Better, ours: Option<f64>, rival: Option<Rival<'_>>) -> Option<f64> {
        let mut report = Report::new("test");
        report.row("metric", "unit", better, ours, rival);
        report.rows[0].ratio
    }

    #[test]
    fn a_ratio_above_one_means_that_we_are_ahead() {
        assert_eq!(ratio(Better::Higher, Some(400.0), Some(RIVAL)), Some(2.0));
        assert_eq!(ratio(Better::Lower, Some(100.0), Some(RIVAL)), Some(2.0));
        assert_eq!(ratio(Better::Lower, Some(400.0), Some(RIVAL)), Some(0.5));
    }

    #[test]
    fn there_is_no_ratio_without_both_figures() {
        assert_eq!(ratio(Better::Lower, Some(0.0), Some(RIVAL)), None);
        assert_eq!(ratio(Better::Lower, None, Some(RIVAL)), None);
        assert_eq!(ratio(Better::Lower, Some(1.0), None), None);
    }

    #[test]
    fn the_table_is_aligned() {
        let mut report = Report::new("test");
        report.row("a", "ns", Better::Lower, 5.0, None);
        report.row("long/er", "spans/s", Better::Higher, 1_234_567.0, Some(RIVAL));
        report.note("a note");
        let expected = "\
metric   unit          ours  rival    ratio  rival's name
a        ns           5.000      -        -  -
long/er  spans/s  1,234,567  200.0  6172.84  other
note: a note
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn goals_are_met_missed_or_not_measured() {
        let mut report = Report::new("test");
        report.row("a", "ns", Better::Lower, 260.0, Some(RIVAL));
        report.ask("a", Asked::AtMost(260.0));
        report.ask("a", Asked::AtLeast(261.0));
        report.ask("a", Asked::Ratio(1.0));
        report.ask("a", Asked::WithinTimes(1.3));
        report.ask("b", Asked::Ratio(1.0));
        let expected = "\n\
goal  asked                      measured  rival's name
a     at most 260 ns                260.0  other         met
a     at least 261 ns               260.0  other         missed
a     ratio of 1 at least           0.769  other         missed
a     at most 1.3 x the rival's     1.300  other         met
b     ratio of 1 at least               -  -             not measured
";
        let text = report.to_string();
        assert!(text.ends_with(expected), "{text}");
    }
}
