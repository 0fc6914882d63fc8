//! The command line, read. A part of a secret that was not quoted is taken by clap for an argument or a command of its own,
//! and would stand in its message, which logs keep.

use std::ffi::OsString;

use clap::{
    Parser as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Arguments;

/// Flags whose values are secret, or may be.
const SECRET: [&str; 12] = [
    "--secret",
    "--scheme",
    "--signature",
    "--header",
    "--basic",
    "--bearer",
    "--oauth2-client-secret",
    "--oauth2-token-url",
    "--proxy",
    "--key",
    "--store",
    "--client-key",
];
const HIDDEN: &str = "[hidden]";

/// The arguments; ends the program when they ask for help or are not understood (exit code 2).
pub(super) fn read() -> Arguments {
    let words: Vec<OsString> = std::env::args_os().collect();
    Arguments::try_parse_from(&words).unwrap_or_else(|error| without_secrets(error, &words).exit())
}

/// The error without what may be a secret.
fn without_secrets(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let is_secret = |word: &str| SECRET.contains(&word.split('=').next().unwrap_or_default());
    if !words.iter().any(|word| is_secret(word)) {
        return error;
    }
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => ContextKind::InvalidValue,
        _ => return error,
    };
    let Some(ContextValue::String(shown)) = error.get(kind) else {
        return error;
    };
    // A flag that is mistyped is worth showing; what stands where a secret is expected is not.
    let follows_a_secret = words
        .windows(2)
        .any(|pair| pair[1] == *shown && is_secret(&pair[0]));
    if shown.starts_with("--") && !shown.contains('=') && !follows_a_secret {
        return error;
    }
    error.insert(kind, ContextValue::String(HIDDEN.to_owned()));
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(Vec::new()));
    for advice in [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
        ContextKind::TrailingArg,
    ] {
        error.insert(advice, ContextValue::None);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let words: Vec<OsString> = line.split('|').map(Into::into).collect();
        let error = Arguments::try_parse_from(&words).unwrap_err();
        without_secrets(error, &words).render().to_string()
    }

    #[test]
    fn a_part_of_a_secret_that_clap_does_not_understand_is_not_shown() {
        for line in [
            "posthaste|endpoint|add|http://a.test/|--secret|a|hunter2",
            "posthaste|endpoint|add|http://a.test/|--secret|--hunter2",
            "posthaste|endpoint|add|http://a.test/|--secret|-hunter2",
            "posthaste|endpoint|add|http://a.test/|--header|Authorization:|Bearer|hunter2",
            "posthaste|endpoint|add|http://a.test/|--paused=hunter2|--bearer|x",
            "posthaste|status|--key|a|hunter2",
            "posthaste|--key|a|hunter2|status",
        ] {
            let said = said(line);
            assert!(!said.contains("hunter2"), "{line}: {said}");
            assert!(said.starts_with("error: "), "{said}");
        }
    }

    #[test]
    fn a_mistyped_flag_or_command_is_shown_as_ever() {
        assert!(said("posthaste|sttaus").contains("sttaus"));
        let flag = said("posthaste|endpoint|add|http://a.test/|--secret|x|--tiemout|5s");
        assert!(flag.contains("--tiemout"), "{flag}");
    }
}
