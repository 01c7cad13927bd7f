//! See [`logstor_fuzz::plan_text`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = logstor_fuzz::plan_text(data);
});
