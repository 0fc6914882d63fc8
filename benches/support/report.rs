//! What was measured: a table for people and a document for programs.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::settings::Settings;

/// All figures, in the order in which they were first measured.
#[derive(Default)]
pub struct Report {
    figures: Vec<Figure>,
    series: Map<String, Value>,
}

struct Figure {
    name: String,
    unit: &'static str,
    runs: Vec<f64>,
}

impl Report {
    /// Adds the figure of one run; runs of the same name belong together.
    pub fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.runs.push(value),
            None => self.figures.push(Figure {
                name,
                unit,
                runs: vec![value],
            }),
        }
    }

    /// Adds the quantiles of one run's samples, in milliseconds.
    pub fn add_times(&mut self, name: &str, mut millis: Vec<f64>) {
        millis.sort_by(f64::total_cmp);
        self.add(format!("{name}: p50"), "ms", quantile(&millis, 0.5));
        self.add(format!("{name}: p99"), "ms", quantile(&millis, 0.99));
    }

    /// Adds what was seen over time: a name for each column, and the rows.
    pub fn add_series(&mut self, name: &str, columns: &[&str], rows: Vec<Vec<f64>>) {
        self.series
            .insert(name.to_owned(), json!({"columns": columns, "rows": rows}));
    }

    /// A figure's median; of one that was not measured, none.
    pub fn median(&self, name: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.name == name)?;
        Some(figure.spread()[0])
    }

    /// Prints the table, then the document, which goes to a file if the settings name one.
    pub fn print(&self, settings: &Settings) {
        println!(
            "{:<72} {:>10}  {:>10} .. {:<10} unit",
            "figure", "median", "min", "max"
        );
        for figure in &self.figures {
            let [median, min, max] = figure.spread().map(shown);
            println!(
                "{:<72} {median:>10}  {min:>10} .. {max:<10} {}",
                figure.name, figure.unit
            );
        }
        let document = self.document(settings);
        match &settings.json {
            None => println!("{document}"),
            Some(path) => writeln!(std::fs::File::create(path).unwrap(), "{document:#}").unwrap(),
        }
    }

    pub fn document(&self, settings: &Settings) -> Value {
        let figures: Map<String, Value> = self.figures.iter().map(Figure::document).collect();
        json!({
            "machine": {"cores": cores(), "shared_by": "server, load and receiver"},
            "settings": {"runs": settings.runs, "seconds": settings.seconds, "depth": settings.depth},
            "figures": figures,
            "series": self.series,
        })
    }
}

impl Figure {
    /// Median, least, greatest.
    fn spread(&self) -> [f64; 3] {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        [quantile(&sorted, 0.5), sorted[0], sorted[sorted.len() - 1]]
    }

    fn document(&self) -> (String, Value) {
        let [median, min, max] = self.spread();
        let value = json!({"unit": self.unit, "median": median, "min": min, "max": max, "runs": self.runs});
        (self.name.clone(), value)
    }
}

/// The smallest sample that at least this share is not above.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        0.1.. => 2,
        _ => 4,
    };
    format!("{value:.decimals$}")
}
