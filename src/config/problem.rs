//! Where a value came from, and what is wrong with it.

use std::{fmt, path::PathBuf};

use super::text::escaped;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// `line` counts from 1; none when the file as a whole is meant.
    File {
        path: PathBuf,
        line: Option<usize>,
    },
    Environment(String),
    Flag(&'static str),
}

/// One thing wrong with the configuration: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    pub text: String,
}

/// All that is wrong with the configuration. Ends the program with [`EXIT`](Self::EXIT).
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problem {
    pub fn new(origin: &Origin, text: impl Into<String>) -> Self {
        Self {
            origin: origin.clone(),
            text: text.into(),
        }
    }
}

impl Problems {
    /// The exit code of a configuration that does not hold (`EX_USAGE` of sysexits.h).
    pub const EXIT: u8 = 64;

    /// `problems`, if there are any.
    pub fn collect(problems: Vec<Problem>) -> Option<Self> {
        if problems.is_empty() {
            None
        } else {
            Some(Self(problems))
        }
    }

    /// One problem, found by whoever uses what the configuration names.
    pub fn of(problem: Problem) -> Self {
        Self(vec![problem])
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: None } => f.write_str(&escaped(&path.to_string_lossy())),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", escaped(&path.to_string_lossy())),
            Self::Environment(name) => write!(f, "environment {}", escaped(name)),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, escaped(&self.text))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "the configuration has {count} {noun}")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}
