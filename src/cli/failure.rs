//! From an error to what is printed and the exit code.

use std::process::ExitCode;

use super::{client::ClientError, output::Closed};
use crate::{
    config::{Problems, text::escaped},
    telemetry,
};

/// The command line was understood, and what it asks for makes no sense. Exit code 2, as clap's own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The command did what it was asked, and the result is a failure: an undelivered event, a refused line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Says on stderr what went wrong, if anything, and gives the exit code.
pub fn report(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    let (text, code) = told(&error);
    if let Some(text) = text {
        telemetry::say(&format!("posthaste: {text}"));
    }
    ExitCode::from(code)
}

/// What to say, and the exit code.
fn told(error: &anyhow::Error) -> (Option<String>, u8) {
    if error.is::<Closed>() {
        return (None, 0);
    }
    if let Some(problems) = error.downcast_ref::<Problems>() {
        return (Some(problems.to_string()), Problems::EXIT);
    }
    // A refusal has lines of its own and has escaped what is not ours.
    if let Some(ClientError::Refused(refusal)) = error.downcast_ref::<ClientError>() {
        return (Some(refusal.to_string()), FAILED);
    }
    let code = if error.is::<Usage>() { USAGE } else { FAILED };
    (Some(escaped(&format!("{error:#}")).into_owned()), code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let environment = vec![("POSTHASTE_LOG__LEVEL".into(), "loud".into())];
        let problems = load(&Request {
            environment,
            ..Request::default()
        })
        .unwrap_err();
        assert_eq!(told(&problems.into()).1, 64);
        assert_eq!(told(&Usage("no".to_owned()).into()).1, 2);
        assert_eq!(told(&Failed("no".to_owned()).into()).1, 1);
        assert_eq!(told(&Closed.into()), (None, 0));
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_without_escape_sequences() {
        let error = anyhow::Error::new(Failed("bad \u{1b}[2J".to_owned())).context("cannot read it");
        assert_eq!(
            told(&error),
            (Some("cannot read it: bad \\u{1b}[2J".to_owned()), 1)
        );
    }
}
