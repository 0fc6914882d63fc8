#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // Panics that the product catches are its own affair; one that it does not catch ends the run all the same.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |input: &[u8]| posthaste::fuzzing::template(input)
);
