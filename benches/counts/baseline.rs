//! What was counted before, as a text: who made it, then a line for each part.

use std::{fmt, process::Command, str::FromStr};

/// More than this share below it is worth a new baseline, lest it be lost again unseen.
const BELOW: f64 = 0.10;

/// What counts depend on besides the source.
#[derive(PartialEq)]
pub struct Maker(String);

pub struct Baseline {
    pub maker: Maker,
    counts: Vec<(String, f64)>,
}

/// What was counted now: instructions for each time that the part's thing is done.
pub struct Count {
    pub name: &'static str,
    pub each: f64,
    /// The share by which it may be above the baseline.
    pub tolerance: f64,
}

/// Counts beside their baseline.
pub struct Comparison {
    rows: Vec<Row>,
    /// Parts of the baseline that there are no more.
    gone: Vec<String>,
}

struct Row {
    name: String,
    before: Option<f64>,
    now: f64,
    tolerance: f64,
}

impl Maker {
    /// The compiler, the C library, valgrind, and what valgrind tells programs of the processor.
    pub fn here() -> Self {
        let said = |program: &str, argument: &str| {
            let output = Command::new(program).arg(argument).output();
            let text = output.map(|output| output.stdout).unwrap_or_default();
            String::from_utf8_lossy(&text).trim().to_owned()
        };
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = processor.lines().find(|line| line.starts_with("flags"));
        let wide = flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "avx2"));
        let parts = [
            said("rustc", "--version"),
            said("getconf", "GNU_LIBC_VERSION"),
            said("valgrind", "--version"),
            format!(
                "{}{}",
                std::env::consts::ARCH,
                if wide { " with AVX2" } else { "" }
            ),
        ];
        Self(parts.join(", "))
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Baseline {
    pub const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts/baseline.txt");

    pub fn new(maker: Maker, counts: &[Count]) -> Self {
        let counts = counts.iter().map(|count| (count.name.to_owned(), count.each));
        Self {
            maker,
            counts: counts.collect(),
        }
    }

    /// Puts counts beside the baseline's; `whole` says that they are of all parts. More than its tolerance above fails.
    pub fn compare(&self, counts: &[Count], whole: bool) -> Comparison {
        let before = |name: &str| {
            self.counts
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, count)| *count)
        };
        let rows = counts.iter().map(|count| Row {
            name: count.name.to_owned(),
            before: before(count.name),
            now: count.each,
            tolerance: count.tolerance,
        });
        let there = |name: &String| counts.iter().any(|count| count.name == name);
        let names = self.counts.iter().map(|(name, _)| name);
        Comparison {
            rows: rows.collect(),
            gone: names.filter(|name| whole && !there(name)).cloned().collect(),
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions for one of each, by callgrind. Made by `.ci/counts --write`."
        )?;
        writeln!(f, "made by {}", self.maker)?;
        for (name, count) in &self.counts {
            writeln!(f, "{count:>12.0}  {name}")?;
        }
        Ok(())
    }
}

impl FromStr for Baseline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let maker = lines.next().and_then(|line| line.strip_prefix("made by "));
        let maker = Maker(maker.ok_or("the baseline does not say who made it")?.to_owned());
        let count = |line: &str| {
            let (count, name) = line.trim_start().split_once("  ")?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let counts = lines.map(|line| count(line).ok_or_else(|| format!("no count: {line}")));
        Ok(Self {
            maker,
            counts: counts.collect::<Result<_, _>>()?,
        })
    }
}

impl Row {
    fn change(&self) -> Option<f64> {
        self.before.map(|before| self.now / before - 1.0)
    }

    fn is_above(&self) -> bool {
        self.change().is_some_and(|change| change > self.tolerance)
    }

    fn is_below(&self) -> bool {
        self.change().is_some_and(|change| change < -BELOW)
    }
}

impl Comparison {
    pub fn fails(&self) -> bool {
        !self.gone.is_empty() || self.rows.iter().any(|row| row.before.is_none() || row.is_above())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12}  {:>12}  {:>8}", "baseline", "now", "change")?;
        for row in &self.rows {
            let before = row
                .before
                .map_or("none".to_owned(), |before| format!("{before:.0}"));
            let change = row
                .change()
                .map_or(String::new(), |change| format!("{:+.1} %", change * 100.0));
            let verdict = match (row.before, row.is_above(), row.is_below()) {
                (None, ..) => "  NEW: it is not in the baseline",
                (_, true, _) => "  MORE than the baseline allows",
                (_, _, true) => "  less: worth a new baseline",
                _ => "",
            };
            writeln!(
                f,
                "{before:>12}  {:>12.0}  {change:>8}  {}{verdict}",
                row.now, row.name
            )?;
        }
        for name in &self.gone {
            writeln!(f, "GONE: {name} is in the baseline and there is no such part")?;
        }
        if self.fails() {
            write!(
                f,
                "\nIf it is to cost so much, say why and take it as the baseline: .ci/counts --write"
            )
        } else if self.rows.iter().any(Row::is_below) {
            write!(f, "\nTake what was gained as the baseline: .ci/counts --write")
        } else {
            write!(f, "\nNone takes more than the baseline allows.")
        }
    }
}
