//! How the story is printed: chapters, and lines of when, what, and the particulars.

use std::io::{self, IsTerminal as _};

use super::limits::BEAT;
use crate::{
    cli::{Format, Output},
    domain::time::Timestamp,
    runtime::clock::{Clock, SystemClock},
};

/// Prints to stdout.
pub struct Screen {
    output: Output,
    terminal: bool,
    colours: bool,
    began: Timestamp,
}

/// The colour of what happened.
#[derive(Copy, Clone, Debug)]
pub enum Tone {
    Plain,
    Good,
    Bad,
    Waiting,
}

const BOLD: &str = "1";
const DIM: &str = "2";

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Waiting => "33",
        }
    }
}

impl Screen {
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            output: Output::new(Format::Table),
            terminal,
            colours: terminal && !set("NO_COLOR") && !dumb,
            began: SystemClock.now(),
        }
    }

    /// Begins a chapter; on a terminal after a pause.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub async fn chapter(&self, title: &str) -> anyhow::Result<()> {
        if self.terminal {
            tokio::time::sleep(BEAT).await;
        }
        self.text(&format!("\n{}", self.paint(BOLD, title)))
    }

    /// Says what happened now.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub fn now(&self, tone: Tone, what: &str, particulars: &str) -> anyhow::Result<()> {
        self.at(SystemClock.now(), tone, what, particulars)
    }

    /// Says what happened at a time.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub fn at(&self, at: Timestamp, tone: Tone, what: &str, particulars: &str) -> anyhow::Result<()> {
        let time = format!("{:>7.2}s", at.since(self.began).as_secs_f64());
        let (time, what) = (
            self.paint(DIM, &time),
            self.paint(tone.code(), &format!("{what:<18}")),
        );
        self.text(&format!("{time}  {what}  {particulars}"))
    }

    /// Prints lines as they are.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub fn text(&self, text: &str) -> anyhow::Result<()> {
        self.output.text(text)
    }

    /// The result, to be seen at once.
    pub fn verdict(&self, text: &str) -> String {
        self.paint("1;32", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
