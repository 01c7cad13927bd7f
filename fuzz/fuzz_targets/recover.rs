//! See [`logstor_fuzz::recover`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = logstor_fuzz::recover(data);
});
